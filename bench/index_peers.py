"""Measures other libraries on the vectors that `make bench-index` wrote, one thread each.

    make bench-index-peers ARGS='--dimension 256'

Reads `vectors.f32`, `queries.f32` and `truth.u32` (the exact nearest items), prints a Markdown table.
"""

import argparse
import pathlib
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--recall", type=float, default=0.999, help="stop raising the expansion here")
    options = parser.parse_args()
    vectors, queries = (
        numpy.fromfile(options.folder / name, dtype="<f4").reshape(-1, options.dimension)
        for name in ("vectors.f32", "queries.f32")
    )
    truth = numpy.fromfile(options.folder / "truth.u32", dtype="<u4").reshape(-1, NEAREST)
    faiss.omp_set_num_threads(1)
    print("| what | recall | searches/s | p50 | p99 |\n| --- | --- | --- | --- | --- |")

    flat = faiss.IndexFlatIP(options.dimension)
    flat.add(vectors)
    report("faiss flat", lambda query: flat.search(query[None], NEAREST)[1][0], queries[:200], truth[:200])

    started = time.perf_counter()
    graph = faiss.IndexHNSWFlat(options.dimension, 16, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = 100
    graph.add(vectors)
    print(f"| faiss HNSW, built in {time.perf_counter() - started:.1f} s | | | | |")
    for expansion in EXPANSIONS:
        graph.hnsw.efSearch = expansion
        recall = report(f"faiss HNSW, {expansion}", lambda query: graph.search(query[None], NEAREST)[1][0], queries, truth)
        if recall >= options.recall:
            break

    started = time.perf_counter()
    lib = hnswlib.Index("cosine", options.dimension)
    lib.init_index(len(vectors), ef_construction=100, M=16)
    lib.set_num_threads(1)
    lib.add_items(vectors)
    print(f"| hnswlib, built in {time.perf_counter() - started:.1f} s | | | | |")
    for expansion in EXPANSIONS:
        lib.set_ef(expansion)
        recall = report(f"hnswlib, {expansion}", lambda query: lib.knn_query(query, NEAREST)[0][0], queries, truth)
        if recall >= options.recall:
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
