"""The sets of a training run as tensors: what is trained on, the validation set, and the bank of the kNN monitor."""

import math
import re
from dataclasses import dataclass

import torch

from training import images, manifest

MONITOR_BANK = 10_000


@dataclass(frozen=True)
class Sets:
    """The training images; the validation set and a bank for the kNN monitor, both with labels; and the BLAKE3 hash of the
    file of each training image."""

    train: torch.Tensor
    validation: tuple
    bank: tuple
    hashes: list

    def __iter__(self):
        return iter((self.train, self.validation, self.bank))


def split(count, validation, seed=0, groups=None):
    """Indices of the training set and of the validation set; the same on every run. With a group of each image, whole
    groups are taken for validation until there are as many images as asked."""
    generator = torch.Generator().manual_seed(seed)
    if groups is None:
        order = torch.randperm(count, generator=generator)
        return order[validation:], order[:validation]
    groups, chosen = torch.tensor(groups), torch.zeros(count, dtype=torch.bool)
    for group in torch.randperm(int(groups.max()) + 1, generator=generator):
        if chosen.sum() < validation:
            chosen |= groups == group
    return (~chosen).nonzero().flatten(), chosen.nonzero().flatten()


def groups_of(names, rule):
    """The group of each file, counted from 0: of each class folder, files whose numbers, which the pattern `number` finds
    in the names, follow one another in steps of less than `within`. A file without a number is a group of its own."""
    found = [(name.rpartition("/")[0], re.search(rule["number"], name)) for name in names]
    keyed = sorted((folder, int(match[1]) if match else -math.inf, index) for index, (folder, match) in enumerate(found))
    groups, group, before = [0] * len(names), -1, ("", -math.inf)
    for folder, number, index in keyed:
        # two files without numbers differ by no number at all, which is not less either
        group += not (folder == before[0] and number - before[1] < rule["within"])
        groups[index], before = group, (folder, number)
    return groups


def load(source, settings, device):
    """The sets of a recipe."""
    read = images.read(source, manifest.spec(settings), hashed=True)
    data, labels = torch.from_numpy(read.data).to(device), torch.from_numpy(read.labels).to(device)
    count = images.validation_count(len(data), settings["training"].get("validation_images"))
    groups = groups_of(read.names, settings["groups"]) if "groups" in settings else None
    trained, validation = split(len(data), count, groups=groups)
    hashes = [read.hashes[index] for index in trained]
    trained, validation = trained.to(device), validation.to(device)
    bank = trained[:MONITOR_BANK]
    return Sets(data[trained], (data[validation], labels[validation]), (data[bank], labels[bank]), hashes)
