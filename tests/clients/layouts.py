"""Files whose samples lie in other orders than the usual: planes, tiles, differences, frames, run lengths, masks."""

import io
import itertools
import struct
import zlib

import numpy as np
from PIL import Image

from images import draw, encoded


def samples_of(bits, height, width, count, seed=11):
    return np.random.default_rng(seed).integers(0, 1 << bits, size=(height, width, count))


def tiffs(tiff, described):
    """Planes, tiles and differences of 8 and 16 bits in both byte orders, deflated."""
    for (width, height), count, order, bits in itertools.product([(31, 27), (17, 32), (32, 32)], (1, 3, 4), "<>", (8, 16)):
        samples = samples_of(bits, height, width, count)
        packed = lambda part: zlib.compress(part.astype("u1" if bits == 8 else order + "u2").tobytes())
        less = lambda part: np.diff(part, axis=1, prepend=np.zeros_like(part[:, :1])) % (1 << bits)
        padded = np.pad(samples, ((0, -height % 16), (0, -width % 16), (0, 0)))
        tiles = [padded[y : y + 16, x : x + 16] for y in range(0, height, 16) for x in range(0, width, 16)]
        tags = {258: [bits] * count, 259: [8], 262: [{1: 1, 3: 2, 4: 5}[count]], 277: [count]}
        strip, size = {278: [height]}, (width, height)
        name = f"{count}-{order}-{bits}-{width}x{height}"
        departs = [described(samples, bits)] if (count, bits) == (1, 16) else []
        yield f"predictor-z-{name}", tiff([packed(less(samples))], size, tags | strip | {317: [2]}, order), *departs
        predicted = [packed(less(tile)) for tile in tiles]
        yield f"predictor-tiles-{name}", tiff(predicted, size, tags | {317: [2]}, order, big_parts=(16, 16)), *departs
        if count == 1:
            continue
        planes = [samples[..., plane] for plane in range(count)]
        planar = tags | strip | {284: [2]}
        yield f"planes-z-{name}", tiff(list(map(packed, planes)), size, planar, order)
        yield f"planes-predictor-{name}", tiff([packed(less(plane)) for plane in planes], size, planar | {317: [2]}, order)
        strips = [packed(plane[first : first + 7]) for plane in planes for first in range(0, height, 7)]
        yield f"planes-strips-{name}", tiff(strips, size, planar | {278: [7]}, order)
        parts = [packed(tile[..., plane]) for plane in range(count) for tile in tiles]
        yield f"planes-tiles-{name}", tiff(parts, size, tags | {284: [2]}, order, big_parts=(16, 16))
    yield from tags_of_their_own(tiff)
    for mode, compression in itertools.product(("L", "RGB", "RGBA", "P", "CMYK", "LA"), ("packbits", "tiff_lzw", "tiff_adobe_deflate")):
        image = draw(31, 18, 3)
        image = image.quantize(20) if mode == "P" else image.convert(mode)
        yield f"pillow-predictor-{mode}-{compression}", encoded(image, "TIFF", compression=compression, tiffinfo={317: 2})
        yield f"pillow-big-{mode}-{compression}", encoded(image, "TIFF", compression=compression, big_tiff=True)
    yield from tiles_by_lzw(tiff)
    for number, order in itertools.product(range(11), "<>"):
        tags = {258: [8] * 3, 259: [1], 262: [2], 277: [3], 278: [18], 274: [number]}
        yield f"orientation-{number}-{order}", tiff([samples_of(8, 18, 31, 3).astype("u1").tobytes()], (31, 18), tags, order)


def lzw(data):
    """The codes of LZW in a TIFF, the table cleared before its codes grow to 10 bits."""
    codes = [code for first in range(0, len(data), 200) for code in (256, *data[first : first + 200])] + [257]
    bits = "".join(f"{code:09b}" for code in codes)
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


def tiles_by_lzw(tiff):
    """Tiles whose last column or row reaches beyond the image, by one pixel or by nearly all."""
    for (width, height), count in itertools.product([(31, 27), (17, 17), (16, 31), (3, 2)], (1, 3)):
        samples = samples_of(8, height, width, count).astype("u1")
        padded = np.pad(samples, ((0, -height % 16), (0, -width % 16), (0, 0)))
        parts = [lzw(padded[y : y + 16, x : x + 16].tobytes()) for y in range(0, height, 16) for x in range(0, width, 16)]
        tags = {258: [8] * count, 259: [5], 262: [{1: 1, 3: 2}[count]], 277: [count]}
        yield f"tiles-lzw-{count}-{width}x{height}", tiff(parts, (width, height), tags, big_parts=(16, 16))


