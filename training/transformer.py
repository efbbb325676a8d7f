"""The transformer of a masked autoencoder (arXiv 2111.06377), small. Masks are f32 [n, patches], 1 = hidden."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


def positions(across, dim):
    """Fixed sine and cosine positions of a square grid, [across ** 2, dim]: half of the numbers for the
    row, half for the column."""
    rates = 10000 ** (-torch.arange(dim // 4) / (dim // 4))
    angles = torch.arange(across)[:, None] * rates
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows, columns = line[:, None].expand(-1, across, -1), line[None].expand(across, -1, -1)
    return torch.cat([rows, columns], dim=2).reshape(across * across, dim)


class Block(nn.Module):
    """Attention and a two-layer network, normalised first, each beside a skip."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.queries_keys_values, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.wide, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x, bias=None):
        """`bias` is added to the attention's logits: [n, 1, 1, tokens], or None."""
        n, tokens, dim = x.shape
        parts = self.queries_keys_values(self.norm1(x)).view(n, tokens, 3, self.heads, dim // self.heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4).unbind(0)
        seen = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias)
        x = x + self.out(seen.transpose(1, 2).reshape(n, tokens, dim))
        return x + self.narrow(F.gelu(self.wide(self.norm2(x))))


@dataclass(frozen=True)
class Shape:
    """The images a transformer takes, and the side of a patch, in pixels."""

    side: int = 32
    patch: int = 4
    channels: int = 3


class MaskedTransformer(nn.Module):
    """`forward(image, mask)`: a full image, its visible patches as they came, the hidden ones predicted.

    Images are f32 [n, channels, side, side] in 0..1. The class token is never hidden, so any number of patches
    may be, all of them too.
    """

    def __init__(self, shape, dim=128, depth=4, heads=4, decoder_dim=64, decoder_depth=2):
        super().__init__()
        self.shape, self.across = shape, shape.side // shape.patch
        self.count, numbers = self.across**2, shape.channels * shape.patch**2
        self.register_buffer("places", positions(self.across, dim))
        self.register_buffer("decoder_places", positions(self.across, decoder_dim))
        self.enter, self.token = nn.Linear(numbers, dim), nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.narrow = nn.Linear(dim, decoder_dim)
        self.mask_token = nn.Parameter(torch.randn(1, 1, decoder_dim) * 0.02)
        self.decoder_blocks = nn.ModuleList(Block(decoder_dim, heads) for _ in range(decoder_depth))
        self.decoder_norm = nn.LayerNorm(decoder_dim)
        self.normalised, self.pixels = nn.Linear(decoder_dim, numbers), nn.Linear(decoder_dim, numbers)

    def patches(self, images):
        """[n, channels, side, side] -> [n, patches, channels * patch * patch], row by row."""
        channels, patch = self.shape.channels, self.shape.patch
        cut = images.reshape(-1, channels, self.across, patch, self.across, patch)
        return cut.permute(0, 2, 4, 1, 3, 5).reshape(-1, self.count, channels * patch**2)

    def image(self, patches):
        """The inverse of `patches`."""
        channels, side, patch = self.shape.channels, self.shape.side, self.shape.patch
        cut = patches.reshape(-1, self.across, self.across, channels, patch, patch)
        return cut.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, side, side)

    def enter_patches(self, patches):
        """Patch tokens with their places; pixels are spread to about -2..2 first."""
        return self.enter((patches - 0.5) * 4) + self.places

    def encode(self, images, mask=None):
        """Class token, then patches row by row: [n, 1 + patches, dim]. Hidden patches are no keys of any
        attention, and nothing of their pixels is read; what stands in their places means nothing."""
        patches, bias = self.patches(images), None
        if mask is not None:
            patches = torch.where(mask[..., None] > 0.5, torch.zeros_like(patches), patches)
            bias = F.pad(torch.where(mask > 0.5, -1e9, 0.0), (1, 0))[:, None, None]
        x = self.enter_patches(patches)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1)
        for block in self.blocks:
            x = block(x, bias)
        return self.norm(x)

    def encode_visible(self, images, mask, visible):
        """Encodes as `encode` does, without computing hidden patches; every row must show `visible` of them. Zeros stand in
        the places of the others."""
        index = mask.argsort(dim=1, stable=True)[:, :visible, None]
        x = self.enter_patches(self.patches(images))
        x = x.gather(1, index.expand(-1, -1, x.shape[-1]))
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        full = x.new_zeros(len(x), self.count, x.shape[-1])  # of x's type, which autocast may have chosen
        full = full.scatter(1, index.expand(-1, -1, x.shape[-1]), x[:, 1:])
        return torch.cat([x[:, :1], full], dim=1)

    def decode(self, tokens, mask):
        """The decoder's output, which both heads read, for every patch: [n, patches, decoder_dim]."""
        x = self.narrow(tokens)
        shown = torch.where(mask[..., None] > 0.5, self.mask_token, x[:, 1:]) + self.decoder_places
        x = torch.cat([x[:, :1], shown], dim=1)
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_norm(x[:, 1:])

    def forward(self, image, mask):
        predicted = self.pixels(self.decode(self.encode(image, mask), mask)).clamp(0, 1)
        return self.image(torch.where(mask[..., None] > 0.5, predicted, self.patches(image)))


class Tokens(nn.Module):
    """The encoder with nothing hidden, as it is exported."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        return self.network.encode(image)
