"""Builds of a model's graphs with 8-bit weights, for processors: `python -m training.quantise NAME`.

The products of a transformer (MatMul and Gemm) take int8 weights with a scale for each output channel and
activations that are quantised as they come (ONNX Runtime's dynamic quantisation); everything else stays
f32. Weights take 7 of the 8 bits: processors without VNNI add pairs of products in 16 bits, and with all 8
bits those overflow (on one such, mean and least cosine to f32 were 0.985 and 0.717 instead of 0.9998 and
0.998). Convolutions are left alone: quantised like this they are no faster. A recipe names the variants of its
model as `[variants.NAME]` with `graphs`, and the tolerance of their golden outputs; they are served as
`MODEL:NAME` with a space key of their own.
"""

import argparse
import logging
import shutil
import time
import tomllib
from pathlib import Path

import numpy as np
import onnx
import torch

from training import images, manifest, placing, recipes, served

OPERATORS = ["MatMul", "Gemm"]
# Images in one run, and runs of each build by turns, when their speed is compared.
SPEED_BATCH = 8
SPEED_RUNS = 60


def write(folder, settings):
    """The variants of a model whose f32 graphs are in the folder."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # it recommends a preprocessing step that the exporter's graphs do not need
    logging.getLogger().setLevel(logging.ERROR)
    for variant, rules in settings.get("variants", {}).items():
        for role in rules["graphs"]:
            path = folder / manifest.file_name(role, variant)
            quantize_dynamic(
                folder / f"{role}.onnx", path, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True,
                op_types_to_quantize=OPERATORS,
            )
            onnx.checker.check_model(onnx.load(path))
            print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB", flush=True)


def figures(folder, data):
    """The figures of each variant: the cosine of its vectors to those of the f32 build, and its speed beside it in one
    thread."""
    found = {}
    for variant in tomllib.loads((folder / "model.toml").read_text()).get("variants", {}):
        whole, small = served.Model(folder, threads=1), served.Model(folder, variant, threads=1)
        cosines = torch.nn.functional.cosine_similarity(whole.embed(data), small.embed(data))
        found[variant] = {
            "cosine_to_f32_mean": float(cosines.mean()),
            "cosine_to_f32_min": float(cosines.min()),
            "speed_to_f32_one_thread": speed(whole, small, data[:SPEED_BATCH]),
        }
    return found


def speed(whole, small, data):
    """The ratio of the median times of one run, taken by turns."""
    times = {model: [] for model in (whole, small)}
    for _ in range(SPEED_RUNS):
        for model, taken in times.items():
            started = time.perf_counter()
            model.embed(data)
            taken.append(time.perf_counter() - started)
    return float(np.median(times[whole]) / np.median(times[small]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", help="a recipe in training/recipes, exported before")
    parser.add_argument("--models", type=Path, default=images.REPOSITORY / "models")
    arguments = parser.parse_args()
    folder = arguments.models / arguments.name
    with placing.replacing(folder, [path.name for path in folder.glob("*") if path.is_file()]) as new:
        for path in folder.glob("*.onnx"):
            shutil.copy2(path, new / path.name)
        write(new, recipes.recipe(arguments.name))


if __name__ == "__main__":
    main()
