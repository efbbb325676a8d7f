"""Measure the ONNX files of `models/` on the validation set: `python -m training.evaluate [NAME ...]`.

Writes `metrics.json` into each model folder and the table in `models/README.md`. `--sheets DIR` also
writes contact sheets to look at; they show pictures of the data set and are not for committing.
"""

import argparse
import json
import tomllib
from datetime import date
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image
from skimage.metrics import structural_similarity

from training import metrics, pictures

BATCH = 250
SIGMAS = (15, 25, 50)
NEIGHBOURS = 10
NOTE = "pictures re-encoded as JPEG: figures differ slightly from those on the original PNG pixels"


class Model:
    """A model folder: its manifest, and its graphs by role."""

    def __init__(self, folder):
        self.folder = folder
        self.manifest = tomllib.loads((folder / "model.toml").read_text())
        self.sessions = {
            role: onnxruntime.InferenceSession(folder / graph["file"], providers=["CPUExecutionProvider"])
            for role, graph in self.manifest["graphs"].items()
        }

    def has(self, role):
        return role in self.sessions

    def run(self, role, inputs, output):
        """Runs one graph in batches; `inputs` maps roles to arrays, `output` is a role."""
        graph, session = self.manifest["graphs"][role], self.sessions[role]
        count = len(next(iter(inputs.values())))
        parts = []
        for start in range(0, count, BATCH):
            feed = {graph["inputs"][r]: v[start : start + BATCH] for r, v in inputs.items()}
            parts.append(session.run([graph["outputs"][output]], feed)[0])
        return np.concatenate(parts)

    def tensors(self, data):
        return pictures.normalise(data, self.manifest["preprocess"])

    def embed(self, data):
        """Served embeddings of u8 pictures [n, 3, h, w]: f32 [n, dim]."""
        settings = self.manifest["embedding"]
        if settings["pooling"] != "none":
            raise ValueError("no model trained here pools its output")
        latent = self.run("encoder", {"image": self.tensors(data)}, settings["output"])
        vectors = torch.from_numpy(latent.reshape(len(latent), -1))
        return torch.nn.functional.normalize(vectors, dim=1) if settings["normalize"] else vectors

    def reconstruct(self, data):
        """Pictures in 0..1 that come back from the latent."""
        latent = self.run("encoder", {"image": self.tensors(data)}, "latent")
        return self.run("decoder", {"latent": latent}, "image").clip(0, 1)

    def denoise(self, data):
        return self.run("autoencoder", {"image": self.tensors(data)}, "image").clip(0, 1)


def unit(data):
    return data.astype(np.float32) / 255


def psnr(pictures_a, pictures_b):
    """Mean over pictures of each one's PSNR, in dB, for values in 0..1."""
    mse = np.square(pictures_a - pictures_b).mean((1, 2, 3))
    return float((-10 * np.log10(np.maximum(mse, 1e-12))).mean())


def ssim(pictures_a, pictures_b):
    pairs = zip(pictures_a.transpose(0, 2, 3, 1), pictures_b.transpose(0, 2, 3, 1))
    return float(np.mean([structural_similarity(a, b, data_range=1, channel_axis=-1) for a, b in pairs]))


def noisy_copy(data, sigma):
    """Gaussian noise of sigma (of 255), cut to 0..255 and rounded; the seed is the sigma."""
    noise = np.random.default_rng(sigma).standard_normal(data.shape, dtype=np.float32) * sigma
    return (data + noise).clip(0, 255).round().astype(np.uint8)


def reconstruction_figures(model, data):
    original, back = unit(data), model.reconstruct(data)
    return {
        "reconstruction_mse": float(np.square(original - back).mean()),
        "reconstruction_psnr_db": psnr(original, back),
        "reconstruction_ssim": ssim(original, back),
    }


def denoising_figures(model, data):
    figures = {}
    for sigma in SIGMAS:
        noisy = noisy_copy(data, sigma)
        figures[f"noisy_psnr_db_sigma_{sigma}"] = psnr(unit(data), unit(noisy))
        figures[f"denoised_psnr_db_sigma_{sigma}"] = psnr(unit(data), model.denoise(noisy))
    return figures


