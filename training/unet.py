"""A small fully convolutional U-Net (arXiv 1505.04597). Sides are multiples of 16, otherwise any."""

import torch
import torch.nn.functional as F
from torch import nn

from training.networks import conv

# The four levels halve the sides from one half to a sixteenth of the image's.
LEVELS = 4


class Pair(nn.Module):
    """Two convolutions with normalisation, the second beside a skip."""

    def __init__(self, width):
        super().__init__()
        self.first, self.second = conv(width, width), conv(width, width)
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, x):
        return F.relu(x + self.norm2(self.second(F.relu(self.norm1(self.first(x))))))


class Down(nn.Sequential):
    """Halves the sides."""

    def __init__(self, inside, outside):
        super().__init__(conv(inside, outside, 2), nn.BatchNorm2d(outside), nn.ReLU())


class Up(nn.Module):
    """Doubles the sides by a pixel shuffle, and adds what the way down had there."""

    def __init__(self, inside, outside):
        super().__init__()
        self.widen = nn.Sequential(conv(inside, 4 * outside, kernel=1), nn.PixelShuffle(2), nn.BatchNorm2d(outside))
        self.pair = Pair(outside)

    def forward(self, x, skip):
        return self.pair(F.relu(self.widen(x) + skip))


class Whole(nn.Module):
    """Adds to each position what the mean of all positions says: a part of the surface is odd beside the rest of it."""

    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, x):
        return x + self.layers(x.mean((2, 3)))[:, :, None, None]


class UNet(nn.Module):
    """[batch, inside, h, w] -> [batch, outside, h, w]. Most work is done at half of the sides, after a pixel unshuffle."""

    def __init__(self, inside, outside, width=16, deepest=96):
        super().__init__()
        widths = [min(width * 2**level, deepest) for level in range(LEVELS)]
        self.enter = nn.Sequential(nn.PixelUnshuffle(2), conv(4 * inside, widths[0]), nn.BatchNorm2d(widths[0]), nn.ReLU())
        self.before = nn.ModuleList(Pair(w) for w in widths)
        self.downs = nn.ModuleList(Down(a, b) for a, b in zip(widths, widths[1:]))
        self.whole, self.deep = Whole(widths[-1]), Pair(widths[-1])
        self.ups = nn.ModuleList(Up(b, a) for a, b in zip(widths, widths[1:]))
        self.leave = nn.Sequential(conv(widths[0], 4 * outside, bias=True), nn.PixelShuffle(2))
        self.widths = widths

    def encode(self, x):
        """The maps of all levels, the largest first: at a half, a quarter, an eighth and a sixteenth of the sides."""
        found = [self.before[0](self.enter(x))]
        for down, pair in zip(self.downs, self.before[1:]):
            found.append(pair(down(found[-1])))
        return found

    def forward(self, x):
        *skips, x = self.encode(x)
        x = self.deep(self.whole(x))
        for up, skip in zip(reversed(self.ups), reversed(skips)):
            x = up(x, skip)
        return self.leave(x)


def standardised(image, least=0.03):
    """Each image less its own mean, divided by its own deviation over all channels and pixels, which is taken to be
    `least` at least: one part photographed at several exposures looks the same."""
    centred = image - image.mean((1, 2, 3), keepdim=True)
    return centred / (centred.square().mean((1, 2, 3), keepdim=True).sqrt() + least)


class Pooled(nn.Module):
    """One score for each map of logits, of three figures: the largest mean over windows of 3 and of 9 pixels a side, for small
    defects, and the mean, for wide ones. Each is put beside its mean and deviation on normal images, z, and the score is
    the sum of log(1 + exp(1.702 z)), which is -log p of a normal variable but for the logistic approximation of its tail."""

    KINDS = 3

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(self.KINDS))
        self.register_buffer("deviation", torch.ones(self.KINDS))

    def pooled(self, logits):
        """[n, KINDS] of logits [n, 1, h, w]."""
        windows = [averaged(logits, size).amax((1, 2, 3)) for size in (3, 9)]
        return torch.stack([*windows, logits.mean((1, 2, 3))], dim=1)

    def forward(self, logits):
        return F.softplus(1.702 * (self.pooled(logits) - self.mean) / self.deviation).sum(1)

    def settle(self, logits):
        """Takes mean and deviation from the logits of normal images."""
        found = self.pooled(logits)
        self.mean.copy_(found.mean(0))
        self.deviation.copy_(found.std(0).clamp(min=1e-3))


def averaged(x, window):
    """The mean over the window about each position, of the positions that are inside of the map."""
    return F.avg_pool2d(x, window, 1, window // 2, count_include_pad=False)