def tags_of_their_own(tiff):
    """What a directory may leave out, or say without need."""
    grey = samples_of(8, 9, 16, 1).astype("u1").tobytes()
    tags = {258: [8], 259: [1], 262: [1], 277: [1], 278: [9]}
    without = lambda tag: {key: value for key, value in tags.items() if key != tag}
    for name, kept in {"rows": without(278), "samples": without(277), "compression": without(259)}.items():
        yield f"without-{name}", tiff([grey], (16, 9), kept)
    yield "without-bits", tiff([grey[:18]], (16, 9), without(258))
    yield "refused-without-meaning", tiff([grey], (16, 9), without(262))
    for name, more in {"rows": {278: [65535]}, "fill": {266: [1]}, "format": {339: [1]}, "predictor": {317: [2]}}.items():
        yield f"with-{name}", tiff([grey], (16, 9), tags | more)
    yield "short", tiff([grey[:-20]], (16, 9), tags)
    yield "refused-float-predictor", tiff([zlib.compress(bytes(576))], (16, 9), tags | {258: [32], 259: [8], 317: [3], 339: [3]})


def gif(screen, frame, numbers, **options):
    """A GIF of one frame of 7 bits, whose codes are not compressed."""
    shared, own = options.get("shared"), options.get("own")
    body = b"GIF" + options.get("version", b"89a") + struct.pack("<HH", *screen)
    body += bytes([0x86 if shared else 0, options.get("background", 0), 0]) + (shared or b"")
    if (transparent := options.get("transparent")) is not None:
        body += b"!\xf9\x04\x01\0\0" + bytes([transparent]) + b"\0"
    flags = (0x40 if options.get("interlaced") else 0) | (0x86 if own else 0)
    body += b"," + struct.pack("<HHHH", *frame) + bytes([flags]) + (own or b"")
    clear, end = 128, 129
    # The table is cleared before its codes grow to 9 bits.
    parts = [[clear, *numbers[first : first + 100]] for first in range(0, len(numbers), 100)]
    data = bytes([*itertools.chain(*parts), end])
    blocks = b"".join(bytes([len(part)]) + part for part in (data[at : at + 255] for at in range(0, len(data), 255)))
    return body + b"\x07" + blocks + b"\0;"


FRAMES = [
    ((20, 20), (0, 0, 20, 20)),
    ((20, 20), (5, 6, 10, 8)),
    ((20, 20), (15, 15, 10, 10)),
    ((10, 10), (0, 0, 20, 20)),
    ((0, 0), (0, 0, 12, 9)),
    ((0, 20), (2, 3, 9, 9)),
    ((31, 31), (30, 30, 1, 1)),
]


def gifs():
    shared, own = (samples_of(8, 1, 128, 3, seed).astype("u1").tobytes() for seed in (5, 9))
    for at, (screen, frame) in enumerate(FRAMES):
        numbers = samples_of(7, frame[3], frame[2], 1).reshape(-1).tolist()
        for transparent, local, interlaced, version in itertools.product((None, 0, 127), (None, own), (False, True), (b"87a", b"89a")):
            options = {"transparent": transparent, "own": local, "interlaced": interlaced, "version": version}
            name = f"frame-{at}-t{transparent}-l{local is not None:d}-i{interlaced:d}-{version.decode()}"
            yield name, gif(screen, frame, numbers, shared=shared, background=3, **options)
        for transparent in (None, 5):
            yield f"frame-{at}-no-palette-t{transparent}", gif(screen, frame, numbers, transparent=transparent)


def bmp(size, kind, data, palette=b"", masks=b"", header=40, fields=b""):
    """A BMP of these bytes; kind is its bits and its compression."""
    start = 14 + header + len(masks) + len(palette)
    head = struct.pack("<IiiHHIIiiII", header, *size, 1, *kind, len(data), 2835, 2835, 0, 0) + fields
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + head + masks + palette + data


