"""Measures a ViT-B/16 on an NVIDIA GPU: latentd beside ONNX Runtime itself, at the same sizes of a batch.

    make onnxruntime DEVICE=cuda && cargo build --release
    python3 -m venv .venv-cuda && .venv-cuda/bin/pip install -r bench/cuda-requirements.txt
    .venv-cuda/bin/python bench/cuda.py --write target/bench-cuda.md

Both run the same file with random weights, which this program writes, on the same device, with TF32 off unless
`--tf32` is given. ONNX Runtime is asked from Python with the inputs in place (IoBinding), one batch after the other.
latentd is asked over HTTP for the embeddings of JPEGs, `--requests` requests of a batch each at a time: it decodes,
batches and answers beside the runs. Prints a Markdown table.
"""

import argparse
import concurrent.futures
import contextlib
import ctypes
import http.client
import io
import json
import os
import pathlib
import platform
import re
import signal
import socket
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256]
SIDE, WIDTH, HEADS, LAYERS, PATCH = 224, 768, 12, 12, 16
MODEL = "vit-b16"
MANIFEST = f"""manifest = 1
family = "contrastive"
description = "ViT-B/16 with random weights"
license = "Apache-2.0"

[input]
width = {SIDE}
height = {SIDE}
channels = "rgb"

[preprocess]
resize = "exact"
filter = "bilinear"
crop = "none"
rescale = 0.00392156862745098
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]

[graphs.encoder]
file = "encoder.onnx"
inputs = {{ image = "image" }}
outputs = {{ embedding = "embedding" }}

[embedding]
output = "embedding"
pooling = "none"
normalize = false
metric = "cosine"
"""


class Unavailable(Exception):
    """The measurement cannot be made; the text names what is missing."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", type=pathlib.Path, default=ROOT / "target/release/latentd", help="the binary")
    parser.add_argument("--onnxruntime", type=pathlib.Path, default=ROOT / ".ort/lib-cuda/libonnxruntime.so")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "target/bench-cuda", help="where the model and the log go")
    parser.add_argument("--sizes", type=sizes, default=SIZES, help="sizes of a batch, as 1,8,32")
    parser.add_argument("--device", type=int, default=0, help="the number of the GPU")
    parser.add_argument("--seconds", type=positive, default=10.0, help="of each measurement, after a warm-up of a fifth")
    parser.add_argument("--requests", type=int, default=4, help="requests at latentd at a time")
    parser.add_argument("--tf32", action="store_true", help="let both round products to TF32")
    parser.add_argument("--write", type=pathlib.Path, help="write the table to this file too")
    return parser.parse_args()


def sizes(text: str) -> list[int]:
    found = [int(size) for size in text.split(",")]
    if not found or min(found) < 1 or max(found) > 4096:
        raise argparse.ArgumentTypeError("sizes are numbers from 1 to 4096")
    return found


def positive(text: str) -> float:
    if not float(text) > 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return float(text)


def check(options: argparse.Namespace) -> str:
    """Refuses, before anything takes time, what cannot be measured; returns the GPU's name and driver."""
    if not options.server.is_file():
        raise Unavailable(f"there is no server at {options.server}; cargo build --release makes it")
    if not options.onnxruntime.is_file():
        raise Unavailable(f"there is no library at {options.onnxruntime}; make onnxruntime DEVICE=cuda fetches it")
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise Unavailable("libcuda.so.1 is not there: this machine has no NVIDIA driver") from None
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        raise Unavailable("the NVIDIA driver finds no GPU")
    if options.device not in range(count.value):
        raise Unavailable(f"there is no GPU {options.device}: this machine has {count.value}, counted from 0")
    for module in ("numpy", "onnx", "onnxruntime", "PIL"):
        try:
            __import__(module)
        except ImportError as error:
            raise Unavailable(f"{error}; pip install -r bench/cuda-requirements.txt") from None
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise Unavailable("this Python's onnxruntime is built without CUDA: uninstall onnxruntime, leave onnxruntime-gpu")
    name = ctypes.create_string_buffer(256)
    driver.cuDeviceGetName(name, len(name), options.device)
    version = pathlib.Path("/proc/driver/nvidia/version")
    found = re.search(r"Kernel Module\s+(?:for \S+\s+)?([0-9.]+)", version.read_text()) if version.exists() else None
    return f"{name.value.decode()}, driver {found[1] if found else 'unknown'}"


