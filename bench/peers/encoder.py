"""The encoder that every peer uses: Pillow, NumPy and one session of ONNX Runtime with one thread.

The settings come in the environment, as to any service: `BENCH_GRAPH`, the ONNX file, and `BENCH_PREPROCESS`, JSON with
`side`, `edge` (or null), `filter`, `mean` and `std`.
"""

import io
import json
import os

import numpy as np
import onnxruntime
from PIL import Image

RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


class Encoder:
    def __init__(self):
        options = onnxruntime.SessionOptions()
        # one process a core, so one thread each
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["BENCH_GRAPH"], options, providers=["CPUExecutionProvider"])
        settings = json.loads(os.environ["BENCH_PREPROCESS"])
        self.side, self.edge, self.filter = settings["side"], settings["edge"], RESAMPLING[settings["filter"]]
        # x / 255, minus the mean, by the deviation, as one multiplication and one addition
        mean, std = (np.array(settings[name], np.float32).reshape(3, 1, 1) for name in ("mean", "std"))
        self.scale, self.offset = 1 / (255 * std), -mean / std

    def tensor(self, encoded: bytes) -> np.ndarray:
        image = Image.open(io.BytesIO(encoded)).convert("RGB")
        if self.edge is None:
            if image.size != (self.side, self.side):
                image = image.resize((self.side, self.side), self.filter)
        else:
            ratio = self.edge / min(image.size)
            size = [int(length * ratio) for length in image.size]
            image = image.resize(size, self.filter)
            left, top = ((length - self.side) // 2 for length in size)
            image = image.crop((left, top, left + self.side, top + self.side))
        return np.asarray(image).transpose(2, 0, 1) * self.scale + self.offset

    def vectors(self, tensors: list[np.ndarray]) -> np.ndarray:
        """Unit vectors, one for each tensor."""
        batch = tensors[0][None] if len(tensors) == 1 else np.stack(tensors)
        found = self.session.run(None, {"image": batch})[0]
        return found / np.linalg.norm(found, axis=1, keepdims=True)
