"""A detector as Anomalib exports it, served by the manifest that `latentd inspect` proposes.

Anomalib is no part of requirements.txt, since it brings PyTorch: without it these tests are skipped. Their form is held
by tests/data/models/tiny-detector as well.
"""

import shutil
import subprocess

import httpx
import numpy as np
import pytest

from anomaly import at_size
from images import data_uri, draw
from processes import binary, running
from reference import Model
from test_anomaly import array

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("anomalib", reason="Anomalib is not installed")
SIDE = 256
# What they depend on warns of its own affairs.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def padim(tmp_path_factory):
    """The folder of a PaDiM with random weights, fitted to drawn images."""
    from anomalib.models import Padim

    torch.manual_seed(1)
    model = Padim(backbone="resnet18", layers=["layer1"], pre_trained=False, n_features=20)
    drawn = np.stack([np.asarray(draw(SIDE, SIDE, seed), np.float32) / 255 for seed in range(8)])
    model.model.train()
    with torch.no_grad():
        model.model(torch.from_numpy(drawn.transpose(0, 3, 1, 2).copy()))
    model.model.fit()
    model.eval()
    root = tmp_path_factory.mktemp("anomalib")
    file = model.to_onnx(root / "export", input_size=(SIDE, SIDE))
    folder = root / "models" / "padim"
    folder.mkdir(parents=True)
    for part in file.parent.iterdir():
        shutil.copy(part, folder)
    return folder


def test_an_export_is_recognised_and_served(padim):
    written = subprocess.run([binary(), "inspect", "--write", padim], capture_output=True, text=True, check=True)
    assert 'family = "anomaly"' in (padim / "model.toml").read_text(), written.stdout
    model = Model(padim)
    assert model.graphs["anomaly"]["outputs"] == {"score": "pred_score", "map": "anomaly_map"}
    images = [draw(300, 200, 50), draw(SIDE, SIDE, 51)]
    with running(padim.parents[1]) as url:
        body = {"model": "padim", "images": [data_uri(image) for image in images], "map": "npy"}
        answer = httpx.post(f"{url}/v1/anomaly", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    for image, entry in zip(images, answer.json()["data"], strict=True):
        given = model.run("anomaly", image=model.tensor(image))
        assert entry["metric"] == "graph"
        assert entry["score"] == pytest.approx(float(given["score"].ravel()[0]), rel=1e-4)
        np.testing.assert_allclose(array(entry), at_size(given["map"][0, 0], image.size), rtol=1e-3, atol=1e-4)
