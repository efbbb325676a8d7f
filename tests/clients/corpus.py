"""More than a thousand small image files of every kind that programs write, made by script.

What Pillow does not write (bit depths, interlacing, tiles, planes, odd sampling) is put together here, from the
formats' own descriptions, or by `cjpeg` where it is on the PATH.
"""

import io
import itertools
import shutil
import struct
import subprocess
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

import layouts
import orientations
from images import draw, encoded

# Up to SIDE a side: odd ones, and ones that whole blocks of 8 and 16 fill.
SIDE = 32
SIZES = [(31, 27), (17, 32), (32, 32), (9, 5), (1, 1), (32, 13)]
# How far from Pillow a level of 255 may lie.
# Both decode JPEGs by libjpeg-turbo, whose versions agree on the pixels.
EQUAL, ROUNDED = 0, 1


@dataclass(frozen=True)
class File:
    """A file, and how far from Pillow's its pixels may lie."""

    name: str
    body: bytes
    tolerance: int = ROUNDED
    # What the format's own description makes of it, as height x width x 3, where Pillow departs from that.
    pixels: np.ndarray | None = None


def levels(bits, *shape, seed=5):
    """Random samples of so many bits."""
    return np.random.default_rng(seed).integers(0, 1 << bits, size=shape)


def packed(samples, bits):
    """Rows of samples as bytes, the first sample in the upper bits; 16 bits are big-endian."""
    if bits == 16:
        return [row.astype(">u2").tobytes() for row in samples]
    places = np.arange(bits - 1, -1, -1)
    return [np.packbits((row.reshape(-1, 1) >> places & 1).astype(np.uint8)).tobytes() for row in samples]


def turned(format, **options):
    """A file for each orientation that EXIF can name."""
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"orientation-{orientation}", encoded(draw(31, 18, orientation), format, exif=exif.tobytes(), **options)