def write_model(folder: pathlib.Path) -> pathlib.Path:
    """The Vision Transformer of 16 × 16 patches, base size, as a folder that latentd serves."""
    import numpy
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    file = folder / MODEL / "encoder.onnx"
    if file.exists():
        return file
    random = numpy.random.default_rng(16)
    weights, nodes = [], []

    def constant(values) -> str:
        weights.append(numpy_helper.from_array(values, f"w{len(weights)}"))
        return weights[-1].name

    def drawn(*shape: int) -> str:
        return constant((random.standard_normal(shape) * 0.02).astype(numpy.float32))

    def add(operator: str, *inputs: str, **attributes) -> str:
        nodes.append(helper.make_node(operator, list(inputs), [f"t{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def integers(*values: int) -> str:
        return constant(numpy.array(values, numpy.int64))

    def linear(x: str, width: int, out: int) -> str:
        return add("Add", add("MatMul", x, drawn(width, out)), drawn(out))

    def normalised(x: str) -> str:
        scale, bias = constant(numpy.ones(WIDTH, numpy.float32)), constant(numpy.zeros(WIDTH, numpy.float32))
        return add("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-6)

    tokens = (SIDE // PATCH) ** 2
    kernel = {"kernel_shape": [PATCH, PATCH], "strides": [PATCH, PATCH]}
    x = add("Reshape", add("Conv", "image", drawn(WIDTH, 3, PATCH, PATCH), drawn(WIDTH), **kernel), integers(0, WIDTH, tokens))
    x = add("Transpose", x, perm=[0, 2, 1])
    batch = add("Shape", "image", start=0, end=1)
    token = add("Expand", drawn(1, 1, WIDTH), add("Concat", batch, integers(1, WIDTH), axis=0))
    x = add("Add", add("Concat", token, x, axis=1), drawn(1, tokens + 1, WIDTH))
    for _ in range(LAYERS):
        inner = normalised(x)
        split = integers(0, tokens + 1, HEADS, WIDTH // HEADS)
        query, key, value = (
            add("Transpose", add("Reshape", linear(inner, WIDTH, WIDTH), split), perm=perm)
            for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        )
        scale = constant(numpy.array((WIDTH // HEADS) ** -0.5, numpy.float32))
        shares = add("Softmax", add("Mul", add("MatMul", query, key), scale), axis=-1)
        seen = add("Transpose", add("MatMul", shares, value), perm=[0, 2, 1, 3])
        x = add("Add", x, linear(add("Reshape", seen, integers(0, tokens + 1, WIDTH)), WIDTH, WIDTH))
        x = add("Add", x, linear(add("Gelu", linear(normalised(x), WIDTH, 4 * WIDTH)), 4 * WIDTH, WIDTH))
    first = add("Gather", normalised(x), constant(numpy.array(0, numpy.int64)), axis=1)
    nodes.append(helper.make_node("Identity", [first], ["embedding"]))
    graph = helper.make_graph(
        nodes,
        MODEL,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", WIDTH])],
        weights,
    )
    model = helper.make_model(graph, producer_name="latentd bench", opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    file.parent.mkdir(parents=True, exist_ok=True)
    (file.parent / "model.toml").write_text(MANIFEST)
    # whole or not at all
    onnx.save(model, file.with_suffix(".new"))
    file.with_suffix(".new").rename(file)
    return file


def for_seconds(seconds: float, run) -> float:
    """Calls `run`, which returns how many images it did, for that long after a warm-up; images per second."""
    until = time.perf_counter() + seconds / 5
    while time.perf_counter() < until:
        run()
    started, done = time.perf_counter(), 0
    while time.perf_counter() < started + seconds:
        done += run()
    return done / (time.perf_counter() - started)


class OnnxRuntime:
    """The library from Python: the session that latentd opens, and inputs that are on the device already."""

    def __init__(self, file: pathlib.Path, options: argparse.Namespace):
        import onnxruntime

        onnxruntime.preload_dlls(directory="")
        provider = {
            "device_id": options.device,
            "use_tf32": int(options.tf32),
            "cudnn_conv_algo_search": "HEURISTIC",
        }
        self.device = options.device
        self.session = onnxruntime.InferenceSession(file, providers=[("CUDAExecutionProvider", provider)])
        if self.session.get_providers()[0] != "CUDAExecutionProvider":
            raise Unavailable("this Python's onnxruntime fell back to the CPU; its words are above")

    def measure(self, size: int, seconds: float) -> float:
        import numpy
        import onnxruntime

        images = numpy.random.default_rng(size).random((size, 3, SIDE, SIDE), dtype=numpy.float32)
        value = onnxruntime.OrtValue.ortvalue_from_numpy(images, "cuda", self.device)
        binding = self.session.io_binding()
        binding.bind_ortvalue_input("image", value)
        binding.bind_output("embedding", "cpu")

        def run() -> int:
            self.session.run_with_iobinding(binding)
            return size

        return for_seconds(seconds, run)


def jpeg(seed: int) -> bytes:
    import numpy
    from PIL import Image

    coarse = numpy.random.default_rng(seed).integers(0, 256, (14, 14, 3), dtype=numpy.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(out, "JPEG", quality=85)
    return out.getvalue()


def form(size: int) -> tuple[bytes, str]:
    """A request's body of that many images, and its content type."""
    boundary = "latentd-bench"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{at}.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n".encode() + jpeg(at) + b"\r\n"
        for at in range(size)
    ]
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


class Latentd:
    """The server, started for one size of a batch."""

    def __init__(self, options: argparse.Namespace, size: int):
        self.options, self.size = options, size
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    @contextlib.contextmanager
    def running(self):
        in_flight = self.size * self.options.requests
        settings = {
            "runtime.device": f"cuda:{self.options.device}",
            "runtime.cuda_tf32": str(self.options.tf32).lower(),
            "runtime.max_batch": self.size,
            "limits.images": self.size,
            "limits.queue_items": max(256, 2 * in_flight),
            "limits.body_bytes": 1 << 28,
            "limits.bodies_in_flight_bytes": 1 << 31,
            "limits.deadline_ms": 120_000,
        }
        command = [self.options.server, "serve", "--listen", f"127.0.0.1:{self.port}", "--models", self.options.folder / "models"]
        command += ["--data", self.options.folder / "data", "--onnxruntime", self.options.onnxruntime]
        command += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        log = self.options.folder / "latentd.log"
        with open(log, "wb") as sink:
            process = subprocess.Popen(command, stderr=sink, stdout=sink)
        try:
            self.wait(process, log)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def wait(self, process: subprocess.Popen, log: pathlib.Path) -> None:
        until = time.monotonic() + 300
        while time.monotonic() < until:
            if process.poll() is not None:
                raise Unavailable(f"latentd ended: {log.read_text().strip().splitlines()[-1]}")
            try:
                models = json.loads(self.get("/v1/models")[1])["data"]
            except (OSError, ValueError):
                models = []
            for model in models:
                if model["state"] == "failed":
                    raise Unavailable(f"latentd cannot serve the model: {model['reason']}")
                if model["state"] == "ready":
                    if model["device"] != f"cuda:{self.options.device}":
                        raise Unavailable(f"latentd runs on {model['device']}")
                    return
            time.sleep(0.2)
        raise Unavailable(f"latentd was not ready after 300 s; its log is {log}")

    def batches(self) -> tuple[float, float]:
        """Images and runs so far."""
        text = self.get("/metrics")[1].decode()
        values = [re.search(rf"^latentd_batch_size_{what}{{[^}}]*}} (\S+)$", text, re.MULTILINE) for what in ("sum", "count")]
        return tuple(float(value[1]) if value else 0.0 for value in values)

    def measure(self, seconds: float) -> tuple[float, float]:
        """Images per second, and the mean size of the batches they were run in."""
        body, kind = form(self.size)
        local = threading.local()

        def ask() -> int:
            if not hasattr(local, "connection"):
                local.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=180)
            headers = {"Content-Type": kind, "Accept": "application/octet-stream"}
            local.connection.request("POST", f"/v1/embeddings?model={MODEL}", body, headers)
            answer = local.connection.getresponse()
            text = answer.read()
            if answer.status != 200 or len(text) != 4 * WIDTH * self.size:
                raise Unavailable(f"latentd answered {answer.status}: {text[:300]!r}")
            return self.size

        def ask_for(duration: float) -> float:
            return sum(pool.map(lambda _: for_seconds(duration, ask), range(self.options.requests)))

        with concurrent.futures.ThreadPoolExecutor(self.options.requests) as pool:
            ask_for(seconds / 5)
            before = self.batches()
            speed = ask_for(seconds)
            after = self.batches()
        runs = after[1] - before[1]
        return speed, (after[0] - before[0]) / runs if runs else 0.0


def down(value: float, digits: int = 0) -> str:
    """Cut off, never rounded up."""
    return f"{int(value * 10**digits) / 10**digits:.{digits}f}"


def measure(options: argparse.Namespace, gpu: str) -> None:
    file = write_model(options.folder / "models")
    import onnxruntime

    lines = [
        f"{time.strftime('%Y-%m-%d')}, `bench/cuda.py{' --tf32' if options.tf32 else ''}`; {gpu}; {os.cpu_count()} cores "
        f"({platform.machine()}); ONNX Runtime {onnxruntime.__version__} from Python, {options.onnxruntime.resolve().name} in "
        f"latentd; TF32 {'on' if options.tf32 else 'off'}; {options.requests} requests at a time; {options.seconds:g} s each.",
        "",
        "| batch | ONNX Runtime, images/s | latentd, images/s | share | mean batch in latentd |",
        "| --- | --- | --- | --- | --- |",
    ]
    print("\n".join(lines), flush=True)
    for size in options.sizes:
        # each has the GPU for itself, memory included
        session = OnnxRuntime(file, options)
        raw = session.measure(size, options.seconds)
        del session
        server = Latentd(options, size)
        with server.running():
            served, mean = server.measure(options.seconds)
        line = f"| {size} | {down(raw, 1)} | {down(served, 1)} | {down(served / raw, 2)} | {down(mean, 1)} |"
        lines.append(line)
        print(line, flush=True)
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text("\n".join(lines) + "\n")


def main() -> None:
    options = arguments()
    try:
        measure(options, check(options))
    except Unavailable as reason:
        sys.exit(f"bench/cuda.py: {reason}")


if __name__ == "__main__":
    main()
