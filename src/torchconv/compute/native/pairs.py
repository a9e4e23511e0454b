"""Pairs of places within a window of each other, by the C++ kernels: float32 or float64, one to three axes.

x: (batch, channels, *size). What belongs to pairs: (batch, taps, *size), where the taps are the later half of the
window's, in their order, and a pair lies at the earlier of its places.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from ..planning import machine
from ..tensors import empty_like
from .loader import AXES, PER_AXIS, TYPES, call, fields, handle, per_axis, reason_against, threads


class PairArguments(ctypes.Structure):
    """`Pairs` of csrc/interface.h."""

    _fields_ = [*fields("type threads batch channels"), *fields("size radius dilation", PER_AXIS)]


def declines(x: Tensor) -> str | None:
    """Why the kernels cannot compute with such numbers; None if they can."""
    if reason := reason_against(x.dtype, x.device.type):
        return reason
    if x.dtype == torch.bfloat16:
        return "pairs are computed in float32 or float64"
    if x.ndim - 2 > AXES:
        return f"windows have 1 to {AXES} axes"
    return None if hasattr(handle(), "torchconv_pair_messages") else "the library is older than these kernels"


def _arguments(x: Tensor, taps: int, window: Sequence[int], dilation: Sequence[int]) -> PairArguments:
    count = threads(machine.PAIR * x.numel() * (taps + 1))
    radius = per_axis([one // 2 for one in window], 0)
    return PairArguments(TYPES[x.dtype], count, *x.shape[:2], per_axis(x.shape[2:]), radius, per_axis(dilation))


def _empty(shape: Sequence[int], like: Tensor) -> Tensor:
    """For a result; no view, as those of large arrays are, so that what is made of it can be written in its place."""
    return empty_like(shape, like).data


def messages(weights: Tensor, x: Tensor, window: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """To every place the sum over its pairs of weight times the other place's numbers."""
    weights, x = weights.contiguous(), x.contiguous()
    y = _empty(x.shape, x)
    call("torchconv_pair_messages", _arguments(x, weights.shape[1], window, dilation), weights, x, y)
    return y


def products(a: Tensor, b: Tensor, taps: int, window: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """For every pair the sum over channels of a at one place times b at the other, both ways."""
    a, b = a.contiguous(), b.contiguous()
    result = _empty((len(a), taps, *a.shape[2:]), a)
    call("torchconv_pair_products", _arguments(a, taps, window, dilation), a, b, result)
    return result


def distances(x: Tensor, taps: int, window: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """For every pair the squared distance of its places' numbers."""
    x = x.contiguous()
    result = _empty((len(x), taps, *x.shape[2:]), x)
    call("torchconv_pair_distances", _arguments(x, taps, window, dilation), x, result)
    return result
