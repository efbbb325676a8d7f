"""Muon: momentum whose matrices are made orthogonal before they are applied (Jordan et al. 2024,
kellerjordan.github.io/posts/muon). Convolution kernels count as matrices [outside, the rest]; biases
and normalisation weights are left to Adam. Matrices of one shape are stepped together."""

from collections import defaultdict

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # the authors': singular values end near 1, not at 1


def orthogonalise(matrix, rounds=3):
    """Approximates the nearest matrix with orthonormal rows or columns, by the authors' quintic Newton-Schulz iteration.
    Takes [..., rows, columns]."""
    a, b, c = COEFFICIENTS
    x = matrix / (matrix.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    turned = x.shape[-2] > x.shape[-1]
    x = x.mT if turned else x
    for _ in range(rounds):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if turned else x


class Muon(torch.optim.Optimizer):
    """Groups with `orthogonal` true are stepped by Muon, the others by Adam."""

    def __init__(self, groups, momentum=0.9, betas=(0.9, 0.999)):
        defaults = {"lr": 0.0, "weight_decay": 0.0, "momentum": momentum, "betas": betas, "orthogonal": False}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                apply = self.apply_muon if group["orthogonal"] else self.apply_adam
                apply(parameters, [p.grad for p in parameters], group)

    def states(self, parameters, name):
        """The state of each parameter under that name; zeros at first."""
        for parameter in parameters:
            self.state[parameter].setdefault(name, torch.zeros_like(parameter))
        return [self.state[parameter][name] for parameter in parameters]

    def apply_muon(self, parameters, gradients, group):
        """A matrix taller than wide gets a longer step, by the root of the ratio."""
        buffers = self.states(parameters, "momentum")
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, gradients)
        ahead = torch._foreach_add(gradients, buffers, alpha=group["momentum"])
        alike = defaultdict(list)
        for parameter, step in zip(parameters, ahead):
            alike[step.flatten(1).shape].append((parameter, step.flatten(1)))
        for (rows, columns), pairs in alike.items():
            steps = orthogonalise(torch.stack([step for _, step in pairs]))
            scale = max(1.0, rows / columns) ** 0.5
            for (parameter, _), step in zip(pairs, steps):
                parameter.add_(step.view_as(parameter), alpha=-group["lr"] * scale)

    def apply_adam(self, parameters, gradients, group):
        first, second = self.states(parameters, "first"), self.states(parameters, "second")
        for parameter in parameters:
            self.state[parameter]["steps"] = self.state[parameter].get("steps", 0) + 1
        steps, (fast, slow) = self.state[parameters[0]]["steps"], group["betas"]
        torch._foreach_lerp_(first, gradients, 1 - fast)
        torch._foreach_lerp_(second, torch._foreach_mul(gradients, gradients), 1 - slow)
        spread = torch._foreach_div(second, 1 - slow**steps)
        torch._foreach_sqrt_(spread)
        torch._foreach_add_(spread, 1e-8)
        torch._foreach_addcdiv_(parameters, first, spread, value=-group["lr"] / (1 - fast**steps))
