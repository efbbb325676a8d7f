"""Starts the real binary on a free port.

LATENTD_BIN names the binary (default: target/debug/latentd, then target/release/latentd). The
models are copied from tests/data/models and models/, the data folder is a temporary one.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
STOP_SECONDS = 45


def binary():
    if named := os.environ.get("LATENTD_BIN"):
        return os.path.abspath(named)
    for build in ("debug", "release"):
        built = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / build / "latentd"
        if built.exists():
            return str(built)
    pytest.exit("no latentd binary: run `cargo build`, or name one in LATENTD_BIN", returncode=2)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until_ready(process, url, log):
    """Returns once /readyz says 200; an early exit or a late server fails with the log's end."""
    deadline = time.monotonic() + START_SECONDS
    answer = "no answer"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.exit(f"latentd ended with {process.returncode}:\n{log.read_text()[-4000:]}", returncode=2)
        try:
            response = httpx.get(f"{url}/readyz", timeout=1)
            if response.status_code == 200:
                return
            answer = response.text
        except httpx.TransportError as error:
            answer = repr(error)
        time.sleep(0.05)
    process.kill()
    pytest.exit(f"latentd was not ready in {START_SECONDS} s: {answer}\n{log.read_text()[-4000:]}", returncode=2)


def wait_until_alive(process, url, log):
    """Returns once /livez says 200, ready or not."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/livez", timeout=1).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    process.kill()
    pytest.exit(f"latentd did not start:\n{log.read_text()[-4000:]}", returncode=2)


@contextmanager
def started(folder, settings=None, ready=True):
    """A server of its own with its data in the folder, as its process and its address; killed at the end."""
    if not (folder / "models").exists():
        # what takes NumPy and ONNX Runtime is not asked of those who bring models of their own
        from reference import MODEL_FOLDERS

        for source in MODEL_FOLDERS:
            shutil.copytree(source, folder / "models" / source.name)
    address = f"127.0.0.1:{free_port()}"
    log = folder / "log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LATENTD_")}
    environment |= {
        "LATENTD_LISTEN": address,
        "LATENTD_MODELS": str(folder / "models"),
        "LATENTD_DATA": str(folder / "data"),
        **(settings or {}),
    }
    if library := os.environ.get("LATENTD_ONNXRUNTIME"):
        environment["LATENTD_ONNXRUNTIME"] = library
    with log.open("wb") as sink:
        # Started from the checkout's root, where the server finds .ort/lib.
        process = subprocess.Popen(
            [binary(), "serve"], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
        )
    try:
        wait = wait_until_ready if ready else wait_until_alive
        wait(process, f"http://{address}", log)
        yield process, f"http://{address}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def running(folder, settings=None, ready=True):
    """The address of such a server; ends it, and fails unless it ends cleanly."""
    with started(folder, settings, ready) as (process, url):
        yield url
        process.send_signal(signal.SIGTERM)
        log = folder / "log"
        assert process.wait(timeout=STOP_SECONDS) == 0, f"latentd did not stop cleanly:\n{log.read_text()[-4000:]}"