MASKS_32 = {"rgb": (0xFF0000, 0xFF00, 0xFF), "high": (0xFF000000, 0xFF0000, 0xFF00)}
MASKS_16 = {"565": (0xF800, 0x7E0, 0x1F), "555": (0x7C00, 0x3E0, 0x1F)}
RUNS = {
    "runs": ((9, 2), [4, 1, 5, 2, 0, 0, 9, 3, 0, 1]),
    "literals": ((9, 2), [0, 5, 1, 2, 3, 4, 5, 0, 4, 7, 0, 0, 0, 9, *range(1, 10), 0, 0, 1]),
    "early-ends": ((9, 3), [4, 1, 0, 0, 0, 0, 9, 2, 0, 1]),
    "long": ((9, 2), [20, 1, 0, 0, 9, 2, 0, 1]),
    "skips": ((9, 3), [2, 7, 0, 2, 3, 1, 3, 9, 0, 0, 9, 4, 0, 1]),
    "no-end": ((9, 2), [9, 7, 0, 0, 9, 2]),
    "missing-rows": ((9, 3), [9, 7, 0, 0, 4, 2, 0, 1]),
    "cut": ((9, 3), [9, 7, 0, 0, 4]),
}


def bmps():
    palette = samples_of(8, 1, 256, 4).astype("u1")[0]
    palette[:, 3] = 0
    for (name, (size, runs)), (width, height) in itertools.product(RUNS.items(), ((1, 1), (1, -1))):
        size = (size[0] * width, size[1] * height)
        yield f"runs8-{name}-{height}", bmp(size, (8, 1), bytes(runs), palette.tobytes())
        yield f"runs4-{name}-{height}", bmp(size, (4, 2), bytes(runs), palette[:16].tobytes())
    wide = samples_of(32, 7, 9, 1).astype("<u4").tobytes()
    for name, masks in MASKS_32.items():
        yield f"masks-32-{name}", bmp((9, 7), (32, 3), wide, masks=struct.pack("<III", *masks))
    rows = b"".join(row.astype("<u2").tobytes() + bytes(2) for row in samples_of(16, 7, 9, 1)[..., 0])
    for name, masks in MASKS_16.items():
        yield f"masks-16-{name}", bmp((9, 7), (16, 3), rows, masks=struct.pack("<III", *masks))
    for header, alpha, compression in itertools.product((52, 56, 108, 124), (0, 0xFF000000), (0, 3)):
        fields = (struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, alpha) + bytes(68))[: header - 40]
        name = f"header{header}-a{alpha > 0:d}-c{compression}"
        yield name, bmp((9, 7), (32, compression), wide, header=header, fields=fields)
    data = samples_of(8, 7, 28, 1).astype("u1").tobytes()
    for name, size, body in (("top-down", (9, -7), data), ("mirrored", (-9, 7), data), ("short", (9, 7), data[:-10]), ("long", (9, 7), data + b"more")):
        yield f"rows-{name}", bmp(size, (24, 0), body)


def pngs(chunk):
    """Chunks that say nothing of the pixels, and pixel data in many chunks or behind an empty one."""
    body = encoded(draw(31, 18, 4), "PNG")
    at, end = body.index(b"IDAT") - 4, body.index(b"IEND") - 4
    said = {
        b"gAMA": struct.pack(">I", 45455),
        b"bKGD": struct.pack(">HHH", 1, 2, 3),
        b"sRGB": b"\0",
        b"sBIT": b"\5\5\5",
        b"pHYs": struct.pack(">IIB", 1, 2, 1),
        b"abCd": b"xyz",
    }
    for name, payload in said.items():
        yield f"chunk-{name.decode()}", body[:at] + chunk(name, payload) + body[at:]
    data = body[at + 8 : end - 4]
    yield "many-chunks", body[:at] + b"".join(chunk(b"IDAT", data[first : first + 37]) for first in range(0, len(data), 37)) + body[end:]
    yield "empty-chunk", body[:at] + chunk(b"IDAT", b"") + body[at:]
    yield "more-behind", body + b"more" * 50


def damaged(chunk):
    """Files that Pillow reads, and whose pixels nobody can vouch for."""
    body = encoded(draw(31, 18, 4), "PNG")
    at, end = body.index(b"IDAT") - 4, body.index(b"IEND") - 4
    yield "png/check-sum", body[: end - 1] + bytes([body[end - 1] ^ 0xFF]) + body[end:]
    yield "png/critical-chunk", body[:at] + chunk(b"ABCD", b"x") + body[at:]
    palette = encoded(Image.open(io.BytesIO(body)).quantize(16), "PNG")
    start, stop = palette.index(b"PLTE") - 4, palette.index(b"IDAT") - 4
    yield "png/no-palette", palette[:start] + palette[stop:]
