"""Images the tests draw themselves, and the ways to send them."""

import base64
import io

import numpy as np
from PIL import Image, ImageDraw

# Width and height: square, wide, tall, odd, smaller than a model's input, much larger than it.
SIZES = [(32, 32), (64, 48), (37, 91), (7, 5), (301, 203), (640, 427)]


def draw(width, height, seed):
    """A colour ramp with a few filled shapes and a little noise on it, as RGB."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    corners = random.integers(0, 256, size=(3, 3))
    ramp = corners[0] + (corners[1] - corners[0]) * (x / width)[..., None] + (corners[2] - corners[0]) * (y / height)[..., None]
    noisy = ramp + random.normal(0, 6, size=ramp.shape)
    image = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for shape in (pen.ellipse, pen.rectangle, pen.ellipse):
        left, right = np.sort(random.integers(0, width, size=2))
        top, bottom = np.sort(random.integers(0, height, size=2))
        shape([int(left), int(top), int(right), int(bottom)], fill=tuple(int(v) for v in random.integers(0, 256, size=3)))
    return image


def drawn():
    """One image for each size, and one each in the other colour modes a PNG can have."""
    images = [draw(width, height, seed) for seed, (width, height) in enumerate(SIZES)]
    images.append(draw(50, 41, 100).convert("L"))
    images.append(draw(50, 41, 101).quantize(64))
    transparent = draw(50, 41, 102).convert("RGBA")
    transparent.putalpha(Image.linear_gradient("L").resize(transparent.size))
    images.append(transparent)
    return images


def encoded(image, format="PNG", **options):
    """The bytes of the image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def data_uri(image):
    return "data:image/png;base64," + base64.b64encode(encoded(image)).decode()


def from_data_uri(uri):
    """An image out of an answer, as float values of height x width x channels in 0..1."""
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64", head
    values = np.asarray(Image.open(io.BytesIO(base64.b64decode(body)))).astype(np.float64) / 255
    return values if values.ndim == 3 else values[..., None]
