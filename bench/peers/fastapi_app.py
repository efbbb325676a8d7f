"""The service that everybody writes first: FastAPI and ONNX Runtime, one process a core under uvicorn.

The work stands in the handler, which holds up the loop of its process meanwhile. The usual advice is to hand it to a
thread; with `BENCH_THREADS=1` it does. With a single thread of ONNX Runtime in each process there is nothing to win by
it, and the hand-over costs: the harness measures both where it is told to, and keeps the faster.
"""

import os

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

from bench.peers.encoder import Encoder

app = FastAPI()
encoder = Encoder()
THREADS = os.environ.get("BENCH_THREADS") == "1"


def embed(image: bytes) -> bytes:
    return encoder.vectors([encoder.tensor(image)])[0].tobytes()


@app.get("/ready")
def ready() -> dict:
    return {}


@app.post("/embed")
async def post(request: Request) -> Response:
    image = await request.body()
    vector = await run_in_threadpool(embed, image) if THREADS else embed(image)
    return Response(vector, media_type="application/octet-stream")
