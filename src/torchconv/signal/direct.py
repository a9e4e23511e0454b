"""Convolution as its definition says: sums of products, in the type of the numbers, whatever that is."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..compute.functional import conv
from . import native
from .array_ops import Array, padded, zeros
from .nonfinite import seems_finite
from .request import Job

# Nanoseconds of one core: np.convolve has loops for up to 11 taps and one scalar product an output beyond.
CALL, FEW, PER_TAP, PER_OUTPUT, PER_LATER_TAP = 1_500, 11, 0.16, 6.0, 0.08
PACKING, PER_SHIFT, PER_PASS = 10_000, 2_500, 1.0


def run(first: Array, second: Array, job: Job) -> Array:
    """The job by NumPy's loops, or for tensors by the kernels of `conv`."""
    if isinstance(first, Tensor):
        return _by_kernels(first, second, job)
    if is_compiled(job):
        result = native.sums(first, second, job)
        if seems_finite(result):
            return result
    if first.ndim == job.ndim == 1:
        return _along_one(first, second, job.spans[0])
    if _packs(job):
        result = _packed(first, second, job)
        if seems_finite(result):
            return result
    return _shifted(first, second, job)


@lru_cache(maxsize=4096)
def is_compiled(job: Job) -> bool:
    """Whether the C++ kernels sum it, and faster than NumPy's loop."""
    return native.takes_sums(job) and native.nanoseconds(job) < _loop_along_one(job)


def _along_one(first: np.ndarray, second: np.ndarray, span: tuple[int, int]) -> np.ndarray:
    """One axis: np.convolve, in the mode that gives the least beyond the span."""
    few, many = sorted((len(first), len(second)))
    if span[0] >= few - 1 and span[1] <= many:
        return np.convolve(first, second, mode="valid")[span[0] - few + 1 : span[1] - few + 1]
    return np.convolve(first, second)[slice(*span)]


@lru_cache(maxsize=4096)
def _packs(job: Job) -> bool:
    return (
        not job.batch
        and job.kind in ("float32", "float64", "complex64", "complex128")
        and _packing(job).nanoseconds < _passes(job)
    )


def _packed(first: np.ndarray, second: np.ndarray, job: Job) -> np.ndarray:
    """Several axes as one: rows padded to the full length and put one after another do not meet (Kronecker)."""
    packing = _packing(job)
    one, other = (
        padded(x, pads).reshape(-1)[:length]
        for x, pads, length in zip((first, second), packing.pads, packing.lengths, strict=True)
    )
    row = np.ascontiguousarray(_along_one(one, other, packing.span))
    steps = tuple(stride * row.itemsize for stride in packing.strides)
    return np.ndarray(job.outputs, row.dtype, row, 0, steps).copy()


class Packing(NamedTuple):
    """How axes become one: the step of each, zeros around and length of both operands, the wanted span, the time."""

    strides: tuple[int, ...]
    pads: list[list[tuple[int, int]]]
    lengths: list[int]
    span: tuple[int, int]
    nanoseconds: float


@lru_cache(maxsize=4096)
def _packing(job: Job) -> Packing:
    strides = tuple(prod(job.full[axis + 1 :]) for axis in range(job.ndim))

    def place(sizes: Iterable[int]) -> int:
        return sum(size * stride for size, stride in zip(sizes, strides, strict=True))

    shapes = job.size, job.taps
    pads = [[(0, 0), *((0, n - size) for n, size in zip(job.full[1:], shape[1:], strict=True))] for shape in shapes]
    lengths = [place(size - 1 for size in shape) + 1 for shape in shapes]
    start, stop = place(low for low, _ in job.spans), place(high - 1 for _, high in job.spans) + 1
    few, many = sorted(lengths)
    outputs = many - few + 1 if start >= few - 1 and stop <= many else prod(job.full)
    return Packing(strides, pads, lengths, (start, stop), PACKING + _loop(outputs, few))


def _shifted(first: np.ndarray, second: np.ndarray, job: Job) -> np.ndarray:
    """Any type: for each tap, the operand that meets it is multiplied and added; no product with padding is formed."""
    result = zeros(first, job.shape)
    for taps in product(*(range(size) for size in job.taps)):
        source: list[Any] = [...]
        target: list[Any] = [...]
        for tap, size, (start, stop) in zip(taps, job.size, job.spans, strict=True):
            low, high = max(start, tap), min(stop, tap + size)
            source.append(slice(low - tap, max(low, high) - tap))
            target.append(slice(low - start, max(low, high) - start))
        weight = second[(..., *(slice(tap, tap + 1) for tap in taps))]
        result[tuple(target)] += first[tuple(source)] * weight
    return result


def _by_kernels(first: Tensor, second: Tensor, job: Job) -> Tensor:
    """The batch as channels, each of which has its own kernel."""
    groups = prod(job.batch)
    x = first.expand(*job.batch, *job.size).reshape(1, groups, *job.size)
    weight = second.expand(*job.batch, *job.taps).reshape(groups, 1, *job.taps)
    around = [(k - 1 - start, stop - n) for n, k, (start, stop) in zip(job.size, job.taps, job.spans, strict=True)]
    x = padded(x, around)
    with torch.no_grad():
        return conv(x, weight, groups=groups, flip=True).reshape(job.shape)


def seconds(job: Job) -> float:
    """What the job takes, about."""
    if is_compiled(job):
        return native.nanoseconds(job) * 1e-9
    if job.ndim == 1 and not job.batch:
        return _loop_along_one(job) * 1e-9
    return min(_packing(job).nanoseconds if not job.batch else float("inf"), _passes(job)) * 1e-9


def _loop_along_one(job: Job) -> float:
    return CALL + _loop(job.outputs[0], job.taps[0])


def _loop(outputs: int, taps: int) -> float:
    return outputs * (PER_TAP * taps if taps <= FEW else PER_OUTPUT + PER_LATER_TAP * taps)


def _passes(job: Job) -> float:
    return CALL + prod(job.taps) * (PER_SHIFT + PER_PASS * prod(job.shape) * (0.5 if job.is_single else 1))
