"""A model folder as the server runs it: ONNX graphs and the manifest's rules, in ONNX Runtime and numpy.

Images are u8 [n, channels, h, w] in, f32 in 0..1 out.
"""

import tomllib

import numpy as np
import onnxruntime
import torch

from training import images

BATCH = 250
GROUPS = 4  # of patches; complementary masks show one group each


def unit(data):
    return data.astype(np.float32) / 255


class Model:
    """A model folder, or a variant of it: its manifest, and its graphs by role."""

    def __init__(self, folder, variant=None, threads=None):
        self.folder = folder
        self.manifest = tomllib.loads((folder / "model.toml").read_text())
        self.family = self.manifest["family"]
        changed = self.manifest.get("variants", {}).get(variant, {}).get("graphs", {})
        self.sessions = {
            role: session(folder / changed.get(role, graph)["file"], threads)
            for role, graph in self.manifest["graphs"].items()
        }

    def has(self, *roles):
        return all(role in self.sessions for role in roles)

    def reconstructs(self):
        return self.has("encoder", "decoder") or self.has("masked")

    def run(self, role, inputs, outputs):
        """Runs one graph in batches; `inputs` maps roles to arrays, `outputs` lists roles."""
        graph = self.manifest["graphs"][role]
        count, parts = len(next(iter(inputs.values()))), []
        for start in range(0, count, BATCH):
            feed = {graph["inputs"][r]: v[start : start + BATCH] for r, v in inputs.items()}
            parts.append(self.sessions[role].run([graph["outputs"][r] for r in outputs], feed))
        return [np.concatenate(output) for output in zip(*parts)]

    def tensors(self, data):
        return images.normalise(data, self.manifest["preprocess"])

    def encode(self, data, *outputs):
        return self.run("encoder", {"image": self.tensors(data)}, outputs)

    def decode(self, latent):
        return self.run("decoder", {"latent": latent}, ["image"])[0].clip(0, 1)

    def embed(self, data, pooling=None):
        """Served embeddings: f32 [n, dim]. Tokens are pooled, the class token being the first."""
        settings = self.manifest["embedding"]
        vectors = self.encode(data, settings["output"])[0]
        if settings["pooling"] != "none":
            vectors = pooled(vectors, pooling or settings["pooling"])
        vectors = torch.from_numpy(vectors.reshape(len(vectors), -1))
        return torch.nn.functional.normalize(vectors, dim=1) if settings["normalize"] else vectors

    def reconstruct(self, data):
        """The reconstruction from the latent (of a variational model, from its mean), or through the mask."""
        if self.family == "masked-autoencoder":
            return self.reconstruct_by_masks(data)
        output = "mean" if self.family == "variational" else "latent"
        return self.decode(self.encode(data, output)[0])

    def complete(self, data, mask):
        """Images with their hidden patches predicted; `mask` f32 [n, patches], 1 = hidden."""
        return self.run("masked", {"image": self.tensors(data), "mask": mask}, ["image"])[0].clip(0, 1)

    def reconstruct_by_masks(self, data):
        """Each patch predicted from every mask that hides it, averaged. The masks are complementary: patches
        are dealt into groups, and each mask shows one group."""
        hidden = complementary_masks(self.patches)
        total, times = np.zeros(data.shape, np.float32), np.zeros((1, 1, *data.shape[2:]), np.float32)
        for mask in hidden:
            where = self.pixels_of(mask[None])
            total += self.complete(data, np.repeat(mask[None], len(data), 0)) * where
            times += where
        return total / times

    @property
    def patches(self):
        return (self.manifest["input"]["width"] // self.manifest["masked"]["patch"]) ** 2

    def pixels_of(self, mask):
        """A mask over patches as one over pixels, [n, 1, h, w]."""
        patch = self.manifest["masked"]["patch"]
        across = self.manifest["input"]["width"] // patch
        return mask.reshape(-1, 1, across, across).repeat(patch, 2).repeat(patch, 3)

    def denoise(self, data):
        return self.run("autoencoder", {"image": self.tensors(data)}, ["image"])[0].clip(0, 1)


def session(path, threads=None):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def pooled(tokens, pooling):
    """[n, 1 + patches, dim] -> [n, dim]: the class token, or the mean of the patches."""
    return tokens[:, 0] if pooling == "cls" else tokens[:, 1:].mean(1)


def complementary_masks(patches, seed=0):
    """f32 [GROUPS, patches], 1 = hidden: each patch is shown by one mask and hidden by the others."""
    group = np.random.default_rng(seed).permutation(patches) % GROUPS
    return (group[None] != np.arange(GROUPS)[:, None]).astype(np.float32)


def random_masks(count, patches, share, seed=0):
    """f32 [count, patches], 1 = hidden, the same number in each row."""
    order = np.random.default_rng(seed).random((count, patches)).argsort(1)
    return (order < round(share * patches)).astype(np.float32)