def described(samples, bits, transparent=False):
    """Grey or RGB samples as RGB; the colour of the first pixel is transparent or not, on white."""
    rgb = np.broadcast_to(samples >> 8 if bits == 16 else samples * (255 // ((1 << bits) - 1)), (*samples.shape[:2], 3))
    matches = (samples == samples[0, 0]).all(axis=-1, keepdims=True)
    return np.where(transparent & matches, 255, rgb).astype(np.uint8)


# JPEG


def jpegs():
    options = itertools.product(SIZES, (3, 30, 75, 92, 100), (0, 1, 2), (False, True))
    for number, (size, quality, subsampling, progressive) in enumerate(options):
        name = f"{size}-q{quality}-s{subsampling}-p{progressive:d}"
        saved = {"quality": quality, "subsampling": subsampling, "progressive": progressive}
        yield name, encoded(draw(*size, number), "JPEG", **saved)
    for number, (size, mode, quality, progressive) in enumerate(
        itertools.product(SIZES, ("L", "CMYK"), (30, 75, 95), (False, True))
    ):
        body = encoded(draw(*size, number).convert(mode), "JPEG", quality=quality, progressive=progressive)
        yield f"{mode}-{size}-q{quality}-p{progressive:d}", body
        if mode == "CMYK":
            yield f"YCCK-{size}-q{quality}-p{progressive:d}", with_adobe_transform(body, 2)
    for blocks, rows, subsampling, optimize in itertools.product((0, 1, 3), (0, 1, 2), (0, 2), (False, True)):
        restarts = {"restart_marker_blocks": blocks, "restart_marker_rows": rows}
        body = encoded(draw(31, 29, blocks), "JPEG", subsampling=subsampling, optimize=optimize, **restarts)
        yield f"restarts-{blocks}-{rows}-s{subsampling}-o{optimize:d}", body
    for size in SIZES:
        yield f"keep-rgb-{size}", encoded(draw(*size, 3), "JPEG", keep_rgb=True)
        coarse = [[50 + at for at in range(64)], [90] * 64]
        yield f"tables-{size}", encoded(draw(*size, 4), "JPEG", qtables=coarse)
        yield f"dpi-comment-{size}", encoded(draw(*size, 5), "JPEG", dpi=(300, 72), comment=b"a comment")
    yield from turned("JPEG", quality=90)
    yield from cjpegs()
    yield from orientations.jpegs()


def with_adobe_transform(body, transform):
    """The same coefficients under another rule for their colours."""
    at = body.index(b"Adobe\0")
    return body[: at + 11] + bytes([transform]) + body[at + 12 :]


SCANS = {
    "by-component": "0; 1; 2;",
    "two": "0; 1 2;",
    "chroma-first": "1 2; 0;",
    "spectral": "0 1 2: 0-0, 0, 0; 0: 1-9, 0, 0; 0: 10-63, 0, 0; 1: 1-63, 0, 0; 2: 1-63, 0, 0;",
    "refined": "0 1 2: 0-0, 0, 1; 0: 1-63, 0, 2; 1: 1-63, 0, 0; 2: 1-63, 0, 0; 0 1 2: 0-0, 1, 0; "
    "0: 1-63, 2, 1; 0: 1-63, 1, 0;",
}
SAMPLINGS = ["1x1", "2x1", "1x2", "2x2", "4x1", "1x4", "4x2", "2x4", "1x1,2x1,2x1", "1x1,1x2,1x2", "1x1,2x2,2x2",
             "2x1,1x2,1x1", "2x2,2x1,1x1", "2x2,2x1,2x1", "2x2,1x2,1x2", "4x1,2x1,1x1", "1x2,2x1,1x1"]  # fmt: skip


def cjpegs():
    """Nothing where there is no `cjpeg`."""
    if not (program := shutil.which("cjpeg")):
        return

    def written(*arguments):
        ppm = encoded(draw(31, 27, 8), "PPM")
        return subprocess.run([program, *arguments], input=ppm, capture_output=True, check=True).stdout

    for sampling, coding in itertools.product(SAMPLINGS, ([], ["-progressive"], ["-restart", "2B"])):
        yield f"cjpeg-{sampling}-{''.join(coding)}", written("-sample", sampling, *coding)
    for options in ("-rgb", "-grayscale", "-dct float", "-dct fast", "-smooth 50", "-baseline -quality 1"):
        yield f"cjpeg{options}", written(*options.split())
    yield "arithmetic", written("-arithmetic")
    yield "arithmetic-progressive", written("-arithmetic", "-progressive")


def scripts(folder):
    """Files of several scans, sequential and progressive; the scripts are left in the folder."""
    if not (program := shutil.which("cjpeg")):
        return
    for (name, script), sampling in itertools.product(SCANS.items(), ("1x1", "2x2")):
        path = folder / name
        path.write_text(script)
        arguments = [program, "-sample", sampling, "-scans", str(path)]
        body = subprocess.run(arguments, input=encoded(draw(31, 27, 9), "PPM"), capture_output=True, check=True).stdout
        yield File(f"jpeg/scans-{name}-{sampling}", body, EQUAL)


# PNG

ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def chunk(name, payload):
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))


def png(samples, colour, bits, interlaced=False, transparent=None):
    """Samples of height x width x channels as a PNG; colour is the type of the header."""
    height, width = samples.shape[:2]
    passes = [samples[y::down, x::across] for x, y, across, down in ADAM7] if interlaced else [samples]
    rows = b"".join(b"\0" + row for part in passes if part.size for row in packed(part, bits))
    body = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced))
    if colour == 3:
        body += chunk(b"PLTE", levels(8, 3 << bits).astype(np.uint8).tobytes())
    if transparent is not None:
        body += chunk(b"tRNS", transparent)
    return body + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def pngs():
    for colour, interlaced, (width, height) in itertools.product(SAMPLES, (False, True), SIZES):
        for bits in DEPTHS[colour]:
            samples = levels(bits, height, width, SAMPLES[colour])
            name = f"colour{colour}-{bits}-i{interlaced:d}-{width}x{height}"
            departs = colour == 0 and bits == 16
            yield name, png(samples, colour, bits, interlaced), described(samples, bits) if departs else None
            if colour == 3:
                alpha = levels(8, min(1 << bits, 5)).astype(np.uint8).tobytes()
                yield f"{name}-trns", png(samples, colour, bits, interlaced, alpha)
            elif colour in (0, 2):
                alpha = b"".join(struct.pack(">H", int(sample)) for sample in samples[0, 0])
                departs = bits in (2, 4, 16)
                body = png(samples, colour, bits, interlaced, alpha)
                yield f"{name}-trns", body, described(samples, bits, True) if departs else None
    for size, mode, level in itertools.product(SIZES, ("1", "L", "LA", "P", "RGB", "RGBA"), (0, 9)):
        image = draw(*size, 6)
        if mode in ("LA", "RGBA"):
            image.putalpha(Image.linear_gradient("L").resize(size))
        image = image.quantize(17) if mode == "P" else image.convert(mode)
        yield f"pillow-{mode}-{size}-z{level}", encoded(image, "PNG", compress_level=level)
    for count in (2, 3):
        frames = [draw(20, 20, seed) for seed in range(count)]
        yield f"frames-{count}", encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    yield from turned("PNG")
    yield from orientations.pngs(chunk)
    yield from layouts.pngs(chunk)


