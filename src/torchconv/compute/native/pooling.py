"""Pooling in one to three dimensions by the C++ kernels: tensors (batch, channels, *size), contiguous."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import torch
from torch import Tensor

from ...description import shapes
from ...description.pooling import Pooling
from ..memory import empty_like
from .operations import TYPES, call, threads

AXES = 3  # of the kernels; fewer ones are the last of these
NANOSECONDS = 0.15  # of one core for a number of the input, about


class Problem(ctypes.Structure):
    """`Pooling` of csrc/interface.h."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("type", "threads", "planes", "power")),
        *((name, ctypes.c_int64 * AXES) for name in ("size", "outputs", "kernel", "stride", "dilation", "low")),
    ]


@dataclass(frozen=True)
class Windows:
    """The windows of a pooling on an input of one size, and what their samples and sums are multiplied with."""

    pooling: Pooling
    size: tuple[int, ...]

    @cached_property
    def outputs(self) -> tuple[int, ...]:
        """Size of the output."""
        return shapes.output_sizes(self.pooling.axes, self.size)

    @cached_property
    def numbers(self) -> tuple[ctypes.Array, ...]:
        """The last fields of a Problem."""
        axes = self.pooling.axes
        low = [shapes.padding(axis, size)[0] for axis, size in zip(axes, self.size, strict=True)]
        per_axis = (
            (self.size, 1),
            (self.outputs, 1),
            ([axis.kernel for axis in axes], 1),
            ([axis.stride for axis in axes], 1),
            ([axis.dilation for axis in axes], 1),
            (low, 0),
        )
        kind = ctypes.c_int64 * AXES
        return tuple(kind(*[least] * (AXES - len(values)), *values) for values, least in per_axis)

    @cached_property
    def weights(self) -> Tensor:
        """A factor for each tap of each axis, one axis after another."""
        factors = self.pooling.factors()
        assert factors is not None
        ones = [1.0] * (AXES - len(factors))
        return torch.tensor(ones + [one for axis in factors for one in axis], dtype=torch.float64)

    @cached_property
    def scales(self) -> Tensor:
        """A factor for each output of each axis: for averages one over the sum of the weights that count."""
        factors = self.pooling.factors()
        assert factors is not None
        found = [np.ones(AXES - len(factors))]
        for number, (size, outputs) in enumerate(zip(self.size, self.outputs, strict=True)):
            sums = self.pooling.counted(number, size) @ np.array(factors[number])
            found.append(np.ones(outputs) if self.pooling.kind == "lp" else 1 / sums)
        return torch.from_numpy(np.concatenate(found))

    def problem(self, x: Tensor, power: int = 0) -> Problem:
        """For a tensor with so many images and channels."""
        planes = x.shape[0] * x.shape[1]
        count = threads(NANOSECONDS * planes * prod(self.size))
        return Problem(TYPES[x.dtype], count, planes, power, *self.numbers)


def window_sum(x: Tensor, windows: Windows, power: int = 0) -> Tensor:
    """The weighted sum of every window; with a power, that root of the sum of that power of |x|."""
    x = x.contiguous()
    y = empty_like((*x.shape[:2], *windows.outputs), x)
    call("torchconv_pool_sum", windows.problem(x, power), x, windows.weights, windows.scales, y)
    return y


def window_sum_grad(grad: Tensor, windows: Windows, power: int = 0, base: Tensor | None = None) -> Tensor:
    """The adjoint of `window_sum`; with a base also multiplied with sign(base) * |base|^(power - 1)."""
    grad = grad.contiguous()
    x = empty_like((*grad.shape[:2], *windows.size), grad)
    bases = () if base is None else (base.contiguous(),)
    name = "torchconv_pool_sum_grad" if bases else "torchconv_pool_spread"
    call(name, windows.problem(grad, power), grad, windows.weights, windows.scales, *bases, x)
    return x


def window_max(x: Tensor, windows: Windows) -> Tensor:
    """The largest number of every window; NaN where one is in it."""
    x = x.contiguous()
    y = empty_like((*x.shape[:2], *windows.outputs), x)
    call("torchconv_pool_max", windows.problem(x), x, windows.weights, windows.scales, y)
    return y


def window_max_grad(grad: Tensor, x: Tensor, y: Tensor, windows: Windows) -> Tensor:
    """Each gradient at the first place of its window where x is y, zeros elsewhere."""
    grad, x, y = grad.contiguous(), x.contiguous(), y.contiguous()
    result = empty_like(tuple(x.shape), x)
    call("torchconv_pool_max_grad", windows.problem(x), grad, x, y, result)
    return result


def fits(sizes: Sequence[int]) -> bool:
    """Whether there are few enough axes."""
    return len(sizes) <= AXES
