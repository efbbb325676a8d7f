"""The shortest way from a folder of images to a model folder, for every general recipe, in colour and grey."""

import json
import os
import subprocess
import tomllib

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test-training runs these")

from training import evaluate, images, recipes, scores, served, train

FAMILIES = {
    "ae": "autoencoder",
    "dae": "autoencoder",
    "mae": "masked-autoencoder",
    "crvae": "variational",
    "simclr": "contrastive",
    "defects": "anomaly",
    "completion": "anomaly",
    "memory": "anomaly",
}
DETECTORS = ("defects", "completion", "memory")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two dozen drawn images of 64 × 48, and a file that is none."""
    folder = tmp_path_factory.mktemp("drawn") / "photos"
    folder.mkdir()
    for number in range(24):
        drawn = np.roll(images.drawn(64, 48, number % 3), 3 * number, axis=1)
        Image.fromarray(drawn).save(folder / f"{number:02}.png")
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module", params=[(recipe, channels) for recipe in FAMILIES for channels in ("rgb", "gray")], ids="-".join)
def made(request, photos, tmp_path_factory):
    """A model of those images: its recipe, its channels, its folder."""
    recipe, channels = request.param
    place = tmp_path_factory.mktemp("made")
    fit = list(recipes.FITS)[list(FAMILIES).index(recipe) % len(recipes.FITS)]
    words = ["mine", "--recipe", recipe, "--data", str(photos), "--side", "64", "--channels", channels, "--epochs", "1"]
    words += ["--fit", fit]
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "RUNS", place / "runs")
        train.main([*words, "--models", str(place / "models"), "--license", "CC0"])
    return recipe, channels, place / "models" / "mine"


def test_a_folder_of_images_becomes_a_model(made, photos):
    recipe, channels, folder = made
    manifest = tomllib.loads((folder / "model.toml").read_text())
    assert manifest["family"] == FAMILIES[recipe] and manifest["license"] == "CC0"
    assert manifest["description"].endswith(", trained on photos") and "CIFAR" not in manifest["description"]
    assert manifest["input"] == {"width": 64, "height": 64, "channels": channels}
    record = json.loads((folder / "training.json").read_text())
    assert record["data"] == "photos" and str(photos) not in json.dumps(record)
    model = served.Model(folder)
    data, _ = images.load(photos, manifest)
    detected = lambda data: model.detect(data)[0]
    distances = lambda data: scores.maps_of(model, data, "patch-knn")
    ways = {"dae": model.denoise, "defects": detected, "completion": detected, "memory": distances}
    given = ways.get(recipe, model.embed)(data)
    assert len(given) == 24 and np.isfinite(np.asarray(given)).all()
    assert len(record["images_blake3"]) == 22


def test_such_a_model_is_measured_on_the_images_that_its_training_did_not_see(made, photos, tmp_path, capsys):
    recipe, _, folder = made
    contact = tmp_path / "sheets"
    evaluate.main(["mine", "--data", str(photos), "--models", str(folder.parent), "--bad", str(photos), "--sheets", str(contact)])
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["evaluated_on"].startswith("photos, 2 validation images")
    assert not [key for key in metrics["figures"] if "accuracy" in key or "raw_pixel" in key]
    assert recipe == "dae" or metrics["figures"]["image_auroc" if recipe in DETECTORS else "anomaly_auroc_by_nearest"] <= 1
    assert list(contact.glob("*.png"))
    assert "broken.jpg" in capsys.readouterr().err


def test_a_model_of_other_images_is_not_replaced(made, tmp_path):
    _, _, folder = made
    with pytest.raises(SystemExit, match="mine was trained on photos, not on others: take another name"):
        train.check_place(folder, {"data": str(tmp_path / "others")})


@pytest.mark.skipif("LATENTD_BIN" not in os.environ, reason="LATENTD_BIN names no latentd")
def test_the_server_takes_such_a_model_and_repeats_its_golden_outputs(made):
    found = subprocess.run([os.environ["LATENTD_BIN"], "inspect", str(made[2])], capture_output=True, text=True, cwd=images.REPOSITORY)
    assert found.returncode == 0 and "all within tolerance" in found.stdout, found.stdout + found.stderr
