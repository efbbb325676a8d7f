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
    """Everything trainable, and how. Images come as f32 [n, 3, h, w] in 0..1.

    `loss(images, generator)` takes every random number from the generator.
    `enter(phase)` is told, before each epoch, what the phase of the schedule changes (schedule.py).
    `parts()` lists the modules worth compiling: those that training calls with few shapes.
    `monitor(validation, bank)` returns figures on the validation set; each set is (u8 images, labels).
    `graphs()` lists what is exported; a graph's input is what the one before it in the list wrote
    where the roles are the same (a decoder reads the encoder's latent).
    """

    def loss(self, images, generator):
        raise NotImplementedError

    def enter(self, phase):
        if phase:
            raise ValueError(f"this objective has no settings that change with phases: {sorted(phase)}")

    def parts(self):
        return []

    def monitor(self, validation, bank):
        return {}

    def graphs(self):
        raise NotImplementedError


def recipe_for(name, device):
    """The recipe that makes a model on a device: one in `recipes/cpu` where the model has it and there is
    no GPU, else the one of its name."""
    small = f"cpu/{name}"
    return small if device.type == "cpu" and (RECIPES / f"{small}.toml").exists() else name


def recipe(name):
    """Settings of a recipe. One with `base` is that recipe with its own keys in place, table by table;
    `settings`, which belong to a method, are replaced as a whole."""
    path = RECIPES / f"{name}.toml"
    if not path.exists():
        known = ", ".join(sorted(p.relative_to(RECIPES).with_suffix("").as_posix() for p in RECIPES.rglob("*.toml")))
        raise SystemExit(f"no recipe {name}; there are: {known}")
    settings = tomllib.loads(path.read_text())
    base = settings.pop("base", None)
    return merged(recipe(base), settings) if base else settings


def merged(base, changes):
    both = dict(base)
    for key, value in changes.items():
        deeper = isinstance(value, dict) and key in base and key != "settings"
        both[key] = merged(base[key], value) if deeper else value
    return both


def build(settings):
    """The objective a recipe names: `objective = "reconstruction"` is reconstruction.build."""
    module = importlib.import_module(f"training.{settings['objective']}")
    return module.build(settings)
