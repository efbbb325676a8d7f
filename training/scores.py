"""Scores and maps of a model folder by every metric, smoothing and pooling that the server knows, in NumPy and SciPy."""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.metrics import structural_similarity

# Of Xue et al., Gradient magnitude similarity deviation, 2014, for values in 0..1.
GMS_CONSTANT = 170 / 255**2
GMS_SCALES = 4
GMS_LEAST_SIDE = 8
PART = 50
# Draws of complementary masks that `hidden` averages over.
DRAWS = 4


@dataclass(frozen=True)
class Scoring:
    """How an image is scored, in the server's words: a metric, the deviation of the smoothing of its map in pixels, and a
    pooling: `max`, `mean`, `top:SHARE`, or `own`, which is the score that a graph gives beside its map."""

    metric: str
    sigma: float = 0.0
    pooling: str = "max"

    def __str__(self):
        return f"{self.metric} {self.pooling}" + (f" sigma={self.sigma:g}" if self.sigma else "")


def squared(original, other):
    return np.square(original - other).mean(1)


def absolute(original, other):
    return np.abs(original - other).mean(1)


def dissimilarity(original, other):
    """1 - structural similarity of each pixel, the mean over channels, by scikit-image's defaults."""
    pairs = [structural_similarity(a, b, data_range=1, channel_axis=0, full=True)[1] for a, b in zip(original, other)]
    return 1 - np.stack(pairs).mean(1)


def gradient_deviation(original, other):
    """1 - the similarity of the gradient magnitudes of grey images, the mean over the image and three halvings, [n, h, w]."""
    a, b = original.mean(1), other.mean(1)
    total, scales, shape = np.zeros_like(a), 0, a.shape[1:]
    for scale in range(GMS_SCALES):
        first, second = gradients(a), gradients(b)
        deviation = 1 - (2 * first * second + GMS_CONSTANT) / (first**2 + second**2 + GMS_CONSTANT)
        rows, columns = (np.minimum(np.arange(n) >> scale, m - 1) for n, m in zip(shape, deviation.shape[1:]))
        total += deviation[:, rows][:, :, columns]
        scales += 1
        if min(a.shape[1:]) < GMS_LEAST_SIDE:
            break
        a, b = halved(a), halved(b)
    return total / scales


def gradients(images):
    """Magnitudes of the Prewitt operator divided by 3, edges repeated."""
    difference = lambda axis: ndimage.correlate1d(images, [-1, 0, 1], axis, mode="nearest")
    across, down = (ndimage.correlate1d(difference(axis), np.full(3, 1 / 3), 3 - axis, mode="nearest") for axis in (2, 1))
    return np.hypot(across, down)


def halved(images):
    high, wide = (side // 2 for side in images.shape[1:])
    return images[:, : 2 * high, : 2 * wide].reshape(-1, high, 2, wide, 2).mean((2, 4))


ERRORS = {"mse": squared, "l1": absolute, "ssim": dissimilarity, "gms": gradient_deviation}


def smoothed(maps, sigma):
    """Gaussian smoothing as the server's: SciPy's defaults, edges mirrored."""
    return ndimage.gaussian_filter(maps, (0, sigma, sigma)) if sigma else maps


def pooled(maps, pooling):
    """One number for each map [n, h, w]."""
    values = maps.reshape(len(maps), -1)
    if pooling == "max":
        return values.max(1)
    if pooling == "mean":
        return values.mean(1)
    count = max(1, int(np.ceil(float(pooling.removeprefix("top:")) * values.shape[1])))
    return np.partition(values, values.shape[1] - count, axis=1)[:, -count:].mean(1)


def maps_of(model, data, metric):
    """The map of each image by a metric, [n, h, w]."""
    return maps_by_metric(model, data, [metric])[metric]


def maps_by_metric(model, data, metrics):
    """The maps of several metrics, which share what the model makes of the images; with `graph`, its own scores as `own`."""
    parts = [maps_of_part(model, data[start : start + PART], metrics) for start in range(0, len(data), PART)]
    return {metric: np.concatenate([part[metric] for part in parts]) for metric in parts[0]}


def maps_of_part(model, data, metrics):
    found = {}
    if "graph" in metrics:
        found["own"], found["graph"] = model.detect(data)
    if "patch-knn" in metrics:
        found["patch-knn"] = patch_distances(model, data)
    errors = [metric for metric in metrics if metric in ERRORS]
    if errors:
        found |= error_maps(model, data, errors, [0])
    if "hidden" in metrics:
        found["hidden"] = error_maps(model, data, ["mse"], range(DRAWS))["mse"]
    return found


def error_maps(model, data, errors, draws):
    """The error of each pixel: of masked models the mean over the masks of these draws that hid it."""
    original, times = data.astype(np.float32) / 255, np.zeros(data.shape[2:], np.float32)
    totals = {error: np.zeros((len(data), *data.shape[2:]), np.float32) for error in errors}
    for where, other in (pair for draw in draws for pair in model.reconstructions(data, draw)):
        times += where
        for error, total in totals.items():
            total += ERRORS[error](original, other) * where
    return {error: total / times for error, total in totals.items()}


def patch_distances(model, data):
    """The mean distance of each patch to the nearest ones of the model's memory, at the model's size."""
    features, neighbours = model.encode(data, "latent")[0], model.manifest["memory"]["neighbours"]
    n, dim, high, wide = features.shape
    patches = features.transpose(0, 2, 3, 1).reshape(-1, dim)
    squares = np.square(model.memory).sum(1)
    parts = np.array_split(patches, max(1, len(patches) // 20_000))
    distances = np.concatenate([
        np.sqrt(np.maximum(np.square(part).sum(1)[:, None] + nearest(squares - 2 * part @ model.memory.T, neighbours), 0)).mean(1)
        for part in parts
    ]).reshape(n, high, wide)
    return np.stack([resized(distance, data.shape[:1:-1]) for distance in distances])


def nearest(distances, count):
    """The smallest of each row, so many of them."""
    return np.partition(distances, count - 1, axis=1)[:, :count]


def resized(map_, size):
    """A map at another size, (width, height), by bilinear interpolation."""
    image = Image.fromarray(map_.astype(np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def scores_of(model, data, scoring):
    """The score of each image, [n]."""
    if scoring.pooling == "own":
        return model.detect(data)[0]
    return pooled(smoothed(maps_of(model, data, scoring.metric), scoring.sigma), scoring.pooling)
