"""The state of momentum contrast beside the network: its EMA, and a queue of old keys."""

import copy

import torch
import torch.nn.functional as F
from torch import nn


class MomentumEncoder(nn.Module):
    """The EMA encoder of momentum contrast: a copy of a network whose weights are the running average
    m * old + (1 - m) * new of that network's weights (equation 2 of MoCo, arXiv 1911.05722). No gradient
    reaches the copy. Batch statistics are its own."""

    def __init__(self, network):
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False)

    @torch.no_grad()
    def update(self, network, momentum):
        averages, weights = list(self.network.parameters()), list(network.parameters())
        torch._foreach_lerp_(averages, weights, 1 - momentum)

    @torch.no_grad()
    def forward(self, inputs):
        return self.network(inputs)


class Queue(nn.Module):
    """The last `size` keys, of length 1: f32 [size, dim], the oldest replaced first. It begins with
    random directions."""

    def __init__(self, size, dim):
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("next", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, keys):
        """The batch must not be larger than the queue."""
        places = (self.next + torch.arange(len(keys), device=keys.device)) % len(self.keys)
        self.keys[places] = F.normalize(keys.float(), dim=1)
        self.next.copy_((self.next + len(keys)) % len(self.keys))
