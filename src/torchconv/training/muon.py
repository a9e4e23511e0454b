"""Muon: kernels are moved by the nearest orthogonal matrix to their momentum, all other parameters by SGD."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Of the quintic iteration x -> a x + b x^3 + c x^5, which brings singular values near 1 (Jordan 2024).
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 3


class Muon(torch.optim.SGD):
    """SGD in which groups with `orthogonal=True` take orthogonal steps and keep the norm of their kernels.

    A kernel (out, ...) is a matrix with a row for each output. Before each step it is scaled to the norm sqrt(out).
    Source: Jordan 2024, Muon: an optimizer for hidden layers in neural networks, as used in airbench.

    >>> weight = torch.nn.Parameter(torch.randn(4, 2, 3, 3))
    >>> optimizer = Muon([{"params": [weight], "orthogonal": True}], lr=0.0, momentum=0.6)
    >>> weight.sum().backward()
    >>> _ = optimizer.step()
    >>> round(float(weight.detach().norm()), 4)
    2.0
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"] if group.get("orthogonal") else ():
                if parameter.grad is not None:
                    self._turn(parameter, group)
                    parameter.grad = None  # so that SGD passes it over
        super().step()
        return loss

    def _turn(self, parameter: Tensor, group: dict[str, Any]) -> None:
        assert parameter.grad is not None
        state = self.state[parameter]
        if state.get("momentum_buffer") is None:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        momentum = state["momentum_buffer"].mul_(group["momentum"]).add_(parameter.grad)
        direction = parameter.grad.add(momentum, alpha=group["momentum"])
        parameter.mul_(len(parameter) ** 0.5 / parameter.norm().clamp(min=1e-7))
        parameter.add_(orthogonal(direction), alpha=-group["lr"])


def orthogonal(kernel: Tensor) -> Tensor:
    """About the nearest matrix with orthonormal rows (or columns, the fewer of them) to a kernel (out, ...)."""
    first, third, fifth = COEFFICIENTS
    matrix = kernel.reshape(len(kernel), -1).bfloat16()
    matrix = matrix / (matrix.norm() + 1e-7)
    tall = matrix.shape[0] > matrix.shape[1]
    matrix = matrix.T if tall else matrix
    for _ in range(ITERATIONS):
        square = matrix @ matrix.T
        matrix = first * matrix + (third * square + fifth * square @ square) @ matrix
    return (matrix.T if tall else matrix).to(kernel.dtype).view_as(kernel)
