"""Reconstructions, denoised images and their figures against onnxruntime and numpy."""

import io

import numpy as np
import pytest
from PIL import Image

import reference
from images import data_uri, draw, encoded, from_data_uri
from reference import DENOISING_MODELS, RECONSTRUCTING_MODELS
from test_vectors import preprocessed

# An answer's image has 256 levels; the figures beside it come from the values before that.
HALF_LEVEL = 0.5 / 255 + 1e-3


def post(http, route, model, images, **options):
    answer = http.post(f"/v1/{route}", json={"model": model.name, "images": [data_uri(p) for p in images], **options})
    assert answer.status_code == 200, answer.text
    assert answer.json()["errors"] == []
    return answer.json()["data"]


def expected(http, model, image):
    """The image at the model's size and the model's own of it, both in 0..1."""
    tensor = preprocessed(http, model, encoded(image))
    return model.to_unit(tensor).astype(np.float64), model.reconstruction(tensor).astype(np.float64)


@pytest.mark.parametrize("model", RECONSTRUCTING_MODELS, ids=str)
def test_reconstructions_and_their_figures_equal_onnxruntimes(http, images, model):
    for image, entry in zip(images, post(http, "reconstruct", model, images), strict=True):
        before, after = expected(http, model, image)
        np.testing.assert_allclose(from_data_uri(entry["image"]), after, rtol=0, atol=HALF_LEVEL)
        assert entry["mse"] == pytest.approx(reference.mse(before, after), rel=1e-3, abs=1e-7)
        assert entry["psnr"] == pytest.approx(reference.psnr(before, after), abs=0.01)
        assert entry["ssim"] == pytest.approx(reference.ssim(before, after), abs=1e-3)


@pytest.mark.parametrize("model", RECONSTRUCTING_MODELS, ids=str)
def test_a_bare_png_is_the_same_image(http, images, model):
    body = encoded(images[0])
    answer = http.post(
        "/v1/reconstruct", params={"model": model.name}, content=body, headers={"content-type": "image/png", "accept": "image/png"}
    )
    assert answer.headers["content-type"] == "image/png"
    [entry] = post(http, "reconstruct", model, images[:1])
    bare = np.asarray(Image.open(io.BytesIO(answer.content))).astype(np.float64) / 255
    np.testing.assert_array_equal(bare.reshape(model.height, model.width, -1), from_data_uri(entry["image"]))


@pytest.mark.parametrize("metric", ["mse", "l1", "ssim"])
@pytest.mark.parametrize("model", RECONSTRUCTING_MODELS, ids=str)
def test_anomaly_scores_are_the_error_of_the_reconstruction(http, images, model, metric):
    for image, entry in zip(images, post(http, "anomaly", model, images, metric=metric, map="png"), strict=True):
        before, after = expected(http, model, image)
        figure = getattr(reference, metric)(before, after)
        assert entry["score"] == pytest.approx(1 - figure if metric == "ssim" else figure, rel=2e-3, abs=1e-4)
        assert entry["metric"] == metric
        assert from_data_uri(entry["map"]).shape[:2] == (image.height, image.width)


@pytest.mark.parametrize("model", DENOISING_MODELS, ids=str)
def test_denoised_images_equal_onnxruntimes(http, images, model):
    for image, entry in zip(images, post(http, "denoise", model, images), strict=True):
        _, after = expected(http, model, image)
        np.testing.assert_allclose(from_data_uri(entry["image"]), after, rtol=0, atol=HALF_LEVEL)


@pytest.mark.parametrize("model", DENOISING_MODELS, ids=str)
def test_noise_goes_down_and_repeats_with_its_seed(http, model):
    image = [draw(model.width, model.height, 11)]
    [entry] = post(http, "denoise", model, image, add_noise="gaussian:0.15", seed=5)
    assert entry["psnr_after"] > entry["psnr_before"]
    [again] = post(http, "denoise", model, image, add_noise="gaussian:0.15", seed=5)
    assert again == entry
    [other] = post(http, "denoise", model, image, add_noise="gaussian:0.15", seed=6)
    assert other["noisy"] != entry["noisy"]
