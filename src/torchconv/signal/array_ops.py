"""Array operations that NumPy and torch spell differently, and arrays as the C++ kernels take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .request import Array


class AxisWindows(NamedTuple):
    """Windows along one axis: `count` of them, `length` samples each, `step` apart, the first at `offset`."""

    offset: int
    count: int
    step: int
    length: int

    @property
    def reach(self) -> int:
        """Samples from the beginning of the first window to the end of the last."""
        return (self.count - 1) * self.step + self.length


def windows(x: Array, cuts: Sequence[AxisWindows]) -> Array:
    """(*batch, *size) to a view (*batch, *counts, *lengths), with zeros where a window reaches over the ends."""
    sizes = x.shape[x.ndim - len(cuts) :]
    pads = [(-cut.offset, cut.offset + cut.reach - size) for cut, size in zip(cuts, sizes, strict=True)]
    if all(cut.count == 1 for cut in cuts) and not any(low or high for low, high in pads):
        return x.reshape(*x.shape[: x.ndim - len(cuts)], *(1,) * len(cuts), *sizes)
    x = padded(x, pads)
    if isinstance(x, Tensor):
        for axis, cut in enumerate(cuts, x.ndim - len(cuts)):
            x = x.unfold(axis, cut.length, cut.step)
        return x
    batch = x.ndim - len(cuts)
    steps = tuple(cut.step * stride for cut, stride in zip(cuts, x.strides[batch:], strict=True))
    shape = (*x.shape[:batch], *(cut.count for cut in cuts), *(cut.length for cut in cuts))
    return np.ndarray(shape, x.dtype, x, 0, x.strides[:batch] + steps + x.strides[batch:])


def padded(x: Array, pads: Sequence[tuple[int, int]]) -> Array:
    """A contiguous copy with zeros around the last axes, or with less of them where a pad is negative."""
    batch = x.ndim - len(pads)
    shape = [*x.shape[:batch], *(low + size + high for (low, high), size in zip(pads, x.shape[batch:], strict=True))]
    result = x.new_zeros(shape) if isinstance(x, Tensor) else np.zeros(shape, x.dtype)
    source: list[Any] = [...]
    target: list[Any] = [...]
    for (low, high), size in zip(pads, x.shape[batch:], strict=True):
        source.append(slice(max(0, -low), max(0, size + min(0, high))))
        target.append(slice(max(0, low), max(0, low) + max(0, size + min(0, high) - max(0, -low))))
    result[tuple(target)] = x[tuple(source)]
    return result


def flipped(x: Array, axes: Sequence[int]) -> Array:
    """The axes in reverse order."""
    return x.flip(tuple(axes)) if isinstance(x, Tensor) else np.flip(x, tuple(axes))


def permuted(x: Array, axes: Sequence[int]) -> Array:
    """The axes in another order."""
    return x.permute(*axes) if isinstance(x, Tensor) else x.transpose(axes)


def zeros(like: Array, shape: Sequence[int]) -> Array:
    """Zeros of the type and on the device of an array."""
    return like.new_zeros(shape) if isinstance(like, Tensor) else np.zeros(shape, like.dtype)


def converted(x: Array, kind: str) -> Array:
    """The numbers as another type of numbers, too large ones as Inf."""
    if isinstance(x, Tensor):
        return x.to(getattr(torch, kind))
    with np.errstate(over="ignore", invalid="ignore"):
        return x.astype(kind)


def as_tensor(x: np.ndarray) -> Tensor:
    """A tensor on the same memory, or on a copy where that cannot be written to."""
    return torch.from_numpy(np.require(x, None, ["C", "W"]))
