"""Tensors and embeddings against Pillow, numpy and Python's onnxruntime."""

import io

import numpy as np
import pytest
from PIL import Image

from images import data_uri, draw, encoded
from reference import EMBEDDING_MODELS, MODELS, cosine

PNG = {"content-type": "image/png"}


def preprocessed(http, model, body, content_type="image/png"):
    answer = http.post("/v1/preprocess", params={"model": model.name}, content=body, headers={"content-type": content_type})
    assert answer.status_code == 200, answer.text
    return np.load(io.BytesIO(answer.content))


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_the_tensor_equals_pillows_within_one_level(http, images, model):
    for image in images:
        tensor = preprocessed(http, model, encoded(image))
        assert (tensor.dtype, tensor.shape) == (np.float32, (1, model.channels, model.height, model.width))
        levels = np.abs(tensor - model.tensor(image)) / model.level.reshape(1, -1, 1, 1)
        assert levels.max() <= 1.001, f"{image.mode} {image.size}: {levels.max():.3f} levels"


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"grey": True}], ids=str)
@pytest.mark.parametrize("model", [model for model in MODELS if model.manifest["preprocess"].get("resize") != "none"], ids=str)
def test_a_large_jpeg_gives_the_tensor_of_the_whole_image_though_less_of_it_is_decoded(http, model, options):
    image = draw(1603, 1201, 11).convert("L" if options.get("grey") else "RGB")
    body = encoded(image, "JPEG", quality=90, **{key: value for key, value in options.items() if key != "grey"})
    whole = model.tensor(Image.open(io.BytesIO(body)))
    levels = np.abs(preprocessed(http, model, body, "image/jpeg") - whole) / model.level.reshape(1, -1, 1, 1)
    # Two decoders of the whole image differ by 0.4 of a level in the mean; edges drawn to the pixel differ most.
    assert levels.mean() <= 1 and levels.max() <= 12, f"mean {levels.mean():.3f}, most {levels.max():.1f} levels"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(http, orientation):
    [model] = [model for model in MODELS if model.name == "tiny-contrastive"]
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = encoded(draw(90, 60, 7), "JPEG", quality=95, subsampling=0, exif=exif)
    upright = model.tensor(Image.open(io.BytesIO(body)))
    levels = np.abs(preprocessed(http, model, body, "image/jpeg") - upright) / model.level.reshape(1, -1, 1, 1)
    # Two JPEG decoders differ by a few levels; an image turned the wrong way differs by many.
    assert levels.max() <= 6


@pytest.mark.parametrize("model", EMBEDDING_MODELS, ids=str)
def test_embeddings_equal_onnxruntimes_on_the_servers_tensor(http, images, model):
    for image in images:
        body = encoded(image)
        answer = http.post("/v1/embeddings", params={"model": model.name}, content=body, headers=PNG)
        assert answer.status_code == 200, answer.text
        expected = model.embedding(preprocessed(http, model, body))
        [entry] = answer.json()["data"]
        assert len(entry["embedding"]) == len(expected)
        assert cosine(entry["embedding"], expected) >= 0.9999
        assert np.linalg.norm(entry["embedding"]) == pytest.approx(np.linalg.norm(expected), rel=1e-4)


@pytest.mark.parametrize("model", EMBEDDING_MODELS, ids=str)
def test_one_request_of_many_images_equals_many_requests_of_one(http, images, model):
    together = http.post("/v1/embeddings", json={"model": model.name, "images": [data_uri(p) for p in images]}).json()
    assert together["errors"] == []
    assert [entry["index"] for entry in together["data"]] == list(range(len(images)))
    for entry, image in zip(together["data"], images, strict=True):
        alone = http.post("/v1/embeddings", json={"model": model.name, "images": [data_uri(image)]}).json()
        assert alone["space_key"] == together["space_key"]
        assert cosine(entry["embedding"], alone["data"][0]["embedding"]) >= 0.99999


def test_three_ways_of_sending_give_the_same_vectors(http, images):
    bodies = [encoded(image) for image in images[:3]]
    raw = [http.post("/v1/embeddings", params={"model": "tiny-ae"}, content=body, headers=PNG).json()["data"][0] for body in bodies]
    parts = [("image", (f"{number}.png", body, "image/png")) for number, body in enumerate(bodies)]
    multipart = http.post("/v1/embeddings", data={"model": "tiny-ae"}, files=parts).json()["data"]
    as_json = http.post("/v1/embeddings", json={"model": "tiny-ae", "images": [data_uri(p) for p in images[:3]]}).json()["data"]
    for one, two, three in zip(raw, multipart, as_json, strict=True):
        np.testing.assert_allclose(one["embedding"], two["embedding"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(one["embedding"], three["embedding"], rtol=0, atol=1e-6)


def test_binary_vectors_are_the_json_ones(http, images):
    request = {"model": "tiny-contrastive", "images": [data_uri(p) for p in images[:3]]}
    as_json = http.post("/v1/embeddings", json=request).json()
    numbers = np.float32([entry["embedding"] for entry in as_json["data"]])
    raw = http.post("/v1/embeddings", json=request, headers={"accept": "application/octet-stream"})
    assert raw.headers["x-latentd-shape"] == ",".join(map(str, numbers.shape))
    assert raw.headers["x-latentd-space-key"] == as_json["space_key"]
    np.testing.assert_array_equal(np.frombuffer(raw.content, "<f4").reshape(numbers.shape), numbers)
    npy = http.post("/v1/embeddings", json=request, headers={"accept": "application/x-npy"})
    np.testing.assert_array_equal(np.load(io.BytesIO(npy.content)), numbers)
