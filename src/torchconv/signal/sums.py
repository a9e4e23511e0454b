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
    ends = [_row(x, job.full) for x in (first, second)]
    return np.convolve(ends[0], ends[1]).reshape(job.full)[tuple(slice(*span) for span in job.spans)].copy()


def _row(x: np.ndarray, full: tuple[int, ...]) -> np.ndarray:
    """The padded rows as one, without the zeros at its end."""
    strides = [prod(full[axis + 1 :]) for axis in range(len(full))]
    last = sum((size - 1) * stride for size, stride in zip(x.shape, strides, strict=True))
    return padded(x, [(0, 0), *((0, n - size) for n, size in zip(full[1:], x.shape[1:], strict=True))]).reshape(-1)[
        : last + 1
    ]


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
    row = prod(job.full[1:])
    taps = min(job.taps[0], job.size[0]) * row
    return PACKING + _loop(prod(job.full), taps)


def _passes(job: Job) -> float:
    return CALL + prod(job.taps) * (PER_SHIFT + PER_PASS * prod(job.shape) * (0.5 if job.is_single else 1))
