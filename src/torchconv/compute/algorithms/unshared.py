"""Unshared convolution by the C++ kernels: every weight is read, or written, once, and no patches are gathered."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...description import shapes
from ...description.convolution import Convolution
from .. import padding
from ..native import library, unshared
from ..planning import cost_model
from ..tensors import INPUT, WEIGHT
from .base import Algorithm, Problem

# Of one core in a second: multiply-adds, bytes of weights read, and bytes written to memory that is new.
RATE, READ, WRITTEN = 60e9, 25e9, 13e9
STRIP, SHORTEST, IMAGES = 640 * 1024, 4, 8  # bytes of a thread, outputs and images at a time, as in csrc/division.h


class Unshared(Algorithm):
    """Each position's weights times its windows, as they come from memory."""

    name: ClassVar[str] = "unshared"

    def declines(self, problem: Problem) -> str | None:
        conv = problem.convolution
        if any(period is not None for period in conv.sharing.periods):
            return "positions share kernels"
        if conv.ndim > unshared.AXES:
            return f"it slides over 1 to {unshared.AXES} axes"
        return library.reason_against(problem.dtype, problem.device)

    def seconds(self, problem: Problem, role: str) -> float:
        conv = problem.convolution
        bytes_ = prod(conv.weight_shape(problem.sizes)) * problem.dtype.itemsize
        arithmetic = problem.macs / (RATE / 2 if problem.dtype == torch.float64 else RATE)
        memory = bytes_ / (WRITTEN if role == WEIGHT else READ)
        return (arithmetic + memory) / cost_model.cores(problem.threads) + cost_model.CALL

    def workspace(self, problem: Problem, role: str) -> int:
        """A strip of windows of each thread, and copies where the input is spread or lies in another order."""
        conv, size = problem.convolution, problem.dtype.itemsize
        window = conv.in_channels // conv.groups * prod(conv.kernel_size) + conv.out_channels // conv.groups
        least = SHORTEST * min(problem.batch, IMAGES) if role != WEIGHT else problem.batch
        own = problem.threads * max(STRIP, 2 * least * window * max(size, 4))
        wide = problem.batch * conv.in_channels * prod(problem.sizes) * 4 if size == 2 and role == INPUT else 0
        return own + wide + copies(problem)

    def output(self, conv: Convolution, x: Tensor, weight: Tensor) -> Tensor:
        settings = settings_of(conv, x.shape[2:])
        return unshared.output(padding.spread(x, conv.input_dilation), weight, *settings)

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        size = [shapes.dilated(axis, samples) for axis, samples in zip(conv.axes, input_size, strict=True)]
        x = unshared.input_grad(grad, weight, size, *settings_of(conv, input_size))
        return padding.unspread(x, conv.input_dilation)

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        settings = settings_of(conv, x.shape[2:])
        return unshared.weight_grad(padding.spread(x, conv.input_dilation), grad, *settings)


def copies(problem: Problem) -> int:
    """Bytes of an input with zeros between its samples, and of arrays brought into the order of the kernels."""
    conv = problem.convolution
    inner = prod(shapes.dilated(axis, size) for axis, size in zip(conv.axes, problem.sizes, strict=True))
    spread = problem.batch * conv.in_channels * inner if max(conv.input_dilation) > 1 else 0
    return (spread + problem.channels_last * problem.numbers) * problem.dtype.itemsize


def settings_of(conv: Convolution, input_size: Sequence[int]) -> tuple[Any, ...]:
    """Kernel, stride, dilation, low padding and groups, as the kernels take them."""
    low = [shapes.padding(axis, size)[0] for axis, size in zip(conv.axes, input_size, strict=True)]
    return conv.kernel_size, conv.stride, conv.dilation, low, conv.groups
