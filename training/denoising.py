"""Denoising autoencoder: the clean image from a noisy one, blind to the noise level."""

import torch
import torch.nn.functional as F

from training import augment
from training.networks import Clamped, Denoiser
from training.objective import Graph, Objective, channels_of


class Denoising(Objective):
    def __init__(self, settings):
        super().__init__()
        self.network = Denoiser(**settings["network"], channels=channels_of(settings))
        self.highest = settings["highest_sigma"]

    def parts(self):
        return [self.network]

    def loss(self, images, generator):
        clean = augment.flip(images, generator)
        noisy = augment.add_noise(clean, generator, self.highest)
        return F.mse_loss(self.network(noisy), clean)

    def monitor(self, validation, bank):
        """PSNR of the validation images at a sigma of 25 of 255, in dB (mean over images)."""
        clean = validation[0].float() / 255
        generator = torch.Generator(clean.device).manual_seed(0)
        noise = torch.randn(clean.shape, generator=generator, device=clean.device)
        noisy = ((clean + noise * 25 / 255).clamp(0, 1) * 255).round() / 255
        restored = self.network(noisy).clamp(0, 1)
        psnr = lambda p: (-10 * (p - clean).square().mean((1, 2, 3)).log10()).mean().item()
        return {"validation_noisy_psnr_db": psnr(noisy), "validation_denoised_psnr_db": psnr(restored)}

    def graphs(self):
        return [Graph("autoencoder", Clamped(self.network), ["image"], ["image"])]


def build(settings):
    return Denoising(settings)
