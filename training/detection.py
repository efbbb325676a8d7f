"""Figures of a detector: how well scores tell defective images, and maps the pixels of defects.

AUROC with intervals by resampling groups of images, since images of one part are not independent; AUPRO, the mean overlap
of each connected defect with what lies above a threshold, averaged over the false-positive rates of pixels up to 0.3
(Bergmann et al., The MVTec anomaly detection dataset, 2021); recall at false-alarm rates.
"""

import numpy as np
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from training.scores import resized

RESAMPLES = 400
INTERVAL = (2.5, 97.5)
RATES = (0.01, 0.05)
LIMIT = 0.3
# The thresholds of the curve of overlaps, by false-positive rate.
STEPS = 300


def image_figures(test, scores):
    """AUROC of all types together and of each, and recalls, with 95 % intervals."""
    truth, kinds = test.truth, np.array(test.types)
    figures = {"image_auroc": auroc(truth, scores), "image_auroc_interval": interval(test, scores, auroc)}
    by_type = {kind: ~truth | (kinds == kind) for kind in sorted(set(kinds[truth]))}
    figures["image_auroc_by_type"] = {kind: auroc(truth[chosen], scores[chosen]) for kind, chosen in by_type.items()}
    for rate in RATES:
        at = lambda truth, scores, rate=rate: recall_at(truth, scores, rate)
        name = f"recall_at_{rate:g}"
        figures[name] = at(truth, scores)
        figures[f"{name}_interval"] = interval(test, scores, at)
    return figures


def auroc(truth, scores):
    return float(roc_auc_score(truth, scores))


def recall_at(truth, scores, rate):
    """The share of defective images above the smallest score that at most this share of the normal ones exceeds."""
    normal = np.sort(scores[~truth])
    threshold = normal[len(normal) - 1 - int(rate * len(normal))]
    return float((scores[truth] > threshold).mean())


def interval(test, scores, figure, seed=0):
    """The 95 % interval of a figure by drawing groups with replacement."""
    rng, groups = np.random.default_rng(seed), [np.flatnonzero(test.groups == group) for group in np.unique(test.groups)]
    found = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([groups[g] for g in rng.integers(len(groups), size=len(groups))])
        truth = test.truth[drawn]
        if 0 < truth.sum() < len(truth):
            found.append(figure(truth, scores[drawn]))
    return [float(v) for v in np.percentile(found, INTERVAL)]


def pixel_figures(test, maps):
    """Pixel AUROC and AUPRO of maps [n, h, w], each brought to the size of its image by bilinear interpolation. Defective
    images without a mask are left out."""
    levels = thresholds(maps)
    normal, defective, overlaps = np.zeros(len(levels) + 1), np.zeros(len(levels) + 1), []
    for map_, mask, kind, size in zip(maps, test.masks, test.types, test.sizes):
        if kind and mask is None:
            continue
        places = np.searchsorted(levels, resized(map_, size))
        inside = mask if mask is not None else np.zeros(places.shape, bool)
        normal += np.bincount(places[~inside], minlength=len(levels) + 1)
        defective += np.bincount(places[inside], minlength=len(levels) + 1)
        parts, count = ndimage.label(inside, np.ones((3, 3)))
        for part in range(1, count + 1):
            overlaps.append(above(np.bincount(places[parts == part], minlength=len(levels) + 1)))
    false, true = above(normal), above(defective)
    return {"pixel_auroc": area(false, true, 1), "aupro_to_0.3": area(false, np.mean(overlaps, 0), LIMIT) / LIMIT}


def thresholds(maps, count=4000):
    """Levels that part the values of the maps into parts of much the same size, finer where values are high."""
    shares = 1 - np.geomspace(1, 1e-7, count)
    return np.unique(np.concatenate([np.quantile(maps, shares[::2]), np.quantile(maps, np.linspace(0, 1, count // 2))]))


def above(counts):
    """The share of values above each level, from none to all."""
    return np.concatenate([[0], np.cumsum(counts[::-1])]) / counts.sum()


def area(false, true, limit):
    """The area under a curve of true over false rates up to a false rate."""
    inside = false <= limit
    x, y = np.append(false[inside], limit), np.append(true[inside], np.interp(limit, false, true))
    return float(np.trapezoid(y, x))


def p_values(normal, scores):
    """(1 + the number of normal scores that are no smaller) / (their number + 1)."""
    return (1 + len(normal) - np.searchsorted(np.sort(normal), scores, "left")) / (len(normal) + 1)


def combined(normal, scores):
    """The sum of -log p over several scores of each image; `normal` and `scores` hold one array for each score."""
    return sum(-np.log(p_values(np.asarray(n), np.asarray(s))) for n, s in zip(normal, scores))