# WebP


def webps():
    for size, alpha, quality in itertools.product(SIZES, (False, True), (0, 50, 80, 100)):
        image = draw(*size, quality)
        if alpha:
            image.putalpha(Image.linear_gradient("L").resize(size))
        for lossless, method in itertools.product((False, True), (0, 4)):
            name = f"{size}-a{alpha:d}-q{quality}-l{lossless:d}-m{method}"
            yield name, encoded(image, "WEBP", quality=quality, lossless=lossless, method=method)
    for lossless, count in itertools.product((False, True), (2, 3)):
        frames = [draw(20, 20, seed) for seed in range(count)]
        yield f"frames-{count}-l{lossless:d}", encoded(
            frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=lossless
        )
    yield from turned("WEBP", lossless=True)
    yield from orientations.webps()


# GIF


def gifs():
    for size, colours, interlace in itertools.product(SIZES, (2, 3, 16, 100, 256), (0, 1)):
        image = draw(*size, colours).quantize(colours)
        yield f"{size}-{colours}-i{interlace}", encoded(image, "GIF", interlace=interlace)
        yield f"{size}-{colours}-i{interlace}-transparent", encoded(image, "GIF", interlace=interlace, transparency=1)
    for size, mode in itertools.product(SIZES, ("1", "L", "RGB", "RGBA")):
        image = draw(*size, 6)
        if mode == "RGBA":
            image.putalpha(Image.linear_gradient("L").resize(size))
        yield f"{mode}-{size}", encoded(image.convert(mode), "GIF")
    for count, disposal in itertools.product((2, 4), (0, 1, 2)):
        frames = [draw(20, 20, seed) for seed in range(count)]
        body = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], disposal=disposal)
        yield f"frames-{count}-d{disposal}", body
    yield from layouts.gifs()


# BMP


def bmp(samples, bits, palette=b"", masks=b"", top_down=False, old=False):
    """Rows of packed pixels as a BMP, the last row first or, with top_down, the first."""
    height, width = samples.shape[:2]
    if bits in (16, 32):
        rows = [row.astype(f"<u{bits // 8}").tobytes() for row in samples]
    else:
        rows = packed(samples, min(bits, 8))
    data = b"".join(row + bytes(-len(row) % 4) for row in (rows if top_down else rows[::-1]))
    if old:
        header = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        lines = -height if top_down else height
        compression = 3 if masks else 0
        header = struct.pack("<IiiHHIIiiII", 40, width, lines, 1, bits, compression, len(data), 2835, 2835, 0, 0)
    offset = 14 + len(header) + len(masks) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + header + masks + palette + data


def run_lengths(samples):
    """Rows of numbers as a BMP of 8 bits whose runs are stored by their length."""
    rows = [b"".join(bytes([len(list(run)), number]) for number, run in itertools.groupby(row)) for row in samples[::-1].tolist()]
    data = b"\0\0".join(rows) + b"\0\1"
    height, width = samples.shape
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 2835, 2835, 0, 0)
    palette = levels(8, 256, 4).astype(np.uint8)
    palette[:, 3] = 0
    offset = 14 + len(header) + palette.nbytes
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + header + palette.tobytes() + data


