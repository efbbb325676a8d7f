"""Anomaly scores written out with numpy, by the formulas of docs/MODELS.md."""

import numpy as np
from PIL import Image


def halved(grey):
    """The mean of each two by two pixels; an odd last row or column is left out."""
    high, wide = (side // 2 for side in grey.shape)
    return grey[: 2 * high, : 2 * wide].reshape(high, 2, wide, 2).mean(axis=(1, 3))


def gradients(grey):
    padded = np.pad(grey, 1, mode="edge")
    window = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    across = (window[..., 2] - window[..., 0]).sum(axis=-1) / 3
    down = (window[..., 2, :] - window[..., 0, :]).sum(axis=-1) / 3
    return np.hypot(across, down)


def gms(a, b):
    """1 - gradient-magnitude similarity at each pixel, mean over the scales."""
    c = 170 / 255**2
    a, b = a.mean(axis=2), b.mean(axis=2)
    rows, columns = np.indices(a.shape)
    maps = []
    for scale in range(4):
        one, two = gradients(a), gradients(b)
        deviation = 1 - (2 * one * two + c) / (one**2 + two**2 + c)
        high, wide = deviation.shape
        maps.append(deviation[np.minimum(rows >> scale, high - 1), np.minimum(columns >> scale, wide - 1)])
        if min(a.shape) < 8:
            break
        a, b = halved(a), halved(b)
    return np.mean(maps, axis=0)


MAPS = {
    "mse": lambda a, b: ((a - b) ** 2).mean(axis=2),
    "l1": lambda a, b: np.abs(a - b).mean(axis=2),
    "gms": gms,
}


def smoothed(values, sigma):
    """scipy.ndimage.gaussian_filter with its defaults."""
    if not sigma:
        return values
    radius = int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        width = [(0, 0), (0, 0)]
        width[axis] = (radius, radius)
        padded = np.pad(values, width, mode="symmetric")
        values = np.lib.stride_tricks.sliding_window_view(padded, len(kernel), axis=axis) @ kernel
    return values


def pooled(values, pooling):
    flat = np.sort(np.ravel(values))[::-1]
    match pooling:
        case "max":
            return flat[0]
        case "mean":
            return flat.mean()
        case _:
            share = float(pooling.removeprefix("top:"))
            return flat[: max(1, int(np.ceil(share * len(flat))))].mean()


def at_size(values, size):
    """The map at the size of an image, width first."""
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))


def sides(length, tile, overlap):
    """Where the tiles of one side begin, and the weights of each, which add up to 1 at every pixel."""
    tile = min(tile, length)
    more = -(-(length - tile) // (tile - overlap)) if length > tile else 0
    starts = [at * (length - tile) // max(more, 1) for at in range(more + 1)]
    window = np.sin(np.pi * (np.arange(tile) + 0.5) / tile) ** 2
    total = np.zeros(length)
    for start in starts:
        total[start : start + tile] += window
    return tile, [(start, window / total[start : start + tile]) for start in starts]


def stitched(image, tile, overlap, map_of):
    """The map of an image of overlapping tiles; `map_of` gives that of one tile, a Pillow image."""
    wide, columns = sides(image.width, tile, overlap)
    high, rows = sides(image.height, tile, overlap)
    whole = np.zeros((image.height, image.width))
    for top, down in rows:
        for left, across in columns:
            part = at_size(map_of(image.crop((left, top, left + wide, top + high))), (wide, high))
            whole[top : top + high, left : left + wide] += part * np.outer(down, across)
    return whole
