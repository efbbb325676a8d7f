"""Writes the three encoders that are measured, each as a folder of a model repository of its own.

    python -m bench.models target/bench-serving/models

The weights are drawn from fixed seeds, so that the files never change: their SHA-256 stand in `DIGESTS`, and a file that
comes out otherwise is an error. Speed does not depend on what weights mean. They are scaled so that different images
get clearly different vectors, or else agreement between two servers would say nothing.
"""

import argparse
import hashlib
import pathlib
from dataclasses import dataclass

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CIFAR = ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616])
HALF = ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])


@dataclass(frozen=True)
class Encoder:
    """An encoder as its user knows it: its graph, and how its images are prepared."""

    name: str
    description: str
    side: int
    dimension: int
    filter: str
    mean: list[float]
    std: list[float]
    # the function of bench/graphs.py that draws it
    build: str
    # the shorter side after resizing, before the middle is cut out; none: the image is resized to the model's size
    edge: int | None = None


ENCODERS = [
    Encoder("tiny", "four convolutions at 32 × 32", 32, 256, "bicubic", *CIFAR, "small_convolutions"),
    Encoder("middle", "ResNet-50 at 224 × 224", 224, 2048, "bilinear", *IMAGENET, "resnet50", edge=256),
    Encoder("large", "ViT-B/16 at 224 × 224", 224, 768, "bilinear", *HALF, "vit_b16"),
]

DIGESTS = {
    "tiny": "febd78f542431a956847fb79f9e028790192a8a66a0ee0f35f1b608ebe12bf0c",
    "middle": "06380851c35c596fa7ef8aa9c57c845b7e069fc856cf7c47e71e3725cfa31616",
    "large": "c53958f9e40e6bf9dcb53a2c15df087082cf7be6d47ffa1513ecf7dd83c8700f",
}


def manifest(encoder: Encoder) -> str:
    """`model.toml`: all about the images, nothing about how it is run, so that the server's defaults hold."""
    resize = 'resize = "exact"' if encoder.edge is None else f'resize = "shortest-edge"\nedge = {encoder.edge}\ncrop = "center"'
    return f"""manifest = 1
family = "contrastive"
description = "{encoder.description}, weights drawn at random: for measurements of speed"
license = "Apache-2.0"

[input]
width = {encoder.side}
height = {encoder.side}
channels = "rgb"

[preprocess]
{resize}
filter = "{encoder.filter}"
rescale = {1 / 255!r}
mean = {encoder.mean}
std = {encoder.std}

[graphs.encoder]
file = "encoder.onnx"
inputs = {{ image = "image" }}
outputs = {{ embedding = "embedding" }}

[embedding]
output = "embedding"
pooling = "none"
normalize = true
metric = "cosine"
"""


def digest(file: pathlib.Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def write(encoder: Encoder, folder: pathlib.Path) -> pathlib.Path:
    """The graph's file; it is left alone where it is already right."""
    home = folder / encoder.name / encoder.name
    home.mkdir(parents=True, exist_ok=True)
    (home / "model.toml").write_text(manifest(encoder))
    file = home / "encoder.onnx"
    if file.exists() and digest(file) == DIGESTS[encoder.name]:
        return file
    # not before it is needed: what only asks a server has no need of onnx
    from bench import graphs

    graph = graphs.Graph(seed=len(encoder.name))
    build = getattr(graphs, encoder.build)
    file.write_bytes(graph.model(encoder, build(graph)).SerializeToString(deterministic=True))
    if digest(file) != DIGESTS[encoder.name]:
        raise SystemExit(f"{file} has SHA-256 {digest(file)}, not {DIGESTS[encoder.name]}: is numpy or onnx another?")
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    for encoder in ENCODERS:
        print(write(encoder, parser.parse_args().folder))


if __name__ == "__main__":
    main()
