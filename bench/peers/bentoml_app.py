"""BentoML with adaptive batching: one worker a core. Images come as the parts of a form, vectors go as JSON numbers."""

import os
import pathlib

import bentoml
import numpy

from bench.peers.encoder import Encoder


@bentoml.service(workers=int(os.environ["BENCH_CORES"]), traffic={"timeout": 120}, metrics={"enabled": False})
class Embed:
    def __init__(self) -> None:
        self.encoder = Encoder()

    # beyond the latency it answers 503; the load here is more than it could answer sooner
    @bentoml.api(route="/embed", batchable=True, max_batch_size=int(os.environ["BENCH_BATCH"]), max_latency_ms=120_000)
    def embed(self, images: list[pathlib.Path]) -> numpy.ndarray:
        return self.encoder.vectors([self.encoder.tensor(image.read_bytes()) for image in images])
