"""Images of our own drawing: shapes of six kinds in many colours."""

import colorsys
import io
import math
import random

from PIL import Image, ImageDraw

KINDS = ("bricks", "disc", "hills", "ring", "star", "stripes")
SIDE = 128
# Drawn larger and made smaller, for smooth edges.
LARGE = 2 * SIDE


def png(kind, number):
    """The file of one image: the same for the same kind and number."""
    rng = random.Random(f"{kind}{number}")
    image = Image.new("RGB", (LARGE, LARGE), colour(rng, (0.75, 0.93)))
    DRAWN[kind](ImageDraw.Draw(image), rng)
    file = io.BytesIO()
    image.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(file, "PNG")
    return file.getvalue()


def colour(rng, lightness=(0.35, 0.65)):
    channels = colorsys.hls_to_rgb(rng.random(), rng.uniform(*lightness), rng.uniform(0.4, 0.9))
    return tuple(round(255 * channel) for channel in channels)


def middle(rng):
    """A centre and a radius."""
    return LARGE * rng.uniform(0.4, 0.6), LARGE * rng.uniform(0.4, 0.6), LARGE * rng.uniform(0.24, 0.38)


def disc(draw, rng):
    x, y, radius = middle(rng)
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour(rng))


def ring(draw, rng):
    x, y, radius = middle(rng)
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], outline=colour(rng), width=int(radius * 0.35))


def star(draw, rng):
    x, y, radius = middle(rng)
    turn = rng.uniform(-0.3, 0.3)
    reach = [radius * (1.15 if corner % 2 == 0 else 0.5) for corner in range(10)]
    angles = [turn + math.pi * corner / 5 for corner in range(10)]
    corners = [(x + far * math.sin(angle), y - far * math.cos(angle)) for far, angle in zip(reach, angles, strict=True)]
    draw.polygon(corners, fill=colour(rng))


def stripes(draw, rng):
    width, lean, fill = LARGE // rng.choice([8, 10, 12]), LARGE // 3, colour(rng)
    for x in range(-LARGE, 2 * LARGE, 2 * width):
        draw.polygon([(x, 0), (x + width, 0), (x + width + lean, LARGE), (x + lean, LARGE)], fill=fill)


def hills(draw, rng):
    x, _, radius = middle(rng)
    draw.ellipse([x - radius / 3, LARGE * 0.1, x + radius / 3, LARGE * 0.1 + radius * 2 / 3], fill=colour(rng, (0.85, 0.95)))
    for row in range(3):
        lightness, shift = (0.4 - 0.1 * row, 0.6 - 0.1 * row), rng.random() * 9
        ridge = [(at, LARGE * (0.45 + 0.14 * row - 0.09 * math.sin(at / (41 + 9 * row) + shift))) for at in range(0, LARGE + 1, 4)]
        draw.polygon([(0, LARGE), *ridge, (LARGE, LARGE)], fill=colour(rng, lightness))


def bricks(draw, rng):
    height, fill = LARGE // 8, colour(rng)
    for row in range(9):
        for column in range(-1, 6):
            x, y = (2 * column + row % 2) * height, row * height
            draw.rectangle([x + 2, y + 2, x + 2 * height - 2, y + height - 2], fill=fill)


DRAWN = {"bricks": bricks, "disc": disc, "hills": hills, "ring": ring, "star": star, "stripes": stripes}
