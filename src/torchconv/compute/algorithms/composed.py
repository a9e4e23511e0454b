"""Connection tables and tiled convolutions, made of ordinary convolutions on torch's kernels.

A table is filled up with zeros: products with zeros cost less than many small convolutions, for LeNet-5's C3 by far.
But zero times NaN is NaN, so that a bad number would reach outputs that do not read its channel. Where the numbers are
not all finite, or cannot be looked at, the table is computed part by part.

In a tiled convolution, outputs `phase`, `phase + period`, ... of an axis use one kernel. They read windows
`period * stride` apart, the first one `phase * stride` further on: an ordinary convolution for each kernel, and the
results interleave.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product
from math import prod
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ...description import shapes
from ...description.connections import Connections
from ...description.convolution import Convolution
from .. import layouts, padding
from ..planning import machine
from ..problem import Problem
from ..tensors import INPUT, OUTPUT, has_numbers
from .base import Algorithm
from .torch_kernels import KERNELS


class Phases(Algorithm):
    """torch's kernels, once for each kernel of a tiled convolution."""

    name: ClassVar[str] = "phases"
    error: ClassVar[float] = 2.0
    differentiable: ClassVar[bool] = True

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
        return KERNELS.declines(replace(problem, convolution=Convolution.of_parts(conv.channels, conv.axes)))

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
        pieces = [KERNELS.output(one, x, weight[phase]) for phase, one in _ordinary(conv, sizes)]
        y = layouts.join_phases(torch.stack(pieces, 1).flatten(0, 1), periods, out_of=0)
        outputs = shapes.output_sizes(conv.axes, sizes)
        return padding.pad(y, [(0, size - whole) for size, whole in zip(outputs, y.shape[2:], strict=True)])

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        ordinary = zip(_ordinary(conv, input_size), _pieces(conv, grad), strict=True)
        parts = [KERNELS.input_grad(one, piece, weight[phase], input_size) for (phase, one), piece in ordinary]
        return torch.stack(parts).sum(0)

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        ordinary = zip(_ordinary(conv, x.shape[2:]), _pieces(conv, grad), strict=True)
        parts = [KERNELS.weight_grad(one, x, piece) for (_, one), piece in ordinary]
        return torch.stack(parts).reshape(*conv.sharing.phases(), *parts[0].shape)


def _pieces(conv: Convolution, grad: Tensor) -> Sequence[Tensor]:
    """The outputs of every phase, with zeros for those that complete the last period."""
    periods = conv.sharing.phases()
    sizes = zip(grad.shape[2:], periods, strict=True)
    whole = padding.pad(grad, [(0, shapes.repeats(size, period) * period - size) for size, period in sizes])
    return layouts.split_phases(whole, periods, into=0).unflatten(0, (grad.shape[0], -1)).unbind(1)


def _ordinary(conv: Convolution, input_size: Sequence[int]) -> Iterator[tuple[tuple[int, ...], Convolution]]:
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


class DenseTable(Algorithm):
    """torch's kernels with all channels connected, the missing ones by zeros."""

    name: ClassVar[str] = "dense-table"
    error: ClassVar[float] = 2.0
    takes_tables: ClassVar[bool] = True

    def declines(self, problem: Problem) -> str | None:
        if problem.convolution.channels.rows is None:
            return "there is no connection table to fill up"
        if torch.compiler.is_compiling():
            return "a compiler cannot look whether the numbers are finite"
        parts = layouts.table_parts(problem.convolution)
        channels = problem.convolution.channels
        few = channels.count * machine.DENSE_TABLE_SPARSE <= channels.in_channels * channels.out_channels
        if few and len(parts) <= machine.DENSE_TABLE_GROUPS:
            return f"the table is sparse and made of {len(parts)} grouped convolutions"
        return KERNELS.declines(problem)

    def workspace(self, problem: Problem, role: str) -> int:
        dense = replace(problem, convolution=_filled_up(problem.convolution))
        weights = prod(dense.convolution.weight_shape()) * problem.dtype.itemsize
        return weights + KERNELS.workspace(dense, role)

    def output(self, conv: Convolution, x: Tensor, weight: Tensor) -> Tensor:
        if _finite(x):
            return KERNELS.output(_filled_up(conv), x, _dense(conv, weight))
        return layouts.by_table_parts(OUTPUT, KERNELS.output, layouts.table_parts(conv), conv, x, weight)

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        if _finite(grad):
            return KERNELS.input_grad(_filled_up(conv), grad, _dense(conv, weight), input_size)

        def compute(part: Convolution, grad: Tensor, weight: Tensor) -> Tensor:
            return KERNELS.input_grad(part, grad, weight, input_size)

        return layouts.by_table_parts(INPUT, compute, layouts.table_parts(conv), conv, grad, weight)

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        """Each weight sees its own two channels only, so there is nothing for a bad number to leak into."""
        dense = KERNELS.weight_grad(_filled_up(conv), x, grad)
        return dense.flatten(0, 1).index_select(0, _index(conv, x))


def _filled_up(conv: Convolution) -> Convolution:
    return Convolution.of_parts(Connections.of(conv.in_channels, conv.out_channels), conv.axes)


def _dense(conv: Convolution, weight: Tensor) -> Tensor:
    """Weights (connections, *kernel) as (out, in, *kernel)."""
    zeros = weight.new_zeros(conv.out_channels * conv.in_channels, *conv.kernel_size)
    return zeros.index_copy(0, _index(conv, weight), weight).unflatten(0, (conv.out_channels, conv.in_channels))


def _index(conv: Convolution, like: Tensor) -> Tensor:
    return torch.from_numpy(_places(conv.channels)).to(like.device)


@lru_cache(maxsize=256)
def _places(channels: Connections) -> np.ndarray:
    return np.flatnonzero(channels.table())


def _finite(x: Tensor) -> bool:
    """Whether all numbers are finite; a sum that overflows says no, which costs time but is never wrong."""
    wide = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
    return has_numbers(x) and bool(x.sum(dtype=wide).isfinite())
