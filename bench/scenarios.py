"""The scenarios, in the order in which they are measured. Each of them returns plain data for the results file; `tables` reads it again.

Servers take turns: in each round every one of them is started, warmed up, measured and ended, in an order that moves on
by one from round to round, so that a slow minute of the machine falls on all of them.
"""

import http.client
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bench import measure, pressure
from bench.measure import Load, References, Times
from bench.models import ENCODERS, Encoder
from bench.processes import Running, proportional_mib, tree
from bench.servers import FASTAPI, FASTAPI_THREADS, LATENTD, LATENTD_LATENCY, PEERS, ROOT, Place, Server

BY_NAME = {encoder.name: encoder for encoder in ENCODERS}
SIZE = {"tiny": "32", "middle": "640", "large": "640"}
CONNECTIONS = {"tiny": 64, "middle": 16, "large": 16}
# Seconds of one measurement: a slow model needs more of them for as steady a figure.
SECONDS = {"tiny": 4, "middle": 7, "large": 12}
WARM = {"tiny": 1, "middle": 2, "large": 3}
# What a caller gives a request under overload, in milliseconds.
DEADLINE_MS = 2000


@dataclass
class Bench:
    """Where, how long, how often; and what earlier scenarios have found."""

    place: Place
    repeats: int = 3
    # in place of each measurement's own seconds
    seconds: float | None = None
    overload_seconds: float = 60
    references: References = field(init=False)
    found: dict[str, dict] = field(default_factory=dict)

    def __post_init__(self):
        self.references = References(self.place)

    def times(self, name: str, factor: float = 1) -> Times:
        seconds = (self.seconds or SECONDS[name]) * factor
        return Times(min(WARM[name], max(0.5, seconds / 2)), seconds)

    def load(self, encoder: Encoder, server: Server, running: Running, how: Load, times: Times) -> dict:
        return measure.load(self.place, encoder, server, running, how, times)


def say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, flush=True)


def rounds(repeats: int, turns: list[tuple[str, Callable[[], dict]]]) -> dict[str, list[dict]]:
    """Every turn once a round; a turn gives a cell, or several by name. One that fails is kept with its reason."""
    cells: dict[str, list[dict]] = {}
    for number in range(repeats):
        first = number % len(turns)
        for name, turn in turns[first:] + turns[:first]:
            try:
                made = turn()
            except RuntimeError as error:
                made = {name: {"failed": str(error)}}
            for cell, values in made.items():
                cells.setdefault(cell, []).append({"round": number, **values})
                say(f"round {number + 1}, {cell}: {brief(values)}")
    return cells


def brief(values: dict) -> str:
    if "failed" in values:
        return f"failed: {values['failed']}"
    parts = [f"{values['images_per_second']:.1f} images/s"] if "images_per_second" in values else []
    if values.get("cpu_us_per_image"):
        parts.append(f"{values['cpu_us_per_image']:.0f} µs of processor time each")
    if "other_cores" in values:
        parts.append(f"others used {values['other_cores']:.2f} cores")
    return ", ".join(parts) or json.dumps(values)


def faster_fastapi(bench: Bench, encoder: Encoder) -> Server:
    """FastAPI with the work in the handler or on a thread, whichever of the two answers more."""
    answered = {}
    for server in (FASTAPI, FASTAPI_THREADS):
        with server.running(bench.place, encoder) as running:
            how = Load(SIZE[encoder.name], CONNECTIONS[encoder.name])
            answered[server.name] = bench.load(encoder, server, running, how, Times(1, 3))["images_per_second"]
    say(f"fastapi in the handler {answered['fastapi']:.1f} images/s, on threads {answered['fastapi-threads']:.1f}")
    return FASTAPI_THREADS if answered["fastapi-threads"] > answered["fastapi"] else FASTAPI


def throughput(bench: Bench, name: str) -> dict:
    """latentd, the peers and the limits, as fast as they can."""
    encoder, times = BY_NAME[name], bench.times(name)
    how = Load(SIZE[name], CONNECTIONS[name])
    # the large model keeps either busy in the same way, and a trial of it would take long
    fastapi = faster_fastapi(bench, encoder) if bench.repeats > 1 and name != "large" else FASTAPI

    def serve(server: Server) -> dict:
        with server.running(bench.place, encoder) as running:
            agreement = bench.references.check(server, encoder, how.size)
            cells = {server.name: bench.load(encoder, server, running, how, times) | {"cosine": agreement}}
            if server is LATENTD and name != "tiny":
                cells |= variants(running)
        return cells

    def variants(running: Running) -> dict:
        """Measures the server that is running with other answers, and with other images."""
        numbers = replace(how, query="&dimensions=768", headers=(("Accept", "application/json"),))
        cells = {"json-768": bench.load(encoder, LATENTD, running, numbers, times)}
        if encoder.dimension != 768:
            cells["octets-768"] = bench.load(encoder, LATENTD, running, replace(how, query="&dimensions=768"), times)
        if name == "large":
            cells["12mp"] = bench.load(encoder, LATENTD, running, replace(how, size="12mp"), times)
        return cells

    def limit(what: str, batch: int = measure.BATCH) -> Callable[[], dict]:
        key = f"limit-{what}" if batch == measure.BATCH else f"limit-{what}-{batch}"
        return lambda: {key: measure.limit(bench.place, encoder, what, how.size, times, batch)}

    servers = [LATENTD, *(fastapi if peer is FASTAPI else peer for peer in PEERS)]
    turns = [(server.name, lambda server=server: serve(server)) for server in servers]
    turns += [("limit-tensors", limit("tensors")), ("limit-direct", limit("direct"))]
    if name == "tiny":
        turns.append(("limit-queued", limit("queued")))
    elif name == "large":
        # a larger batch is not always faster: the limit is the better of the two
        turns.append(("limit-direct-1", limit("direct", 1)))
    return {"model": name, "size": how.size, "connections": how.connections, "cells": rounds(bench.repeats, turns)}


