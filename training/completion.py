"""Masked completion for finding defects (RIAD, Zavrtanik et al. 2021; the masks of MAE, arXiv 2111.06377): a convolutional
network sees an image with patches hidden and predicts them, so that what it cannot predict from around it is odd. The
patches are larger than most defects, half of them are hidden, and two complementary masks hide each patch once.

The network sees each image less the mean of its visible pixels, divided by their deviation. The loss, on hidden pixels: the
absolute difference in those units, and that of the gradients at three scales, since a score by gradient-magnitude
similarity is made of those.
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


class Embedding(nn.Module):
    """The mean over positions of the network's deepest maps for a whole image."""

    def __init__(self, completion):
        super().__init__()
        self.completion = completion

    def forward(self, image):
        mean, unit = self.completion.units(image, torch.ones_like(image[:, :1]))
        seen = torch.cat([(image - mean) / unit, torch.zeros_like(image[:, :1])], dim=1)
        return self.completion.network.encode(seen)[-1].mean((2, 3))


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
        patch = settings["masked"]["patch"]
        self.network = Completion(settings["side"], patch, channels_of(settings), **settings["network"])
        self.share, self.zoom, self.light = settings["masked"]["ratio"], settings["zoom"], settings["light"]
        self.gradient_weight, self.view = settings["gradient_weight"], settings["view"]

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
        return [
            Graph("encoder", Embedding(self.network), ["image"], ["embedding"]),
            Graph("masked", self.network, ["image", "mask"], ["image"]),
        ]


def build(settings):
    return MaskedCompletion(settings)
