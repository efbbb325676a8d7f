"""Draws plates for docs/ANOMALY.md: `python tests/data/make_parts.py FOLDER` (NumPy and Pillow).

FOLDER/normal/good/part-012_1.png: 120 parts, each photographed three times in other light; FOLDER/test/good, /scratch and
/dent: 20 further parts without a defect and 15 each with one. The same call draws the same files.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 128
VIEWS = 3


def plate(random):
    """One part: a soft sheen of its own on a base brightness, in 0…1."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    waves = np.zeros((SIDE, SIDE))
    for _ in range(4):
        across, down, start = random.uniform(0, 1), random.uniform(0, 2), random.uniform(0, 6)
        waves += random.normal(0, 0.02) * np.sin(2 * np.pi * (across * x + down * y) + start)
    return 0.6 + random.normal(0, 0.03) + waves


def view(part, random):
    """A photograph of the part: light from one side, and the noise of the sensor."""
    light = np.linspace(-1, 1, SIDE)[None] * random.normal(0, 0.04)
    image = part * random.uniform(0.92, 1.08) + light + random.normal(0, 0.008, size=part.shape)
    return Image.fromarray(np.uint8(np.clip(image, 0, 1) * 255))


def scratch(image, random):
    x, y = random.integers(10, SIDE - 40, size=2)
    dx, dy = random.integers(12, 30), random.integers(-30, 30)
    pen = ImageDraw.Draw(image)
    pen.line([x, y, x + dx, y + dy], fill=int(random.choice([60, 240])), width=int(random.integers(1, 3)))


def dent(image, random):
    x, y = random.integers(16, SIDE - 32, size=2)
    radius = int(random.integers(4, 11))
    shade = Image.new("L", image.size, 0)
    ImageDraw.Draw(shade).ellipse([x - radius, y - radius, x + radius, y + radius], fill=int(random.integers(60, 140)))
    shade = shade.filter(ImageFilter.GaussianBlur(radius / 3))
    dark = Image.new("L", image.size, 40)
    image.paste(dark, (0, 0), shade)


def main(folder):
    random = np.random.default_rng(2026)
    parts = [(f"normal/good/part-{number:03}", None) for number in range(120)]
    parts += [(f"test/good/part-{number:03}", None) for number in range(120, 140)]
    parts += [(f"test/scratch/part-{number:03}", scratch) for number in range(140, 155)]
    parts += [(f"test/dent/part-{number:03}", dent) for number in range(155, 170)]
    for name, defect in parts:
        part = plate(random)
        for number in range(VIEWS if defect is None else 1):
            image = view(part, random)
            if defect:
                defect(image, random)
            path = folder / f"{name}_{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
