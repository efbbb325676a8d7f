"""The answers that a model must give, computed with Pillow, numpy and onnxruntime from its folder."""

import functools
import tomllib
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[2]
# `slow` never ends its run: it is for the tests of cancellation.
NOT_SERVED_HERE = {"slow"}
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def resized(image, width, height, filter):
    """Pillow's resize as two passes, horizontal first. Pillow 13 by itself goes vertically first where
    that is less work, which differs by a few levels; training pipelines and torchvision do not."""
    return image.resize((width, image.height), filter).resize((width, height), filter)


class Model:
    """A model folder read by this file's own rules, independent of the server's code."""

    def __init__(self, folder):
        self.folder = folder
        self.name = folder.name
        self.manifest = tomllib.loads((folder / "model.toml").read_text())
        self.graphs = self.manifest["graphs"]
        size = self.manifest["input"]
        self.width, self.height = size["width"], size["height"]
        self.channels = 1 if size.get("channels") == "gray" else 3

    def __repr__(self):
        return self.name

    @property
    def rescale(self):
        return self.manifest["preprocess"].get("rescale", 1 / 255)

    @property
    def mean(self):
        return np.array(self.manifest["preprocess"].get("mean", [0.0] * self.channels), np.float32)

    @property
    def std(self):
        return np.array(self.manifest["preprocess"].get("std", [1.0] * self.channels), np.float32)

    @property
    def level(self):
        """One step of 255 in the tensor's own units, for each channel."""
        return self.rescale / self.std

    def pixels(self, image):
        """The image at the model's size: height x width x channels, u8."""
        rules = self.manifest["preprocess"]
        image = ImageOps.exif_transpose(image)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            background = Image.new("RGBA", image.size, self.manifest["input"].get("background", "#ffffff"))
            image = Image.alpha_composite(background, image)
        image = image.convert("L" if self.channels == 1 else "RGB")
        filter = FILTERS[rules.get("filter", "bilinear")]
        match rules.get("resize", "exact"):
            case "exact":
                image = resized(image, self.width, self.height, filter)
            case "shortest-edge":
                short, edge = min(image.size), rules["edge"]
                width, height = (edge if side == short else int(edge * side / short) for side in image.size)
                image = resized(image, width, height, filter)
            case "none":
                pass
            case other:
                raise NotImplementedError(f"{self.name}: resize = {other}")
        if rules.get("crop") == "center":
            left, top = (image.width - self.width) // 2, (image.height - self.height) // 2
            image = image.crop((left, top, left + self.width, top + self.height))
        return np.asarray(image).reshape(self.height, self.width, self.channels)

    def tensor(self, image):
        """The tensor that the graph is given: 1 x channels x height x width, f32."""
        values = (self.pixels(image).astype(np.float32) * np.float32(self.rescale) - self.mean) / self.std
        return np.ascontiguousarray(values.transpose(2, 0, 1)[None], dtype=np.float32)

    def run(self, role, **inputs):
        """Runs a graph; inputs and outputs go by role."""
        graph = self.graphs[role]
        outputs = graph["outputs"]
        values = session(self.folder / graph["file"]).run(
            list(outputs.values()), {graph["inputs"][name]: value for name, value in inputs.items()}
        )
        return dict(zip(outputs, values, strict=True))

    def embedding(self, tensor):
        """The served vector."""
        rules = self.manifest["embedding"]
        [vector] = self.run("encoder", image=tensor)[rules["output"]]
        match rules.get("pooling", "none"):
            case "none":
                vector = vector.reshape(-1)
            case "cls":
                vector = vector[0]
            case "mean":
                vector = self.patch_tokens(vector).mean(axis=0)
            case other:
                raise NotImplementedError(f"{self.name}: pooling = {other}")
        return unit(vector) if rules.get("normalize", True) else vector

    def patch_tokens(self, tokens):
        """All tokens but a class token, which stands first where the others make a grid over the image."""
        rows = np.sqrt((len(tokens) - 1) * self.height / self.width)
        return tokens[1:] if len(tokens) > 1 and rows == int(rows) else tokens

    def to_unit(self, values):
        """Values in the space of the preprocessed input, as height x width x channels in 0..1."""
        return (values[0].transpose(1, 2, 0) * self.std + self.mean) / (self.rescale * 255)

    def image(self, image):
        """The image that a graph gave: height x width x channels in 0..1."""
        normalized = self.manifest.get("reconstruction", {}).get("values", "unit") == "normalized"
        return np.clip(self.to_unit(image) if normalized else image[0].transpose(1, 2, 0), 0, 1)

    def reconstruction(self, tensor):
        """The image the model makes of the tensor: height x width x channels in 0..1."""
        if "autoencoder" in self.graphs:
            return self.image(self.run("autoencoder", image=tensor)["image"])
        code = self.run("encoder", image=tensor)
        return self.decoded(code["mean"] if "mean" in code else code["latent"])

    def decoded(self, latent):
        """The image of a latent."""
        return self.image(self.run("decoder", latent=latent)["image"])

    @property
    def patch(self):
        return self.manifest["masked"]["patch"]

    @property
    def patches(self):
        return self.width // self.patch * (self.height // self.patch)

    def hidden(self, patches):
        """Which pixels these patches hold: height x width x 1."""
        flags = np.zeros(self.patches, bool)
        flags[patches] = True
        grid = flags.reshape(self.height // self.patch, -1)
        return grid.repeat(self.patch, axis=0).repeat(self.patch, axis=1)[..., None]

    def filled(self, tensor, patches):
        """The image with these patches as the model predicts them from the others."""
        mask = np.zeros((1, self.patches), np.float32)
        mask[0, patches] = 1
        role = "noise" if "noise" in self.graphs["masked"]["inputs"] else "mask"
        prediction = self.image(self.run("masked", image=tensor, **{role: mask})["image"])
        return np.where(self.hidden(patches), prediction, self.to_unit(tensor))


@functools.cache
def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def unit(vector):
    return vector / np.linalg.norm(vector)


def cosine(a, b):
    return float(np.dot(unit(np.asarray(a, np.float64)), unit(np.asarray(b, np.float64))))


def mse(a, b):
    return float(np.mean((a - b) ** 2))


def l1(a, b):
    return float(np.mean(np.abs(a - b)))


def psnr(a, b):
    return float(-10 * np.log10(mse(a, b)))


def ssim(a, b):
    """scikit-image's structural_similarity with its defaults and data_range = 1, mean over channels."""
    window = min(7, *a.shape[:2])
    window -= 1 - window % 2
    count = window * window

    def local_mean(values):
        return np.lib.stride_tricks.sliding_window_view(values, (window, window), axis=(0, 1)).mean(axis=(-2, -1))

    ma, mb = local_mean(a), local_mean(b)
    sample = count / (count - 1)
    va, vb = sample * (local_mean(a * a) - ma * ma), sample * (local_mean(b * b) - mb * mb)
    covariance = sample * (local_mean(a * b) - ma * mb)
    c1, c2 = 0.01**2, 0.03**2
    values = ((2 * ma * mb + c1) * (2 * covariance + c2)) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
    return float(values.mean())


def found():
    """The folders the server under test is given: the tiny models and the ones we ship."""
    manifests = [*ROOT.glob("tests/data/models/*/model.toml"), *ROOT.glob("models/*/model.toml")]
    return sorted((path.parent for path in manifests if path.parent.name not in NOT_SERVED_HERE), key=lambda path: path.name)


MODEL_FOLDERS = found()
MODELS = [Model(folder) for folder in MODEL_FOLDERS]
# A memory of patches has an encoder too, whose features are no vector of the image.
EMBEDDING_MODELS = [model for model in MODELS if "encoder" in model.graphs and "embedding" in model.manifest]
RECONSTRUCTING_MODELS = [model for model in MODELS if "decoder" in model.graphs or "autoencoder" in model.graphs]
VARIATIONAL_MODELS = [model for model in MODELS if model.manifest["family"] == "variational"]
MASKED_MODELS = [model for model in MODELS if model.manifest["family"] == "masked-autoencoder"]
DETECTORS = [model for model in MODELS if "anomaly" in model.graphs and model.name != "tiny-nan"]
DENOISING_MODELS = [model for model in MODELS if model.manifest.get("denoises", False)]
