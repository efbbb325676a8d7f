"""Draw a set of parts to try training with: `python -m training.demo parts`.

Writes `parts/good`, `parts/bad` (a folder for each type of defect) and `parts/masks` (where the defects are, named as their
images): brushed plates with four holes, photographed a little askew and in changing light. The same on every machine.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDE, HIGH = 192, 144
GOOD, BAD = 120, 12
KINDS = ("scratch", "stain", "dent")
# Shapes are drawn larger and made smaller, so that their edges are smooth.
FINE = 4


def plate(rng):
    """A good part, [h, w] in 0..1, and the place of its middle."""
    streaks = np.cumsum(rng.standard_normal((HIGH, 1)), 0)
    streaks = (streaks - streaks.mean()) / (streaks.std() + 1e-6) * 0.02 + 0.03 * rng.standard_normal((HIGH, 1))
    surface = 0.62 + streaks + 0.015 * rng.standard_normal((HIGH, WIDE))
    y, x = np.mgrid[0:HIGH, 0:WIDE]
    middle = WIDE / 2 + rng.uniform(-6, 6), HIGH / 2 + rng.uniform(-5, 5)
    shape = Image.new("L", (WIDE * FINE, HIGH * FINE))
    draw = ImageDraw.Draw(shape)
    box = lambda cx, cy, a, b: tuple(FINE * v for v in (cx - a, cy - b, cx + a, cy + b))
    draw.rounded_rectangle(box(*middle, 80, 56), 10 * FINE, fill=255)
    for across, down in ((-62, -38), (62, -38), (-62, 38), (62, 38)):
        draw.ellipse(box(middle[0] + across, middle[1] + down, 7, 7), fill=0)
    shape = shape.rotate(rng.uniform(-2, 2), Image.Resampling.BICUBIC, center=tuple(FINE * v for v in middle))
    inside = np.asarray(shape.resize((WIDE, HIGH), Image.Resampling.BOX)) / 255
    light = rng.uniform(0.7, 1.25) * (1 + 0.2 * rng.uniform(-1, 1) * (x / WIDE - 0.5) + 0.2 * rng.uniform(-1, 1) * (y / HIGH - 0.5))
    return ((surface * inside + 0.12 * (1 - inside)) * light).clip(0, 1), middle


def spoil(image, middle, kind, rng):
    """The part with a defect of a kind, and where it is, bool [h, w]."""
    drawn = Image.new("L", (WIDE * FINE, HIGH * FINE))
    draw = ImageDraw.Draw(drawn)
    at = np.array([middle[0] + rng.uniform(-45, 45), middle[1] + rng.uniform(-25, 25)])
    if kind == "scratch":
        heading, points = rng.uniform(0, np.pi), [at]
        for _ in range(int(rng.uniform(12, 30))):
            heading += rng.normal(0, 0.1)
            points.append(points[-1] + 1.5 * np.array([np.cos(heading), np.sin(heading)]))
        draw.line([tuple(FINE * p) for p in points], fill=255, width=int(rng.uniform(1, 2.2) * FINE))
    else:
        size = rng.uniform(6, 14) if kind == "stain" else rng.uniform(3, 6)
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        around = size * (1 + 0.25 * rng.standard_normal(24))[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
        draw.polygon([tuple(FINE * (at + p)) for p in around], fill=255)
        drawn = drawn.filter(ImageFilter.GaussianBlur(FINE * (2 if kind == "stain" else 0.5)))
    share = np.asarray(drawn.resize((WIDE, HIGH), Image.Resampling.BOX)) / 255
    by = {"scratch": rng.choice([0.5, 1.5]), "stain": rng.uniform(0.7, 0.85), "dent": rng.uniform(0.4, 0.7)}[kind]
    return (image * (1 - share + share * by)).clip(0, 1), share > 0.3


def save(pixels, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((pixels * 255).round().astype(np.uint8)).save(path)


def draw(folder, seed=0, good=GOOD, bad=BAD):
    """Draws a set below the folder; `bad` parts of each type of defect."""
    rng = np.random.default_rng(seed)
    for number in range(good):
        save(plate(rng)[0], folder / "good" / f"{number:03}.png")
    for kind in KINDS:
        for number in range(bad):
            image, where = spoil(*plate(rng), kind, rng)
            save(image, folder / "bad" / kind / f"{number:03}.png")
            save(where.astype(float), folder / "masks" / kind / f"{number:03}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw(arguments.folder, arguments.seed)
    print(f"{arguments.folder}: {GOOD} good parts, {BAD} of each of {', '.join(KINDS)}")


if __name__ == "__main__":
    main()
