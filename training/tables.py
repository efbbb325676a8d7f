"""`models/README.md`, made from what was measured: every `metrics.json`, and the comparison's records."""

import json

import numpy as np

from training import ablation, combine, compare
from training.figures import NEIGHBOURS, SIGMAS

INTRODUCTION = """# Models

Trained without labels by the recipes in `training/recipes`, those called `tile-…` on surfaces of magnetic tiles, the
others on CIFAR-10. Each folder has a card, the figures (`metrics.json`) and how the weights came about with the
learning curve (`training.json`).

Every figure below was computed from the ONNX files on the 5,000 images of `cifar10/val.tar`, by
`python -m training.evaluate`, which also writes this file; where another set is meant, it is named. The
images are re-encoded as JPEG, so figures differ slightly from those on the original PNG pixels. No
figure is rounded in the model's favour.

Data: Alex Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; Yibin Huang, Congying Qiu, Kui
Yuan, Surface defect saliency of magnetic tile, 2018.
"""

EMBEDDINGS = {
    "embedding_dim": ("numbers", "{:d}"),
    "linear_probe_accuracy": ("linear probe", "{:.3f}"),
    "knn_accuracy": ("kNN", "{:.3f}"),
    "cluster_adjusted_rand_index": ("ARI", "{:.3f}"),
    f"neighbours_same_class_share_at_{NEIGHBOURS}": (f"same class among {NEIGHBOURS} nearest", "{:.3f}"),
    f"raw_pixel_neighbours_same_class_share_at_{NEIGHBOURS}": ("the same by raw pixels", "{:.3f}"),
}

EMBEDDINGS_TEXT = """
Linear probe: logistic regression on standardised embeddings of the 50,000 training images. kNN:
accuracy of the 200 nearest training images by cosine, weights exp(cosine / 0.1). ARI: adjusted Rand index of
k-means with ten clusters on the embeddings. Raw pixels are compared by Euclidean distance.
"""

RECONSTRUCTIONS = {
    "reconstruction_mse": ("MSE", "{:.5f}"),
    "reconstruction_psnr_db": ("PSNR, dB", "{:.2f}"),
    "reconstruction_ssim": ("SSIM", "{:.3f}"),
    "inpainting_mse": ("hidden MSE", "{:.5f}"),
    "inpainting_psnr_db": ("hidden PSNR, dB", "{:.2f}"),
}

RECONSTRUCTIONS_TEXT = """
Values in 0 to 1; PSNR and SSIM averaged over images. A variational model reconstructs from the mean. A
masked autoencoder sees a quarter of the patches at a time: its reconstruction of a patch is the mean of the
predictions under the three of four complementary masks that hide it. Hidden: error on the hidden pixels
alone, 75 % of the patches hidden by a seeded mask.
"""

VARIATIONAL = {
    "active_units": ("active units of 64", "{:d}"),
    "kl_nats": ("KL, nats", "{:.2f}"),
    "mutual_information_nats": ("I(x; z), nats", "{:.2f}"),
}

VARIATIONAL_TEXT = """
`crvae-cifar10` and `vae-cifar10` have the same network, likelihood (Gaussian of variance 1 on pixels in
0 to 1), β, latents, optimiser, epochs and seed; the contrastive term alone differs. Active: the variance of a
unit's mean over the images is above 0.01. I(x; z) is the difference between the mean KL and the KL
of the aggregate posterior, estimated with one sample an image; with 5,000 images it cannot be more than
log 5000 = 8.517, and tells little where it comes near that. KL of each unit: `metrics.json`.
"""

ABLATION_TEXT = """
Two pairs, each alike but for the contrastive term, whose weight γ grows with β. The pair at the second β is not
served. Made by `python -m training.ablation`; records: `training/ablation.json`.
"""

VARIANTS = {
    "int8_cosine_to_f32_mean": ("cosine to f32, mean", "{:.4f}"),
    "int8_cosine_to_f32_min": ("least", "{:.4f}"),
    "int8_speed_to_f32_one_thread": ("speed beside f32", "{:.2f}"),
}

