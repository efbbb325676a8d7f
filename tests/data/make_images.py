#!/usr/bin/env python3
"""Draw the images of tests/data/images and compute, with Pillow and scikit-image, what they must become.

    python -m venv venv && venv/bin/pip install -r images-requirements.txt && venv/bin/python make_images.py

Everything is drawn here (gradients, shapes, noise of fixed seeds); nothing comes from a data set.

    samples/        one encoded file of each format, mode and orientation
    samples.json    for each of them: the decoded image it must equal, the tolerance, the stored size
    expected/       those images as RGB, transparency flattened on white
    resize.npz      images resized by Pillow: every filter, odd sizes, up and down
    pipelines.npz   tensors after resize, crop, rescale and normalise, in the order of Hugging Face processors
    pipelines.json  their settings
    quality.json    mse, psnr and ssim of pairs of images by scikit-image
    quality.npz     one full ssim map
"""

import io
import json
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

ROOT = Path(__file__).resolve().parent / "images"
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
ORIENTATION = 0x0112


def pattern(width, height, channels, seed):
    """Gradients, a hard-edged checker and noise. tests compute the same: see src/image/fixtures.rs."""
    y, x, c = np.meshgrid(
        np.arange(height, dtype=np.uint32),
        np.arange(width, dtype=np.uint32),
        np.arange(channels, dtype=np.uint32),
        indexing="ij",
    )
    mixed = (x * np.uint32(0x9E3779B1)) ^ (y * np.uint32(0x85EBCA77)) ^ ((c + np.uint32(seed)) * np.uint32(0xC2B2AE3D))
    mixed ^= mixed >> np.uint32(15)
    mixed *= np.uint32(0x2C1B3C6D)
    mixed ^= mixed >> np.uint32(12)
    gradient = (x * 5 + y * 3 + c * 40) & 0xFF
    checker = (((x // 4) ^ (y // 3)) & 1) * 255
    kind = (x // 8 + y // 8 + c) % 3
    value = np.where(kind == 0, gradient, np.where(kind == 1, checker, mixed & 0xFF))
    return value.astype(np.uint8)


def image(width, height, channels, seed=0):
    data = pattern(width, height, channels, seed)
    return Image.fromarray(data[:, :, 0] if channels == 1 else data)


def scene(width, height):
    """A smooth image with shapes, kind to lossy formats, different in every corner."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    data = np.stack([255 * x / (width - 1), 255 * y / (height - 1), 255 * (1 - x / (width - 1)) * 0.7 + 20], axis=-1)
    image = Image.fromarray(np.clip(data, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.ellipse((width * 0.1, height * 0.15, width * 0.45, height * 0.7), fill=(230, 60, 40))
    draw.rectangle((width * 0.6, height * 0.1, width * 0.9, height * 0.35), fill=(30, 90, 200))
    draw.polygon([(width * 0.5, height * 0.9), (width * 0.95, height * 0.9), (width * 0.7, height * 0.5)], fill=(20, 160, 70))
    return image


def see_through(image):
    alpha = np.tile(np.linspace(0, 255, image.width).astype(np.uint8), (image.height, 1))
    alpha[: image.height // 3] = 255
    with_alpha = image.convert("LA" if image.mode == "L" else "RGBA")
    with_alpha.putalpha(Image.fromarray(alpha))
    return with_alpha


def flattened(image):
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB")


def exif(orientation):
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


def exif_with_thumbnail(orientation, thumbnail):
    """An EXIF block whose second directory holds a JPEG, with an end marker of its own."""
    first = struct.pack("<HHHIHHI", 1, ORIENTATION, 3, 1, orientation, 0, 26)
    at = 26 + 2 + 2 * 12 + 4
    second = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, at, 0x0202, 4, 1, len(thumbnail), 0)
    return b"Exif\0\0" + b"II*\0" + struct.pack("<I", 8) + first + second + thumbnail


def raw_png(width, height, depth, colour, rows, extra=()):
    """A PNG that Pillow cannot write: 16-bit colour, and the like."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    body = b"".join(b"\0" + row for row in rows)
    chunks = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))]
    chunks += [chunk(kind, data) for kind, data in extra]
    chunks += [chunk(b"IDAT", zlib.compress(body, 9)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def sixteen_bits(image):
    """The samples of an image as 16-bit ones whose lower byte is noise."""
    upper = np.asarray(image).astype(np.uint16)
    noise = np.random.default_rng(16).integers(0, 256, upper.shape, dtype=np.uint16)
    return (upper << 8) | noise


class Samples:
    def __init__(self):
        self.entries = {}
        self.expected = {}

    def add(self, name, data, expected=None, tolerance=0, orientation=1):
        """`expected` is the upright image; without it, what Pillow makes of the file."""
        (ROOT / "samples" / name).write_bytes(data)
        stored = Image.open(io.BytesIO(data))
        size = stored.size
        expected = flattened(stored if expected is None else expected)
        key = expected.tobytes() + str(expected.size).encode()
        if key not in self.expected:
            self.expected[key] = f"{len(self.expected):02}.png"
            expected.save(ROOT / "expected" / self.expected[key], optimize=True)
        self.entries[name] = {
            "expected": self.expected[key],
            "width": size[0],
            "height": size[1],
            "tolerance": tolerance,
            "orientation": orientation,
        }

    def save(self, name, image, format, expected=None, tolerance=0, orientation=1, **options):
        file = io.BytesIO()
        image.save(file, format, **options)
        self.add(name, file.getvalue(), expected, tolerance, orientation)
        return file.getvalue()


def jpegs(samples, image):
    samples.save("grey.jpg", image.convert("L"), "JPEG", quality=90)
    samples.save("444.jpg", image, "JPEG", quality=90, subsampling=0)
    baseline = samples.save("420.jpg", image, "JPEG", quality=85)
    samples.save("422.jpg", image, "JPEG", quality=85, subsampling=1)
    samples.save("progressive.jpg", image, "JPEG", quality=85, progressive=True)
    samples.save("progressive-grey.jpg", image.convert("L"), "JPEG", quality=85, progressive=True)
    samples.save("restarts.jpg", image, "JPEG", quality=85, restart_marker_blocks=2)
    samples.save("rgb.jpg", image, "JPEG", quality=90, keep_rgb=True)
    samples.add("trailing.jpg", baseline + b"after the end \xff\xd8\xff")
    samples.add("two-images.jpg", baseline + baseline)
    cmyk = samples.save("cmyk.jpg", image.convert("CMYK"), "JPEG", quality=90)
    at = cmyk.index(b"Adobe") + 11
    assert cmyk[at] == 0
    samples.add("ycck.jpg", cmyk[:at] + b"\x02" + cmyk[at + 1 :])
    small = scene(24, 16)
    for orientation in range(1, 9):
        oriented_jpeg(samples, small, orientation)
    thumbnail = io.BytesIO()
    small.resize((12, 8)).save(thumbnail, "JPEG")
    samples.save("thumbnail.jpg", image, "JPEG", quality=85, exif=exif_with_thumbnail(1, thumbnail.getvalue()))


def oriented_jpeg(samples, image, orientation):
    from PIL import ImageOps

    file = io.BytesIO()
    image.save(file, "JPEG", quality=92, subsampling=0, exif=exif(orientation))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(file.getvalue())))
    samples.add(f"orientation-{orientation}.jpg", file.getvalue(), upright, orientation=orientation)


def pngs(samples, image):
    from PIL import ImageOps

    grey = image.convert("L")
    samples.save("rgb.png", image, "PNG")
    samples.save("grey.png", grey, "PNG")
    samples.save("one-bit.png", grey.convert("1"), "PNG")
    samples.save("palette.png", image.quantize(64), "PNG")
    samples.save("palette-alpha.png", image.quantize(16), "PNG", transparency=3)
    samples.save("rgba.png", see_through(image), "PNG")
    samples.save("grey-alpha.png", see_through(grey), "PNG")
    samples.save("rgb-transparent.png", image, "PNG", transparency=image.getpixel((40, 8)))
    samples.save("grey-transparent.png", grey, "PNG", transparency=grey.getpixel((40, 8)))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(saved(image, "PNG", exif=exif(6)))))
    samples.save("orientation-6.png", image, "PNG", expected=upright, orientation=6, exif=exif(6))
    width, height = image.size
    wide = sixteen_bits(image).astype(">u2")
    samples.add("rgb-16.png", raw_png(width, height, 16, 2, [row.tobytes() for row in wide]), image)
    wide = sixteen_bits(grey).astype(">u2")
    samples.add("grey-16.png", raw_png(width, height, 16, 0, [row.tobytes() for row in wide]), grey)
    wide = sixteen_bits(see_through(image)).astype(">u2")
    samples.add("rgba-16.png", raw_png(width, height, 16, 6, [row.tobytes() for row in wide]), see_through(image))


