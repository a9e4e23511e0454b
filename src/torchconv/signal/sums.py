"""Convolution as its definition says: sums of products, in the type of the numbers, whatever that is."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..compute.functional import conv
from .job import Job
from .nonfinite import seems_finite
from .views import Array, padded, zeros

# Nanoseconds of one core: np.convolve has loops for up to 11 taps and one scalar product an output beyond.
CALL, FEW, PER_TAP, PER_OUTPUT, PER_LATER_TAP = 1_500, 11, 0.16, 6.0, 0.08
PACKING, PER_SHIFT, PER_PASS = 10_000, 2_500, 1.0


def run(first: Array, second: Array, job: Job) -> Array:
    """The job by NumPy's loops, or for tensors by the kernels of `conv`."""
    if isinstance(first, Tensor):
        return _by_kernels(first, second, job)
    if first.ndim == job.ndim == 1:
        return _along_one(first, second, job.spans[0])
    if _packs(job):
        result = _packed(first, second, job)
        if seems_finite(result):
            return result
    return _shifted(first, second, job)


def _along_one(first: np.ndarray, second: np.ndarray, span: tuple[int, int]) -> np.ndarray:
    """One axis: np.convolve, in the mode that gives the least beyond the span."""
    few, many = sorted((len(first), len(second)))
    if span[0] >= few - 1 and span[1] <= many:
        return np.convolve(first, second, mode="valid")[span[0] - few + 1 : span[1] - few + 1]
    return np.convolve(first, second)[slice(*span)]


def _packs(job: Job) -> bool:
    return (
        not job.batch and job.kind in ("float32", "float64", "complex64", "complex128") and _packing(job) < _passes(job)
    )


def _packed(first: np.ndarray, second: np.ndarray, job: Job) -> np.ndarray:
    """Several axes as one: rows padded to the full length and put one after another do not meet (Kronecker)."""
    strides = _strides(job)
    span = _packed_span(job)
    row = _along_one(_row(first, job.full, strides), _row(second, job.full, strides), span)
    steps = tuple(stride * row.strides[0] for stride in strides)
    return np.ndarray(job.outputs, row.dtype, np.ascontiguousarray(row), 0, steps).copy()


def _strides(job: Job) -> list[int]:
    return [prod(job.full[axis + 1 :]) for axis in range(job.ndim)]


def _packed_span(job: Job) -> tuple[int, int]:
    """Where the wanted outputs begin and end when the axes are put one after another."""
    strides = _strides(job)
    first, last = (sum(span[end] * stride for span, stride in zip(job.spans, strides, strict=True)) for end in (0, 1))
    return first, last - sum(strides) + 1


def _row(x: np.ndarray, full: tuple[int, ...], strides: list[int]) -> np.ndarray:
    """The padded rows as one, without the zeros at its end."""
    last = sum((size - 1) * stride for size, stride in zip(x.shape, strides, strict=True))
    pads = [(0, 0), *((0, n - size) for n, size in zip(full[1:], x.shape[1:], strict=True))]
    return padded(x, pads).reshape(-1)[: last + 1]


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
    if job.ndim == 1 and not job.batch:
        return (CALL + _loop(job.outputs[0], min(job.size[0], job.taps[0]))) * 1e-9
    return min(_packing(job) if not job.batch else float("inf"), _passes(job)) * 1e-9


def _loop(outputs: int, taps: int) -> float:
    return outputs * (PER_TAP * taps if taps <= FEW else PER_OUTPUT + PER_LATER_TAP * taps)


def _packing(job: Job) -> float:
    strides, (start, stop) = _strides(job), _packed_span(job)
    few, many = sorted(
        sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True)) + 1
        for sizes in (job.size, job.taps)
    )
    valid = start >= few - 1 and stop <= many
    return PACKING + _loop(many - few + 1 if valid else prod(job.full), few)


def _passes(job: Job) -> float:
    return CALL + prod(job.taps) * (PER_SHIFT + PER_PASS * prod(job.shape) * (0.5 if job.is_single else 1))
