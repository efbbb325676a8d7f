"""A model folder as the server runs it: ONNX graphs and the manifest's rules, in ONNX Runtime and numpy.

Images are u8 [n, channels, h, w] in, f32 in 0..1 out.
"""

import tomllib

import numpy as np
import onnxruntime
import torch

from training import images

BATCH = 250
MOST_MASKS = 4  # of one reconstruction
HIDDEN = 0.75  # the share of patches that is hidden unless the manifest says otherwise


def unit(data):
    return data.astype(np.float32) / 255


class Model:
    """A model folder, or a variant of it: its manifest, and its graphs by role."""

    def __init__(self, folder, variant=None, threads=None):
        self.folder = folder
        self.manifest = tomllib.loads((folder / "model.toml").read_text())
        self.family = self.manifest["family"]
        memory = self.manifest.get("memory")
        self.memory = np.load(folder / memory["file"]) if memory else None
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
        hidden = self.complementary_masks()
        total, times = np.zeros(data.shape, np.float32), np.zeros((1, 1, *data.shape[2:]), np.float32)
        for mask in hidden:
            where = self.pixels_of(mask[None])
            total += self.complete(data, np.repeat(mask[None], len(data), 0)) * where
            times += where
        return total / times

    def complementary_masks(self, draw=0):
        return complementary_masks(self.patches, self.manifest["masked"].get("ratio", HIDDEN), draw)

    def reconstructions(self, data, draw=0):
        """Where pixels were predicted, [h, w] in 0..1, and the images with the predictions in their places. Of masked models,
        one pair for each mask of a draw of complementary ones; of others a single one."""
        if not self.has("masked"):
            yield np.ones(data.shape[2:], np.float32), self.reconstruct(data)
            return
        for mask in self.complementary_masks(draw):
            yield self.pixels_of(mask[None])[0, 0], self.complete(data, np.repeat(mask[None], len(data), 0))

    def detect(self, data):
        """Scores [n] and maps [n, h, w] of a detector's graph."""
        score, map_ = self.run("anomaly", {"image": self.tensors(data)}, ["score", "map"])
        return score, map_[:, 0]

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


def complementary_masks(patches, ratio=HIDDEN, seed=0):
    """f32 [masks, patches], 1 = hidden: two to four masks, each of which shows another part of the patches."""
    masks = min(MOST_MASKS, max(2, round(1 / (1 - ratio))))
    group = np.random.default_rng(seed).permutation(patches) % masks
    return (group[None] != np.arange(masks)[:, None]).astype(np.float32)


def random_masks(count, patches, share, seed=0):
    """f32 [count, patches], 1 = hidden, the same number in each row."""
    order = np.random.default_rng(seed).random((count, patches)).argsort(1)
    return (order < round(share * patches)).astype(np.float32)
