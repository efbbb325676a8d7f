"""A memory of normal patches (PatchCore, arXiv 2106.08265) over the encoder of a detector that learned drawn defects
(defects.py): an image is as odd as its patch that is farthest from the nearest patch of the memory.

A patch is one position of the encoder's maps at an eighth of the sides: those of a quarter averaged, those of an eighth, and
those of a sixteenth repeated, each averaged over 3 x 3 positions and divided by its mean length over the training images.
The memory is a coreset of the training images' patches: the greedy k-centre choice (Sener and Savarese, arXiv 1708.00489)
among a random part of them, by distances after a random projection.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from training.defects import CHUNK, DefectSegmentation
from training.objective import Graph
from training.unet import averaged, standardised

PROJECTED = 48
SEED = 0


class PatchEncoder(nn.Module):
    """[batch, channels, h, w] in 0..1 -> [batch, dim, h / 8, w / 8]."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.register_buffer("scales", torch.ones(3))

    @property
    def dim(self):
        return sum(self.network.widths[1:])

    def levels(self, image):
        _, quarter, eighth, sixteenth = self.network.encode(standardised(image))
        same = F.avg_pool2d(quarter, 2), eighth, sixteenth.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return [averaged(level.float(), 3) for level in same]

    def forward(self, image):
        return torch.cat([level / scale for level, scale in zip(self.levels(image), self.scales)], dim=1)

    def settle(self, images):
        lengths = [torch.stack([level.norm(dim=1).mean() for level in self.levels(part)]) for part in images.split(CHUNK)]
        self.scales.copy_(torch.stack(lengths).mean(0))


class PatchMemory(DefectSegmentation):
    def __init__(self, settings):
        super().__init__(settings)
        self.encoder = PatchEncoder(self.network)
        self.candidates, self.file = settings["coreset"]["candidates"], settings["memory"]["file"]
        self.register_buffer("memory", torch.zeros(settings["coreset"]["count"], self.encoder.dim))

    def finish(self, train):
        """Makes the memory of the training images, u8."""
        images = train.float() / 255
        self.encoder.settle(images)
        patches = torch.cat([self.encoder(part).permute(0, 2, 3, 1).flatten(0, 2) for part in images.split(CHUNK)])
        generator = torch.Generator().manual_seed(SEED)
        some = torch.randperm(len(patches), generator=generator)[: self.candidates].to(patches.device)
        chosen = coreset(patches[some], len(self.memory), generator)
        # a set of fewer patches than the memory holds stands in it more than once
        self.memory.copy_(patches[some][chosen.repeat(-(-len(self.memory) // len(chosen)))[: len(self.memory)]])

    def graphs(self):
        return [Graph("encoder", self.encoder, ["image"], ["latent"], sides=16)]

    def write_files(self, folder):
        np.save(folder / self.file, self.memory.cpu().numpy())


def coreset(points, count, generator):
    """Indices of points, each the farthest from all that were chosen before it; the first by chance."""
    projection = torch.randn(points.shape[1], PROJECTED, generator=generator).to(points.device) / PROJECTED**0.5
    points = points @ projection
    chosen = [int(torch.randint(len(points), (1,), generator=generator))]
    nearest = (points - points[chosen[0]]).square().sum(1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (points - points[chosen[-1]]).square().sum(1))
    return torch.tensor(chosen, device=points.device)


def build(settings):
    return PatchMemory(settings)
