"""Muon: momentum whose matrices are made orthogonal before they are applied (Jordan et al. 2024,
kellerjordan.github.io/posts/muon). Convolution kernels count as matrices [outside, the rest]; biases
and normalisation weights are left to Adam."""

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # the authors': singular values end near 1, not at 1


def orthogonalise(matrix, rounds=3):
    """About the nearest matrix with orthonormal rows or columns, by their quintic Newton-Schulz iteration."""
    a, b, c = COEFFICIENTS
    x = matrix / (matrix.norm() + 1e-7)
    turned = x.shape[0] > x.shape[1]
    x = x.T if turned else x
    for _ in range(rounds):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if turned else x


class Muon(torch.optim.Optimizer):
    """Groups with `orthogonal` true are stepped by Muon, the others by Adam."""

    def __init__(self, groups, momentum=0.9, betas=(0.9, 0.999)):
        defaults = {"lr": 0.0, "weight_decay": 0.0, "momentum": momentum, "betas": betas, "orthogonal": False}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            apply = self.apply_muon if group["orthogonal"] else self.apply_adam
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    apply(parameter, self.state[parameter], group)

    def apply_muon(self, parameter, state, group):
        """A matrix taller than wide gets a longer step, by the root of the ratio."""
        buffer = state.setdefault("momentum", torch.zeros_like(parameter))
        buffer.mul_(group["momentum"]).add_(parameter.grad)
        ahead = parameter.grad.add(buffer, alpha=group["momentum"]).flatten(1)
        scale = max(1.0, ahead.shape[0] / ahead.shape[1]) ** 0.5
        parameter.add_(orthogonalise(ahead).view_as(parameter), alpha=-group["lr"] * scale)

    def apply_adam(self, parameter, state, group):
        first = state.setdefault("first", torch.zeros_like(parameter))
        second = state.setdefault("second", torch.zeros_like(parameter))
        state["steps"] = state.get("steps", 0) + 1
        first.lerp_(parameter.grad, 1 - group["betas"][0])
        second.lerp_(parameter.grad.square(), 1 - group["betas"][1])
        mean = first / (1 - group["betas"][0] ** state["steps"])
        spread = second / (1 - group["betas"][1] ** state["steps"])
        parameter.sub_(group["lr"] * mean / (spread.sqrt() + 1e-8))
