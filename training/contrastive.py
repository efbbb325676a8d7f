"""SimCLR (arXiv 2002.05709): InfoNCE over a batch, two views of each picture."""

import torch
import torch.nn.functional as F

from training import augment, metrics
from training.networks import Normalised, Projection, ResidualEncoder
from training.objective import Graph, Objective


def info_nce(first, second, temperature):
    """NT-Xent, equation 1 of the paper: each of the 2n projections must find its other view among
    the 2n - 1 others. Mean over all 2n, in nats."""
    both = F.normalize(torch.cat([first, second]).float(), dim=1)
    n = len(first)
    likeness = both @ both.T / temperature
    likeness.fill_diagonal_(float("-inf"))
    partner = torch.arange(2 * n, device=both.device).roll(n)
    return F.cross_entropy(likeness, partner)


class SimCLR(Objective):
    def __init__(self, settings):
        super().__init__()
        self.normalise = Normalised(settings["preprocess"]["mean"], settings["preprocess"]["std"])
        self.encoder = ResidualEncoder(**settings["network"])
        self.head = Projection(self.encoder.dim, **settings["head"])
        self.temperature = settings["temperature"]
        self.augmentation = settings["augmentation"]

    def view(self, pictures, generator):
        settings = self.augmentation
        cropped = augment.crop_and_flip(
            pictures, generator, settings["smallest_crop"], settings["crop_side"]
        )
        jittered = augment.jitter_colours(cropped, generator, settings["colour"])
        return self.normalise(jittered).contiguous(memory_format=torch.channels_last)

    def loss(self, pictures, generator):
        views = torch.cat([self.view(pictures, generator), self.view(pictures, generator)])
        first, second = self.head(self.encoder(views)).chunk(2)
        return info_nce(first, second, self.temperature)

    def embed(self, pictures):
        parts = [self.encoder(self.normalise(p.float() / 255)).float() for p in pictures.split(500)]
        return F.normalize(torch.cat(parts), dim=1)

    def monitor(self, held, bank):
        """kNN accuracy of the pictures held back against some that were trained on."""
        accuracy = metrics.knn_accuracy(self.embed(held[0]), held[1], self.embed(bank[0]), bank[1])
        return {"held_back_knn_accuracy": accuracy}

    def graphs(self):
        return [Graph("encoder", self.encoder, ["image"], ["embedding"])]


METHODS = {"simclr": SimCLR}


def build(settings):
    return METHODS[settings["method"]](settings)
