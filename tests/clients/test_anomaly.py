"""Anomaly scores and maps, against onnxruntime and the formulas written out with numpy."""

import base64
import io

import numpy as np
import pytest

from anomaly import MAPS, at_size, pooled, smoothed, stitched
from images import draw, encoded
from reference import DETECTORS, MASKED_MODELS, MODELS, RECONSTRUCTING_MODELS
from test_images_out import expected, post
from test_masked import share
from test_vectors import preprocessed

BY_NAME = {model.name: model for model in MODELS}


def array(entry):
    """The map of an answer."""
    head, _, body = entry["map"].partition(",")
    assert head == "data:application/x-npy;base64", head
    return np.load(io.BytesIO(base64.b64decode(body)))


@pytest.mark.parametrize("metric", MAPS)
@pytest.mark.parametrize("model", RECONSTRUCTING_MODELS, ids=str)
def test_maps_are_smoothed_and_pooled_as_written_out(http, images, model, metric):
    for pooling, sigma in (("mean", 0), ("max", 0), ("top:0.05", 0), ("max", 1.3), ("top:0.2", 2.5)):
        options = {"metric": metric, "pooling": pooling, "sigma": sigma}
        for image, entry in zip(images, post(http, "anomaly", model, images, **options), strict=True):
            values = smoothed(MAPS[metric](*expected(http, model, image)), sigma)
            assert entry["score"] == pytest.approx(pooled(values, pooling), rel=2e-3, abs=1e-5), options


@pytest.mark.parametrize("model", [m for m in RECONSTRUCTING_MODELS if m.manifest["preprocess"]["resize"] == "exact"], ids=str)
def test_maps_come_at_the_size_of_the_image(http, images, model):
    for image, entry in zip(images, post(http, "anomaly", model, images, map="npy"), strict=True):
        values = MAPS["mse"](*expected(http, model, image))
        np.testing.assert_allclose(array(entry), at_size(values, image.size), rtol=2e-3, atol=1e-5)


def detected(model, image):
    """Score and map of a detector's graph."""
    given = model.run("anomaly", image=model.tensor(image))
    return given.get("score"), given["map"][0, 0]


@pytest.mark.parametrize("model", DETECTORS, ids=str)
def test_detectors_give_what_their_graphs_give(http, images, model):
    for image, entry in zip(images, post(http, "anomaly", model, images, map="npy"), strict=True):
        score, values = detected(model, image)
        assert entry["score"] == pytest.approx(float(values.max() if score is None else score[0]), rel=1e-4, abs=1e-6)
        # What a float can lose is a share of the largest values: those of a map are differences of such.
        rounding = 1e-5 * max(1.0, float(values.max()))
        np.testing.assert_allclose(array(entry), at_size(values, image.size), rtol=1e-4, atol=rounding)


def test_tiles_are_stitched_as_written_out(http):
    model = BY_NAME["tiny-spots"]
    for size in ((300, 200), (129, 128), (90, 400)):
        image = draw(*size, seed=sum(size)).convert("L")
        for tile, overlap in ((128, 16), (64, 0), (100, 50)):
            options = {"tile": tile, "overlap": overlap, "map": "npy", "sigma": 1.5}
            [entry] = post(http, "anomaly", model, [image], **options)
            whole = stitched(image, tile, overlap, lambda part: smoothed(detected(model, part)[1], 1.5))
            np.testing.assert_allclose(array(entry), whole, rtol=1e-3, atol=1e-5)
            assert entry["score"] == pytest.approx(whole.max(), rel=1e-4)


def test_patches_are_compared_with_the_memory(http, images):
    model = BY_NAME["tiny-memory"]
    memory = np.load(model.folder / model.manifest["memory"]["file"])
    for image, entry in zip(images, post(http, "anomaly", model, images, map="npy"), strict=True):
        features = model.run("encoder", image=model.tensor(image))["latent"][0]
        patches = features.reshape(len(features), -1).T
        distances = np.linalg.norm(patches[:, None] - memory[None], axis=2).min(axis=1).reshape(features.shape[1:])
        values = at_size(distances, (model.width, model.height))
        assert entry["score"] == pytest.approx(values.max(), rel=1e-4, abs=1e-6)
        np.testing.assert_allclose(array(entry), at_size(values, image.size), rtol=1e-4, atol=1e-6)


def test_vectors_are_compared_with_the_nearest_of_a_collection(http, images):
    model = BY_NAME["tiny-contrastive"]
    assert http.put("/v1/collections/normal", json={"model": model.name}).status_code == 201
    normal = [draw(40, 40, seed) for seed in range(12)]
    for at, image in enumerate(normal):
        assert http.post(f"/v1/collections/normal/items?id=n{at}", content=encoded(image)).status_code == 200
    vectors = np.stack([model.embedding(preprocessed(http, model, encoded(image))) for image in normal])
    options = {"metric": "knn", "collection": "normal", "k": 3}
    for image, entry in zip(images, post(http, "anomaly", model, images, **options), strict=True):
        cosines = vectors @ model.embedding(preprocessed(http, model, encoded(image)))
        assert entry["score"] == pytest.approx(np.sort(1 - cosines)[:3].mean(), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("model", MASKED_MODELS, ids=str)
def test_hidden_patches_score_as_over_many_masks(http, images, model):
    """The mean over four draws lies closer to the mean over many masks than single masks do."""
    random = np.random.default_rng(3)
    for image, entry in zip(images, post(http, "anomaly", model, images, metric="hidden"), strict=True):
        tensor = preprocessed(http, model, encoded(image))
        errors = []
        for _ in range(40):
            patches = random.permutation(model.patches)[: share(model)]
            error = np.square(model.to_unit(tensor) - model.filled(tensor, patches)).mean(axis=2)
            errors.append(error[model.hidden(patches)[..., 0]].mean())
        assert min(errors) * 0.9 <= entry["score"] <= max(errors) * 1.1
