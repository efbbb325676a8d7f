"""VAE (arXiv 1312.6114) and CR-VAE (arXiv 2309.02968).

The likelihood is Gaussian of variance 1 on pixels in 0..1, so -log p(x|z) is half the summed squared
error plus a constant, left out. The prior is standard normal, the posterior Gaussian with a diagonal
covariance. Loss, in nats for an image: half the squared error + beta KL(q(z|x) || p(z)).

CR-VAE adds gamma InfoNCE between the latents of two augmented views, so that information between
input and latent is kept where the ELBO alone lets units collapse to the prior. As in momentum contrast
the keys come from an EMA encoder and the negatives from a queue. The latents compared are
samples: compared as means, units could shrink together without losing similarity, and the KL would take
them; a sample has to stand out of its posterior's noise. Without `[contrast]` in the recipe it is a VAE.
"""

import torch
import torch.nn.functional as F

from training import augment, losses, metrics
from training.momentum import MomentumEncoder, Queue
from training.networks import ConvDecoder, GaussianEncoder
from training.objective import Graph, Objective, channels_of


def sample(posterior, generator):
    mean, log_variance = posterior
    noise = torch.randn(mean.shape, generator=generator, device=mean.device)
    return mean + (log_variance / 2).exp() * noise


class Variational(Objective):
    def __init__(self, settings):
        super().__init__()
        size = {"side": settings["side"], "channels": channels_of(settings)}
        self.encoder = GaussianEncoder(**settings["network"], **size)
        self.decoder = ConvDecoder(**settings["network"], **size)
        self.beta = settings["beta"]
        self.contrast = settings.get("contrast")
        if self.contrast:
            self.momentum_encoder = MomentumEncoder(self.encoder)
            self.queue = Queue(self.contrast["queue"], settings["network"]["latent"])

    def parts(self):
        return [self.encoder, self.decoder]

    def loss(self, images, generator):
        images = augment.flip(images, generator)
        posterior = self.encoder(images)
        back = self.decoder(sample(posterior, generator))
        error = 0.5 * (back - images).square().flatten(1).sum(1).mean()
        loss = error + self.beta * metrics.kl_to_prior(*posterior).sum(1).mean()
        if self.contrast:
            loss = loss + self.contrast["gamma"] * self.contrastive_term(images, generator)
        return loss

    def contrastive_term(self, images, generator):
        self.momentum_encoder.update(self.encoder, self.contrast["momentum"])
        queries = sample(self.encoder(self.view(images, generator)), generator)
        keys = sample(self.momentum_encoder(self.view(images, generator)), generator)
        loss = losses.queue_info_nce(queries, keys, self.queue.keys.clone(), self.contrast["temperature"])
        self.queue.push(keys)
        return loss

    def view(self, images, generator):
        side = images.shape[-1]
        with torch.autocast(images.device.type, enabled=False):
            cropped = augment.crop_and_flip(images, generator, self.contrast["smallest_crop"], side)
            jittered = augment.jitter_colours(cropped, generator, self.contrast["colour"])
        return jittered.contiguous(memory_format=torch.channels_last)

    def monitor(self, validation, bank):
        """Reconstruction from the mean, KL, active units and the accuracies of the means, all on the
        validation images."""
        images = validation[0].float() / 255
        mean, log_variance = self.posterior(validation[0])
        back = torch.cat([self.decoder(part) for part in mean.split(500)])
        sets = mean, validation[1], self.posterior(bank[0])[0], bank[1]
        return {
            "validation_mse": F.mse_loss(back, images).item(),
            "validation_kl_nats": metrics.kl_to_prior(mean, log_variance).sum(1).mean().item(),
            "validation_active_units": metrics.active_units(mean),
            **{f"validation_{key}": value for key, value in metrics.label_figures(*sets).items()},
        }

    def posterior(self, images):
        parts = [self.encoder(p.float() / 255) for p in images.split(500)]
        return [torch.cat(half) for half in zip(*parts)]

    def graphs(self):
        return [
            Graph("encoder", self.encoder, ["image"], ["mean", "log_variance"]),
            Graph("decoder", self.decoder, ["latent"], ["image"]),
        ]


def build(settings):
    return Variational(settings)
