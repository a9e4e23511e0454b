"""Pooling in one to three dimensions by the C++ kernels: tensors (batch, channels, *size), contiguous."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import torch
from torch import Tensor

from ...description import shapes
from ...description.pooling import Pooling
from ..planning import machine
from ..tensors import empty_like
from .loader import AXES, PER_AXIS, TYPES, call, fields, per_axis, threads


class PoolingArguments(ctypes.Structure):
    """`Pooling` of csrc/interface.h."""

    _fields_ = [
        *fields("type threads planes power beside"),
        *fields("size outputs kernel stride dilation low", PER_AXIS),
    ]


@dataclass(frozen=True)
class PlacedWindows:
    """The windows of a pooling on an input of one size, and what their samples and sums are multiplied with."""

    pooling: Pooling
    size: tuple[int, ...]

    @cached_property
    def outputs(self) -> tuple[int, ...]:
        """Size of the output."""
        return shapes.output_sizes(self.pooling.axes, self.size)

    @cached_property
    def numbers(self) -> tuple[ctypes.Array, ...]:
        """The last of the arguments."""
        axes = self.pooling.axes
        low = [shapes.padding(axis, size)[0] for axis, size in zip(axes, self.size, strict=True)]
        settings = ([axis.kernel for axis in axes], [axis.stride for axis in axes], [axis.dilation for axis in axes])
        return *(per_axis(values) for values in (self.size, self.outputs, *settings)), per_axis(low, 0)

    @cached_property
    def factors(self) -> tuple[Tensor, Tensor]:
        """A factor for each tap of each axis, one axis after another, and for each output of each axis."""
        factors = self.pooling.factors()
        assert factors is not None
        taps = [1.0] * (AXES - len(factors)) + [one for axis in factors for one in axis]
        scales = [np.ones(AXES - len(factors))]
        for number, (size, outputs) in enumerate(zip(self.size, self.outputs, strict=True)):
            sums = self.pooling.counted(number, size) @ np.array(factors[number])
            scales.append(np.ones(outputs) if self.pooling.kind == "lp" else 1 / sums)
        return torch.tensor(taps, dtype=torch.float64), torch.from_numpy(np.concatenate(scales))

    @cached_property
    def tables(self) -> tuple[Tensor, Tensor]:
        """A number for each tap, and for each output: for averages one over the sum of the weights that count."""
        sums = weight = np.array(self.pooling.full_weight(), dtype=np.float64)
        for number, size in enumerate(self.size):
            sums = np.tensordot(sums, self.pooling.counted(number, size), (0, 1))
        scales = np.ones(self.outputs) if self.pooling.kind == "lp" else 1 / sums
        return torch.from_numpy(weight).flatten(), torch.from_numpy(np.ascontiguousarray(scales)).flatten()

    @cached_property
    def separable(self) -> bool:
        """Whether weights are products of factors."""
        return self.pooling.factors() is not None

    @cached_property
    def samples(self) -> int:
        """Of a plane."""
        return prod(self.size)

    def beside(self, x: Tensor, towards_largest: bool = False) -> bool:
        """Whether planes are computed side by side, which needs many, and is faster for small ones.

        towards_largest: the gradient of the largest, for which lines are slower.
        """
        most, widest = (
            (machine.POOL_SMALL, machine.POOL_NARROW)
            if self.separable and not towards_largest
            else (machine.POOL_MEDIUM, machine.POOL_WIDE)
        )
        return x.shape[0] * x.shape[1] >= machine.POOL_PLANES and self.samples <= most and self.size[-1] < widest

    def fits(self, x: Tensor) -> bool:
        """Whether one of the two ways takes such a tensor without waste."""
        if len(self.size) > AXES:
            return False
        return self.beside(x) or (self.separable and self.size[-1] >= machine.POOL_SHORT)

    def arguments(
        self, x: Tensor, power: int = 0, towards_largest: bool = False
    ) -> tuple[PoolingArguments, Tensor, Tensor]:
        """For a tensor with so many images and channels, with its weights and scales."""
        planes, beside = x.shape[0] * x.shape[1], self.beside(x, towards_largest)
        count = threads(machine.POOL_NUMBER * planes * self.samples)
        described = PoolingArguments(TYPES[x.dtype], count, planes, power, beside, *self.numbers)
        return described, *(self.tables if beside else self.factors)


def window_sum(x: Tensor, windows: PlacedWindows, power: int = 0) -> Tensor:
    """The weighted sum of every window; with a power, that root of the sum of that power of |x|."""
    return _pooled("torchconv_pool_sum", x, windows, power)


def window_max(x: Tensor, windows: PlacedWindows) -> Tensor:
    """The largest number of every window; NaN where one is in it."""
    return _pooled("torchconv_pool_max", x, windows)


def _pooled(name: str, x: Tensor, windows: PlacedWindows, power: int = 0) -> Tensor:
    x = x.contiguous()
    y = empty_like((*x.shape[:2], *windows.outputs), x)
    arguments, weights, scales = windows.arguments(x, power)
    call(name, arguments, x, weights, scales, y)
    return y


def window_sum_grad(grad: Tensor, windows: PlacedWindows, power: int = 0, base: Tensor | None = None) -> Tensor:
    """The adjoint of `window_sum`; with a base also multiplied with sign(base) * |base|^(power - 1)."""
    grad = grad.contiguous()
    x = empty_like((*grad.shape[:2], *windows.size), grad)
    bases = () if base is None else (base.contiguous(),)
    name = "torchconv_pool_sum_grad" if bases else "torchconv_pool_spread"
    arguments, weights, scales = windows.arguments(grad, power)
    call(name, arguments, grad, weights, scales, *bases, x)
    return x


def window_max_grad(grad: Tensor, x: Tensor, y: Tensor, windows: PlacedWindows) -> Tensor:
    """Each gradient at the first place of its window where x is y, zeros elsewhere."""
    grad, x, y = grad.contiguous(), x.contiguous(), y.contiguous()
    result = empty_like(tuple(x.shape), x)
    call("torchconv_pool_max_grad", windows.arguments(x, towards_largest=True)[0], grad, x, y, result)
    return result