def embedding_figures(model, val, train):
    (data, labels), (bank_data, bank_labels) = val, train
    vectors, bank = model.embed(data), model.embed(bank_data)
    return {
        "embedding_dim": vectors.shape[1],
        "knn_accuracy": metrics.knn_accuracy(vectors, labels, bank, bank_labels),
        "linear_probe_accuracy": metrics.linear_probe_accuracy(vectors, labels, bank, bank_labels),
        f"neighbours_same_class_share_at_{NEIGHBOURS}": metrics.same_class_share(
            vectors, labels, bank, bank_labels, NEIGHBOURS, "cosine"
        ),
    }


def raw_pixel_figures(val, train):
    """What neighbours by plain pixels (Euclidean distance) reach, to compare with."""
    (data, labels), (bank_data, bank_labels) = val, train
    flat = lambda d: torch.from_numpy(unit(d).reshape(len(d), -1))
    share = metrics.same_class_share(flat(data), labels, flat(bank_data), bank_labels, NEIGHBOURS, "euclid")
    return {f"raw_pixel_neighbours_same_class_share_at_{NEIGHBOURS}": share}


def measure(model, val, train, raw):
    figures = {}
    if model.has("encoder") and model.has("decoder"):
        figures |= reconstruction_figures(model, val[0])
    if model.manifest.get("denoises") and model.has("autoencoder"):
        figures |= denoising_figures(model, val[0])
    if "embedding" in model.manifest:
        figures |= embedding_figures(model, val, train) | raw
    return {k: round(v, 6) for k, v in figures.items()}


# ---------------------------------------------------------------- contact sheets


