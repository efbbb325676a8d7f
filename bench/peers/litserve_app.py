"""LitServe with its batching and its fast queue: two workers on two cores, each with a session of its own."""

import os
from typing import Annotated

import litserve
from fastapi import Depends, Request, Response

from bench.peers.encoder import Encoder


async def body(request: Request) -> bytes:
    return await request.body()


class Embed(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.encoder = Encoder()

    def decode_request(self, request: Annotated[bytes, Depends(body)]):
        return self.encoder.tensor(request)

    def batch(self, inputs: list) -> list:
        return inputs

    def predict(self, tensors: list):
        return self.encoder.vectors(tensors)

    def unbatch(self, output) -> list:
        return list(output)

    def encode_response(self, output) -> Response:
        return Response(output.tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    # a batch is what has come; a few milliseconds of waiting for more made it no faster
    api = Embed(max_batch_size=int(os.environ["BENCH_BATCH"]), batch_timeout=0, api_path="/embed")
    server = litserve.LitServer(
        api, accelerator="cpu", devices=1, workers_per_device=int(os.environ["BENCH_CORES"]), fast_queue=True
    )
    server.run(host="127.0.0.1", port=int(os.environ["BENCH_PORT"]), generate_client_file=False, access_log=False, log_level="warning")
