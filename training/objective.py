"""What the training loop, the exporter and the objectives agree on."""

import importlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

from torch import nn

RECIPES = Path(__file__).resolve().parent / "recipes"


@dataclass
class Graph:
    """One ONNX file: a module, and the roles of its inputs and outputs in order."""

    role: str
    module: nn.Module
    inputs: list
    outputs: list


class Objective(nn.Module):
    """Everything trainable, and how. Pictures come as f32 [n, 3, h, w] in 0..1.

    `loss(pictures, generator)` takes every random number from the generator.
    `monitor(held, bank)` returns figures on the pictures held back; each set is (u8 pictures, labels).
    `graphs()` lists what is exported; a graph's input is what the one before it in the list wrote
    where the roles are the same (a decoder reads the encoder's latent).
    """

    def loss(self, pictures, generator):
        raise NotImplementedError

    def monitor(self, held, bank):
        return {}

    def graphs(self):
        raise NotImplementedError


def recipe(name):
    path = RECIPES / f"{name}.toml"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise SystemExit(f"no recipe {name}; there are: {known}")
    return tomllib.loads(path.read_text())


def build(settings):
    """The objective a recipe names: `objective = "reconstruction"` is reconstruction.build."""
    module = importlib.import_module(f"training.{settings['objective']}")
    return module.build(settings)
