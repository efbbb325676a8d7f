"""One measurement: a load or a limit run to its end, with what it cost the server and who else used the cores."""

import json
import pathlib
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.models import Encoder
from bench.processes import Running, Usage, proportional_mib, tree
from bench.servers import BATCH, LATENTD, Place, Server, cosine

# Below, two servers do not give the same vector; above, two images do not give different ones.
SAME = 0.999
DIFFERENT = 0.99


@dataclass(frozen=True)
class Times:
    warm: float
    seconds: float

    @property
    def arguments(self) -> list[str]:
        return ["--warm", str(self.warm), "--seconds", str(self.seconds)]


class Disagreement(RuntimeError):
    """A server whose vectors are not latentd's."""


def images(place: Place, size: str) -> list[pathlib.Path]:
    return sorted((place.folder / "images" / size).iterdir())


@contextmanager
def bodies(place: Place, server: Server, size: str) -> Iterator[pathlib.Path]:
    """A folder of what is posted, in the form the server takes."""
    with tempfile.TemporaryDirectory(dir=place.folder) as name:
        folder = pathlib.Path(name)
        for image in images(place, size):
            (folder / image.name).write_bytes(server.body(image.read_bytes()))
        yield folder


class References:
    """The vectors that latentd gives for a few images, with which those of the other servers are compared."""

    def __init__(self, place: Place):
        self.place = place
        self.known: dict[tuple[str, str], list] = {}

    def check(self, server: Server, encoder: Encoder, size: str) -> float:
        """The least cosine between this server's vectors and latentd's."""
        samples = [file.read_bytes() for file in images(self.place, size)[:6]]
        vectors = [server.ask(encoder, image) for image in samples]
        if (encoder.name, size) not in self.known:
            if server.name != LATENTD.name:
                with LATENTD.running(self.place, encoder):
                    self.check(LATENTD, encoder, size)
            else:
                alike = max(cosine(a, b) for at, a in enumerate(vectors) for b in vectors[:at])
                if alike > DIFFERENT:
                    raise Disagreement(f"different images have a cosine of {alike:.5f}: agreement would say nothing")
                self.known[encoder.name, size] = vectors
        least = min(cosine(a, b) for a, b in zip(vectors, self.known[encoder.name, size], strict=True))
        if least < SAME:
            raise Disagreement(f"{server.title} gives other vectors than latentd: cosine {least:.5f}, {SAME} is asked for")
        return least


def run(command: list[str], server: Running | None) -> dict:
    """Runs a load against a server, or a limit, which is its own server; returns what it printed and what it cost."""
    measured = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    usages, memory, result = [], [], None
    try:
        for line in measured.stdout:
            printed = json.loads(line)
            if "event" not in printed:
                result = printed
            elif server is None:
                usages.append(Usage.now(measured.pid, 0))
            else:
                usages.append(Usage.now(server.pid, measured.pid))
                memory.append(proportional_mib(tree(server.pid)))
        if measured.wait() != 0 or result is None or len(usages) != 2:
            raise RuntimeError(f"failed: {' '.join(command)}")
    finally:
        if measured.poll() is None:
            measured.kill()
            measured.wait()
    cost = usages[0].until(usages[1])
    done = result["images_per_second"] * (usages[1].at - usages[0].at)
    if not done:
        raise RuntimeError(f"not one image in {result['seconds']} s")
    cost["cpu_us_per_image"] = cost.pop("server_cpu_seconds") / done * 1e6
    if memory:
        cost["pss_mib"] = memory[-1]
        cost["pss_mib_at_begin"] = memory[0]
    return {**result, **cost}


def limit(place: Place, encoder: Encoder, what: str, size: str, times: Times, batch: int = BATCH) -> dict:
    command = [str(place.serving), "limit", "--what", what, "--model", encoder.name, "--batch", str(batch)]
    command += ["--models", str(place.folder / "models" / encoder.name), "--images", str(place.folder / "images" / size)]
    return run(command + times.arguments, None)


@dataclass(frozen=True)
class Load:
    """A load: the images, how many requests at a time or a second, and what each of them says."""

    size: str
    connections: int
    # requests a second; none: as soon as the last is answered
    rate: float | None = None
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()


def load(place: Place, encoder: Encoder, server: Server, running: Running, how: Load, times: Times) -> dict:
    with bodies(place, server, how.size) as folder:
        command = [str(place.serving), "load", "--address", f"127.0.0.1:{server.port}", "--bodies", str(folder)]
        command += ["--target", server.target(encoder) + how.query, "--connections", str(how.connections)]
        for name, value in {**server.headers, **dict(how.headers)}.items():
            command += ["--header", f"{name}: {value}"]
        if how.rate is not None:
            command += ["--rate", str(how.rate)]
        result = run(command + times.arguments, running)
    running.check()
    return result
