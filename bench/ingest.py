"""`make bench-ingest`: does `latentd ingest` keep a server as busy as requests for embeddings do?

    make bench-ingest                                     simclr-cifar10, 5,000 images, three rounds
    make bench-ingest ARGS='--model ae-cifar10 --images 500 --seconds 2 --repeats 1'

Each round starts a server with one of the shipped models, asks it for embeddings over 64 connections, lets
`latentd ingest` put the same images into a collection, and runs that once more, when all of them are there. Prints a
Markdown table: the median of the rounds, and in brackets the least and the most.
"""

import argparse
import http.client
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import time

from bench.measure import Times, run
from bench.processes import Running, Usage
from bench.servers import ROOT

PORT = 18111
CONNECTIONS = 64
COLLECTION = "bench"
SUMMARY = re.compile(r"(\d+) added, (\d+) there already, (\d+) failed in ([\d.]+) s")
ROWS = [
    ("embeddings", f"`/v1/embeddings`, {CONNECTIONS} connections"),
    ("added", "`latentd ingest` into an empty collection"),
    ("again", "the same once more, all there already"),
]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latentd", type=pathlib.Path, required=True, help="the program")
    parser.add_argument("--serving", type=pathlib.Path, required=True, help="the program of benches/serving")
    parser.add_argument("--archive", type=pathlib.Path, default=ROOT.parent / "shared" / "data" / "cifar10" / "val.tar")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "target" / "bench-ingest", help="emptied first")
    parser.add_argument("--model", default="simclr-cifar10", help="a folder of models/")
    parser.add_argument("--images", type=int, default=5000, help="of the archive, at most")
    parser.add_argument("--store", default="none", choices=["none", "thumbnail", "original"])
    parser.add_argument("--seconds", type=float, default=8, help="of asking for embeddings")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2, help="everything is pinned to so many cores")
    return parser.parse_args()


def prepare(options: argparse.Namespace) -> int:
    """The images as files and as an archive, and a repository of one model; returns how many images there are."""
    shutil.rmtree(options.folder, ignore_errors=True)
    bodies = options.folder / "images"
    bodies.mkdir(parents=True)
    count = 0
    with tarfile.open(options.archive) as archive, tarfile.open(options.folder / "images.tar", "w") as chosen:
        members = [member for member in archive if member.isfile()]
        # the archive is sorted by class: take some of each
        for member in members[:: max(1, len(members) // options.images)][: options.images]:
            content = archive.extractfile(member)
            (bodies / f"{count:06}").write_bytes(content.read())
            content.seek(0)
            chosen.addfile(member, content)
            count += 1
    shutil.copytree(ROOT / "models" / options.model, options.folder / "models" / options.model)
    return count


def start(options: argparse.Namespace, number: int) -> Running:
    data = options.folder / f"data-{number}"
    command = [str(options.latentd), "serve", "--listen", f"127.0.0.1:{PORT}"]
    command += ["--models", str(options.folder / "models"), "--data", str(data)]
    library = {"LATENTD_ONNXRUNTIME": str(ROOT / ".ort" / "lib" / "libonnxruntime.so")}
    server = Running(command, library, options.folder / f"server-{number}.log")
    deadline = time.monotonic() + 60
    while not ready():
        server.check()
        if time.monotonic() > deadline:
            server.end()
            raise RuntimeError(f"the server was not ready in 60 s; its log: {server.log}")
        time.sleep(0.05)
    return server


def ready() -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def embeddings(options: argparse.Namespace, server: Running) -> dict:
    command = [str(options.serving), "load", "--address", f"127.0.0.1:{PORT}", "--bodies", str(options.folder / "images")]
    command += ["--target", f"/v1/embeddings?model={options.model}", "--connections", str(CONNECTIONS)]
    command += ["--header", "Accept: application/octet-stream"]
    found = run(command + Times(1, options.seconds).arguments, server)
    if set(found["statuses"]) != {"200"}:
        raise RuntimeError(f"not every answer was good: {found['statuses']}")
    rate = found["images_per_second"]
    return {
        "rate": rate,
        "server": rate * found["cpu_us_per_image"] / 1e6,
        "client": found["load_cores"],
        "others": found["other_cores"],
    }


def ingest(options: argparse.Namespace, server: Running, expected: tuple[int, int]) -> dict:
    """Runs `latentd ingest` to its end; `expected` are the numbers of what is added and of what is there."""
    command = [str(options.latentd), "ingest", "--url", f"http://127.0.0.1:{PORT}", "--collection", COLLECTION]
    command += ["--model", options.model, "--store", options.store, str(options.folder / "images.tar")]
    before, own = Usage.now(server.pid, 0), os.times()
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    after, now = Usage.now(server.pid, 0), os.times()
    server.check()
    summary = SUMMARY.search(done.stdout)
    if done.returncode != 0 or summary is None:
        raise RuntimeError(f"latentd ingest ended with {done.returncode}: {done.stdout}{done.stderr[-2000:]}")
    added, present, failed = (int(summary[at]) for at in (1, 2, 3))
    if (added, present, failed) != (*expected, 0):
        raise RuntimeError(f"{sum(expected)} images were sent, and of them: {done.stdout}")
    passed = after.at - before.at
    client = (now.children_user + now.children_system - own.children_user - own.children_system) / passed
    cost = before.until(after)
    return {
        "rate": sum(expected) / passed,
        "server": cost["server_cpu_seconds"] / passed,
        "client": client,
        "others": max(0.0, cost["other_cores"] - client),
    }


def measured(options: argparse.Namespace, number: int, count: int) -> dict[str, dict]:
    server = start(options, number)
    try:
        return {
            "embeddings": embeddings(options, server),
            "added": ingest(options, server, (count, 0)),
            "again": ingest(options, server, (0, count)),
        }
    finally:
        server.end()


def spread(values: list[float], shown) -> str:
    middle = shown(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({shown(min(values))} … {shown(max(values))})"


def whole(value: float) -> str:
    return f"{int(value):,}"


def cut(value: float) -> str:
    """Cut off, never rounded up."""
    return f"{int(value * 100) / 100:.2f}"


def table(rounds: list[dict[str, dict]]) -> str:
    lines = ["| | images/s | of embedding | server's cores | client's cores | others' |", "| --- | --- | --- | --- | --- | --- |"]
    for name, title in ROWS:
        cells = [found[name] for found in rounds]
        ratios = [found[name]["rate"] / found["embeddings"]["rate"] for found in rounds]
        ratio = "" if name == "embeddings" else spread(ratios, cut)
        figures = [spread([cell["rate"] for cell in cells], whole), ratio]
        figures += [spread([cell[key] for cell in cells], cut) for key in ("server", "client", "others")]
        lines.append(f"| {title} | {' | '.join(figures)} |")
    return "\n".join(lines)


def main() -> None:
    options = arguments()
    if not options.archive.exists():
        sys.exit(f"bench-ingest: {options.archive} is not there, so nothing is measured; name a .tar of images with --archive")
    cores = sorted(os.sched_getaffinity(0))[: options.cores]
    # whatever is started from here inherits it
    os.sched_setaffinity(0, cores)
    count = prepare(options)
    rounds = [measured(options, number, count) for number in range(options.repeats)]
    (options.folder / "results.json").write_text(json.dumps(rounds, indent=1) + "\n")
    print(f"{count:,} images, {options.model}, store {options.store}, {len(cores)} cores, {len(rounds)} rounds\n")
    print(table(rounds))


if __name__ == "__main__":
    main()
