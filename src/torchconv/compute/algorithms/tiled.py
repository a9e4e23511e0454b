"""Tiled convolution by the C++ kernels: the results that share a kernel are one product, without patches or phases."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from ...description import shapes
from ...description.convolution import Convolution
from .. import padding
from ..native import library, tiled, unshared
from ..planning import cost_model
from ..tensors import INPUT, WEIGHT
from .base import Algorithm, Problem
from .unshared import copies, settings_of

RATE = 80e9  # multiply-adds of a core in a second, in full vectors of channels
LANES = 16  # channels of a vector
UNIT = 768 * 1024  # bytes of a thread for its part of the arrays, as in csrc/classes.h
WEIGHTS = 1e9  # weights that a core brings into order in a second
CALL = 20e-6  # seconds


class Tiled(Algorithm):
    """Each kernel's outputs, on a lattice of their own, by products of samples and vectors of channels."""

    name: ClassVar[str] = "tiled"
    error: ClassVar[float] = 3.0

    def declines(self, problem: Problem) -> str | None:
        conv = problem.convolution
        if conv.sharing.is_full:
            return "one kernel serves all positions"
        if all(period is None for period in conv.sharing.periods):
            return "every position has a kernel of its own"
        if conv.ndim > unshared.AXES:
            return f"it slides over 1 to {unshared.AXES} axes"
        return library.reason_against(problem.dtype, problem.device)

    def seconds(self, problem: Problem, role: str) -> float:
        conv = problem.convolution
        channels = (conv.in_channels if role == INPUT else conv.out_channels) // conv.groups
        rate = RATE * channels / (-(-channels // LANES) * LANES) / (2 if problem.dtype == torch.float64 else 1)
        weights = prod(conv.weight_shape(problem.sizes)) / WEIGHTS
        return (problem.macs / rate + weights) / cost_model.cores(problem.threads) + CALL

    def workspace(self, problem: Problem, role: str) -> int:
        """The weights in the order of the terms, a part of the arrays for each thread, and copies as unshared ones."""
        conv = problem.convolution
        channels = (conv.in_channels if role == INPUT else conv.out_channels) // conv.groups
        full = shapes.repeats(channels, LANES) * LANES / channels
        weights = prod(conv.weight_shape(problem.sizes)) * max(problem.dtype.itemsize, 4) * full
        return int(weights * (conv.groups if role != WEIGHT else 1)) + problem.threads * UNIT + copies(problem)

    def output(self, conv: Convolution, x: Tensor, weight: Tensor) -> Tensor:
        size, settings = shapes.output_sizes(conv.axes, x.shape[2:]), settings_of(conv, x.shape[2:])
        return tiled.output(padding.spread(x, conv.input_dilation), weight, size, *settings)

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        size = [shapes.dilated(axis, samples) for axis, samples in zip(conv.axes, input_size, strict=True)]
        x = tiled.input_grad(grad, weight, size, *settings_of(conv, input_size))
        return padding.unspread(x, conv.input_dilation)

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        phases, settings = conv.sharing.phases(tuple(grad.shape[2:])), settings_of(conv, x.shape[2:])
        return tiled.weight_grad(padding.spread(x, conv.input_dilation), grad, phases, *settings)
