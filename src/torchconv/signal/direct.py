"""Convolution as its definition says: sums of products, in the type of the numbers, whatever that is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..compute.functional import conv
from ..compute.native import direct, loader
from ..compute.planning import cost_model, machine
from .array_ops import as_tensor, padded, zeros
from .nonfinite import seems_finite
from .request import MethodPlan, Request

FEW = 11  # taps up to which np.convolve has loops of their own; beyond, one scalar product for an output
FLOATING = ("float32", "float64", "complex64", "complex128")


def plan(request: Request, as_is: bool = False) -> MethodPlan:
    """Sums in double precision by the C++ kernels where that is faster than NumPy's loops, else in the request's type.

    One sum in single precision would lose too much in the kernels. as_is: in the request's type in any case.
    """
    double = request if as_is else request.in_double or request
    if double.is_plain and double.kind == "float64" and loader.available():
        work = prod(double.outputs) * (machine.SUMS_COMPILED_OUTPUT + machine.SUMS_COMPILED_PRODUCT * double.taps[0])
        nanoseconds = machine.SUMS_COMPILED_CALL + work / cost_model.cores(torch.get_num_threads())
        if nanoseconds < _loop_along_one(double):
            return MethodPlan("direct", double, nanoseconds * 1e-9, partial(_compiled, double))
    return _loops(request)


def _loops(request: Request) -> MethodPlan:
    """NumPy's loops, or for tensors the kernels of `conv`."""
    numbers = prod(request.shape) * (0.5 if request.is_single else 1)
    passes = machine.SUMS_CALL + prod(request.taps) * (machine.SUMS_SHIFT + machine.SUMS_PASS * numbers)
    run: Callable[..., Any] = partial(_shifted, request)
    if request.ndim == 1 and not request.batch:
        passes, run = _loop_along_one(request), partial(_along_one, request.spans[0])
    elif not request.batch:
        nanoseconds, packed = _packing(request)
        if nanoseconds < passes:
            passes, run = nanoseconds, packed if request.kind in FLOATING else run
    return MethodPlan("direct", request, passes * 1e-9, partial(_by_kernels, request) if request.tensors else run)


def _compiled(request: Request, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Sums of products, each in a register."""
    (taps,), ((start, stop),) = request.taps, request.spans
    x, weight = as_tensor(first).view(1, 1, 1, -1), as_tensor(second[::-1]).view(1, 1, -1)
    result = direct.depthwise_output(x, weight, [1, 1], [0, taps - 1 - start], [1, stop - start]).view(-1).numpy()
    return result if seems_finite(result) else _along_one(request.spans[0], first, second)


def _along_one(span: tuple[int, int], first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """One axis: np.convolve, in the mode that gives the least beyond the span."""
    few, many = sorted((len(first), len(second)))
    if span[0] >= few - 1 and span[1] <= many:
        return np.convolve(first, second, mode="valid")[span[0] - few + 1 : span[1] - few + 1]
    return np.convolve(first, second)[slice(*span)]


def _packed(
    request: Request, strides: tuple, pads: list, lengths: list, span: tuple, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Several axes as one: rows padded to the full length and put one after another do not meet (Kronecker)."""
    parts = zip((first, second), pads, lengths, strict=True)
    row = np.ascontiguousarray(_along_one(span, *(padded(x, pad).reshape(-1)[:length] for x, pad, length in parts)))
    steps = tuple(stride * row.itemsize for stride in strides)
    result = np.ndarray(request.outputs, row.dtype, row, 0, steps).copy()
    return result if seems_finite(result) else _shifted(request, first, second)


def _packing(request: Request) -> tuple[float, Callable[..., Any]]:
    """The time of it, and the function: with each axis' step, zeros around and length of operands, and the span."""
    strides = tuple(prod(request.full[axis + 1 :]) for axis in range(request.ndim))

    def place(sizes: Iterable[int]) -> int:
        return sum(size * stride for size, stride in zip(sizes, strides, strict=True))

    shapes = request.size, request.taps
    pads = [[(0, 0), *((0, n - size) for n, size in zip(request.full[1:], shape[1:], strict=True))] for shape in shapes]
    lengths = [place(size - 1 for size in shape) + 1 for shape in shapes]
    start, stop = place(low for low, _ in request.spans), place(high - 1 for _, high in request.spans) + 1
    few, many = sorted(lengths)
    outputs = many - few + 1 if start >= few - 1 and stop <= many else prod(request.full)
    packed = partial(_packed, request, strides, pads, lengths, (start, stop))
    return machine.SUMS_PACKING + _loop(outputs, few), packed


def _shifted(request: Request, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Any type: for each tap, the operand that meets it is multiplied and added; no product with padding is formed."""
    result = zeros(first, request.shape)
    for taps in product(*(range(size) for size in request.taps)):
        source: list[Any] = [...]
        target: list[Any] = [...]
        for tap, size, (start, stop) in zip(taps, request.size, request.spans, strict=True):
            low, high = max(start, tap), min(stop, tap + size)
            source.append(slice(low - tap, max(low, high) - tap))
            target.append(slice(low - start, max(low, high) - start))
        weight = second[(..., *(slice(tap, tap + 1) for tap in taps))]
        result[tuple(target)] += first[tuple(source)] * weight
    return result


def _by_kernels(request: Request, first: Tensor, second: Tensor) -> Tensor:
    """The batch as channels, each of which has its own kernel."""
    groups = prod(request.batch)
    x = first.expand(*request.batch, *request.size).reshape(1, groups, *request.size)
    weight = second.expand(*request.batch, *request.taps).reshape(groups, 1, *request.taps)
    axes = zip(request.size, request.taps, request.spans, strict=True)
    x = padded(x, [(k - 1 - start, stop - n) for n, k, (start, stop) in axes])
    with torch.no_grad():
        return conv(x, weight, groups=groups, flip=True).reshape(request.shape)


def _loop_along_one(request: Request) -> float:
    return machine.SUMS_CALL + _loop(request.outputs[0], request.taps[0])


def _loop(outputs: int, taps: int) -> float:
    each = machine.SUMS_TAP * taps if taps <= FEW else machine.SUMS_OUTPUT + machine.SUMS_LATER_TAP * taps
    return outputs * each