def median(cells: list[dict], key: str) -> float:
    values = [cell[key] for cell in cells if cell.get(key) is not None]
    return statistics.median(values) if values else 0.0


def best_peer(found: dict) -> tuple[Server, float]:
    """The peer that answered most, and how many images a second."""
    every = [*PEERS, FASTAPI_THREADS]
    peaks = {server.name: median(found["cells"].get(server.name, []), "images_per_second") for server in every}
    best = max(every, key=lambda server: peaks[server.name])
    return best, peaks[best.name]


def latency(bench: Bench, name: str) -> dict:
    """Latencies at a fixed rate, four fifths of what the best peer can take."""
    if name not in bench.found:
        raise RuntimeError(f"the scenario {name} comes first: it tells the rate")
    encoder = BY_NAME[name]
    peer, peak = best_peer(bench.found[name])
    how = Load(SIZE[name], 256, rate=0.8 * peak)

    def serve(server: Server) -> dict:
        with server.running(bench.place, encoder) as running:
            return {server.name: bench.load(encoder, server, running, how, bench.times(name, 1.25))}

    turns = [(server.name, lambda server=server: serve(server)) for server in (LATENTD, LATENTD_LATENCY, peer)]
    cells = rounds(max(1, bench.repeats - 1), turns)
    return {"model": name, "peer": peer.name, "rate": how.rate, "cells": cells}


def idle(bench: Bench) -> dict:
    """One image at a time, on the tiny model: what the server adds. Rounds are short and there are many, since some of
    them as a whole are a sixth slower: it depends on how soon a sleeping core wakes."""
    encoder, times = BY_NAME["tiny"], Times(0.5, (bench.seconds or 4) / 2)

    def serve(server: Server) -> dict:
        with server.running(bench.place, encoder) as running:
            return {server.name: bench.load(encoder, server, running, Load("32", 1), times)}

    turns = [(server.name, lambda server=server: serve(server)) for server in (LATENTD, FASTAPI)]
    turns.append(("limit-single", lambda: {"limit-single": measure.limit(bench.place, encoder, "single", "32", times)}))
    return {"cells": rounds(3 * bench.repeats, turns)}


def overload(bench: Bench) -> dict:
    """Four times as many requests as can be answered, each with a deadline, on the middle model."""
    encoder = BY_NAME["middle"]
    with LATENTD.running(bench.place, encoder) as running:
        peak = bench.load(encoder, LATENTD, running, Load("640", 16), bench.times("middle"))
        say(f"peak: {brief(peak)}")
        headers = (("X-Request-Timeout-Ms", str(DEADLINE_MS)),)
        how = Load("640", 2048, rate=4 * peak["images_per_second"], headers=headers)
        over = bench.load(encoder, LATENTD, running, how, Times(3, bench.overload_seconds))
        say(f"overload: {brief(over)}")
    return {"deadline_ms": DEADLINE_MS, "rate": how.rate, "peak": peak, "over": over}


def search_overload(bench: Bench) -> dict:
    """Exact searches at four times their peak."""
    found = pressure.search_overload(bench.place, Times(1, bench.seconds or 5), bench.overload_seconds)
    say(f"search-overload: {json.dumps(found['over']['statuses'])}, readyz {json.dumps(found['readyz'])}")
    return found


def bodies(bench: Bench) -> dict:
    """Large bodies, dropped by their callers, against a store that does not answer."""
    found = pressure.bodies(bench.place, min(20, bench.overload_seconds))
    say(f"bodies: {brief(found)}")
    return found


def start(bench: Bench) -> dict:
    """The time from the start of the process to ready, with the models that ship."""

    def once() -> dict:
        command = [str(bench.place.latentd), "serve", "--listen", "127.0.0.1:18110", "--models", str(ROOT / "models")]
        command += ["--data", str(bench.place.folder / "data-start")]
        environment = {"LATENTD_ONNXRUNTIME": str(bench.place.onnxruntime)}
        begun = time.monotonic()
        server = Running(command, environment, bench.place.folder / "logs" / "latentd-start.log")
        try:
            ready = until(server, lambda: get("/readyz")[0] == 200) - begun
            states = lambda: {model["state"] for model in json.loads(get("/v1/models")[1])["data"]}  # noqa: E731
            all_ready = until(server, lambda: states() == {"ready"}) - begun
            time.sleep(0.5)
            memory = proportional_mib(tree(server.pid))
        finally:
            server.end()
        return {"latentd": {"ready_seconds": ready, "all_ready_seconds": all_ready, "pss_mib": memory}}

    return {"cells": rounds(max(3, bench.repeats), [("latentd", once)])}


def get(path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", 18110, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def until(server: Running, holds: Callable[[], bool]) -> float:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        server.check()
        try:
            if holds():
                return time.monotonic()
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.005)
    raise RuntimeError("latentd did not become ready")


SCENARIOS: dict[str, Callable[[Bench], dict]] = {
    "tiny": lambda bench: throughput(bench, "tiny"),
    "middle": lambda bench: throughput(bench, "middle"),
    "large": lambda bench: throughput(bench, "large"),
    "latency-middle": lambda bench: latency(bench, "middle"),
    "latency-large": lambda bench: latency(bench, "large"),
    "idle": idle,
    "overload": overload,
    "search-overload": search_overload,
    "bodies": bodies,
    "start": start,
}
