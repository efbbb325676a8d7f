"""`model.toml` of an exported model, from its recipe's settings and the roles of its graphs."""

import json


def output_name(graph, role):
    """ONNX does not let an input and an output share a name: such an output is called `<role>_out`."""
    return f"{role}_out" if role in graph.inputs else role


def file_name(role, variant):
    return f"{role}.{variant}.onnx"


def quoted(value):
    return json.dumps(value, ensure_ascii=False)


def pairs(table):
    return [f"{key} = {quoted(value)}" for key, value in table.items()]


def inline(named):
    return "{ " + ", ".join(f"{role} = {quoted(name)}" for role, name in named) + " }"


def spec(settings):
    """`[input]` and `[preprocess]` of the manifest that a recipe's settings make: how images reach the model."""
    size = {"width": settings["side"], "height": settings["side"], "channels": settings["channels"]}
    return {"input": size, "preprocess": settings["preprocess"]}


def text(settings, graphs):
    """The recipe's `[manifest]` head, input and preprocessing, and a table for each graph."""
    lines = ["manifest = 1", *pairs(settings["manifest"])]
    for section, table in spec(settings).items():
        lines += ["", f"[{section}]", *pairs(table)]
    for graph in graphs:
        outputs = [(role, output_name(graph, role)) for role in graph.outputs]
        lines += ["", f"[graphs.{graph.role}]", f'file = "{graph.role}.onnx"']
        lines += [f"inputs = {inline((role, role) for role in graph.inputs)}", f"outputs = {inline(outputs)}"]
    for section in ("masked", "memory", "embedding", "reconstruction"):
        if section in settings:
            lines += ["", f"[{section}]", *pairs(settings[section])]
    for variant, rules in settings.get("variants", {}).items():
        lines += ["", f"[variants.{variant}]"]
        lines += [f'graphs.{role}.file = "{file_name(role, variant)}"' for role in rules["graphs"]]
        lines += [f"golden.{key} = {value}" for key, value in rules.get("golden", {}).items()]
    return "\n".join(lines) + "\n"
