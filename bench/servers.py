"""The servers that are measured: how each is started, asked and read."""

import base64
import contextlib
import http.client
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from bench.models import Encoder
from bench.processes import Running

# Images in one run of the model, at most: latentd's default, and what every peer with batches is given.
BATCH = 8
ROOT = pathlib.Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Place:
    """The files that a run needs on this machine, and how many cores it may use."""

    folder: pathlib.Path
    latentd: pathlib.Path
    serving: pathlib.Path
    onnxruntime: pathlib.Path
    cores: int

    def graph(self, encoder: Encoder) -> pathlib.Path:
        return self.folder / "models" / encoder.name / encoder.name / "encoder.onnx"

    def python(self, peer: str) -> pathlib.Path:
        return ROOT / f".venv-bench-{peer}" / "bin" / "python"


@dataclass(frozen=True)
class Server:
    name: str
    title: str
    port: int
    # from the place and the model to command and environment
    start: Callable[[Place, Encoder], tuple[list[str], dict[str, str]]]
    target: Callable[[Encoder], str]
    headers: dict[str, str]
    # from an image to the body that is posted, and from the answer's body to the vector
    body: Callable[[bytes], bytes]
    vector: Callable[[bytes], np.ndarray]
    environment: dict[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def running(self, place: Place, encoder: Encoder, patience: float = 180) -> Iterator[Running]:
        command, environment = self.start(place, encoder)
        log = place.folder / "logs" / f"{self.name}-{encoder.name}.log"
        # latentd's data folder must not come from the checkout
        server = Running(command, {**environment, **self.environment}, log)
        try:
            image = sorted((place.folder / "images" / "32").iterdir())[0].read_bytes()
            deadline = time.monotonic() + patience
            while True:
                server.check()
                try:
                    self.ask(encoder, image)
                    break
                except (OSError, http.client.HTTPException, RuntimeError) as error:
                    if time.monotonic() > deadline:
                        raise RuntimeError(f"{self.name} does not answer: {error}; its log: {log}") from error
                    time.sleep(0.1)
            yield server
        finally:
            server.end()

    def ask(self, encoder: Encoder, image: bytes) -> np.ndarray:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request("POST", self.target(encoder), self.body(image), self.headers)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"status {answer.status}: {content[:300]!r}")
            return self.vector(content)
        finally:
            connection.close()


def octets(body: bytes) -> np.ndarray:
    return np.frombuffer(body, "<f4")


def same(body: bytes) -> bytes:
    return body


def latentd(place: Place, encoder: Encoder) -> tuple[list[str], dict[str, str]]:
    command = [str(place.latentd), "serve", "--listen", "127.0.0.1:18110"]
    command += ["--models", str(place.folder / "models" / encoder.name), "--data", str(place.folder / "data")]
    return command, {"LATENTD_ONNXRUNTIME": str(place.onnxruntime)}


def peer(name: str, arguments: Callable[[Place, Encoder], list[str]], port: int):
    """A peer in its own virtual environment, which learns from its environment what to serve."""

    def start(place: Place, encoder: Encoder) -> tuple[list[str], dict[str, str]]:
        settings = {key: getattr(encoder, key) for key in ("side", "edge", "filter", "mean", "std")}
        environment = {
            "BENCH_GRAPH": str(place.graph(encoder)),
            "BENCH_PREPROCESS": json.dumps(settings),
            "BENCH_CORES": str(place.cores),
            "BENCH_BATCH": str(BATCH),
            "BENCH_PORT": str(port),
            "PYTHONPATH": str(ROOT),
            # libraries that would else start a thread for every core in every process
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            # nothing is reported to anybody
            "DO_NOT_TRACK": "1",
            "BENTOML_DO_NOT_TRACK": "True",
            "LITSERVE_DISABLE_TELEMETRY": "1",
            "OTEL_SDK_DISABLED": "true",
            "ORT_DISABLE_TELEMETRY": "1",
        }
        return [str(place.python(name)), *arguments(place, encoder)], environment

    return start


