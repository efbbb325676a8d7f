"""The sets of a training run as tensors: what is trained on, the validation set, and the bank of the kNN monitor."""

import torch

from training import images, manifest

MONITOR_BANK = 10_000


def split(count, validation, seed=0):
    """Indices of the training set and of the validation set; the same on every run."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[validation:], order[:validation]


def load(source, settings, device):
    """The training images, the validation set, and a bank for the kNN monitor; the last two with labels."""
    data, labels = map(torch.from_numpy, images.load(source, manifest.spec(settings)))
    data, labels = data.to(device), labels.to(device)
    count = images.validation_count(len(data), settings["training"].get("validation_images"))
    trained, validation = (index.to(device) for index in split(len(data), count))
    bank = trained[:MONITOR_BANK]
    return data[trained], (data[validation], labels[validation]), (data[bank], labels[bank])
