"""Every kind of image file against Pillow, through a model that takes the pixels as they are."""

import io
import shutil
import warnings

import httpx
import numpy as np
import pytest
from PIL import Image

from processes import ROOT, running
from corpus import SIDE, corpus, damaged
from reference import Model

# Only `/v1/preprocess` is asked, which runs no graph. What lies around a smaller image is 0.
MANIFEST = f"""
manifest = 1
family = "contrastive"

[input]
width = {SIDE}
height = {SIDE}
channels = "rgb"

[preprocess]
resize = "none"
crop = "center"

[graphs.encoder]
file = "encoder.onnx"
inputs = {{ image = "image" }}
outputs = {{ embedding = "embedding" }}

[embedding]
output = "embedding"
"""
# At most so many images a request.
IMAGES = 64
# Files that Pillow reads and the server does not, by how their names begin: docs/FORMATS.md has the reasons.
REFUSED_ON_PURPOSE = (
    "jpeg/arithmetic",
    "tiff/pillow-1-group3-",
    "tiff/pillow-1-tiff_ccitt-",
    "tiff/pillow-F-",
    "tiff/pillow-I-",
    "tiff/pillow-L-lzma-",
    "tiff/pillow-L-zstd-",
    "tiff/pillow-LAB-",
    "tiff/pillow-RGB-lzma-",
    "tiff/pillow-RGB-zstd-",
    "tiff/refused-",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of the pass-through model beside a server's data, as a model."""
    folder = tmp_path_factory.mktemp("corpus") / "models" / "pixels"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "models/simclr-cifar10/encoder.onnx", folder)
    (folder / "model.toml").write_text(MANIFEST)
    return Model(folder)


@pytest.fixture(scope="module")
def client(model):
    with running(model.folder.parents[1]) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The whole corpus."""
    return list(corpus(tmp_path_factory.mktemp("scans")))


def pillows(model, file):
    """The levels that Pillow has of the file (or should have), or nothing where it refuses it."""
    if file.pixels is not None:
        return model.pixels(Image.fromarray(file.pixels)).astype(np.int16)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(file.body))
            image.load()
            return model.pixels(image).astype(np.int16)
    except Exception:  # noqa: BLE001 (Pillow raises whatever a plugin stumbled on)
        return None


def sent(client, files):
    parts = [("image", (str(number), file.body)) for number, file in enumerate(files)]
    return client.post("/v1/preprocess", data={"model": "pixels"}, files=parts)


def levels(answer):
    """The answer's tensor as levels of images x height x width x channels."""
    assert answer.status_code == 200, answer.text
    return np.rint(np.load(io.BytesIO(answer.content)).transpose(0, 2, 3, 1) * 255).astype(np.int16)


def refusal(client, file):
    """Why the server refuses a file, or nothing where it does not."""
    answer = sent(client, [file])
    if answer.status_code == 200:
        return None
    assert answer.status_code in (415, 422), answer.text
    return answer.json()["detail"]


def is_refused_on_purpose(file):
    return file.name.startswith(REFUSED_ON_PURPOSE)


def batches(files):
    return [files[first : first + IMAGES] for first in range(0, len(files), IMAGES)]


def test_every_file_that_pillow_reads_has_pillows_pixels(client, model, files):
    expected = {file.name: pillows(model, file) for file in files}
    assert len(expected) == len(files) >= 1000
    read = [file for file in files if expected[file.name] is not None and not is_refused_on_purpose(file)]
    wrong = []
    for batch in batches(read):
        answer = sent(client, batch)
        if answer.status_code != 200:
            # One bad image fails its whole request: the others are asked for alone.
            refused = {file.name: reason for file in batch if (reason := refusal(client, file))}
            wrong += [f"{name}: {reason}" for name, reason in refused.items()]
            batch = [file for file in batch if file.name not in refused]
            answer = sent(client, batch)
        for file, ours in zip(batch, levels(answer), strict=True):
            most = np.abs(ours - expected[file.name]).max()
            if most > file.tolerance:
                wrong.append(f"{file.name}: differs by {most} levels")
    assert not wrong, f"{len(wrong)} of {len(read)}:\n" + "\n".join(wrong)


def test_what_pillow_refuses_is_refused(client, model, files):
    refused = [file for file in [*files, *damaged()] if pillows(model, file) is None]
    accepted = [file.name for file in refused if refusal(client, file) is None]
    assert refused and not accepted


def test_a_file_that_ends_early_is_refused_whatever_pillow_makes_of_it(client):
    assert [file.name for file in damaged() if refusal(client, file) is None] == []


def test_what_is_refused_on_purpose_says_so(client, model, files):
    for file in filter(is_refused_on_purpose, files):
        assert pillows(model, file) is not None, f"Pillow refuses {file.name} too"
        answer = sent(client, [file])
        assert answer.status_code == 415, f"{file.name}: {answer.text}"
        assert "is not read by this server" in answer.json()["detail"]
