"""Autoencoder: least squares between a picture and what comes back from its latent."""

import torch.nn.functional as F

from training import augment
from training.networks import ConvDecoder, ConvEncoder
from training.objective import Graph, Objective


class Autoencoder(Objective):
    def __init__(self, settings):
        super().__init__()
        self.encoder = ConvEncoder(**settings["network"])
        self.decoder = ConvDecoder(**settings["network"])

    def loss(self, pictures, generator):
        pictures = augment.flip(pictures, generator)
        return F.mse_loss(self.decoder(self.encoder(pictures)), pictures)

    def monitor(self, held, bank):
        pictures = held[0].float() / 255
        return {"held_back_mse": F.mse_loss(self.decoder(self.encoder(pictures)), pictures).item()}

    def graphs(self):
        return [
            Graph("encoder", self.encoder, ["image"], ["latent"]),
            Graph("decoder", self.decoder, ["latent"], ["image"]),
        ]


def build(settings):
    return Autoencoder(settings)