def bmps():
    for width, height in SIZES:
        yield f"runs-{width}x{height}", run_lengths(levels(2, height, width))
    for (width, height), top_down in itertools.product(SIZES, (False, True)):
        name = f"{width}x{height}-t{top_down:d}"
        for bits in (1, 4, 8):
            samples = levels(bits, height, width)
            palette = levels(8, 1 << bits, 4).astype(np.uint8)
            palette[:, 3] = 0
            yield f"palette-{bits}-{name}", bmp(samples, bits, palette.tobytes(), top_down=top_down)
            if not top_down:
                yield f"old-{bits}-{name}", bmp(samples, bits, palette[:, :3].tobytes(), old=True)
        yield f"555-{name}", bmp(levels(15, height, width), 16, top_down=top_down)
        yield f"565-{name}", bmp(levels(16, height, width), 16, masks=struct.pack("<III", 0xF800, 0x7E0, 0x1F), top_down=top_down)
        yield f"24-{name}", bmp(levels(8, height, width, 3), 24, top_down=top_down)
        yield f"32-{name}", bmp(levels(32, height, width), 32, top_down=top_down)
    for size, mode in itertools.product(SIZES, ("1", "L", "P", "RGB", "RGBA")):
        image = draw(*size, 6)
        yield f"pillow-{mode}-{size}", encoded(image.quantize(17) if mode == "P" else image.convert(mode), "BMP")
    yield from layouts.bmps()


# TIFF


def tiff(parts, size, tags, order="<", big_parts=None):
    """A TIFF of these strips, or of tiles of the size `big_parts`, with these tags beside those for its places."""
    width, height = size
    short, long = 3, 4
    starts = list(itertools.accumulate((len(part) for part in parts), initial=8))
    if big_parts:
        places = {322: (long, [big_parts[0]]), 323: (long, [big_parts[1]]), 324: (long, starts[:-1])}
        places[325] = (long, [len(part) for part in parts])
    else:
        places = {273: (long, starts[:-1]), 279: (long, [len(part) for part in parts])}
    entries = {256: (long, [width]), 257: (long, [height])} | {tag: (short, values) for tag, values in tags.items()} | places
    data = b"".join(parts)
    data += bytes(len(data) % 2)
    at = 8 + len(data)
    spare = at + 2 + 12 * len(entries) + 4
    directory, behind = struct.pack(order + "H", len(entries)), b""
    for tag, (kind, values) in sorted(entries.items()):
        payload = struct.pack(order + ("H" if kind == short else "I") * len(values), *values)
        if len(payload) > 4:
            payload, behind = struct.pack(order + "I", spare + len(behind)), behind + payload
        directory += struct.pack(order + "HHI", tag, kind, len(values)) + payload.ljust(4, b"\0")
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(order + "HI", 42, at) + data + directory + bytes(4) + behind


KINDS = {
    # photometric interpretation, samples, what the extra samples are, depths
    "white-is-0": (0, 1, [], (1, 2, 4, 8)),
    "grey": (1, 1, [], (1, 2, 4, 8, 16)),
    "grey-alpha": (1, 2, [2], (8,)),
    "rgb": (2, 3, [], (8, 16)),
    "rgb-alpha": (2, 4, [2], (8, 16)),
    "rgb-associated": (2, 4, [1], (8,)),
    "rgb-extra": (2, 4, [0], (8, 16)),
    "palette": (3, 1, [], (1, 2, 4, 8)),
    "cmyk": (5, 4, [], (8, 16)),
}


def tiff_kinds():
    for (kind, (photometric, count, extra, depths)), order, deflated in itertools.product(KINDS.items(), "<>", (False, True)):
        for bits, (width, height) in itertools.product(depths, SIZES[:3]):
            samples = levels(bits, height, width, count)
            rows = packed(samples, bits)
            if bits == 16 and order == "<":
                rows = [row.astype("<u2").tobytes() for row in samples]
            strips = [b"".join(rows[first : first + 7]) for first in range(0, height, 7)]
            parts = [zlib.compress(strip) for strip in strips] if deflated else strips
            tags = {258: [bits] * count, 259: [8 if deflated else 1], 262: [photometric], 277: [count], 278: [7]}
            if extra:
                tags[338] = extra
            if photometric == 3:
                tags[320] = [int(level) for level in levels(16, 3 << bits)]
            name = f"{kind}-{bits}-{order}-z{deflated:d}-{width}x{height}"
            departs = kind == "grey" and bits == 16
            yield name, tiff(parts, (width, height), tags, order), described(samples, bits) if departs else None