def saved(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def others(samples, image):
    from PIL import ImageOps

    grey, small = image.convert("L"), scene(24, 16)
    samples.save("lossy.webp", image, "WEBP", quality=90, tolerance=4)
    samples.save("lossy-alpha.webp", see_through(image), "WEBP", quality=90, tolerance=6)
    samples.save("lossless.webp", image, "WEBP", lossless=True)
    samples.save("lossless-alpha.webp", see_through(image), "WEBP", lossless=True, exact=True)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(saved(small, "WEBP", lossless=True, exif=exif(8)))))
    samples.save("orientation-8.webp", small, "WEBP", expected=upright, orientation=8, lossless=True, exif=exif(8))
    samples.save("animated.webp", small, "WEBP", lossless=True, save_all=True, append_images=[ImageOps.invert(small)])

    samples.save("palette.gif", image.quantize(64), "GIF")
    samples.save("grey.gif", grey, "GIF")
    samples.save("interlaced.gif", image.quantize(32), "GIF", interlace=1)
    samples.save("transparent.gif", image.quantize(16), "GIF", transparency=3)
    first, second = small.quantize(32), ImageOps.invert(small).quantize(32)
    samples.save("animated.gif", first, "GIF", expected=first, save_all=True, append_images=[second])

    samples.save("rgb.bmp", small, "BMP")
    samples.save("grey.bmp", small.convert("L"), "BMP")
    samples.save("palette.bmp", small.quantize(32), "BMP")
    samples.save("one-bit.bmp", small.convert("1"), "BMP")

    samples.save("rgb.tiff", small, "TIFF")
    samples.save("lzw.tiff", image, "TIFF", compression="tiff_lzw")
    samples.save("deflate.tiff", image, "TIFF", compression="tiff_adobe_deflate")
    samples.save("packbits.tiff", small, "TIFF", compression="packbits")
    samples.save("grey.tiff", small.convert("L"), "TIFF")
    samples.save("rgba.tiff", see_through(small), "TIFF")
    samples.save("cmyk.tiff", small.convert("CMYK"), "TIFF", tolerance=1)
    grey = small.convert("L")
    samples.save("grey-16.tiff", Image.fromarray(sixteen_bits(grey)), "TIFF", expected=grey)
    upright = small.transpose(Image.Transpose.ROTATE_180)
    samples.save("orientation-3.tiff", small, "TIFF", expected=upright, orientation=3, tiffinfo={274: 3})


