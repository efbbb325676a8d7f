"""Images that a masked autoencoder fills in, against onnxruntime and numpy."""

import numpy as np
import pytest
from PIL import Image

import reference
from images import data_uri, encoded, from_data_uri
from reference import MASKED_MODELS
from test_images_out import HALF_LEVEL, post
from test_vectors import preprocessed


def share(model):
    """The number of patches that the model hides when the request does not say how many."""
    kept = int(model.patches * (1 - model.manifest["masked"].get("ratio", 0.75)))
    return model.patches - kept


def image_at_size(http, model, image):
    return model.to_unit(preprocessed(http, model, encoded(image))).astype(np.float64)


@pytest.mark.parametrize("model", MASKED_MODELS, ids=str)
def test_filled_images_equal_onnxruntimes(http, images, model):
    for seed, image in enumerate(images):
        [entry] = post(http, "inpaint", model, [image], seed=seed)
        tensor = preprocessed(http, model, encoded(image))
        assert len(entry["patches"]) == share(model)
        after = model.filled(tensor, entry["patches"])
        np.testing.assert_allclose(from_data_uri(entry["image"]), after, rtol=0, atol=HALF_LEVEL)
        shown = np.where(model.hidden(entry["patches"]), 0.5, model.to_unit(tensor))
        np.testing.assert_allclose(from_data_uri(entry["masked"]), shown, rtol=0, atol=HALF_LEVEL)


@pytest.mark.parametrize("model", MASKED_MODELS, ids=str)
def test_what_is_hidden_cannot_show_through(http, images, model):
    """Two images that differ in the hidden patches alone are filled in alike."""
    patches = list(range(share(model)))
    tensor = preprocessed(http, model, encoded(images[0]))
    noise = np.random.default_rng(1).standard_normal(tensor.shape).astype(np.float32)
    other = np.where(model.hidden(patches).transpose(2, 0, 1), noise, tensor)
    hidden = model.hidden(patches)
    before, after = (np.where(hidden, model.filled(t, patches), 0) for t in (tensor, other))
    np.testing.assert_allclose(before, after, rtol=0, atol=1e-5)


ERRORS = {"mse": np.square, "l1": np.abs}
# With one visible patch at a time there is one way to choose the masks that a reconstruction is averaged over.
KNOWN_MASKS = [model for model in MASKED_MODELS if model.patches - share(model) == 1]


@pytest.mark.parametrize("model", KNOWN_MASKS, ids=str)
def test_reconstructions_and_scores_are_means_over_complementary_masks(http, images, model):
    for image in images:
        tensor = preprocessed(http, model, encoded(image))
        before = model.to_unit(tensor).astype(np.float64)
        masks = [[patch for patch in range(model.patches) if patch != kept] for kept in range(model.patches)]
        hidden = np.stack([model.hidden(patches) for patches in masks])
        filled = np.stack([model.filled(tensor, patches) for patches in masks])
        after = (filled * hidden).sum(axis=0) / hidden.sum(axis=0)
        [entry] = post(http, "reconstruct", model, [image])
        np.testing.assert_allclose(from_data_uri(entry["image"]), after, rtol=0, atol=HALF_LEVEL)
        assert entry["mse"] == pytest.approx(reference.mse(before, after), rel=1e-3, abs=1e-7)
        for metric, error in ERRORS.items():
            [scored] = post(http, "anomaly", model, [image], metric=metric)
            errors = (error(filled - before) * hidden).sum(axis=0) / hidden.sum(axis=0)
            assert scored["score"] == pytest.approx(errors.mean(), rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("metric", ERRORS)
@pytest.mark.parametrize("model", MASKED_MODELS, ids=str)
def test_scores_lie_among_those_of_single_masks(http, images, model, metric):
    random = np.random.default_rng(2)
    for image, entry in zip(images, post(http, "anomaly", model, images, metric=metric), strict=True):
        tensor = preprocessed(http, model, encoded(image))
        errors = []
        for _ in range(40):
            patches = random.permutation(model.patches)[: share(model)]
            error = ERRORS[metric](model.to_unit(tensor) - model.filled(tensor, patches)).mean(axis=2)
            errors.append(error[model.hidden(patches)[..., 0]].mean())
        assert min(errors) * 0.9 <= entry["score"] <= max(errors) * 1.1


@pytest.mark.parametrize("model", MASKED_MODELS, ids=str)
def test_reconstructions_come_with_their_figures(http, images, model):
    for image, entry in zip(images, post(http, "reconstruct", model, images), strict=True):
        before, after = image_at_size(http, model, image), from_data_uri(entry["image"])
        # the figures come from the values before they were rounded to 256 levels
        assert entry["mse"] == pytest.approx(reference.mse(before, after), rel=0.02, abs=1e-5)
        assert entry["ssim"] == pytest.approx(reference.ssim(before, after), abs=0.02)
        assert entry["psnr"] == pytest.approx(reference.psnr(before, after), abs=0.1)


@pytest.mark.parametrize("model", MASKED_MODELS, ids=str)
def test_a_painted_mask_hides_the_patches_it_covers(http, images, model):
    patches = list(range(1, 1 + share(model)))
    flags = np.zeros(model.patches, bool)
    flags[patches] = True
    grid = np.where(flags.reshape(model.height // model.patch, -1), 0, 255).astype(np.uint8)
    mask = Image.fromarray(grid.repeat(3 * model.patch, axis=0).repeat(3 * model.patch, axis=1))
    [painted] = post(http, "inpaint", model, images[:1], mask=data_uri(mask))
    [named] = post(http, "inpaint", model, images[:1], patches=patches)
    assert painted == named and named["patches"] == patches