def uvicorn(place: Place, _: Encoder) -> list[str]:
    application = ["-m", "uvicorn", "bench.peers.fastapi_app:app", "--host", "127.0.0.1", "--port", "18120"]
    return application + ["--workers", str(place.cores), "--no-access-log", "--log-level", "warning"]


def bento(place: Place, _: Encoder) -> list[str]:
    served = ["-m", "bentoml", "serve", "bench.peers.bentoml_app:Embed", "--working-dir", str(ROOT)]
    return served + ["--host", "127.0.0.1", "--port", "18140"]


def mlserver(place: Place, encoder: Encoder) -> list[str]:
    """Its settings are files of a folder."""
    folder = place.folder / "mlserver" / encoder.name
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"debug": False, "parallel_workers": place.cores, "host": "127.0.0.1", "http_port": 18150}
    settings |= {"grpc_port": 18151, "metrics_endpoint": None, "environments_dir": str(folder / "environments")}
    settings |= {"metrics_dir": str(folder / "metrics"), "gzip_enabled": False}
    model = {"name": "embed", "implementation": "bench.peers.mlserver_app.Embed"}
    model |= {"max_batch_size": BATCH, "max_batch_time": 0.005}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    return ["-c", "import sys; from mlserver.cli import main; sys.exit(main())", "start", str(folder)]


def form(image: bytes) -> bytes:
    head = b'--bench\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return head + image + b"\r\n--bench--\r\n"


def infer_request(image: bytes) -> bytes:
    encoded = {"name": "image", "shape": [1, 1], "datatype": "BYTES", "parameters": {"content_type": "base64"}}
    return json.dumps({"inputs": [{**encoded, "data": [base64.b64encode(image).decode()]}]}).encode()


def infer_response(body: bytes) -> np.ndarray:
    return np.array(json.loads(body)["outputs"][0]["data"], np.float32)


JPEG = {"Content-Type": "image/jpeg"}
OCTETS = {**JPEG, "Accept": "application/octet-stream"}

LATENTD = Server("latentd", "latentd", 18110, latentd, lambda encoder: f"/v1/embeddings?model={encoder.name}", OCTETS, same, octets)

# One session with as many threads as there are cores, instead of a session a core.
LATENTD_LATENCY = Server(
    "latentd-latency",
    "latentd, one session over all cores",
    18110,
    lambda place, encoder: (
        latentd(place, encoder)[0],
        {**latentd(place, encoder)[1], "LATENTD_RUNTIME__SESSIONS": "1", "LATENTD_RUNTIME__THREADS": str(place.cores)},
    ),
    LATENTD.target,
    OCTETS,
    same,
    octets,
)

FASTAPI = Server("fastapi", "FastAPI", 18120, peer("fastapi", uvicorn, 18120), lambda _: "/embed", JPEG, same, octets)
FASTAPI_THREADS = Server(
    "fastapi-threads", "FastAPI", 18120, FASTAPI.start, lambda _: "/embed", JPEG, same, octets, {"BENCH_THREADS": "1"}
)
LITSERVE = Server(
    "litserve",
    "LitServe",
    18130,
    peer("litserve", lambda *_: ["-m", "bench.peers.litserve_app"], 18130),
    lambda _: "/embed",
    JPEG,
    same,
    octets,
)
BENTOML = Server(
    "bentoml",
    "BentoML",
    18140,
    peer("bentoml", bento, 18140),
    lambda _: "/embed",
    {"Content-Type": "multipart/form-data; boundary=bench"},
    form,
    lambda body: np.array(json.loads(body), np.float32).ravel(),
)
MLSERVER = Server(
    "mlserver",
    "MLServer",
    18150,
    peer("mlserver", mlserver, 18150),
    lambda _: "/v2/models/embed/infer",
    {"Content-Type": "application/json"},
    infer_request,
    infer_response,
)
PEERS = [FASTAPI, LITSERVE, BENTOML, MLSERVER]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
