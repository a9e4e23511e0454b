"""Unshared convolution by the C++ kernels: every weight is read, or written, once, and no patches are gathered."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...description import shapes
from ...description.convolution import Convolution
from .. import borders, cost
from ..native import operations, unshared
from ..roles import WEIGHT
from .base import Algorithm, Problem

# Of one core in a second: multiply-adds, bytes of weights read, and bytes written to memory that is new.
RATE, READ, WRITTEN = 60e9, 25e9, 13e9


class Unshared(Algorithm):
    """Each position's weights times its windows, as they come from memory."""

    name: ClassVar[str] = "unshared"

    def declines(self, problem: Problem) -> str | None:
        conv = problem.convolution
        if any(period is not None for period in conv.sharing.periods):
            return "positions share kernels"
        if conv.ndim > unshared.AXES:
            return f"it slides over 1 to {unshared.AXES} axes"
        return operations.reason_against(problem.dtype, problem.device)

    def seconds(self, problem: Problem, role: str) -> float:
        conv = problem.convolution
        bytes_ = prod(conv.weight_shape(problem.sizes)) * problem.dtype.itemsize
        arithmetic = problem.macs / (RATE / 2 if problem.dtype == torch.float64 else RATE)
        memory = bytes_ / (WRITTEN if role == WEIGHT else READ)
        return (arithmetic + memory) / cost.cores(problem.threads) + cost.CALL

    def output(self, conv: Convolution, x: Tensor, weight: Tensor) -> Tensor:
        settings = settings_of(conv, x.shape[2:])
        return unshared.output(borders.spread(x, conv.input_dilation), weight, *settings)

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        size = [shapes.dilated(axis, samples) for axis, samples in zip(conv.axes, input_size, strict=True)]
        x = unshared.input_grad(grad, weight, size, *settings_of(conv, input_size))
        return borders.unspread(x, conv.input_dilation)

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        settings = settings_of(conv, x.shape[2:])
        return unshared.weight_grad(borders.spread(x, conv.input_dilation), grad, *settings)


def settings_of(conv: Convolution, input_size: Sequence[int]) -> tuple[Any, ...]:
    """Kernel, stride, dilation, low padding and groups, as the kernels take them."""
    low = [shapes.padding(axis, size)[0] for axis, size in zip(conv.axes, input_size, strict=True)]
    return conv.kernel_size, conv.stride, conv.dilation, low, conv.groups
