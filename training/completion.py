"""Masked completion for finding defects (RIAD, Zavrtanik et al. 2021; the masks of MAE, arXiv 2111.06377): a convolutional
network sees an image with patches hidden and predicts them, so that what it cannot predict from around it is odd. The
patches are larger than most defects, half of them are hidden, and two complementary masks hide each patch once.

The network sees each image less the mean of its visible pixels, divided by their deviation. The loss, on hidden pixels: the
absolute difference in those units, and that of the gradients at three scales, since a score by gradient-magnitude
similarity is made of those. The exported graph hides each patch once and gives what it could not predict (HiddenError).
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from training import augment
from training.masked import random_masks
from training.objective import Graph, Objective, channels_of
from training.unet import UNet

CHUNK = 50
SCALES = 3
# Of a pixel, when errors are averaged by their logarithms: a quarter of a level of 255.
LEAST_ERROR = 1e-3


class Completion(nn.Module):
    """`forward(image, mask)`: the visible patches as they came, the hidden ones predicted; images f32 [n, channels, side,
    side] in 0..1, masks f32 [n, patches], 1 = hidden."""

    def __init__(self, side, patch, channels, width, deepest):
        super().__init__()
        self.patch, self.count = patch, (side // patch) ** 2
        self.network = UNet(channels + 1, channels, width, deepest)

    def pixels_of(self, mask):
        """A mask over patches as one over pixels, [n, 1, side, side], for images of any square size."""
        across = math.isqrt(mask.shape[1])
        grid = mask.view(-1, 1, across, 1, across, 1).expand(-1, 1, across, self.patch, across, self.patch)
        return grid.reshape(-1, 1, across * self.patch, across * self.patch)

    def units(self, image, visible):
        """The mean and the deviation of each image's visible pixels; 0.5 and the least where none is."""
        count = (visible.sum((1, 2, 3), keepdim=True) * image.shape[1]).clamp(min=1)
        mean = (image * visible).sum((1, 2, 3), keepdim=True) / count
        squares = ((image - mean) * visible).square().sum((1, 2, 3), keepdim=True) / count
        return mean, squares.sqrt() + 0.01

    def predict(self, image, hidden):
        """The prediction of all pixels from those that a mask over pixels leaves visible."""
        visible = 1 - hidden
        mean, unit = self.units(image, visible)
        seen = torch.cat([(image - mean) / unit * visible, hidden], dim=1)
        return self.network(seen).float() * unit + mean, unit

    def forward(self, image, mask):
        hidden = self.pixels_of(mask)
        predicted, _ = self.predict(image, hidden)
        return image * (1 - hidden) + predicted.clamp(0, 1) * hidden


class HiddenError(nn.Module):
    """What is exported: an image's score, and the error of each pixel where it was hidden.

    Complementary masks, drawn once, hide each patch once. An error is the absolute difference, the mean over channels,
    divided by the geometric mean of the image's errors: what cannot be predicted well, such as the grain of a surface, is
    larger in a bright image and in a rough one. At the border of the image there is less to predict from, so a margin has
    the map 0. The score is the mean of the highest values of the map.
    """

    def __init__(self, completion, masks, margin, share):
        super().__init__()
        self.completion = completion
        self.register_buffer("hidden", completion.pixels_of(masks))
        side = self.hidden.shape[-1]
        inside = torch.zeros(1, 1, side, side)
        inside[:, :, margin : side - margin, margin : side - margin] = 1
        self.register_buffer("inside", inside)
        self.highest = max(1, round(share * side * side))

    def forward(self, image):
        error = torch.zeros_like(image[:, :1])
        for hidden in self.hidden.split(1):
            predicted, _ = self.completion.predict(image, hidden.expand_as(image[:, :1]))
            error = error + (predicted - image).abs().mean(1, keepdim=True) * hidden
        scale = (error + LEAST_ERROR).log().mean((1, 2, 3), keepdim=True).exp()
        found = error / scale * self.inside
        return found.flatten(1).topk(self.highest).values.mean(1), found


def complementary(patches, ratio, seed=0):
    """f32 [masks, patches], 1 = hidden: each patch is hidden by one mask, which hides a share of `ratio` of them or less."""
    masks = math.ceil(1 / ratio)
    group = torch.randperm(patches, generator=torch.Generator().manual_seed(seed)) % masks
    return (group[None] == torch.arange(masks)[:, None]).float()


def gradient_difference(a, b, where):
    """The mean absolute difference of the gradients across and down, at three scales, about the places `where` is 1."""
    total = 0.0
    for scale in range(SCALES):
        if scale:
            a, b, where = (F.avg_pool2d(x, 2) for x in (a, b, where))
        across = ((a[..., 1:] - a[..., :-1]) - (b[..., 1:] - b[..., :-1])).abs() * where[..., 1:]
        down = ((a[..., 1:, :] - a[..., :-1, :]) - (b[..., 1:, :] - b[..., :-1, :])).abs() * where[..., 1:, :]
        total = total + (across.sum() + down.sum()) / (where.sum() * a.shape[1]).clamp(min=1)
    return total / SCALES


class MaskedCompletion(Objective):
    def __init__(self, settings):
        super().__init__()
        patch = settings["hiding"]["patch"]
        self.network = Completion(settings["side"], patch, channels_of(settings), **settings["network"])
        self.share, self.zoom, self.light = settings["hiding"]["ratio"], settings["zoom"], settings["light"]
        self.gradient_weight, self.view = settings["gradient_weight"], settings["view"]
        self.margin, self.highest_share = round(settings["margin"] * settings["side"]), settings["highest"]

    def parts(self):
        return [self.network.network]

    def loss(self, images, generator):
        with torch.autocast(images.device.type, enabled=False):
            images = augment.zoom_and_flip(images, generator, self.zoom, self.view)
            images = augment.relight(images, generator, self.light)
            count = (self.view // self.network.patch) ** 2
            hidden = self.network.pixels_of(random_masks(len(images), count, self.share, generator))
        predicted, unit = self.network.predict(images, hidden)
        target, predicted = images / unit, predicted / unit
        plain = ((predicted - target).abs() * hidden).sum() / (hidden.sum() * images.shape[1])
        filled = target * (1 - hidden) + predicted * hidden
        return plain + self.gradient_weight * gradient_difference(filled, target, hidden)

    def monitor(self, validation, bank):
        """The mean absolute error on hidden pixels of the validation images, in 0..1."""
        images = validation[0].float() / 255
        generator = torch.Generator(images.device).manual_seed(0)
        mask = random_masks(len(images), self.network.count, self.share, generator)
        errors = [
            ((self.network(part, hidden) - part).abs().sum() / (self.network.pixels_of(hidden).sum() * part.shape[1])).item() * len(part)
            for part, hidden in zip(images.split(CHUNK), mask.split(CHUNK))
        ]
        return {"validation_hidden_l1": sum(errors) / len(images)}

    def graphs(self):
        masks = complementary(self.network.count, self.share)
        exported = HiddenError(self.network, masks, self.margin, self.highest_share)
        return [Graph("anomaly", exported, ["image"], ["score", "map"])]


def build(settings):
    return MaskedCompletion(settings)
