"""The samples and posteriors of a variational model, against onnxruntime and numpy."""

import numpy as np
import pytest

import reference
from images import data_uri, encoded, from_data_uri
from reference import VARIATIONAL_MODELS
from test_images_out import HALF_LEVEL, expected, post
from test_vectors import preprocessed


def ask(http, route, model, **body):
    answer = http.post(f"/v1/{route}", json={"model": model.name, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def code(http, model, image):
    """Mean and log-variance in f64."""
    outputs = model.run("encoder", image=preprocessed(http, model, encoded(image)))
    return outputs["mean"][0].astype(np.float64), outputs["log_variance"][0].astype(np.float64)


@pytest.mark.parametrize("model", VARIATIONAL_MODELS, ids=str)
def test_generated_images_are_those_of_their_latents(http, model):
    for entry in ask(http, "generate", model, count=5, seed=11):
        latent = np.float32(entry["latent"])[None]
        np.testing.assert_allclose(from_data_uri(entry["image"]), model.decoded(latent), rtol=0, atol=HALF_LEVEL)


@pytest.mark.parametrize("model", VARIATIONAL_MODELS, ids=str)
def test_latents_are_standard_normal(http, model):
    latents = np.concatenate([entry["latent"] for s in range(8) for entry in ask(http, "generate", model, count=64, seed=s)])
    # four standard errors of mean and variance
    assert abs(latents.mean()) < 4 / np.sqrt(latents.size)
    assert abs(latents.var() - 1) < 4 * np.sqrt(2 / latents.size)


@pytest.mark.parametrize("model", VARIATIONAL_MODELS, ids=str)
def test_kl_and_elbo_are_their_formulas(http, images, model):
    kls, bounds = (post(http, "anomaly", model, images, metric=metric) for metric in ("kl", "elbo"))
    for image, kl, bound in zip(images, kls, bounds, strict=True):
        mean, log_variance = code(http, model, image)
        divergence = 0.5 * float(np.sum(mean**2 + np.exp(log_variance) - 1 - log_variance))
        assert kl["score"] == pytest.approx(divergence, rel=1e-4, abs=1e-4)
        before, after = expected(http, model, image)
        distance = 0.5 * float(np.sum((before - after) ** 2))
        assert bound["score"] == pytest.approx(distance + divergence, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("method", ["linear", "spherical"])
@pytest.mark.parametrize("model", VARIATIONAL_MODELS, ids=str)
def test_the_way_between_two_images_is_that_of_their_means(http, images, model, method):
    a, b = (code(http, model, image)[0] for image in images[:2])
    angle = np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))
    steps = ask(http, "interpolate", model, images=[data_uri(p) for p in images[:2]], steps=5, method=method)
    assert [step["t"] for step in steps] == [0, 0.25, 0.5, 0.75, 1]
    for step in steps:
        t = step["t"]
        if method == "linear":
            latent = (1 - t) * a + t * b
        else:
            latent = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
        want = model.decoded(np.float32(latent)[None])
        np.testing.assert_allclose(from_data_uri(step["image"]), want, rtol=0, atol=HALF_LEVEL)


@pytest.mark.parametrize("model", VARIATIONAL_MODELS, ids=str)
def test_latents_of_the_caller_are_decoded_as_they_are(http, model):
    latents = [entry["latent"] for entry in ask(http, "generate", model, count=2, seed=3)]
    steps = ask(http, "interpolate", model, latents=latents, steps=2)
    for step, latent in zip(steps, latents, strict=True):
        want = model.decoded(np.float32(latent)[None])
        np.testing.assert_allclose(from_data_uri(step["image"]), want, rtol=0, atol=HALF_LEVEL)


@pytest.mark.parametrize("model", VARIATIONAL_MODELS, ids=str)
def test_the_embedding_is_the_mean(http, images, model):
    for entry, image in zip(post(http, "embeddings", model, images, normalize=False), images, strict=True):
        assert reference.cosine(entry["embedding"], code(http, model, image)[0]) > 0.99999
