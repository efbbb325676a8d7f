"""Calibrations and verdicts, against scikit-learn and SciPy."""

import numpy as np
import pytest
from PIL import Image
from scipy.stats import beta
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from images import data_uri, draw

MODEL = "ae-cifar10"
NORMALS = 60
PATH = f"/v1/models/{MODEL}/calibrations"


def normal(seed):
    return draw(32, 32, seed)


def anomaly(seed):
    """A normal image with a patch of noise; some patches are too small to be told."""
    image = np.array(normal(1000 + seed))
    random = np.random.default_rng(seed)
    side = int(random.integers(2, 16))
    x, y = random.integers(0, 32 - side, size=2)
    image[y : y + side, x : x + side] = random.integers(0, 256, size=(side, side, 3))
    return Image.fromarray(image)


def scores(http, images, **options):
    entries = []
    for at in range(0, len(images), 32):
        body = {"model": MODEL, "images": [data_uri(image) for image in images[at : at + 32]], **options}
        answer = http.post("/v1/anomaly", json=body)
        assert answer.status_code == 200, answer.text
        entries += answer.json()["data"]
    return entries


@pytest.fixture(scope="module")
def images():
    return [normal(seed) for seed in range(NORMALS)], [anomaly(seed) for seed in range(30)]


def test_the_evaluation_is_that_of_scikit_learn(http, images):
    normals, anomalies = images
    body = {
        "images": [data_uri(image) for image in normals + anomalies],
        "labels": ["good"] * len(normals) + ["noise"] * len(anomalies),
    }
    made = http.put(f"{PATH}/evaluated", json=body)
    assert made.status_code == 201, made.text
    evaluation = made.json()["evaluation"]
    values = np.array([entry["score"] for entry in scores(http, normals + anomalies)])
    truth = np.array([0] * len(normals) + [1] * len(anomalies))
    assert evaluation["auroc"] == pytest.approx(roc_auc_score(truth, values), abs=1e-12)
    assert evaluation["average_precision"] == pytest.approx(average_precision_score(truth, values), abs=1e-12)
    precision, recall, thresholds = precision_recall_curve(truth, values)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    assert evaluation["f1_best"]["f1"] == pytest.approx(f1.max(), abs=1e-12)
    at_best = np.isclose(f1[:-1], f1.max(), rtol=0, atol=1e-12)
    assert np.isclose(thresholds[at_best], evaluation["f1_best"]["threshold"], rtol=1e-12).any()
    false_positives, true_positives, _ = roc_curve(truth, values, drop_intermediate=False)
    for rate in evaluation["rates"]:
        allowed = false_positives <= rate["false_positive_rate"] + 1e-12
        assert rate["recall"] == pytest.approx(true_positives[allowed].max(), abs=1e-12)
    quantiles = np.quantile(values[truth == 0], [0.5, 0.9, 0.99])
    np.testing.assert_allclose(list(made.json()["quantiles"].values()), quantiles, rtol=1e-12)


def test_p_values_and_the_interval_are_their_formulas(http, images):
    normals, anomalies = images
    made = http.put(f"{PATH}/judging", json={"images": [data_uri(image) for image in normals]})
    assert made.status_code == 201, made.text
    known = np.array([entry["score"] for entry in scores(http, normals)])
    body = {"model": MODEL, "calibration": "judging", "false_positive_rate": 0.05, "review_rate": 0.2}
    answer = http.post("/v1/anomaly", json={**body, "images": [data_uri(image) for image in anomalies]}).json()
    for entry in answer["data"]:
        expected = (1 + np.sum(known >= entry["score"])) / (NORMALS + 1)
        assert entry["p_value"] == pytest.approx(expected, abs=1e-15)
        assert entry["anomalous"] == (expected <= 0.05)
        verdict = "anomalous" if expected <= 0.05 else "review" if expected <= 0.2 else "ok"
        assert entry["verdict"] == verdict
    k = int(0.05 * (NORMALS + 1))
    interval = beta.ppf([0.025, 0.975], k, NORMALS + 1 - k)
    np.testing.assert_allclose(answer["calibration"]["interval"], interval, rtol=1e-9)


def test_a_conditional_guarantee_takes_the_most_ranks_that_hold_with_probability_nine_tenths(http, images):
    normals, anomalies = images
    http.put(f"{PATH}/conditional", json={"images": [data_uri(image) for image in normals]})
    body = {"model": MODEL, "calibration": "conditional", "false_positive_rate": 0.1, "guarantee": "conditional"}
    answer = http.post("/v1/anomaly", json={**body, "images": [data_uri(image) for image in anomalies]}).json()
    ranks = [k for k in range(1, NORMALS + 1) if beta.cdf(0.1, k, NORMALS + 1 - k) >= 0.9]
    for entry in answer["data"]:
        assert entry["anomalous"] == (entry["p_value"] <= max(ranks) / (NORMALS + 1) + 1e-12)
