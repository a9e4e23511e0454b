"""A connection table filled up with zeros, on torch's kernels.

Products with zeros cost less than many small convolutions: for LeNet-5's C3 by far. But zero times NaN is NaN, so that
a bad number would reach outputs that do not read its channel. Where the numbers are not all finite, or cannot be looked
at, the table is computed part by part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ...description.connections import Connections
from ...description.convolution import Convolution
from .. import layouts
from ..planning import machine
from ..tensors import INPUT, OUTPUT, has_numbers
from .base import Algorithm, Problem
from .torch_kernels import TorchKernels


class DenseTable(Algorithm):
    """torch's kernels with all channels connected, the missing ones by zeros."""

    name: ClassVar[str] = "dense-table"
    error: ClassVar[float] = 2.0
    takes_tables: ClassVar[bool] = True
    kernels: ClassVar[TorchKernels] = TorchKernels()

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
        return self.kernels.declines(problem)

    def workspace(self, problem: Problem, role: str) -> int:
        dense = replace(problem, convolution=_filled_up(problem.convolution))
        weights = prod(dense.convolution.weight_shape()) * problem.dtype.itemsize
        return weights + self.kernels.workspace(dense, role)

    def output(self, conv: Convolution, x: Tensor, weight: Tensor) -> Tensor:
        if _finite(x):
            return self.kernels.output(_filled_up(conv), x, _dense(conv, weight))
        return layouts.by_table_parts(OUTPUT, self.kernels.output, layouts.table_parts(conv), conv, x, weight)

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        if _finite(grad):
            return self.kernels.input_grad(_filled_up(conv), grad, _dense(conv, weight), input_size)

        def compute(part: Convolution, grad: Tensor, weight: Tensor) -> Tensor:
            return self.kernels.input_grad(part, grad, weight, input_size)

        return layouts.by_table_parts(INPUT, compute, layouts.table_parts(conv), conv, grad, weight)

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        """Each weight sees its own two channels only, so there is nothing for a bad number to leak into."""
        dense = self.kernels.weight_grad(_filled_up(conv), x, grad)
        return dense.flatten(0, 1).index_select(0, _index(conv, x))


def _filled_up(conv: Convolution) -> Convolution:
    return Convolution.of_parts(Connections.of(conv.in_channels, conv.out_channels), conv.axes)


def _dense(conv: Convolution, weight: Tensor) -> Tensor:
    """Weights (connections, *kernel) as (out, in, *kernel)."""
    zeros = weight.new_zeros(conv.out_channels * conv.in_channels, *conv.kernel_size)
    return zeros.index_copy(0, _index(conv, weight), weight).reshape(
        conv.out_channels, conv.in_channels, *conv.kernel_size
    )


def _index(conv: Convolution, like: Tensor) -> Tensor:
    return torch.from_numpy(_places(conv.channels)).to(like.device)


@lru_cache(maxsize=256)
def _places(channels: Connections) -> np.ndarray:
    return np.flatnonzero(channels.table())


def _finite(x: Tensor) -> bool:
    """Whether all numbers are finite; a sum that overflows says no, which costs time but is never wrong."""
    wide = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
    return has_numbers(x) and bool(x.sum(dtype=wide).isfinite())