VARIANTS_TEXT = """
Served as `MODEL:int8`, with a space key of its own: 8-bit weights in the products of the encoder. Speed: the
median time of a batch of 8 in f32 over that in int8, by turns in one thread of the machine that measured the
rest.
"""

DENOISING_TEXT = """
Gaussian noise, seeded; the noisy image is cut to 0…255 and rounded, as a client would send it. Non-local
means is scikit-image's `denoise_nl_means` on the same images, given the true σ: patches of 5, distance 6,
h = 0.8 σ, not the fast mode.
"""

DETECTION_TEXT = """
On `magnetic-tile/val.tar`, {evaluated}. Training took defect-free tiles alone. Score: metric, pooling and smoothing; of
models whose graph gives none, chosen by defects drawn on training tiles that were not trained on. Intervals: 95 %, by
drawing tiles with replacement, since frames of one tile are not independent; there are {groups} tiles and frames of them.
AUPRO: the mean overlap with each connected defect, to a false-positive rate of pixels of 0.3. Recall: at that
share of false alarms among the defect-free images of the test set.
{combination}
Published on the same set, by other splits: 0.766 the best that was trained from scratch (GANomaly), 0.98 to 0.99 with
features of ImageNet.
"""

COMBINATION_TEXT = """
Together: the sum of −log p over {scores}, each p beside {beside}, made by `{command}`.
"""

COMPARISON_TEXT = """
The same encoder, views, batch, optimiser, schedule and seed, {steps} steps each, nothing tuned for a
single method; the recipes differ in loss and projection head. kNN accuracy on the 2,000 validation
images, against 10,000 others. Made by `python -m training.compare`; records: `training/comparison.json`.
So few steps favour methods that start fast.
"""


def shown(key, value, pattern):
    """A figure as text, never rounded in the model's favour: what is better small, and what the model
    is compared with, is rounded up; all else down."""
    if isinstance(value, int):
        return pattern.format(value)
    scale = 10 ** int(pattern[pattern.index(".") + 1])
    cut = np.ceil if key.endswith("mse") or key.startswith(("raw_", "noisy_", "non_local_")) else np.floor
    return pattern.format(cut(value * scale) / scale)


def cell(figures, key, pattern):
    return shown(key, figures[key], pattern) if key in figures else "–"


def table(header, rows):
    line = lambda cells: "| " + " | ".join(cells) + " |\n"
    return line(header) + line(["---"] * len(header)) + "".join(line(r) for r in rows)


def section(title, found, columns, needed, text):
    """A table of the models that have the figure `needed`."""
    having = {n: f for n, f in found.items() if needed in f}
    rows = [[f"`{n}`"] + [cell(f, k, p) for k, (_, p) in columns.items()] for n, f in having.items()]
    if not rows:
        return ""
    return f"\n## {title}\n\n" + table(["model"] + [name for name, _ in columns.values()], rows) + text


def denoising(found):
    rows = []
    for name, figures in found.items():
        if f"denoised_psnr_db_sigma_{SIGMAS[0]}" in figures:
            kinds = {"noisy": "noisy", "non-local means": "non_local_means", f"`{name}`": "denoised"}
            for label, kind in kinds.items():
                keys = [f"{kind}_psnr_db_sigma_{s}" for s in SIGMAS]
                rows.append([label] + [cell(figures, key, "{:.2f}") for key in keys])
    if not rows:
        return ""
    header = ["", *(f"σ = {s} of 255" for s in SIGMAS)]
    return "\n## Denoising: PSNR in dB\n\n" + table(header, rows) + DENOISING_TEXT


