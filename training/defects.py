"""A detector that learns to segment drawn defects (synthetic.py): a U-Net with one logit for each pixel.

Normal images are changed hard in brightness, for a line's light changes and a part may be photographed at several
exposures; then a share of them gets defects. The loss is the focal loss (arXiv 1708.02002) of each pixel, the soft Dice loss
(arXiv 1606.04797) of each image with a defect, and the cross-entropy of the largest logit, which is what an image is judged
by. The exported graph gives the probability of each pixel, and one score for the image (unet.Pooled).
"""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import nn

from training import augment, synthetic
from training.objective import Graph, Objective, channels_of
from training.unet import Pooled, UNet, averaged, standardised

CHUNK = 50


def focal(logits, labels, gamma=2.0):
    """The mean over pixels of (1 - p)^gamma times the cross-entropy, p being the probability of what is true."""
    entropy = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return ((1 - (-entropy).exp()) ** gamma * entropy).mean()


def soft_dice(logits, labels):
    """1 - Dice's coefficient, the mean over the images that have a defect; 0 where none has."""
    found, sides = torch.sigmoid(logits), (1, 2, 3)
    both, either = (found * labels).sum(sides), (found + labels).sum(sides)
    spoiled = (labels.sum(sides) > 0).float()
    return ((1 - (2 * both + 1) / (either + 1)) * spoiled).sum() / spoiled.sum().clamp(min=1)


class Detector(nn.Module):
    """What is exported: the image's score, and the probability of a defect at each pixel, from the mean of the logits of the
    image and of its two mirror images."""

    def __init__(self, network, pooled):
        super().__init__()
        self.network, self.pooled = network, pooled

    def logits(self, image):
        image = standardised(image)
        views = self.network(torch.cat([image, image.flip(3), image.flip(2)])).float()
        plain, across, down = views.reshape(3, *image[:, :1].shape)
        return (plain + across.flip(3) + down.flip(2)) / 3

    def forward(self, image):
        logits = self.logits(image)
        return self.pooled(logits), torch.sigmoid(logits)


class DefectSegmentation(Objective):
    def __init__(self, settings):
        super().__init__()
        self.network = UNet(channels_of(settings), 1, **settings["network"])
        self.pooled = Pooled()
        self.detector = Detector(self.network, self.pooled)
        self.rules, self.zoom, self.light = settings["defects"], settings["zoom"], settings["light"]
        self.weights, self.view = settings["weights"], settings["view"]

    def parts(self):
        return [self.network]

    def logits(self, images):
        return self.network(standardised(images)).float()

    def loss(self, images, generator):
        with torch.autocast(images.device.type, enabled=False):
            images = augment.zoom_and_flip(images, generator, self.zoom, self.view)
            images = augment.relight(images, generator, self.light)
            images, labels = drawn(images, self.rules, generator)
            images = augment.add_noise(images, generator, 0.02)
        logits = self.logits(images)
        largest = averaged(logits, 3).amax((1, 2, 3))
        spoiled = labels.amax((1, 2, 3))
        return (
            self.weights["focal"] * focal(logits, labels)
            + soft_dice(logits, labels)
            + self.weights["image"] * F.binary_cross_entropy_with_logits(largest, spoiled)
        )

    def settle(self, validation):
        """The score's parts are put beside those of the validation images, which are normal and were not trained on."""
        self.pooled.settle(self.all_logits(validation[0].float() / 255))

    def all_logits(self, images):
        return torch.cat([self.detector.logits(part) for part in images.split(CHUNK)])

    def monitor(self, validation, bank):
        """How well defects drawn on the validation images, the same ones each time, are told from the images as they are:
        AUROC by the score, and of the pixels."""
        normal = validation[0].float() / 255
        generator = torch.Generator(normal.device).manual_seed(0)
        spoiled, labels = drawn(normal, self.rules | {"share": 1.0, "most": 1}, generator)
        logits = [self.all_logits(part) for part in (normal, spoiled)]
        scores = torch.cat([self.pooled(part) for part in logits]).cpu().numpy()
        truth = np.repeat([0, 1], len(normal))
        pixels = logits[1].flatten()[::7].cpu().numpy(), labels.flatten()[::7].cpu().numpy()
        figures = {"validation_drawn_auroc": float(roc_auc_score(truth, scores))}
        return figures | ({"validation_drawn_pixel_auroc": float(roc_auc_score(pixels[1], pixels[0]))} if 0 < pixels[1].mean() < 1 else {})

    def graphs(self):
        return [Graph("anomaly", self.detector, ["image"], ["score", "map"], sides=16)]


def drawn(images, rules, generator):
    """Images of which a share has drawn defects, and where: both f32. They are drawn on the CPU."""
    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    plain = images.cpu().numpy()
    spoiled, labels = synthetic.spoiled(plain, plain, np.random.default_rng(seed), rules)
    return torch.from_numpy(spoiled).to(images.device), torch.from_numpy(labels).to(images.device)


def build(settings):
    return DefectSegmentation(settings)
