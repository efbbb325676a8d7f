"""The shortest way from a folder of images to a model folder, for every general recipe, in colour and grey."""

import json
import tomllib

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test-training runs these")

from training import evaluate, images, served, train

FAMILIES = {
    "ae": "autoencoder",
    "dae": "autoencoder",
    "mae": "masked-autoencoder",
    "crvae": "variational",
    "simclr": "contrastive",
}


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


@pytest.mark.parametrize("channels", ["rgb", "gray"])
@pytest.mark.parametrize("recipe", FAMILIES)
def test_a_folder_of_images_becomes_a_model(recipe, channels, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train, "RUNS", tmp_path / "runs")
    torch.set_num_threads(1)
    words = ["mine", "--recipe", recipe, "--data", str(photos), "--side", "64", "--channels", channels, "--epochs", "1"]
    train.main([*words, "--models", str(tmp_path / "models"), "--license", "CC0"])
    evaluate.main(["mine", "--data", str(photos), "--models", str(tmp_path / "models"), "--bad", str(photos)])
    folder = tmp_path / "models" / "mine"
    manifest = tomllib.loads((folder / "model.toml").read_text())
    assert manifest["family"] == FAMILIES[recipe] and manifest["license"] == "CC0"
    assert manifest["description"].endswith(", trained on photos") and "CIFAR" not in manifest["description"]
    assert manifest["input"] == {"width": 64, "height": 64, "channels": channels}
    record = json.loads((folder / "training.json").read_text())
    assert record["data"] == "photos" and str(photos) not in json.dumps(record)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["evaluated_on"] == "photos, 2 validation images"
    assert not [key for key in metrics["figures"] if "accuracy" in key or "raw_pixel" in key]
    model = served.Model(folder)
    data, _ = images.load(photos, 64, channels)
    given = model.denoise(data) if recipe == "dae" else model.embed(data).numpy()
    assert len(given) == 24 and np.isfinite(given).all()
    assert "broken.jpg" in capsys.readouterr().err
