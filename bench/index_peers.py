"""Measures other libraries on the vectors that `make bench-index` wrote, one thread each.

    make bench-index-peers ARGS='--dimension 256'
    make bench-index-peers ARGS='--dimension 256 --turns 7'

Reads `vectors.f32`, `queries.f32` and `truth.u32` (the exact nearest items), prints a Markdown table. With `--turns`,
faiss, hnswlib and the index that `make bench-index` left take turns, and the table has medians, so that what the machine
does beside hits all of them.
"""

import argparse
import pathlib
import statistics
import subprocess
import time

import faiss
import hnswlib
import numpy
import usearch.index

NEAREST = 10
EXPANSIONS = [16, 32, 48, 64, 96, 128, 192, 256]


def report(what: str, search, queries: numpy.ndarray, truth: numpy.ndarray) -> float:
    """One query a call, as a server gets them."""
    times, hits = [], 0
    for query, expected in zip(queries, truth, strict=True):
        started = time.perf_counter()
        found = search(query)
        times.append(time.perf_counter() - started)
        hits += len(numpy.intersect1d(found, expected))
    recall = hits / truth.size
    times.sort()
    p50, p99 = (times[min(len(times) - 1, len(times) * percent // 100)] * 1e3 for percent in (50, 99))
    # cut off, never rounded up
    print(f"| {what} | {int(recall * 1e4) / 1e4:.4f} | {len(times) / sum(times):.0f} | {p50:.2f} ms | {p99:.2f} ms |", flush=True)
    return recall


def faiss_graph(vectors: numpy.ndarray):
    """A graph, and how to search it with an expansion."""
    graph = faiss.IndexHNSWFlat(vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = 100
    graph.add(vectors)

    def search(expansion: int):
        graph.hnsw.efSearch = expansion
        return lambda query: graph.search(query[None], NEAREST)[1][0]

    return search


def hnswlib_graph(vectors: numpy.ndarray):
    """A graph, and how to search it with an expansion."""
    graph = hnswlib.Index("cosine", vectors.shape[1])
    graph.init_index(len(vectors), ef_construction=100, M=16)
    graph.set_num_threads(1)
    graph.add_items(vectors)

    def search(expansion: int):
        graph.set_ef(expansion)
        return lambda query: graph.knn_query(query, NEAREST)[0][0]

    return search


class Latentd:
    """The index that `make bench-index` left, in a process of its own."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def measure(self, expansion: int) -> tuple[float, float, float]:
        """Recall, searches a second by the clock and by processor time."""
        self.process.stdin.write(f"{expansion}\n")
        self.process.stdin.flush()
        recall, rate, processor, *_ = self.process.stdout.readline().split()
        return float(recall), float(rate), float(processor)


def measure(search, queries: numpy.ndarray, truth: numpy.ndarray) -> tuple[float, float, float]:
    """Recall, searches a second by the clock and by processor time, one query a call."""
    started, processor = time.perf_counter(), time.process_time()
    found = [search(query) for query in queries]
    seconds, processor = time.perf_counter() - started, time.process_time() - processor
    hits = sum(len(numpy.intersect1d(one, expected)) for one, expected in zip(found, truth, strict=True))
    return hits / truth.size, len(queries) / seconds, len(queries) / processor


def take_turns(options: argparse.Namespace, vectors: numpy.ndarray, queries: numpy.ndarray, truth: numpy.ndarray) -> None:
    """Each candidate with each expansion, one after the other, so many times."""
    latentd = Latentd([
        *options.latentd.split(), "--turns", "--items", str(len(vectors)), "--dimension", str(options.dimension),
        "--folder", str(options.folder),
    ])  # fmt: skip
    graphs = {"faiss HNSW": faiss_graph(vectors), "hnswlib": hnswlib_graph(vectors)}
    candidates = {}
    for expansion in options.expansions:
        candidates[f"latentd, {expansion}"] = lambda expansion=expansion: latentd.measure(expansion)
        for name, graph in graphs.items():
            search = lambda expansion=expansion, graph=graph: measure(graph(expansion), queries, truth)  # noqa: E731
            candidates[f"{name}, {expansion}"] = search
    turns = {name: [] for name in candidates}
    for _ in range(options.turns):
        for name, candidate in candidates.items():
            turns[name].append(candidate())
    print("| what | recall | searches/s, median (least … most) | of processor time, median |\n| --- | --- | --- | --- |")
    for name, results in turns.items():
        recall, rates, processor = results[-1][0], *([result[at] for result in results] for at in (1, 2))
        print(
            f"| {name} | {int(recall * 1e4) / 1e4:.4f} | {statistics.median(rates):.0f} ({min(rates):.0f} … {max(rates):.0f}) "
            f"| {statistics.median(processor):.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--recall", type=float, default=0.999, help="stop raising the expansion here")
    parser.add_argument("--turns", type=int, default=0, help="take so many turns with latentd")
    parser.add_argument("--latentd", default="cargo bench --locked --bench index --", help="what runs the bench of the index")
    parser.add_argument("--expansions", type=int, nargs="+", default=[32, 48, 64, 96], help="for --turns")
    options = parser.parse_args()
    vectors, queries = (
        numpy.fromfile(options.folder / name, dtype="<f4").reshape(-1, options.dimension)
        for name in ("vectors.f32", "queries.f32")
    )
    truth = numpy.fromfile(options.folder / "truth.u32", dtype="<u4").reshape(-1, NEAREST)
    faiss.omp_set_num_threads(1)
    if options.turns:
        return take_turns(options, vectors, queries, truth)
    print("| what | recall | searches/s | p50 | p99 |\n| --- | --- | --- | --- | --- |")

    flat = faiss.IndexFlatIP(options.dimension)
    flat.add(vectors)
    report("faiss flat", lambda query: flat.search(query[None], NEAREST)[1][0], queries[:200], truth[:200])

    for name, make in [("faiss HNSW", faiss_graph), ("hnswlib", hnswlib_graph)]:
        started = time.perf_counter()
        graph = make(vectors)
        print(f"| {name}, built in {time.perf_counter() - started:.1f} s | | | | |")
        for expansion in EXPANSIONS:
            if report(f"{name}, {expansion}", graph(expansion), queries, truth) >= options.recall:
                break

    for dtype in ("f32", "i8"):
        started = time.perf_counter()
        index = usearch.index.Index(
            ndim=options.dimension, metric="cos", dtype=dtype, connectivity=16, expansion_add=100, expansion_search=64
        )
        index.add(numpy.arange(len(vectors)), vectors, threads=1)
        seconds = time.perf_counter() - started
        print(f"| usearch with its kernels ({index.hardware_acceleration}), {dtype}, built in {seconds:.1f} s | | | | |")
        for expansion in EXPANSIONS:
            index.expansion_search = expansion
            recall = report(
                f"usearch with its kernels, {dtype}, {expansion}", lambda query: index.search(query, NEAREST).keys, queries, truth
            )
            if recall >= options.recall:
                break


if __name__ == "__main__":
    main()
