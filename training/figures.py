"""The figures of a model folder on a test set, family by family.

A set is (u8 images [n, channels, h, w], labels i64 [n]).
"""

import numpy as np
import torch
from skimage.metrics import structural_similarity
from skimage.restoration import denoise_nl_means
from sklearn.metrics import roc_auc_score

from training import metrics, quantise
from training.served import random_masks, unit

SIGMAS = (15, 25, 50)
NEIGHBOURS = 10
HIDDEN_SHARE = 0.75


def measure(model, test, train, raw):
    """All figures of one model; `raw` are those of plain pixels, to stand beside embeddings."""
    figures = {}
    if model.reconstructs():
        figures |= reconstruction_figures(model, test[0])
    if model.has("masked"):
        figures |= inpainting_figures(model, test[0])
    if model.family == "variational":
        figures |= variational_figures(model, test[0])
    if model.manifest.get("denoises") and model.has("autoencoder"):
        figures |= denoising_figures(model, test[0])
    if "embedding" in model.manifest:
        figures |= embedding_figures(model, test, train) | raw
    for variant, found in quantise.figures(model.folder, test[0]).items():
        figures |= {f"{variant}_{key}": value for key, value in found.items()}
    return {k: rounded(v) for k, v in figures.items()}


def rounded(value):
    if isinstance(value, list):
        return [round(v, 6) for v in value]
    return value if isinstance(value, int) else round(value, 6)


def psnr(images_a, images_b):
    """Mean over images of each one's PSNR, in dB, for values in 0..1."""
    mse = np.square(images_a - images_b).mean((1, 2, 3))
    return float((-10 * np.log10(np.maximum(mse, 1e-12))).mean())


def ssim(images_a, images_b):
    pairs = zip(images_a.transpose(0, 2, 3, 1), images_b.transpose(0, 2, 3, 1))
    return float(np.mean([structural_similarity(a, b, data_range=1, channel_axis=-1) for a, b in pairs]))


def reconstruction_figures(model, data):
    original, back = unit(data), model.reconstruct(data)
    return {
        "reconstruction_mse": float(np.square(original - back).mean()),
        "reconstruction_psnr_db": psnr(original, back),
        "reconstruction_ssim": ssim(original, back),
    }


def inpainting_figures(model, data):
    """Error on hidden pixels alone, a seeded mask for each image."""
    mask = random_masks(len(data), model.patches, HIDDEN_SHARE)
    squares = np.square(unit(data) - model.complete(data, mask)) * model.pixels_of(mask)
    mse = squares.mean((1, 2, 3)) / HIDDEN_SHARE
    return {
        "inpainting_hidden_share": HIDDEN_SHARE,
        "inpainting_mse": float(mse.mean()),
        "inpainting_psnr_db": float((-10 * np.log10(np.maximum(mse, 1e-12))).mean()),
    }


def variational_figures(model, data):
    mean, log_variance = map(torch.from_numpy, model.encode(data, "mean", "log_variance"))
    per_unit = metrics.kl_to_prior(mean, log_variance).mean(0)
    return {
        "active_units": metrics.active_units(mean),
        "kl_nats": float(per_unit.sum()),
        "kl_per_dimension_nats": per_unit.tolist(),
        "mutual_information_nats": metrics.mutual_information(mean, log_variance),
    }


def noisy_copy(data, sigma):
    """Gaussian noise of sigma (of 255), cut to 0..255 and rounded; the seed is the sigma."""
    noise = np.random.default_rng(sigma).standard_normal(data.shape, dtype=np.float32) * sigma
    return (data + noise).clip(0, 255).round().astype(np.uint8)


def non_local_means(data, sigma):
    """scikit-image's non-local means, given the true sigma (of 255)."""
    sigma = sigma / 255
    settings = {"patch_size": 5, "patch_distance": 6, "h": 0.8 * sigma, "sigma": sigma, "fast_mode": False}
    restored = [denoise_nl_means(p, channel_axis=-1, **settings) for p in unit(data).transpose(0, 2, 3, 1)]
    # of grey images it leaves the channel out
    n, channels, high, wide = data.shape
    return np.stack(restored).reshape(n, high, wide, channels).transpose(0, 3, 1, 2).clip(0, 1)


def denoising_figures(model, data):
    figures = {}
    for sigma in SIGMAS:
        noisy = noisy_copy(data, sigma)
        figures[f"noisy_psnr_db_sigma_{sigma}"] = psnr(unit(data), unit(noisy))
        figures[f"non_local_means_psnr_db_sigma_{sigma}"] = psnr(unit(data), non_local_means(noisy, sigma))
        figures[f"denoised_psnr_db_sigma_{sigma}"] = psnr(unit(data), model.denoise(noisy))
    return figures


def embedding_figures(model, test, train):
    """The figures by which neighbours, a probe and clusters repeat the classes; with one class, the dimension alone."""
    (data, labels), (bank_data, bank_labels) = test, train
    vectors, bank = model.embed(data), model.embed(bank_data)
    dimension = {"embedding_dim": vectors.shape[1]}
    if len(torch.cat([labels, bank_labels]).unique()) < 2:
        return dimension
    return dimension | {
        "knn_accuracy": metrics.knn_accuracy(vectors, labels, bank, bank_labels),
        "linear_probe_accuracy": metrics.linear_probe_accuracy(vectors, labels, bank, bank_labels),
        "cluster_adjusted_rand_index": metrics.cluster_agreement(vectors, labels),
        f"neighbours_same_class_share_at_{NEIGHBOURS}": metrics.same_class_share(
            vectors, labels, bank, bank_labels, NEIGHBOURS, "cosine"
        ),
    }


def anomaly_figures(model, good, bad, bank):
    """AUROC of telling bad images from good ones: by the squared error of the reconstruction, its mean over the image
    and its largest mean over 8 x 8 pixels, and by the distance to the nearest embedding of the training images."""
    data, truth = np.concatenate([good, bad]), np.repeat([0, 1], [len(good), len(bad)])
    scores = {}
    if model.reconstructs():
        squares = np.square(unit(data) - model.reconstruct(data)).mean(1)
        n, high, wide = squares.shape
        blocks = squares.reshape(n, high // 8, 8, wide // 8, 8).mean((2, 4))
        scores |= {"mse": squares.mean((1, 2)), "largest_mse": blocks.max((1, 2))}
    if "embedding" in model.manifest:
        scores["nearest"] = torch.cdist(model.embed(data), model.embed(bank)).min(1).values.numpy()
    return {f"anomaly_auroc_by_{key}": rounded(float(roc_auc_score(truth, score))) for key, score in scores.items()}


def raw_pixel_figures(test, train):
    """The same-class share of neighbours by plain pixels (Euclidean distance), to compare with."""
    (data, labels), (bank_data, bank_labels) = test, train
    flat = lambda d: torch.from_numpy(unit(d).reshape(len(d), -1))
    share = metrics.same_class_share(flat(data), labels, flat(bank_data), bank_labels, NEIGHBOURS, "euclid")
    return {f"raw_pixel_neighbours_same_class_share_at_{NEIGHBOURS}": share}
