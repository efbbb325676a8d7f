"""Draws the images that are posted: many different ones of each size, from fixed seeds.

    python -m bench.images target/bench-serving/images

They have what decides the cost of decoding a photograph: broad gradients, shapes with edges, texture and sensor noise;
JPEG of quality 85 with halved chroma, as phones and web shops store them.
"""

import argparse
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

# name, width, height, how many
SIZES = [("32", 32, 32, 256), ("640", 640, 480, 64), ("12mp", 4032, 3024, 8)]


def gradient(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Light that falls from one corner to another, in two colours."""
    y, x = np.mgrid[0:1:height * 1j, 0:1:width * 1j].astype(np.float32)
    angle = random.uniform(0, 2 * np.pi)
    along = (np.cos(angle) * x + np.sin(angle) * y + 1) / 2
    first, second = random.uniform(20, 235, (2, 3)).astype(np.float32)
    return first + (second - first) * along[..., None]


def shapes(random: np.random.Generator, image: Image.Image) -> Image.Image:
    """Things of all sizes before the light, some out of focus."""
    width, height = image.size
    for _ in range(24):
        x, y = random.uniform(0, width), random.uniform(0, height)
        w, h = random.lognormal(-2.2, 0.7, 2) * (width, height)
        colour = tuple(int(part) for part in random.integers(0, 256, 3))
        pen = ImageDraw.Draw(image)
        box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        kind = random.integers(3)
        if kind == 0:
            pen.ellipse(box, fill=colour)
        elif kind == 1:
            pen.rectangle(box, fill=colour)
        else:
            points = random.uniform(-0.5, 0.5, (5, 2)) * (w, h) + (x, y)
            pen.polygon([tuple(point) for point in points.tolist()], fill=colour)
    return image.filter(ImageFilter.GaussianBlur(width / 800))


def image(seed: int, width: int, height: int) -> Image.Image:
    random = np.random.Generator(np.random.PCG64(seed))
    base = Image.fromarray(gradient(random, width, height).clip(0, 255).astype(np.uint8))
    pixels = np.asarray(shapes(random, base), np.float32)
    # texture from coarse to fine, then the sensor
    for cell, strength in [(max(2, width // 40), 10.0), (max(1, width // 320), 5.0), (2, 4.0)]:
        coarse = random.standard_normal((height // cell + 2, width // cell + 2), dtype=np.float32)
        fine = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        pixels = pixels + np.asarray(fine)[..., None] * strength
    pixels = pixels + random.standard_normal(pixels.shape, dtype=np.float32) * 4
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write(folder: pathlib.Path) -> None:
    """Draws the images that the folder does not hold yet."""
    for size, (name, width, height, count) in enumerate(SIZES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            file = folder / name / f"{number:03}.jpg"
            if not file.exists():
                drawn = image(1000 * size + number, width, height)
                unfinished = file.with_suffix(".part")
                drawn.save(unfinished, "JPEG", quality=85, subsampling="4:2:0")
                unfinished.rename(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    write(parser.parse_args().folder)


if __name__ == "__main__":
    main()
