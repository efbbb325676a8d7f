"""Masked autoencoder (MAE, arXiv 2111.06377): 75 % of the patches are hidden, a transformer encodes
those that are left, a small one fills in the rest.

The loss is the paper's: squared error on hidden patches, each patch's pixels normalised by its own mean
and deviation. That cannot be turned back into an image without the hidden patch's mean and deviation,
so a second linear head predicts plain pixels; its squared error on hidden patches, times `pixel_weight`,
is added, and its images are served.

Training drops hidden patches, which is what makes it cheap. The exported graph hides them by attention
instead, so that any number may be hidden, of each image in a batch another: both give the same numbers.
"""

import torch
import torch.nn.functional as F

from training import augment, metrics
from training.objective import Graph, Objective, channels_of
from training.transformer import MaskedTransformer, Shape, Tokens


def random_masks(n, patches, share, generator):
    """1 = hidden: f32 [n, patches], the same number in each row."""
    hidden = round(patches * share)
    order = torch.rand(n, patches, generator=generator, device=generator.device).argsort(1)
    return (order < hidden).float()


def normalise_patches(patches):
    """Each patch less its mean, divided by its deviation."""
    return (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + 1e-6).sqrt()


def on_hidden(error, mask):
    """Mean over hidden patches of an error [n, patches, numbers]."""
    return (error.mean(-1) * mask).sum() / mask.sum()


class MaskedAutoencoder(Objective):
    def __init__(self, settings):
        super().__init__()
        shape = Shape(settings["side"], settings["masked"]["patch"], channels_of(settings))
        self.network = MaskedTransformer(shape, **settings["network"])
        self.share, self.pixel_weight = settings["hidden_share"], settings["pixel_weight"]
        self.smallest_crop = settings["smallest_crop"]

    def parts(self):
        return [*self.network.blocks, *self.network.decoder_blocks]

    def loss(self, images, generator):
        with torch.autocast(images.device.type, enabled=False):
            images = augment.crop_and_flip(images, generator, self.smallest_crop, images.shape[-1])
        count = self.network.count
        mask = random_masks(len(images), count, self.share, generator)
        visible = count - round(count * self.share)
        hidden = self.network.decode(self.network.encode_visible(images, mask, visible), mask)
        patches = self.network.patches(images)
        normalised = (self.network.normalised(hidden) - normalise_patches(patches)).square()
        plain = (self.network.pixels(hidden) - patches).square()
        return on_hidden(normalised, mask) + self.pixel_weight * on_hidden(plain, mask)

    def embed(self, images):
        """Class tokens and means of the patch tokens."""
        tokens = torch.cat([self.network.encode(p.float() / 255) for p in images.split(500)])
        return {"cls": tokens[:, 0], "mean": tokens[:, 1:].mean(1)}

    def monitor(self, validation, bank):
        """Error on hidden patches of the validation images, and the accuracies of both poolings."""
        images = validation[0].float() / 255
        generator = torch.Generator(images.device).manual_seed(0)
        mask = random_masks(len(images), self.network.count, self.share, generator)
        parts = zip(images.split(500), mask.split(500))
        patches = self.network.patches(torch.cat([self.network(p, m) for p, m in parts]))
        error = (patches - self.network.patches(images)).square()
        figures = {"validation_hidden_mse": on_hidden(error, mask).item()}
        queries, known = self.embed(validation[0]), self.embed(bank[0])
        for pooling in queries:
            sets = queries[pooling], validation[1], known[pooling], bank[1]
            figures |= {f"validation_{pooling}_{key}": value for key, value in metrics.label_figures(*sets).items()}
        return figures

    def graphs(self):
        return [
            Graph("encoder", Tokens(self.network), ["image"], ["tokens"]),
            Graph("masked", self.network, ["image", "mask"], ["image"]),
        ]


def build(settings):
    return MaskedAutoencoder(settings)