def resizes():
    cases = [
        ((61, 43), (32, 32)),
        ((61, 43), (17, 29)),
        ((61, 43), (61, 20)),
        ((61, 43), (23, 43)),
        ((43, 61), (75, 9)),
        ((7, 5), (32, 31)),
        ((1, 1), (5, 3)),
        ((3, 129), (8, 8)),
        ((301, 211), (33, 15)),
        ((100, 100), (99, 3)),
    ]
    found = {}
    for (width, height), to in cases:
        for channels in (3, 1):
            source = image(width, height, channels, seed=width)
            for name, resample in FILTERS.items():
                key = f"{width}x{height}-{to[0]}x{to[1]}-{channels}-{name}"
                found[key] = np.asarray(source.resize(to, resample))
    np.savez_compressed(ROOT / "resize.npz", **found)
    return len(found)


def center_crop(data, crop_width, crop_height):
    """As transformers.image_transforms.center_crop: what lies outside is 0."""
    height, width = data.shape[:2]
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    out = np.zeros((crop_height, crop_width, data.shape[2]), data.dtype)
    for y in range(crop_height):
        for x in range(crop_width):
            if 0 <= top + y < height and 0 <= left + x < width:
                out[y, x] = data[top + y, left + x]
    return out


def pipeline(image, settings):
    """Resize, crop, rescale, normalise, in the order and precision of the processors."""
    width, height = settings["width"], settings["height"]
    if settings["channels"] == "gray":
        image = image.convert("L")
    if settings["resize"] == "exact":
        image = image.resize((width, height), FILTERS[settings["filter"]])
    elif settings["resize"] == "shortest-edge":
        short, long = sorted(image.size)
        longer = int(settings["edge"] * long / short)
        size = (settings["edge"], longer) if image.width <= image.height else (longer, settings["edge"])
        image = image.resize(size, FILTERS[settings["filter"]])
    data = np.asarray(image)
    data = data[:, :, None] if data.ndim == 2 else data
    if settings["crop"] == "center":
        data = center_crop(data, width, height)
    values = (data.astype(np.float64) * settings["rescale"]).astype(np.float32)
    if "mean" in settings:
        values = (values - np.array(settings["mean"], np.float32)) / np.array(settings["std"], np.float32)
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def by_transformers(image, settings):
    """The same tensor by the processors of transformers themselves."""
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

    if settings["resize"] == "exact":
        size = {"height": settings["height"], "width": settings["width"]}
    else:
        size = {"shortest_edge": settings.get("edge", 1)}
    processor = BitImageProcessorPil(
        do_resize=settings["resize"] != "none",
        size=size,
        resample=FILTERS[settings["filter"]],
        do_center_crop=settings["crop"] == "center",
        crop_size={"height": settings["height"], "width": settings["width"]},
        do_rescale=True,
        rescale_factor=settings["rescale"],
        do_normalize="mean" in settings,
        image_mean=settings.get("mean"),
        image_std=settings.get("std"),
        do_convert_rgb=True,
    )
    return np.asarray(processor(image, return_tensors="np")["pixel_values"])[0]


