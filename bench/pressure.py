"""Loads beyond what a server can do: searches at four times their peak, and large bodies
against a store that does not answer. Both run against latentd alone."""

import contextlib
import http.client
import json
import math
import pathlib
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from bench import measure
from bench.measure import Times
from bench.models import ENCODERS
from bench.processes import Running, proportional_mib, tree
from bench.servers import LATENTD, Place

ITEMS, DIMENSION = 60_000, 256
COLLECTION = "/v1/collections/pressure"
QUERIES = 64
# Items of one request: the first that the server's limits allow.
SIZES = (1000, 64)
# Connections that are tried for the peak; the best counts.
PEAK_CONNECTIONS = (2, 4, 8, 16)
CONNECTIONS = 2048
SEARCH_DEADLINE_MS = 500
# Between two questions for readiness.
PROBE_SECONDS = 0.05
# Of one body; a little less than the limit, which counts all of a request's.
BODY_BYTES = (32 << 20) - (64 << 10)
POSTERS = 24
# After which a caller of the store's scenario drops its connection.
DROP_SECONDS = 1.0


def ask(method: str, path: str, body: dict | None = None, timeout: float = 60) -> tuple[int, bytes]:
    """One request over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", LATENTD.port, timeout=timeout)
    try:
        content = None if body is None else json.dumps(body).encode()
        connection.request(method, path, content, {"Content-Type": "application/json"} if content else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def demand(expected: tuple[int, ...], method: str, path: str, body: dict | None = None) -> bytes:
    status, content = ask(method, path, body)
    if status not in expected:
        raise RuntimeError(f"{method} {path} was answered {status}: {content[:300]!r}")
    return content


def spread(seconds: list[float]) -> dict:
    """Percentiles as the load generator has them: the least value that so many do not exceed."""
    ordered = sorted(seconds)
    at = lambda share: ordered[max(0, math.ceil(share * len(ordered)) - 1)] * 1000  # noqa: E731
    return {"count": len(ordered), "p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1)} if ordered else {"count": 0}


@dataclass
class Probe:
    """Asks for readiness like a balancer, over a new connection each time, until the block ends."""

    taken: list[float] = field(default_factory=list)
    not_ready: int = 0

    @contextlib.contextmanager
    def running(self) -> Iterator["Probe"]:
        ended = threading.Event()
        thread = threading.Thread(target=self.ask_until, args=(ended,), name="probe")
        thread.start()
        try:
            yield self
        finally:
            ended.set()
            thread.join()

    def ask_until(self, ended: threading.Event) -> None:
        while not ended.wait(PROBE_SECONDS):
            begun = time.perf_counter()
            try:
                status = ask("GET", "/readyz", timeout=10)[0]
            except (OSError, http.client.HTTPException):
                status = 0
            self.taken.append(time.perf_counter() - begun)
            self.not_ready += status != 200

    def figures(self) -> dict:
        return {**spread(self.taken), "not_ready": self.not_ready}


def drawn_vectors(count: int, seed: int) -> np.ndarray:
    """Vectors around random centres, as embeddings are; the centres are the same for every seed."""
    centres = np.random.default_rng(0).standard_normal((200, DIMENSION), dtype=np.float32)
    random = np.random.default_rng(seed)
    noise = random.standard_normal((count, DIMENSION), dtype=np.float32)
    return np.round(centres[random.integers(len(centres), size=count)] + 0.7 * noise, 4)


def fill(items: int = ITEMS) -> dict:
    """Makes the collection and fills it through the API; returns how fast that went."""
    demand((200, 201), "PUT", COLLECTION, {"dimension": DIMENSION, "metric": "cosine", "store": "none"})
    vectors, size, at, begun = drawn_vectors(items, seed=1), SIZES[0], 0, time.monotonic()
    while at < items:
        rows = vectors[at : at + size]
        body = {"items": [{"id": str(at + number), "vector": row} for number, row in enumerate(rows.tolist())]}
        status, content = ask("POST", f"{COLLECTION}/items", body)
        if status == 413 and size > SIZES[-1]:
            size = SIZES[-1]
        elif status in (200, 201):
            at += len(rows)
        else:
            raise RuntimeError(f"items were answered {status}: {content[:300]!r}")
    counted = json.loads(demand((200,), "GET", COLLECTION))["count"]
    if counted != items:
        raise RuntimeError(f"{items} items were added, and the collection has {counted}")
    return {"items": items, "dimension": DIMENSION, "items_per_request": size, "items_per_second": items / (time.monotonic() - begun)}


@dataclass(frozen=True)
class Searches:
    """Exact searches of the collection; the queries are files of a folder."""

    place: Place
    running: Running
    queries: pathlib.Path

    def measured(self, times: Times, *more: str) -> dict:
        command = [str(self.place.serving), "load", "--address", f"127.0.0.1:{LATENTD.port}", "--bodies", str(self.queries)]
        command += ["--target", f"{COLLECTION}/search", "--header", "Content-Type: application/json", *more]
        found = measure.run(command + times.arguments, self.running)
        self.running.check()
        return found

    def peak(self, times: Times) -> dict:
        """The most that few connections get, each of which asks again as soon as it is answered."""
        tried = [{"connections": few} | self.measured(times, "--connections", str(few)) for few in PEAK_CONNECTIONS]
        return max(tried, key=lambda found: found["images_per_second"])

    def beyond(self, rate: float, times: Times) -> dict:
        deadline = f"X-Request-Timeout-Ms: {SEARCH_DEADLINE_MS}"
        return self.measured(times, "--connections", str(CONNECTIONS), "--rate", str(rate), "--header", deadline)


@contextlib.contextmanager
def queries(place: Place) -> Iterator[pathlib.Path]:
    with tempfile.TemporaryDirectory(dir=place.folder) as name:
        folder = pathlib.Path(name)
        for number, row in enumerate(drawn_vectors(QUERIES, seed=2).tolist()):
            body = {"vector": row, "limit": 10, "exact": True, "with_metadata": False}
            (folder / f"{number:03}").write_text(json.dumps(body))
        yield folder


@contextlib.contextmanager
def server(place: Place, name: str, settings: dict[str, str]) -> Iterator[Running]:
    """latentd with the tiny model and an empty data folder, once the model is loaded. It is not asked whether it is ready:
    it is not, where its store does not answer."""
    tiny = ENCODERS[0]
    with tempfile.TemporaryDirectory(dir=place.folder) as data:
        command = [str(place.latentd), "serve", "--listen", f"127.0.0.1:{LATENTD.port}"]
        command += ["--models", str(place.folder / "models" / tiny.name), "--data", data]
        environment = {"LATENTD_ONNXRUNTIME": str(place.onnxruntime), **settings}
        running = Running(command, environment, place.folder / "logs" / f"latentd-{name}.log")
        try:
            deadline = time.monotonic() + 60
            while not loaded():
                running.check()
                if time.monotonic() > deadline:
                    raise RuntimeError(f"latentd had not loaded its model in 60 s; its log: {running.log}")
                time.sleep(0.05)
            yield running
        finally:
            running.end()


def loaded() -> bool:
    try:
        models = json.loads(ask("GET", "/v1/models", timeout=5)[1])["data"]
        return bool(models) and all(model["state"] == "ready" for model in models)
    except (OSError, ValueError, http.client.HTTPException):
        return False


def search_overload(place: Place, times: Times, seconds: float, items: int = ITEMS) -> dict:
    """Exact searches at four times what the index can take, each with a deadline; how readiness is answered meanwhile."""
    with server(place, "search-overload", {}) as running, queries(place) as folder:
        filled = fill(items)
        searches = Searches(place, running, folder)
        peak = searches.peak(times)
        rate = 4 * peak["images_per_second"]
        with Probe().running() as probe:
            over = searches.beyond(rate, Times(min(3.0, seconds / 2), seconds))
    return {"deadline_ms": SEARCH_DEADLINE_MS, "rate": rate, "filled": filled, "peak": peak, "over": over, "readyz": probe.figures()}


@contextlib.contextmanager
def stalled_store() -> Iterator[str]:
    """The address of a store that takes connections and all that is sent, and never answers."""
    ended, held = threading.Event(), []
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        listener.settimeout(0.2)

        def accept() -> None:
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    connection = listener.accept()[0]
                    held.append(connection)
                    threading.Thread(target=swallow, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, name="stalled-store")
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()
            for connection in held:
                connection.close()


def swallow(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while connection.recv(1 << 20):
            pass


@dataclass
class Droppers:
    """Callers that post a large image to be stored, wait a moment for an answer, and drop the connection."""

    body: bytes
    statuses: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def post_until(self, ended: float) -> None:
        while time.monotonic() < ended:
            status = self.post()
            with self.lock:
                self.statuses[status] = self.statuses.get(status, 0) + 1

    def post(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", LATENTD.port, timeout=30)
        try:
            connection.connect()
            connection.putrequest("POST", f"{COLLECTION}/items")
            connection.putheader("Content-Type", "image/jpeg")
            connection.putheader("Content-Length", str(len(self.body)))
            connection.endheaders()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.send(self.body)
            connection.sock.settimeout(DROP_SECONDS)
            return str(connection.getresponse().status)
        except TimeoutError:
            return "dropped"
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)
            return "broken"
        finally:
            connection.close()


def padded(image: bytes) -> bytes:
    """A small JPEG as a large file: what comes after its end belongs to no image, but to the body."""
    return image + bytes(BODY_BYTES - len(image))


def bodies(place: Place, seconds: float) -> dict:
    """Large bodies whose callers go away, while the store of their images does not answer: the most memory that the
    server takes, beside what it takes when it is idle."""
    image = measure.images(place, "32")[0].read_bytes()
    with stalled_store() as address:
        settings = {"URL": "s3://images/bench", "ENDPOINT": address, "ALLOW_HTTP": "true"}
        settings |= {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret"}
        with server(place, "bodies", {f"LATENTD_STORE__{key}": value for key, value in settings.items()}) as running:
            demand((200, 201), "PUT", COLLECTION, {"model": ENCODERS[0].name, "store": "original"})
            budget = budget_bytes(place)
            idle, droppers, ended = proportional_mib(tree(running.pid)), Droppers(padded(image)), time.monotonic() + seconds
            threads = [threading.Thread(target=droppers.post_until, args=(ended,)) for _ in range(POSTERS)]
            for thread in threads:
                thread.start()
            seen = [idle]
            while any(thread.is_alive() for thread in threads):
                seen.append(proportional_mib(tree(running.pid)))
                time.sleep(0.02)
            running.check()
    return {"budget_mib": budget / (1 << 20), "idle_mib": idle, "most_mib": max(seen), "outcomes": droppers.statuses}


def budget_bytes(place: Place) -> int:
    """The default of `limits.bodies_in_flight_bytes`, as the program's own reference has it."""
    reference = subprocess.run([str(place.latentd), "config"], check=True, capture_output=True, text=True).stdout
    (line,) = (line for line in reference.splitlines() if line.startswith("| `bodies_in_flight_bytes` |"))
    return int(line.split("|")[2].strip(" `"))