def tiff_layouts():
    """Tiles, separate planes, and differences in place of samples."""
    for (width, height), count, order in itertools.product(SIZES[:3], (1, 3), "<>"):
        samples = levels(8, height, width, count).astype(np.uint8)
        tags = {258: [8] * count, 259: [8], 262: [1 if count == 1 else 2], 277: [count]}
        padded = np.pad(samples, ((0, -height % 16), (0, -width % 16), (0, 0)))
        corners = itertools.product(range(0, height, 16), range(0, width, 16))
        tiles = [zlib.compress(padded[y : y + 16, x : x + 16].tobytes()) for y, x in corners]
        name = f"{count}-{order}-{width}x{height}"
        yield f"tiles-{name}", tiff(tiles, (width, height), tags, order, big_parts=(16, 16))
        differences = np.diff(samples, axis=1, prepend=np.zeros_like(samples[:, :1]))
        predicted = [zlib.compress(differences.tobytes())]
        yield f"predictor-{name}", tiff(predicted, (width, height), tags | {278: [height], 317: [2]}, order)
        if count == 3:
            planes = [samples[..., plane].tobytes() for plane in range(count)]
            planar = tags | {259: [1], 278: [height], 284: [2]}
            yield f"planes-{name}", tiff(planes, (width, height), planar, order)


def tiffs_to_refuse():
    """Kinds that Pillow reads and the server does not."""
    size = width, height = 16, 9
    grey = {259: [1], 262: [1], 277: [1], 278: [height]}
    yield "refused-12-bits", tiff([b"".join(packed(levels(12, height, width), 12))], size, grey | {258: [12]})
    yield "refused-reversed", tiff([b"".join(packed(levels(8, height, width), 8))], size, grey | {258: [8], 266: [2]})
    yield "refused-signed", tiff([bytes(2 * width * height)], size, grey | {258: [16], 339: [2]})
    yield "refused-32-bits", tiff([bytes(4 * width * height)], size, grey | {258: [32]})


COMPRESSIONS = {
    "1": ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "group3", "group4", "tiff_ccitt"),
    "L": ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "jpeg", "zstd", "lzma"),
    "P": ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate"),
    "LA": ("raw", "tiff_lzw"),
    "RGB": ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "zstd", "lzma"),
    "RGBA": ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate"),
    "CMYK": ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate"),
    "YCbCr": ("raw", "tiff_lzw", "jpeg"),
    "LAB": ("raw",),
    "I": ("raw",),
    "F": ("raw", "tiff_lzw"),
}


def pillow_tiffs():
    for mode, size in itertools.product(COMPRESSIONS, SIZES):
        image = draw(*size, 6)
        if mode in ("LA", "RGBA"):
            image.putalpha(Image.linear_gradient("L").resize(size))
        if mode == "LAB":
            image = Image.new(mode, size, (90, 10, 20))
        image = image.quantize(17) if mode == "P" else image.convert(mode)
        for compression in COMPRESSIONS[mode]:
            yield f"pillow-{mode}-{compression}-{size}", encoded(image, "TIFF", compression=compression)
    frames = [draw(20, 20, seed) for seed in range(3)]
    yield "pages", encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    yield "big", encoded(frames[0], "TIFF", big_tiff=True)
    yield from turned("TIFF")


def tiffs():
    yield from tiff_kinds()
    yield from tiff_layouts()
    yield from tiffs_to_refuse()
    yield from pillow_tiffs()
    yield from layouts.tiffs(tiff, described)


# All of them


def corpus(folder):
    """Every file; the folder takes what `cjpeg` reads."""
    makers = {"jpeg": jpegs, "png": pngs, "webp": webps, "gif": gifs, "bmp": bmps, "tiff": tiffs}
    for format, maker in makers.items():
        for name, body, *pixels in maker():
            tolerance = EQUAL if format == "jpeg" or "-jpeg-" in name else ROUNDED
            yield File(f"{format}/{name}", body, tolerance, *pixels)
    yield from scripts(folder)


def damaged():
    """Files that end early, of each format, and files that are none."""
    whole = {"JPEG": {}, "PNG": {}, "WEBP": {"lossless": True}, "GIF": {}, "BMP": {}, "TIFF": {"compression": "tiff_lzw"}}
    for format, options in whole.items():
        body = encoded(draw(31, 27, 4), format, **options)
        for share in (0.02, 0.3, 0.6, 0.9):
            yield File(f"{format.lower()}/cut-{share}", body[: int(len(body) * share)])
    for name, body in layouts.damaged(chunk):
        yield File(name, body)
    yield File("none/text", b"not an image at all")
    yield File("none/zeros", bytes(100))