def sheet(rows, path, zoom=3):
    """Rows of pictures [n, 3, h, w] in 0..1, one under the other, as a PNG."""
    grid = np.concatenate([np.concatenate(list(r), axis=2) for r in rows], axis=1)
    picture = Image.fromarray((grid.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST).save(path)
    print(f"wrote {path}")


def contact_sheets(model, val, train, folder):
    name = model.folder.name
    some = val[0][:: max(1, len(val[0]) // 20)][:20]
    if model.has("encoder") and model.has("decoder"):
        sheet([unit(some), model.reconstruct(some)], folder / f"{name}-reconstructions.png")
    if model.has("autoencoder"):
        rows = [unit(some)]
        for sigma in SIGMAS:
            noisy = noisy_copy(some, sigma)
            rows += [unit(noisy), model.denoise(noisy)]
        sheet(rows, folder / f"{name}-denoised.png")
    if model.has("encoder"):
        nearest = (model.embed(some) @ model.embed(train[0]).T).topk(8, dim=1).indices.numpy()
        rows = [unit(some)] + [unit(train[0][nearest[:, k]]) for k in range(8)]
        sheet(rows, folder / f"{name}-neighbours.png")


# ---------------------------------------------------------------- the table


COLUMNS = {
    "reconstruction_mse": ("MSE", "{:.5f}"),
    "reconstruction_psnr_db": ("PSNR, dB", "{:.2f}"),
    "reconstruction_ssim": ("SSIM", "{:.3f}"),
    "embedding_dim": ("numbers", "{:d}"),
    "knn_accuracy": ("kNN", "{:.3f}"),
    "linear_probe_accuracy": ("linear probe", "{:.3f}"),
    f"neighbours_same_class_share_at_{NEIGHBOURS}": (f"same class among {NEIGHBOURS} nearest", "{:.3f}"),
    f"raw_pixel_neighbours_same_class_share_at_{NEIGHBOURS}": ("the same by raw pixels", "{:.3f}"),
}

INTRODUCTION = """# Models

Trained without labels on CIFAR-10 by the recipes in `training/recipes`. Each folder has a card, the
figures (`metrics.json`) and how the weights came about with the learning curve (`training.json`).

Every figure below was computed from the ONNX files on the 5,000 pictures of `cifar10/val.tar`, by
`python -m training.evaluate`, which also writes this file. The pictures are re-encoded as JPEG, so
figures differ slightly from those on the original PNG pixels. No figure is rounded in the model's favour.

Data: Alex Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

EXPLANATION = """
MSE, PSNR and SSIM are of values in 0 to 1, PSNR and SSIM averaged over pictures. kNN: accuracy of the
200 nearest of the 50,000 training pictures by cosine, weights exp(cosine / 0.1). Linear probe: logistic
regression on standardised embeddings of the training pictures. Raw pixels are compared by Euclidean
distance.
"""


def shown(key, value, pattern):
    """A figure as text, never rounded in the model's favour: what is better small, and what the model
    is compared with, is rounded up; all else down."""
    if isinstance(value, int):
        return pattern.format(value)
    scale = 10 ** int(pattern[pattern.index(".") + 1])
    cut = np.ceil if key.endswith("mse") or key.startswith(("raw_", "noisy_")) else np.floor
    return pattern.format(cut(value * scale) / scale)


def table(header, rows):
    line = lambda cells: "| " + " | ".join(cells) + " |\n"
    return line(header) + line(["---"] * len(header)) + "".join(line(r) for r in rows)


def overview(models):
    """models/README.md from every metrics.json there is."""
    found = {p.parent.name: json.loads(p.read_text())["figures"] for p in sorted(models.glob("*/metrics.json"))}
    cell = lambda figures, key, pattern: shown(key, figures[key], pattern) if key in figures else "–"
    text = INTRODUCTION
    encoders = {n: f for n, f in found.items() if "knn_accuracy" in f}
    if encoders:
        rows = [[f"`{n}`"] + [cell(f, k, p) for k, (_, p) in COLUMNS.items()] for n, f in encoders.items()]
        text += "\n## Embeddings and reconstructions\n\n" + table(["model"] + [t for t, _ in COLUMNS.values()], rows)
        text += EXPLANATION
    denoisers = {n: f for n, f in found.items() if f"denoised_psnr_db_sigma_{SIGMAS[0]}" in f}
    if denoisers:
        rows = []
        for n, f in denoisers.items():
            pairs = [(f"noisy_psnr_db_sigma_{s}", f"denoised_psnr_db_sigma_{s}") for s in SIGMAS]
            rows.append([f"`{n}`"] + [" → ".join(cell(f, key, "{:.2f}") for key in pair) for pair in pairs])
        text += "\n## Denoising: PSNR in dB, noisy → denoised\n\n"
        text += table(["model"] + [f"σ = {s} of 255" for s in SIGMAS], rows)
        text += "\nGaussian noise, seeded; the noisy picture is cut to 0…255 and rounded, as a client would send it.\n"
    (models / "README.md").write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="model folders (default: all)")
    pictures.add_data_argument(parser)
    parser.add_argument("--set", default="cifar10", help="data set below --data with train.tar and val.tar")
    parser.add_argument("--models", type=Path, default=pictures.REPOSITORY / "models")
    parser.add_argument("--sheets", type=Path, help="write contact sheets into this folder")
    arguments = parser.parse_args()
    names = arguments.names or sorted(p.parent.name for p in arguments.models.glob("*/model.toml"))
    loaded = {}
    for part in ("val", "train"):
        data, labels = pictures.load(arguments.data / arguments.set / f"{part}.tar", 32)
        loaded[part] = (data.numpy(), labels)
    val, train = loaded["val"], loaded["train"]
    raw = None
    for name in names:
        model = Model(arguments.models / name)
        if raw is None and "embedding" in model.manifest:
            raw = raw_pixel_figures(val, train)
        figures = measure(model, val, train, raw or {})
        record = {
            "command": f"python -m training.evaluate {name}",
            "date": date.today().isoformat(),
            "runtime": f"onnxruntime {onnxruntime.__version__}, CPU",
            "evaluated_on": f"{arguments.set}/val.tar, {len(val[0])} pictures",
            "bank": f"{arguments.set}/train.tar, {len(train[0])} pictures",
            "note": NOTE,
            "figures": figures,
        }
        (arguments.models / name / "metrics.json").write_text(json.dumps(record, indent=1) + "\n")
        print(name, json.dumps(figures), flush=True)
        if arguments.sheets:
            contact_sheets(model, val, train, arguments.sheets)
    overview(arguments.models)


if __name__ == "__main__":
    main()