def pipelines():
    imagenet = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    half = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    base = {"channels": "rgb", "rescale": 1 / 255, "crop": "none", "filter": "bicubic"}
    cases = {
        "vit": {"source": [61, 43], "width": 24, "height": 24, "resize": "exact", "filter": "bilinear", **half},
        "dino-wide": {"source": [61, 43], "width": 24, "height": 24, "resize": "shortest-edge", "edge": 30, "crop": "center", **imagenet},
        "dino-tall": {"source": [43, 61], "width": 24, "height": 24, "resize": "shortest-edge", "edge": 29, "crop": "center", **imagenet},
        "clip": {"source": [129, 33], "width": 20, "height": 20, "resize": "shortest-edge", "edge": 20, "crop": "center", **imagenet},
        "padded": {"source": [50, 20], "width": 31, "height": 30, "resize": "shortest-edge", "edge": 15, "crop": "center", "filter": "lanczos", **imagenet},
        "padded-both": {"source": [20, 21], "width": 31, "height": 30, "resize": "none", "crop": "center", **half},
        "cropped-only": {"source": [61, 43], "width": 20, "height": 31, "resize": "none", "crop": "center", **half},
        "upscaled": {"source": [9, 7], "width": 32, "height": 32, "resize": "exact", **imagenet},
        "plain": {"source": [61, 43], "width": 32, "height": 32, "resize": "exact"},
        "centred": {"source": [61, 43], "width": 16, "height": 16, "resize": "exact", "rescale": 1 / 127.5, "mean": [1.0, 1.0, 1.0], "std": [1.0, 1.0, 1.0]},
        "gray": {"source": [61, 43], "width": 28, "height": 28, "resize": "exact", "channels": "gray", "filter": "bilinear", "mean": [0.1307], "std": [0.3081]},
    }
    tensors, checked = {}, 0
    for name, case in cases.items():
        settings = cases[name] = {**base, **case}
        image = image(*settings["source"], 3, seed=7)
        tensors[name] = pipeline(image, settings)
        if settings["channels"] == "rgb":
            try:
                theirs = by_transformers(image, settings)
            except ImportError:
                continue
            difference = np.abs(theirs - tensors[name]).max()
            assert difference <= 1e-6, (name, difference)
            checked += 1
    np.savez_compressed(ROOT / "pipelines.npz", **tensors)
    write_json("pipelines.json", cases)
    return len(cases), checked


def quality():
    pairs = [(61, 43, 3), (32, 32, 3), (28, 28, 1), (7, 9, 3), (6, 20, 3), (5, 5, 1), (4, 3, 1)]
    entries, maps = [], {}
    for width, height, channels in pairs:
        original = pattern(width, height, channels, 1) / 255.0
        other = 0.7 * original + 0.3 * pattern(width, height, channels, 2)[::-1, ::-1] / 255.0
        other = np.round(other * 255) / 255
        side = min(7, width, height)
        side -= 1 - side % 2
        score, full = structural_similarity(original, other, data_range=1.0, channel_axis=-1, win_size=side, full=True)
        entries.append(
            {
                "width": width,
                "height": height,
                "channels": channels,
                "mse": float(mean_squared_error(original, other)),
                "psnr": float(peak_signal_noise_ratio(original, other, data_range=1.0)),
                "ssim": float(score),
            }
        )
        maps[f"{width}x{height}x{channels}"] = full.mean(axis=-1).astype(np.float32)
        maps[f"{width}x{height}x{channels}-other"] = np.round(other * 255).astype(np.uint8)
    write_json("quality.json", entries)
    np.savez_compressed(ROOT / "quality.npz", **maps)


def write_json(name, value):
    (ROOT / name).write_text(json.dumps(value, indent=1) + "\n")


def main():
    for folder in ("samples", "expected"):
        shutil.rmtree(ROOT / folder, ignore_errors=True)
        (ROOT / folder).mkdir(parents=True)
    samples = Samples()
    image = scene(61, 43)
    jpegs(samples, image)
    pngs(samples, image)
    others(samples, image)
    write_json("samples.json", samples.entries)
    resized = resizes()
    piped, checked = pipelines()
    quality()
    total = sum(file.stat().st_size for file in ROOT.rglob("*") if file.is_file())
    print(f"{len(samples.entries)} samples, {resized} resizes, {piped} pipelines ({checked} checked by transformers), {total} bytes")


if __name__ == "__main__":
    main()
