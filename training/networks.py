"""Architectures. All take f32 [batch, channels, side, side] unless said; sides are multiples of 8."""

import torch
import torch.nn.functional as F
from torch import nn


def conv(inside, outside, stride=1, kernel=3, bias=False):
    return nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=bias)


class BasicBlock(nn.Module):
    """ResNet's two-convolution block (arXiv 1512.03385); starts as the identity."""

    def __init__(self, inside, outside, stride=1):
        super().__init__()
        self.first, self.norm1 = conv(inside, outside, stride), nn.BatchNorm2d(outside)
        self.second, self.norm2 = conv(outside, outside), nn.BatchNorm2d(outside)
        nn.init.zeros_(self.norm2.weight)
        self.skip = nn.Identity()
        if stride != 1 or inside != outside:
            self.skip = nn.Sequential(conv(inside, outside, stride, 1), nn.BatchNorm2d(outside))

    def forward(self, x):
        hidden = F.relu(self.norm1(self.first(x)))
        return F.relu(self.norm2(self.second(hidden)) + self.skip(x))


class ResidualEncoder(nn.Module):
    """A small ResNet: three stages at full, half and a quarter of the sides,
    and a last 1x1 convolution that widens the output. With `stem_stride` 2 the first convolution halves
    the sides, so that most work is done at a quarter of the positions.

    Returns the mean over positions, [batch, dim].
    """

    def __init__(self, width=32, blocks=2, dim=512, stem_stride=2, channels=3):
        super().__init__()
        stem = nn.Conv2d(channels, width, 4, 2, 1, bias=False) if stem_stride == 2 else conv(channels, width)
        layers = [stem, nn.BatchNorm2d(width), nn.ReLU()]
        inside = width
        for stage in range(3):
            outside = width * 2**stage
            for block in range(blocks):
                layers.append(BasicBlock(inside, outside, 2 if stage and block == 0 else 1))
                inside = outside
        layers += [conv(inside, dim, kernel=1), nn.BatchNorm2d(dim), nn.ReLU()]
        self.layers, self.dim = nn.Sequential(*layers), dim

    def forward(self, image):
        return self.layers(image).mean((2, 3))


class ResidualEmbedding(nn.Module):
    """A ResidualEncoder as it is exported: its output, and beside it the means of the last stage before the
    widening over a `grid` x `grid` of regions: 2 keeps some of where things are. The output has length 1,
    the means beside it `weight`.

    Returns [batch, dim + grid ** 2 * channels].
    """

    def __init__(self, encoder, grid=2, weight=1.0):
        super().__init__()
        self.stages, self.widening = encoder.layers[:-3], encoder.layers[-3:]
        self.grid, self.weight = grid, weight

    def forward(self, image):
        places = self.stages(image)
        whole = self.widening(places).mean((2, 3))
        regions = F.avg_pool2d(places, places.shape[-1] // self.grid).flatten(1)
        return torch.cat([F.normalize(whole, dim=1), self.weight * F.normalize(regions, dim=1)], dim=1)


class Projection(nn.Sequential):
    """The head that contrastive training uses and serving drops."""

    def __init__(self, inside, hidden, outside):
        super().__init__(
            nn.Linear(inside, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, outside),
        )


def conv_norm(inside, outside, stride=1):
    return nn.Sequential(conv(inside, outside, stride), nn.BatchNorm2d(outside), nn.SiLU())


class ConvEncoder(nn.Module):
    """Three halvings of the sides, then one linear map to the latent."""

    def __init__(self, width=48, latent=256, side=32, channels=3):
        super().__init__()
        w = width
        self.layers = nn.Sequential(
            conv_norm(channels, w, 2),
            conv_norm(w, w),
            conv_norm(w, 2 * w, 2),
            conv_norm(2 * w, 2 * w),
            conv_norm(2 * w, 4 * w, 2),
            nn.Flatten(),
            nn.Linear(4 * w * (side // 8) ** 2, latent),
        )

    def forward(self, image):
        return self.layers(image)


class GaussianEncoder(nn.Module):
    """A convolutional encoder with two outputs: mean and log-variance, each [batch, latent]. The
    log-variance is cut to -10..10, wide enough to be idle and narrow enough for exp in f32."""

    def __init__(self, width=48, latent=64, side=32, channels=3):
        super().__init__()
        self.layers = ConvEncoder(width, 2 * latent, side, channels)

    def forward(self, image):
        mean, log_variance = self.layers(image).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 10)


class ConvDecoder(nn.Module):
    """Latent [batch, latent] -> image in 0..1; upsampling by pixel shuffle."""

    def __init__(self, width=48, latent=256, side=32, channels=3):
        super().__init__()
        w, small = width, side // 8
        self.start, self.shape = nn.Linear(latent, 4 * w * small**2), (4 * w, small, small)
        self.layers = nn.Sequential(
            conv_norm(4 * w, 8 * w),
            nn.PixelShuffle(2),
            conv_norm(2 * w, 4 * w),
            nn.PixelShuffle(2),
            conv_norm(w, w),
            conv(w, 4 * channels, bias=True),
            nn.PixelShuffle(2),
        )

    def forward(self, latent):
        hidden = self.start(latent).view(-1, *self.shape)
        return torch.sigmoid(self.layers(hidden).float())


class PlainBlock(nn.Module):
    """Two convolutions beside a skip, without normalisation: noise levels must stay visible. Starts as the
    identity, so that many of them can follow one another."""

    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(
            conv(width, width, bias=True), nn.ReLU(), conv(width, width, bias=True)
        )
        nn.init.zeros_(self.layers[2].weight)

    def forward(self, x):
        return x + self.layers(x)


class Denoiser(nn.Module):
    """Predicts the noise and subtracts it (DnCNN, arXiv 1608.03981), working at half size after a
    pixel unshuffle (FFDNet, arXiv 1710.04026) with one further level as in a U-Net. The noise level
    is not an input. Sides must be multiples of 4."""

    def __init__(self, width=64, blocks=2, channels=3):
        super().__init__()
        w, deep = width, width * 3 // 2
        several = lambda channels: nn.Sequential(*(PlainBlock(channels) for _ in range(blocks)))
        self.enter = nn.Sequential(nn.PixelUnshuffle(2), conv(4 * channels, w, bias=True))
        self.before = several(w)
        self.down = conv(w, deep, 2, bias=True)
        self.deep = several(deep)
        self.up = nn.Sequential(conv(deep, 4 * w, kernel=1, bias=True), nn.PixelShuffle(2))
        self.after = several(w)
        self.leave = nn.Sequential(conv(w, 4 * channels, bias=True), nn.PixelShuffle(2))
        nn.init.zeros_(self.leave[0].weight)

    def forward(self, image):
        near = self.before(self.enter(image))
        far = self.up(self.deep(self.down(near)))
        return image - self.leave(self.after(near + far)).float()


class Clamped(nn.Module):
    """A network whose image is cut to 0..1, as it is exported."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        return self.network(image).clamp(0, 1)


class Normalised(nn.Module):
    """Subtracts a mean and divides by a deviation, one of each for each channel, then goes on."""

    def __init__(self, mean, std):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, image):
        return (image - self.mean) / self.std
