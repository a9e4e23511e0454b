"""Unshared and tiled convolution by the C++ kernels, without patches or phases.

Unshared: every weight is read, or written, once. Tiled: the results that share a kernel are one product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...description import shapes
from ...description.convolution import Convolution
from .. import padding
from ..native import direct, loader
from ..native.loader import number
from ..planning import cost_model, machine
from ..problem import Problem
from ..tensors import INPUT, OUTPUT, WEIGHT
from .base import Algorithm


class _Local(Algorithm):
    """The three operations by the kernels of one kind."""

    kernels: ClassVar[dict[str, Callable[..., Tensor]]]

    def output(self, conv: Convolution, x: Tensor, weight: Tensor) -> Tensor:
        sizes, x = x.shape[2:], padding.spread(x, conv.input_dilation)
        return self.kernels[OUTPUT](x, weight, shapes.output_sizes(conv.axes, sizes), *_settings(conv, sizes))

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        settings = _spread_size(conv, input_size), *_settings(conv, input_size)
        return padding.unspread(self.kernels[INPUT](grad, weight, *settings), conv.input_dilation)

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        settings = conv.sharing.phases(tuple(grad.shape[2:])), *_settings(conv, x.shape[2:])
        return self.kernels[WEIGHT](padding.spread(x, conv.input_dilation), grad, *settings)


class Unshared(_Local):
    """Each position's weights times its windows, as they come from memory."""

    name: ClassVar[str] = "unshared"
    kernels: ClassVar = direct.UNSHARED

    def declines(self, problem: Problem) -> str | None:
        if any(period is not None for period in problem.convolution.sharing.periods):
            return "positions share kernels"
        return _declines(problem)

    def seconds(self, problem: Problem, role: str) -> float:
        weights = prod(problem.convolution.weight_shape(problem.sizes)) * problem.dtype.itemsize
        arithmetic = problem.macs / machine.UNSHARED_RATE * _width(problem.dtype)
        memory = weights / (machine.UNSHARED_WRITTEN if role == WEIGHT else machine.UNSHARED_READ)
        return (arithmetic + memory) / cost_model.cores(problem.threads) + machine.CALL

    def workspace(self, problem: Problem, role: str) -> int:
        """A strip of windows of each thread, and copies where the input is spread or lies in another order."""
        conv, size = problem.convolution, problem.dtype.itemsize
        window = conv.in_channels // conv.groups * prod(conv.kernel_size) + conv.out_channels // conv.groups
        images = number("shortest run") * min(problem.batch, number("block")) if role != WEIGHT else problem.batch
        own = problem.threads * max(number("strip bytes"), 2 * images * window * max(size, 4))
        wide = problem.batch * conv.in_channels * prod(problem.sizes) * 4 if size == 2 and role == INPUT else 0
        return own + wide + _copies(problem)


class Tiled(_Local):
    """Each kernel's outputs, on a lattice of their own, by products of samples and vectors of channels."""

    name: ClassVar[str] = "tiled"
    kernels: ClassVar = direct.TILED
    error: ClassVar[float] = 3.0

    def declines(self, problem: Problem) -> str | None:
        sharing = problem.convolution.sharing
        if sharing.is_full:
            return "one kernel serves all positions"
        if all(period is None for period in sharing.periods):
            return "every position has a kernel of its own"
        return _declines(problem)

    def seconds(self, problem: Problem, role: str) -> float:
        rate = machine.TILED_RATE / _filled(problem.convolution, role) / _width(problem.dtype)
        weights = prod(problem.convolution.weight_shape(problem.sizes)) / machine.TILED_WEIGHTS
        return (problem.macs / rate + weights) / cost_model.cores(problem.threads) + machine.TILED_CALL

    def workspace(self, problem: Problem, role: str) -> int:
        """The weights in the order of the terms, a part of the arrays for each thread, and copies as unshared ones."""
        conv = problem.convolution
        weights = prod(conv.weight_shape(problem.sizes)) * max(problem.dtype.itemsize, 4) * _filled(conv, role)
        ordered = int(weights * (conv.groups if role != WEIGHT else 1))
        return ordered + problem.threads * number("unit bytes") + _copies(problem)


def _declines(problem: Problem) -> str | None:
    if problem.convolution.ndim > loader.AXES:
        return f"it slides over 1 to {loader.AXES} axes"
    return loader.reason_against(problem.dtype, problem.device)


def _width(dtype: torch.dtype) -> int:
    """How many times fewer numbers a vector holds than of float32."""
    return 2 if dtype == torch.float64 else 1


def _filled(conv: Convolution, role: str) -> float:
    """How many times more channels whole vectors have."""
    channels = (conv.in_channels if role == INPUT else conv.out_channels) // conv.groups
    return shapes.repeats(channels, machine.LANES) * machine.LANES / channels


def _spread_size(conv: Convolution, input_size: Sequence[int]) -> tuple[int, ...]:
    return tuple(shapes.dilated(axis, size) for axis, size in zip(conv.axes, input_size, strict=True))


def _copies(problem: Problem) -> int:
    """Bytes of an input with zeros between its samples, and of arrays brought into the order of the kernels."""
    conv = problem.convolution
    inner = prod(_spread_size(conv, problem.sizes))
    spread = problem.batch * conv.in_channels * inner if max(conv.input_dilation) > 1 else 0
    return (spread + problem.channels_last * problem.numbers) * problem.dtype.itemsize


def _settings(conv: Convolution, input_size: Sequence[int]) -> tuple[Any, ...]:
    """Kernel, stride, dilation, low padding and groups, as the kernels take them."""
    low = [shapes.padding(axis, size)[0] for axis, size in zip(conv.axes, input_size, strict=True)]
    return conv.kernel_size, conv.stride, conv.dilation, low, conv.groups
