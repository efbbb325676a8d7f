"""The interface between the training loop, the exporter and the objectives."""

import importlib
from dataclasses import dataclass

from torch import nn

from training.recipes import CHANNELS


@dataclass
class Graph:
    """One ONNX file: a module, and the roles of its inputs and outputs in order."""

    role: str
    module: nn.Module
    inputs: list
    outputs: list
    # Images may have any sides that are multiples of it; 0: those of the recipe alone.
    sides: int = 0


class Objective(nn.Module):
    """An objective holds everything trainable and its loss. Images come as f32 [n, channels, h, w] in 0..1.

    `loss(images, generator)` takes every random number from the generator.
    `enter(phase)` gets, before each epoch, what the phase of the schedule changes (schedule.py).
    `parts()` lists the modules worth compiling: those that training calls with few shapes.
    `monitor(validation, bank)` returns figures on the validation set; each set is (u8 images, labels).
    `settle(validation)` takes what a graph needs of the validation images, before each call of `monitor`.
    `finish(train)` takes what a graph needs of the training images, u8, when training is done.
    `write_files(folder)` writes what the model's folder holds beside the graphs.
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

    def settle(self, validation):
        pass

    def finish(self, train):
        pass

    def write_files(self, folder):
        pass

    def monitor(self, validation, bank):
        return {}

    def graphs(self):
        raise NotImplementedError


def channels_of(settings):
    """The number of channels of a recipe's images."""
    return CHANNELS[settings["channels"]]


def build(settings):
    """The objective a recipe names: `objective = "reconstruction"` is reconstruction.build."""
    module = importlib.import_module(f"training.{settings['objective']}")
    return module.build(settings)
