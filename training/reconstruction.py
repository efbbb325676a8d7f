"""Autoencoder: least squares between an image and what comes back from its latent.

With `[corruption]` in the recipe a share of the images reaches the encoder with some of its patches
painted grey, and the whole image is asked for all the same (masking noise, Vincent et al. 2010, Stacked
Denoising Autoencoders): what is hidden has to be inferred, which asks more of the latent than copying.
"""

import torch
import torch.nn.functional as F

from training import augment, metrics
from training.networks import ConvDecoder, ConvEncoder
from training.objective import Graph, Objective, channels_of


class Autoencoder(Objective):
    def __init__(self, settings):
        super().__init__()
        size = {"side": settings["side"], "channels": channels_of(settings)}
        self.encoder = ConvEncoder(**settings["network"], **size)
        self.decoder = ConvDecoder(**settings["network"], **size)
        self.corruption = settings.get("corruption")

    def parts(self):
        return [self.encoder, self.decoder]

    def loss(self, images, generator):
        images = augment.flip(images, generator)
        shown = augment.hide_patches(images, generator, **self.corruption) if self.corruption else images
        return F.mse_loss(self.decoder(self.encoder(shown)), images)

    def embed(self, images):
        return torch.cat([self.encoder(p.float() / 255) for p in images.split(500)])

    def monitor(self, validation, bank):
        images = validation[0].float() / 255
        queries, known = self.embed(validation[0]), self.embed(bank[0])
        back = torch.cat([self.decoder(part) for part in queries.split(500)])
        sets = queries, validation[1], known, bank[1]
        by_labels = {f"validation_{key}": value for key, value in metrics.label_figures(*sets).items()}
        return {"validation_mse": F.mse_loss(back, images).item()} | by_labels

    def graphs(self):
        return [
            Graph("encoder", self.encoder, ["image"], ["latent"]),
            Graph("decoder", self.decoder, ["latent"], ["image"]),
        ]


def build(settings):
    return Autoencoder(settings)