def comparison():
    records = compare.records()
    if not records:
        return ""
    rows = []
    for name, record in records.items():
        last = record["curve"][-1]
        rows.append([f"`{name}`", str(record["steps"]), shown("", last["validation_knn_accuracy"], "{:.3f}")])
    steps = next(iter(records.values()))["steps"]
    return (
        "\n## Contrastive methods side by side\n\n"
        + table(["recipe", "steps", "kNN, validation"], rows)
        + COMPARISON_TEXT.format(steps=steps)
    )


def pairs():
    """The variational models and their ablations, at every beta they were trained with."""
    columns = {"active_units": "{:d}", "kl_nats": "{:.2f}", "linear_probe_accuracy": "{:.3f}"}
    columns |= {"knn_accuracy": "{:.3f}", "reconstruction_psnr_db": "{:.2f}"}
    rows = [
        [f"`{name}`", f"{record['beta']:g}", f"{record['gamma']:g}"] + [cell(record, k, p) for k, p in columns.items()]
        for name, record in ablation.records().items()
    ]
    if not rows:
        return ""
    header = ["recipe", "β", "γ", "active units of 64", "KL, nats", "linear probe", "kNN", "PSNR, dB"]
    return "\n## The ablation of CR-VAE's contrastive term at two values of β\n\n" + table(header, rows) + ABLATION_TEXT


def detection(records):
    """The models that find defects, all figures and those of each type of defect."""
    found = {n: r["figures"] for n, r in records.items() if "image_auroc_by_type" in r["figures"]}
    if not found:
        return ""
    together = json.loads(combine.RECORD.read_text()) if combine.RECORD.exists() else None
    rows = {f"`{n}`": f for n, f in found.items()} | ({"together": together["figures"]} if together else {})
    with_interval = lambda f, key: "{} ({} to {})".format(*(shown("", v, "{:.3f}") for v in (f[key], *f[f"{key}_interval"])))
    kinds = sorted({kind for f in found.values() for kind in f["image_auroc_by_type"]})
    main = [
        [n, f.get("score", "sum of −log p"), with_interval(f, "image_auroc")]
        + [cell(f, key, "{:.3f}") for key in ("pixel_auroc", "aupro_to_0.3")]
        + [with_interval(f, f"recall_at_{rate}") for rate in ("0.01", "0.05")]
        for n, f in rows.items()
    ]
    types = [[n] + [cell(f["image_auroc_by_type"], kind, "{:.3f}") for kind in kinds] for n, f in rows.items()]
    header = ["model", "score", "image AUROC", "pixel AUROC", "AUPRO", "recall at 1 %", "recall at 5 %"]
    combination = COMBINATION_TEXT.format(
        scores=", ".join(f"`{s}`" for s in together["scores"]), beside=together["p_values_beside"], command=together["command"]
    ) if together else ""
    some = next(r for n, r in records.items() if n in found)
    text = DETECTION_TEXT.format(evaluated=some["evaluated_on"].split(", ", 1)[1], groups=some["groups"], combination=combination)
    return "\n## Finding defects\n\n" + table(header, main) + "\n" + table(["image AUROC by type", *kinds], types) + text


def write(models):
    """models/README.md from every metrics.json there is. Models of other images have no place in it."""
    records = {p.parent.name: json.loads(p.read_text()) for p in sorted(models.glob("*/metrics.json"))}
    found = {name: record["figures"] for name, record in records.items() if record["evaluated_on"].startswith("cifar10/")}
    text = INTRODUCTION + detection({n: r for n, r in records.items() if r["evaluated_on"].startswith("magnetic-tile/")})
    text += section("Embeddings", found, EMBEDDINGS, "knn_accuracy", EMBEDDINGS_TEXT)
    text += section("Reconstructions", found, RECONSTRUCTIONS, "reconstruction_mse", RECONSTRUCTIONS_TEXT)
    text += section("Variational models", found, VARIATIONAL, "active_units", VARIATIONAL_TEXT)
    text += pairs()
    text += denoising(found)
    text += section("8-bit variants", found, VARIANTS, "int8_cosine_to_f32_mean", VARIANTS_TEXT)
    text += comparison()
    (models / "README.md").write_text(text)
