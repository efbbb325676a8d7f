"""Write a trained model as a model folder: ONNX graphs, model.toml, golden.npz.

    python -m training.export NAME [--run cpu/NAME]     # from the checkpoint, without training further
"""

import argparse
import json
import logging
import tomllib
from pathlib import Path

import numpy as np
import onnx
import torch

from training import images, manifest, objective, placing, quantise

OPSET = 20
# It names each operator of a library that is not installed and is not exported either.
logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
GOLDEN_BATCH = 3


def export_graph(graph, example, path):
    """One file, the batch axis dynamic and named, inputs and outputs named as their roles."""
    torch.onnx.export(
        graph.module,
        tuple(example),
        path,
        dynamo=True,
        opset_version=OPSET,
        external_data=False,
        input_names=graph.inputs,
        output_names=[manifest.output_name(graph, role) for role in graph.outputs],
        dynamic_shapes=tuple(dynamic_axes(graph, role) for role in graph.inputs),
        verbose=False,
        report=False,
    )
    strip(path)


def dynamic_axes(graph, role):
    """The axes of an input that may have any size: the batch, and of images the sides where the graph takes any."""
    if role != "image" or not graph.sides:
        return {0: "batch"}
    high, wide = (graph.sides * torch.export.Dim(name, min=1, max=512) for name in ("rows", "columns"))
    return {0: torch.export.Dim("batch", max=4096), 2: high, 3: wide}


def strip(path):
    """Drops what the exporter notes beside the graph: stack traces with this machine's paths."""
    model = onnx.load(path)
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    onnx.checker.check_model(model)
    onnx.save_model(model, path)


def drawn_masks(patches):
    """f32 [GOLDEN_BATCH, patches], 1 = hidden: every third patch shown, then half, then none."""
    index = torch.arange(patches)
    return torch.stack([index % 3 != 0, index < patches // 2, index >= 0]).float()


def write(folder, settings, model, record=None):
    """Puts the model's folder in place when all of it is made and every check has passed. The card and whatever else
    the folder holds are taken over; figures that were measured on the graphs before are not."""
    model = model.cpu().eval().to(memory_format=torch.contiguous_format)
    with placing.replacing(folder, cards(folder)) as new:
        text = manifest.text(settings, model.graphs())
        (new / "model.toml").write_text(text)
        golden = export_graphs(new, settings, model, tomllib.loads(text))
        np.savez_compressed(new / "golden.npz", **golden)
        model.write_files(new)
        quantise.write(new, settings)
        check(new, golden)
        if record:
            (new / "training.json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"{folder} is in place", flush=True)


def cards(folder):
    """Files of a model's folder that an export does not make."""
    files = (path for path in folder.glob("*") if path.is_file() and path.suffix not in (".onnx", ".npy"))
    return [path.name for path in files if path.name not in ("model.toml", "golden.npz", "metrics.json")]


def export_graphs(folder, settings, model, read):
    """Writes the graphs; returns what PyTorch gives for images of our own drawing, as `golden.npz` has it."""
    drawn = [images.drawn(turn=turn) for turn in range(GOLDEN_BATCH)]
    batch = np.concatenate([images.preprocess(image, read) for image in drawn])
    golden, known = {"image": drawn[0]}, {"image": torch.from_numpy(batch)}
    if "masked" in settings:
        known["mask"] = drawn_masks((settings["side"] // settings["masked"]["patch"]) ** 2)
    for graph in model.graphs():
        graph.module.eval()
        example = [known[role] for role in graph.inputs]
        with torch.no_grad():
            results = graph.module(*example)
        results = [results] if torch.is_tensor(results) else list(results)
        for role, value in zip(graph.inputs, example):
            golden[f"{graph.role}.{role}"] = value.numpy()
        for role, value in zip(graph.outputs, results):
            suffix = ".out" if role in graph.inputs else ""
            golden[f"{graph.role}.{role}{suffix}"] = value.numpy()
            known.setdefault(role, value)
        known.setdefault("latent", known.get("mean"))
        export_graph(graph, example, folder / f"{graph.role}.onnx")
    return golden


def check(folder, golden):
    """Each graph must repeat PyTorch's figures in ONNX Runtime, at any batch size; those of a variant within the
    tolerance that its recipe names."""
    read = tomllib.loads((folder / "model.toml").read_text())
    for role, graph in read["graphs"].items():
        check_graph(folder / graph["file"], golden_of(role, graph, golden), 1e-3, 1e-3)
    for variant in read.get("variants", {}).values():
        tolerance = variant.get("golden", {})
        for role, changed in variant["graphs"].items():
            graph = read["graphs"][role] | changed
            found = golden_of(role, graph, golden)
            check_graph(folder / graph["file"], found, tolerance.get("rtol", 1e-3), tolerance.get("atol", 1e-3))


def golden_of(role, graph, golden):
    """The golden arrays of one graph under the names that the graph has for them: inputs, then outputs."""
    inputs = {name: golden[f"{role}.{part}"] for part, name in graph["inputs"].items()}
    key = lambda part: f"{role}.{part}.out" if part in graph["inputs"] else f"{role}.{part}"
    return inputs, {name: golden[key(part)] for part, name in graph["outputs"].items()}


def check_graph(path, golden, rtol, atol):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (feed, wanted), worst = golden, 0.0
    for batch in (GOLDEN_BATCH, 1):
        results = session.run(list(wanted), {name: value[:batch] for name, value in feed.items()})
        for got, want in zip(results, wanted.values()):
            np.testing.assert_allclose(got, want[:batch], rtol=rtol, atol=atol)
            worst = max(worst, float(np.abs(got - want[:batch]).max()))
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, within {worst:.1e} of PyTorch", flush=True)


def main():
    from training import train

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", help="the model")
    parser.add_argument("--run", help="its folder in training/runs, where that has another name: cpu/NAME")
    parser.add_argument("--models", type=Path, default=images.REPOSITORY / "models")
    arguments = parser.parse_args()
    path = train.RUNS / (arguments.run or arguments.name) / "checkpoint.pt"
    if not path.exists():
        raise SystemExit(f"there is no checkpoint {path}: run python -m training.train {arguments.name}")
    state = torch.load(path, map_location="cpu", weights_only=True)
    if "settings" not in state:
        raise SystemExit(f"the checkpoint {path} does not say by which recipe it was trained: begin anew with --restart")
    settings = json.loads(state["settings"])
    model = objective.build(settings)
    model.load_state_dict(state["model"])
    write(arguments.models / arguments.name, settings, model)


if __name__ == "__main__":
    main()
