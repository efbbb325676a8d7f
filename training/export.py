"""Write a trained model as a model folder: ONNX graphs, model.toml, golden.npz.

    python -m training.export NAME [--recipe RECIPE]     # from the checkpoint, without training further
"""

import argparse
import json
import tomllib
from pathlib import Path

import numpy as np
import onnx
import torch

from training import images, objective, quantise

OPSET = 20
GOLDEN_BATCH = 3


def export_graph(graph, example, path):
    """One file, the batch axis dynamic and named, inputs and outputs named as their roles. ONNX does
    not let an input and an output share a name: such an output is called `<role>_out`."""
    torch.onnx.export(
        graph.module,
        tuple(example),
        path,
        dynamo=True,
        opset_version=OPSET,
        external_data=False,
        input_names=graph.inputs,
        output_names=[output_name(graph, role) for role in graph.outputs],
        dynamic_shapes=tuple({0: "batch"} for _ in example),
        verbose=False,
        report=False,
    )
    strip(path)


def strip(path):
    """Drops what the exporter notes beside the graph: stack traces with this machine's paths."""
    model = onnx.load(path)
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    onnx.checker.check_model(model)
    onnx.save_model(model, path)


def output_name(graph, role):
    return f"{role}_out" if role in graph.inputs else role


def manifest_text(settings, graphs):
    """model.toml: the recipe's `[manifest]` head, input and preprocessing, and a table for each graph."""
    quote = lambda value: json.dumps(value, ensure_ascii=False)
    table = lambda pairs: ", ".join(f"{role} = {quote(name)}" for role, name in pairs)
    lines = ["manifest = 1"]
    lines += [f"{key} = {quote(value)}" for key, value in settings["manifest"].items()]
    side = settings["side"]
    lines += ["", "[input]", f"width = {side}", f"height = {side}", 'channels = "rgb"']
    lines += ["", "[preprocess]"]
    lines += [f"{key} = {quote(value)}" for key, value in settings["preprocess"].items()]
    for graph in graphs:
        lines += ["", f"[graphs.{graph.role}]", f'file = "{graph.role}.onnx"']
        lines.append(f"inputs = {{ {table((r, r) for r in graph.inputs)} }}")
        lines.append(f"outputs = {{ {table((r, output_name(graph, r)) for r in graph.outputs)} }}")
    for section in ("masked", "embedding", "reconstruction"):
        if section in settings:
            lines += ["", f"[{section}]"]
            lines += [f"{key} = {quote(value)}" for key, value in settings[section].items()]
    lines += quantise.manifest_lines(settings)
    return "\n".join(lines) + "\n"


def drawn_masks(patches):
    """f32 [GOLDEN_BATCH, patches], 1 = hidden: every third patch shown, then half, then none."""
    index = torch.arange(patches)
    return torch.stack([index % 3 != 0, index < patches // 2, index >= 0]).float()


def write(name, settings, model, models):
    folder = models / name
    folder.mkdir(parents=True, exist_ok=True)
    model = model.cpu().eval().to(memory_format=torch.contiguous_format)
    text = manifest_text(settings, model.graphs())
    (folder / "model.toml").write_text(text)
    manifest = tomllib.loads(text)
    drawn = [images.drawn(turn=turn) for turn in range(GOLDEN_BATCH)]
    image = np.concatenate([images.preprocess(image, manifest) for image in drawn])
    golden, known = {"image": drawn[0]}, {"image": torch.from_numpy(image)}
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
    np.savez_compressed(folder / "golden.npz", **golden)
    check(folder, manifest, golden)
    quantise.write(folder, settings)


def check(folder, manifest, golden):
    """Each exported graph must repeat PyTorch's figures in ONNX Runtime, at any batch size."""
    import onnxruntime

    for role, graph in manifest["graphs"].items():
        session = onnxruntime.InferenceSession(folder / graph["file"], providers=["CPUExecutionProvider"])
        feed = {name: golden[f"{role}.{r}"] for r, name in graph["inputs"].items()}
        worst = 0.0
        for batch in (GOLDEN_BATCH, 1):
            results = session.run(list(graph["outputs"].values()), {k: v[:batch] for k, v in feed.items()})
            for r, got in zip(graph["outputs"], results):
                want = golden[f"{role}.{r}.out" if r in graph["inputs"] else f"{role}.{r}"][:batch]
                np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)
                worst = max(worst, float(np.abs(got - want).max()))
        size = (folder / graph["file"]).stat().st_size / 1e6
        print(f"{folder / graph['file']}: {size:.2f} MB, within {worst:.1e} of PyTorch", flush=True)


def main():
    from training import train

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", help="a model: the name of a recipe in training/recipes")
    parser.add_argument("--recipe", help="the recipe it was trained by, where that has another name: cpu/NAME")
    parser.add_argument("--models", type=Path, default=images.REPOSITORY / "models")
    arguments = parser.parse_args()
    recipe = arguments.recipe or arguments.name
    settings = objective.recipe(recipe)
    run = train.Run(recipe, settings, torch.device("cpu"))
    run.resume()
    if not run.epoch:
        raise SystemExit(f"no checkpoint of {recipe}: run python -m training.train {arguments.name}")
    write(arguments.name, settings, run.model, arguments.models)


if __name__ == "__main__":
    main()
