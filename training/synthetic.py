"""Drawn defects: normal images with a defect in them, and where it is.

A detector learns from normal images alone: some get a defect that was never there (the idea of NSA, arXiv 2109.15222, and
of DRAEM, arXiv 2108.07610), and the network is to say which pixels. Kinds of defects:

    patch     a patch of another normal image, blended in
    texture   foreign texture behind a ragged mask: another image turned, blurred or inverted, or filtered noise
    spot      a soft spot, darker or lighter
    line      a thin random walk, darker or lighter

know no product. The others were chosen knowing the flaws of ground surfaces:

    pit       a small dark hole, at times drawn out, at times with a light rim
    crack     a dark line, 1 to 3 pixels wide, that often begins at the edge of the image
    chip      material broken away from the edge: a dark ragged piece
    finish    a part of the surface that is ground more or less than the rest: the fine texture weaker or stronger, darker
              or lighter, behind a sharp border; a blob, or a strip along an edge

Images are f32 [channels, h, w] in 0..1; every random number comes from the NumPy generator that is given.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from training.recipes import KINDS

# A drawn defect that changes its pixels by less on average is none: nobody could see it.
VISIBLE = 0.02


@dataclass(frozen=True)
class Change:
    """What a defect does: how much of each pixel is replaced, [h, w] in 0..1, and by what, [channels, h, w]."""

    share: np.ndarray
    image: np.ndarray


class Canvas:
    """An image to draw on, the other images beside it, and the random numbers."""

    def __init__(self, image, others, rng):
        self.image, self.others, self.rng = image, others, rng
        self.height, self.width = image.shape[1:]
        self.side = min(self.height, self.width)

    def uniform(self, low, high):
        return float(self.rng.uniform(low, high))

    def log_uniform(self, low, high):
        return float(np.exp(self.rng.uniform(np.log(low), np.log(high))))

    def chance(self, share):
        return self.rng.random() < share

    def place(self):
        return self.uniform(0, self.height), self.uniform(0, self.width)

    def other(self):
        """Another normal image, flipped at random."""
        image = self.others[self.rng.integers(len(self.others))]
        image = image[:, ::-1] if self.chance(0.5) else image
        return image[:, :, ::-1] if self.chance(0.5) else image

    def grid(self):
        return np.mgrid[0 : self.height, 0 : self.width].astype(np.float32)

    def noise(self, sigma):
        """Smooth noise of mean 0 and deviation 1, [h, w]; `sigma` is the size of its spots in pixels."""
        step = max(1, int(sigma))
        rough = self.rng.standard_normal((self.height // step + 3, self.width // step + 3)).astype(np.float32)
        rough = ndimage.zoom(rough, step, order=1) if step > 1 else rough
        rough = ndimage.uniform_filter(rough[: self.height, : self.width], step)
        return (rough - rough.mean()) / (rough.std() + 1e-6)

    def blob(self, centre, radius, soft=1.0, ragged=0.25):
        """A ragged disc, [h, w] in 0..1: its radius varies with the angle by some harmonics."""
        y, x = self.grid()
        stretch, turn = self.log_uniform(0.6, 1.7), self.uniform(0, np.pi)
        dy, dx = y - centre[0], x - centre[1]
        across, along = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        distance = np.hypot(across * stretch, along / stretch)
        angle, limit = np.arctan2(along, across), np.full_like(distance, radius)
        for harmonic in range(2, 7):
            limit += radius * ragged / harmonic * self.rng.standard_normal() * np.cos(harmonic * angle + self.uniform(0, 6.3))
        return np.clip((limit - distance) / soft + 0.5, 0, 1)

    def walk(self, start, heading, length, width, wander):
        """A line that turns as it goes, [h, w] in 0..1, its width in pixels varying along it."""
        points, widths, at = [], [], np.array(start, np.float64)
        for step in range(max(2, int(length))):
            points.append(at.copy())
            widths.append(width * (0.7 + 0.6 * self.rng.random()))
            heading += self.rng.normal(0, wander)
            at += (np.sin(heading), np.cos(heading))
        points, widths = np.array(points), np.array(widths)
        drawn = np.zeros((self.height, self.width), np.float32)
        for piece in range(0, len(points), 24):
            draw_piece(drawn, points[piece : piece + 25], widths[piece : piece + 25])
        return drawn


def draw_piece(drawn, points, widths):
    """Some points of a line, each a soft dot, drawn within their own box."""
    reach = 3 * widths.max() + 2
    top, left = np.maximum(np.floor(points.min(0) - reach), 0).astype(int)
    bottom, right = np.minimum(np.ceil(points.max(0) + reach) + 1, drawn.shape).astype(int)
    if top >= bottom or left >= right:
        return
    y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
    squares = (y[None] - points[:, 0, None, None]) ** 2 + (x[None] - points[:, 1, None, None]) ** 2
    dots = np.exp(-squares / (2 * (widths[:, None, None] / 2) ** 2)).max(0)
    box = drawn[top:bottom, left:right]
    np.maximum(box, dots, out=box)


def patch(canvas):
    """A patch of another normal image, at another place, its brightness nearer to that of the place or not."""
    share = canvas.blob(canvas.place(), canvas.log_uniform(0.03, 0.25) * canvas.side, canvas.log_uniform(1, 6))
    source = canvas.other()
    source = np.roll(source, (canvas.rng.integers(canvas.height), canvas.rng.integers(canvas.width)), (1, 2))
    if canvas.chance(0.7):
        source = source + levels(canvas.image, share) - levels(source, share) + canvas.uniform(-0.12, 0.12)
    return Change(share * canvas.uniform(0.6, 1), source)


def levels(image, share):
    """The mean of each channel under a mask, [channels, 1, 1]."""
    return (image * share).sum((1, 2), keepdims=True) / (share.sum() + 1e-6)


def texture(canvas):
    """Foreign texture behind a ragged mask made of noise."""
    size = canvas.log_uniform(0.03, 0.2) * canvas.side
    envelope = canvas.blob(canvas.place(), canvas.log_uniform(0.05, 0.35) * canvas.side, size, 0.3)
    share = np.clip((canvas.noise(size) + 3 * envelope - 2.2) / 0.3, 0, 1)
    source = canvas.other()
    match canvas.rng.integers(4):
        case 0 if canvas.height == canvas.width:
            source = source.transpose(0, 2, 1)
        case 1:
            source = ndimage.gaussian_filter(source, (0, 4, 4)) + canvas.noise(1) * canvas.uniform(0, 0.06)
        case 2:
            source = 1 - source
        case _:
            source = np.stack([canvas.noise(canvas.log_uniform(1, 8))] * len(source)) * canvas.uniform(0.04, 0.2)
    source = source - levels(source, share) + levels(canvas.image, share) * canvas.log_uniform(0.6, 1.6)
    return Change(share * canvas.uniform(0.4, 1), source)


def spot(canvas):
    y, x = canvas.grid()
    (cy, cx), radius, stretch = canvas.place(), canvas.log_uniform(0.01, 0.2) * canvas.side, canvas.log_uniform(0.5, 2)
    share = np.exp(-(((y - cy) * stretch) ** 2 + ((x - cx) / stretch) ** 2) / (2 * radius**2))
    return Change(share, shifted(canvas, 0.15, 0.5))


def shifted(canvas, least, most):
    """The image darker or lighter by a share."""
    by = canvas.uniform(least, most)
    return canvas.image * (1 - by) if canvas.chance(0.6) else canvas.image + by * (1 - canvas.image) * 0.7


def line(canvas):
    length = canvas.log_uniform(0.06, 0.6) * canvas.side
    share = canvas.walk(canvas.place(), canvas.uniform(0, 6.3), length, canvas.log_uniform(0.8, 3), canvas.uniform(0.02, 0.25))
    return Change(share, shifted(canvas, 0.2, 0.8))


def pit(canvas):
    """A dark hole of 1 to 4 % of the side, at times drawn out, at times with a light rim."""
    centre, radius = canvas.place(), canvas.log_uniform(0.008, 0.04) * canvas.side
    share = canvas.blob(centre, max(1.2, radius), canvas.uniform(1, 2.5), 0.3)
    hole = canvas.image * canvas.uniform(0.25, 0.8)
    if canvas.chance(0.3):
        rim = ndimage.gaussian_filter(share, 1.5)
        hole = hole + (1 - share) * 0.3
        share = np.maximum(share, np.clip(rim, 0, 1) * 0.5)
    return Change(share, hole)


def crack(canvas):
    """A dark line; every other one begins at an edge and runs inwards, one of four has a branch."""
    start, heading = canvas.place(), canvas.uniform(0, 6.3)
    if canvas.chance(0.5):
        edge = canvas.rng.integers(4)
        along = canvas.uniform(0.05, 0.95)
        start = [(0, along * canvas.width), (canvas.height, along * canvas.width), (along * canvas.height, 0), (along * canvas.height, canvas.width)][edge]
        heading = [np.pi / 2, -np.pi / 2, 0, np.pi][edge] + canvas.rng.normal(0, 0.5)
    length, width = canvas.log_uniform(0.04, 0.35) * canvas.side, canvas.log_uniform(1, 3.5)
    share = canvas.walk(start, heading, length, width, canvas.uniform(0.03, 0.2))
    if canvas.chance(0.25):
        inside = np.argwhere(share > 0.8)
        if len(inside):
            start = inside[canvas.rng.integers(len(inside))]
            share = np.maximum(share, canvas.walk(start, canvas.uniform(0, 6.3), length / 2, width * 0.8, 0.15))
    return Change(share, canvas.image * canvas.uniform(0.15, 0.75))


def chip(canvas):
    """A piece broken away at an edge: darker, its own coarse texture, at times a light border."""
    edge, along = canvas.rng.integers(4), canvas.uniform(0, 1)
    inside = canvas.uniform(-0.01, 0.04) * canvas.side
    centre = [(inside, along * canvas.width), (canvas.height - inside, along * canvas.width), (along * canvas.height, inside), (along * canvas.height, canvas.width - inside)][edge]
    share = canvas.blob(centre, canvas.log_uniform(0.02, 0.12) * canvas.side, canvas.uniform(0.8, 2), 0.6)
    broken = canvas.image * canvas.uniform(0.3, 0.85) * (1 + canvas.noise(canvas.log_uniform(1, 5)) * canvas.uniform(0.02, 0.2))
    if canvas.chance(0.4):
        border = share * (1 - ndimage.minimum_filter(share, 3))
        broken = broken + border * canvas.uniform(0, 0.5)
    return Change(share, broken)


def finish(canvas):
    """A part that is ground more or less than the rest: its fine texture weaker or stronger, its brightness another."""
    smooth = ndimage.gaussian_filter(canvas.image, (0, 6, 6))
    fine = canvas.image - smooth
    keep = canvas.uniform(0, 0.5) if canvas.chance(0.6) else canvas.uniform(1.6, 3)
    gain = canvas.log_uniform(0.55, 0.93) if canvas.chance(0.65) else canvas.log_uniform(1.08, 1.5)
    grain = canvas.noise(1) * canvas.uniform(0, 0.03) * (keep < 1)
    share = strip(canvas) if canvas.chance(0.55) else canvas.blob(canvas.place(), canvas.log_uniform(0.06, 0.35) * canvas.side, canvas.log_uniform(1, 4), 0.35)
    return Change(share, (smooth + fine * keep + grain) * gain)


def strip(canvas):
    """What lies on the smaller side of a border that is nearly straight, [h, w] in 0..1."""
    y, x = canvas.grid()
    y, x = y / canvas.height, x / canvas.width
    if canvas.chance(0.3):
        y, x = x, y
    depth, tilt, bend = canvas.uniform(0.05, 0.45), canvas.rng.normal(0, 0.08), canvas.rng.normal(0, 0.04)
    border = depth + tilt * (x - 0.5) + bend * np.cos(6.3 * canvas.uniform(0.5, 2) * x) + 0.004 * canvas.noise(4)
    inside = border - (y if canvas.chance(0.5) else 1 - y)
    if canvas.chance(0.25):
        inside = np.minimum(inside, (x if canvas.chance(0.5) else 1 - x) - canvas.uniform(0.1, 0.5))
    return np.clip(inside * canvas.side / canvas.log_uniform(1, 5) + 0.5, 0, 1)


DRAWN = {kind: globals()[kind] for kind in KINDS}


def with_defects(canvas, kinds, most):
    """The canvas's image with one to `most` defects of these kinds, and where they are: [h, w], 0 or 1."""
    label = np.zeros((canvas.height, canvas.width), np.float32)
    for _ in range(canvas.rng.integers(1, most + 1)):
        change = DRAWN[kinds[canvas.rng.integers(len(kinds))]](canvas)
        share = change.share.astype(np.float32)
        drawn = np.clip(canvas.image * (1 - share) + change.image * share, 0, 1).astype(np.float32)
        inside = share > 0.35
        if inside.any() and np.abs(drawn - canvas.image).mean(0)[inside].mean() > VISIBLE * max(0.25, float(canvas.image.mean()) * 2):
            canvas.image, label = drawn, np.maximum(label, inside)
    return canvas.image, label


def spoiled(images, others, rng, rules):
    """Images [n, channels, h, w] of which a share has defects: the images, and where the defects are, [n, 1, h, w]. `rules`
    has the `kinds`, the `share` of the images and the `most` defects of one."""
    results = []
    for image in images:
        if rng.random() < rules["share"]:
            results.append(with_defects(Canvas(image, others, rng), rules["kinds"], rules["most"]))
        else:
            results.append((image, np.zeros(image.shape[1:], np.float32)))
    drawn, labels = zip(*results)
    return np.stack(drawn), np.stack(labels)[:, None]
