"""Depthwise convolution by the C++ kernels: each channel alone, all sums of a block of outputs in registers."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod
from typing import ClassVar

import torch
from torch import Tensor

from ...description import shapes
from ...description.convolution import Convolution
from .. import layouts
from ..native import direct, loader
from ..native.loader import TYPES, number
from ..planning import cost_model, machine
from ..problem import Problem
from ..tensors import INPUT, WEIGHT
from .base import Algorithm

FLOAT32_ON_CPU = (torch.float32, "cpu")


class Depthwise(Algorithm):
    """One kernel per output channel and one input channel for it, on one or two axes."""

    name: ClassVar[str] = "depthwise"
    error: ClassVar[float] = 2.0

    def declines(self, problem: Problem) -> str | None:
        conv = problem.convolution
        if not conv.sharing.is_full:
            return "it has one kernel for all positions"
        if conv.channels.rows is not None or conv.groups != conv.in_channels:
            return "not every output channel reads one input channel alone"
        if conv.ndim > 2:
            return "it slides over 1 or 2 axes"
        if max(conv.dilation) > 1 or max(conv.input_dilation) > 1:
            return "its kernels have no dilation"
        if problem.device != "cpu" or problem.dtype not in TYPES:
            return f"its kernels are for {', '.join(str(one).removeprefix('torch.') for one in TYPES)} on a processor"
        return loader.off()

    def may_pay(self, convolution: Convolution, precision: str) -> bool:
        if convolution.in_channels == 1 < convolution.out_channels:
            return False
        return self.declines(Problem(convolution, *FLOAT32_ON_CPU)) is None

    def seconds(self, problem: Problem, role: str) -> float:
        if problem.device != "cpu" or problem.convolution.in_channels == 1 < problem.convolution.out_channels:
            return inf  # one channel read by many: torch's sums for the gradient of the weights are more exact
        conv, sizes = problem.convolution, problem.sizes
        outputs = shapes.output_sizes(conv.axes, sizes)
        planes, width = problem.batch * conv.out_channels, sizes[-1] if role == INPUT else outputs[-1]
        waste = shapes.repeats(width, machine.LANES) * machine.LANES / width
        numbers = planes * (prod(sizes) + prod(outputs))
        products = problem.macs * waste / machine.DEPTHWISE_RATE[role]
        one = products + planes * machine.DEPTHWISE_PLANE[role] + numbers * machine.DEPTHWISE_NUMBER
        one *= machine.DEPTHWISE_TYPE.get(problem.dtype, 1.0)
        one += problem.channels_last * problem.numbers / machine.GATHER
        return one / cost_model.cores(problem.threads) + machine.DEPTHWISE_CALL

    def workspace(self, problem: Problem, role: str) -> int:
        """A window, its outputs and, for the gradient of the weights, sums of each thread and of each item of work."""
        conv, sizes = problem.convolution, problem.sizes
        outputs, taps = prod(shapes.output_sizes(conv.axes, sizes)), prod(conv.kernel_size)
        window, units = number("tile bytes"), number("units")
        own = problem.threads * (2 * window + (machine.LANES * 4 * taps if role == WEIGHT else 0))
        planes = problem.batch * shapes.repeats(4 * outputs, window)
        sums = 8 * conv.out_channels * taps * min(planes, max(units, planes // 2)) if role == WEIGHT else 0
        return own + sums + problem.channels_last * problem.numbers * problem.dtype.itemsize

    def output(self, conv: Convolution, x: Tensor, weight: Tensor) -> Tensor:
        stride, padding = _planes(conv, x.shape[2:])
        size = shapes.output_sizes(conv.axes, x.shape[2:])
        y = direct.depthwise_output(_plane(conv, x), _plane(conv, weight)[:, 0], stride, padding, _sizes(size))
        return y.flatten(2, 3) if conv.ndim == 1 else layouts.ordered_as(y, x)

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        stride, padding = _planes(conv, input_size)
        kernel, channels = _plane(conv, weight)[:, 0], conv.in_channels
        x = direct.depthwise_input_grad(_plane(conv, grad), kernel, stride, padding, _sizes(input_size), channels)
        return x.flatten(2, 3) if conv.ndim == 1 else layouts.ordered_as(x, grad)

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        stride, padding = _planes(conv, x.shape[2:])
        weight = direct.depthwise_weight_grad(
            _plane(conv, x), _plane(conv, grad), stride, padding, _sizes(conv.kernel_size)
        )
        return weight.unsqueeze(1).flatten(2, 3) if conv.ndim == 1 else weight.unsqueeze(1)


def _planes(conv: Convolution, input_size: Sequence[int]) -> tuple[list[int], list[int]]:
    """Stride and padding before the first sample in two dimensions; one axis is a plane of one row."""
    low = [shapes.padding(axis, size)[0] for axis, size in zip(conv.axes, input_size, strict=True)]
    return (list(conv.stride), low) if conv.ndim == 2 else ([1, *conv.stride], [0, *low])


def _sizes(size: Sequence[int]) -> list[int]:
    return list(size) if len(size) == 2 else [1, *size]


def _plane(conv: Convolution, tensor: Tensor) -> Tensor:
    return tensor if conv.ndim == 2 else tensor.unsqueeze(2)
