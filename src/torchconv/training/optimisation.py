"""How a recipe moves the weights: optimiser, parameter groups, schedule of the rate, averages over the steps."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import lr_scheduler

from ..language.network_module import NetworkModule
from ..nn.conv import Conv
from .recipes import Recipe

# Of the quintic iteration x -> a x + b x^3 + c x^5, which brings singular values near 1 (Jordan 2024).
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 3
MUON_MOMENTUM = 0.6
TRIANGLE_START = 0.2  # of the highest rate


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
        with torch.enable_grad():
            loss = closure() if closure else None
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


DECAY = 0.98  # of the averaged weights, once there have been enough steps to average over
LOOKAHEAD = 5  # steps from one look to the next
LOOKAHEAD_DECAY = 0.95**LOOKAHEAD


class Average(torch.nn.Module):
    """A copy of a network whose numbers follow those of the network: `module`.

    ema: by an exponential moving average (Polyak, Juditsky 1992). lookahead: by a step every few ones, more and more
    hesitant, and the network goes on from there (Zhang et al. 2019). What it does follows from the number of the step.
    """

    def __init__(self, module: NetworkModule, kind: str = "ema") -> None:
        super().__init__()
        self.module = copy.deepcopy(module).requires_grad_(False)
        self._kind = kind

    @torch.no_grad()
    def follow(self, module: torch.nn.Module, step: int, steps: int) -> None:
        """After the `step`-th of `steps` steps, counted from 1."""
        if self._kind == "lookahead":
            if step % LOOKAHEAD == 0:
                self._move(module, 1 - LOOKAHEAD_DECAY * (step / steps) ** 3)
                for mine, other in zip(_numbers(self.module), _numbers(module), strict=True):
                    other.copy_(mine)
        else:  # short-sighted while there are few steps
            self._move(module, 1 - min(DECAY, step / (9 + step)) if step > 1 else 1.0)

    def _move(self, module: torch.nn.Module, part: float) -> None:
        mine, other = _numbers(self.module), _numbers(module)
        floating = [index for index, number in enumerate(mine) if number.is_floating_point()]
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
            [mine[index] for index in floating], [other[index] for index in floating], part
        )
        for index, number in enumerate(mine):
            if not number.is_floating_point():
                number.copy_(other[index])


def _numbers(module: torch.nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in chain(module.parameters(), module.buffers())]


def layers(module: torch.nn.Module) -> list[torch.nn.Module]:
    """The layers with weights, in their order, without NORM."""
    return [
        child
        for child in module.modules()
        if isinstance(getattr(child, "weight", None), Tensor) and not isinstance(child, _BatchNorm)
    ]


def groups(module: torch.nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameters by their rate, with the weight decay by which a step shrinks all of them equally."""
    factors = {id(parameter): 1.0 for parameter in module.parameters()}
    for child in module.modules():
        if isinstance(child, _BatchNorm) and child.bias is not None:
            factors[id(child.bias)] = recipe.norm_bias_rate
    for parameter in layers(module)[-1].parameters() if layers(module) else ():
        # multiplying initial scores and steps is multiplying the scores of every step: see `score_scale`
        factors[id(parameter)] = recipe.score_scale ** (1 if recipe.optimizer == "adamw" else 2)
    kernels = [parameter for parameter in _kernels(module) if recipe.optimizer == "muon" and parameter.requires_grad]
    turned = {id(kernel) for kernel in kernels}
    found: dict[float, list[Tensor]] = {}
    for parameter in module.parameters():
        if parameter.requires_grad and id(parameter) not in turned:
            found.setdefault(factors[id(parameter)], []).append(parameter)
    moved = [
        {"params": parameters, "lr": recipe.learning_rate * factor, "weight_decay": recipe.weight_decay / factor}
        for factor, parameters in found.items()
    ]
    if not kernels:
        return moved
    return [*moved, {"params": kernels, "lr": recipe.muon_rate, "momentum": MUON_MOMENTUM, "orthogonal": True}]


def _kernels(module: torch.nn.Module) -> list[Tensor]:
    """The weights of convolutions, but for those of special ones, which are no matrix with a row for each output.

    Nor those of a last layer: nothing normalises the scores after it, and with a kept norm they could not grow.
    """
    convolutions = (child for child in layers(module)[:-1] if isinstance(child, Conv))
    return [conv.weight for conv in convolutions if len(conv.weight) == conv.out_channels]


def optimizer(module: torch.nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimiser of a recipe for the parameters that learn."""
    found = groups(module, recipe)
    if recipe.optimizer == "muon":
        return Muon(found, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(found, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in module.parameters())  # half the time
    return torch.optim.AdamW(found, eps=recipe.epsilon, fused=fused)


def schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> lr_scheduler.LRScheduler:
    """The schedule of a recipe over a number of steps; OneCycleLR moves AdamW's momentum against the rate as well."""
    if recipe.schedule == "triangular":
        return lr_scheduler.LambdaLR(optimizer, lambda step: triangle(step / max(steps, 1), recipe))
    rates = [group["lr"] for group in optimizer.param_groups]
    cycle = recipe.optimizer == "adamw"
    return lr_scheduler.OneCycleLR(optimizer, rates, total_steps=max(steps, 2), cycle_momentum=cycle)


def triangle(part: float, recipe: Recipe) -> float:
    """The share of the highest rate after a part of the steps, 0 to 1."""
    start, peak, end = TRIANGLE_START, recipe.schedule_peak, recipe.schedule_end
    if part <= peak:
        return start + (1 - start) * part / peak
    return 1 + (end - 1) * (part - peak) / (1 - peak)
