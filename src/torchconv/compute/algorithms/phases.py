"""A tiled convolution as ordinary ones: the outputs that share a kernel are a convolution with a longer stride.

Along an axis, outputs `phase`, `phase + period`, ... use one kernel. They read windows `period * stride` apart, the
first one `phase * stride` further on: torch's own convolution, once for each kernel, and the results interleave.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from ...description import shapes
from ...description.convolution import Convolution
from .. import padding
from ..planning import machine
from ..tensors import INPUT, OUTPUT
from .base import Algorithm, Problem
from .torch_kernels import TorchKernels

Phase = tuple[int, ...]


class Phases(Algorithm):
    """torch's kernels, once for each kernel of a tiled convolution."""

    name: ClassVar[str] = "phases"
    error: ClassVar[float] = 2.0
    differentiable: ClassVar[bool] = True
    kernels: ClassVar[TorchKernels] = TorchKernels()

    def declines(self, problem: Problem) -> str | None:
        conv = problem.convolution
        if conv.sharing.needs_size:
            return "every position has a kernel of its own"
        if conv.sharing.is_full:
            return "one kernel serves all positions"
        if prod(conv.sharing.phases()) > machine.PHASES_MOST:
            return f"more than {machine.PHASES_MOST} kernels"
        if torch.compiler.is_compiling():
            return "its paddings depend on sizes that a compiler may leave open"
        return self.kernels.declines(replace(problem, convolution=Convolution.of_parts(conv.channels, conv.axes)))

    def workspace(self, problem: Problem, role: str) -> int:
        """All parts before they are put together, and the array of which they are parts."""
        conv, phases = problem.convolution, prod(problem.convolution.sharing.phases())
        inputs = problem.batch * conv.in_channels * prod(problem.sizes)
        outputs = problem.numbers - inputs
        weights = prod(conv.weight_shape(problem.sizes))
        parts = {OUTPUT: 2 * outputs + inputs, INPUT: (3 * phases + 1) * inputs + outputs}
        return parts.get(role, 2 * weights + 2 * outputs + inputs) * problem.dtype.itemsize

    def output(self, conv: Convolution, x: Tensor, weight: Tensor) -> Tensor:
        sizes, periods = x.shape[2:], conv.sharing.phases()
        pieces = [self.kernels.output(one, x, weight[phase]) for phase, one in _ordinary(conv, sizes)]
        ndim = conv.ndim
        y = torch.stack(pieces).reshape(*periods, *pieces[0].shape)
        y = y.permute(ndim, ndim + 1, *(place for n in range(ndim) for place in (ndim + 2 + n, n)))
        y = y.reshape(*pieces[0].shape[:2], *(m * t for m, t in zip(pieces[0].shape[2:], periods, strict=True)))
        outputs = shapes.output_sizes(conv.axes, sizes)
        return padding.pad(y, [(0, size - whole) for size, whole in zip(outputs, y.shape[2:], strict=True)])

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        whole = self._whole(conv, grad)
        parts = [
            self.kernels.input_grad(one, self._outputs_of(conv, whole, phase), weight[phase], input_size)
            for phase, one in _ordinary(conv, input_size)
        ]
        return torch.stack(parts).sum(0)

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        whole = self._whole(conv, grad)
        parts = [
            self.kernels.weight_grad(one, x, self._outputs_of(conv, whole, phase))
            for phase, one in _ordinary(conv, x.shape[2:])
        ]
        return torch.stack(parts).reshape(*conv.sharing.phases(), *parts[0].shape)

    @staticmethod
    def _whole(conv: Convolution, grad: Tensor) -> Tensor:
        """Zeros for the outputs that complete the last period."""
        sizes = zip(grad.shape[2:], conv.sharing.phases(), strict=True)
        return padding.pad(grad, [(0, shapes.repeats(size, period) * period - size) for size, period in sizes])

    @staticmethod
    def _outputs_of(conv: Convolution, grad: Tensor, phase: Phase) -> Tensor:
        steps = zip(phase, conv.sharing.phases(), strict=True)
        return grad[(..., *(slice(start, None, period) for start, period in steps))]


def _ordinary(conv: Convolution, input_size: Sequence[int]) -> Iterator[tuple[Phase, Convolution]]:
    """Every phase, and the convolution that gives its outputs."""
    periods = conv.sharing.phases()
    for phase in product(*(range(period) for period in periods)):
        axes = []
        for axis, size, period, start in zip(conv.axes, input_size, periods, phase, strict=True):
            low = shapes.padding(axis, size)[0] - start * axis.stride
            reach = (shapes.repeats(shapes.output_size(axis, size), period) - 1) * period * axis.stride + axis.span
            high = reach - low - shapes.dilated(axis, size)
            axes.append(replace(axis, stride=axis.stride * period, padding=(low, high)))
        yield phase, Convolution.of_parts(conv.channels, axes)
