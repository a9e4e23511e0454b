"""Any range of the full convolution, even beyond its ends: the one door to the ways of computing."""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numpy as np

from .array_ops import Array, padded
from .methods import compute
from .request import Job, Spans


def ranged(first: Array, second: Array, spans: Spans, method: str, tensors: bool = False) -> Array:
    """Outputs spans of the full convolution over the last axes; zeros where a span reaches beyond it."""
    job, swapped, pads = job_of(first.shape, second.shape, spans, str(first.dtype), tensors)
    if swapped:
        first, second = second, first
    result = compute(first, second, job, method)
    return result if pads is None else padded(result, pads)


@lru_cache(maxsize=4096)
def job_of(
    first: tuple[int, ...], second: tuple[int, ...], spans: Spans, kind: str, tensors: bool = False
) -> tuple[Job, bool, tuple | None]:
    """The job, whether the operands change places, and the zeros around its result, if there are any."""
    ndim = len(spans)
    sizes, taps = first[len(first) - ndim :], second[len(second) - ndim :]
    inside = tuple(
        (max(0, start), max(0, min(stop, n + k - 1))) for (start, stop), n, k in zip(spans, sizes, taps, strict=True)
    )
    pads = tuple((low - start, stop - high) for (start, stop), (low, high) in zip(spans, inside, strict=True))
    swapped = prod(taps) > prod(sizes)
    if swapped:
        first, second = second, first
    job = Job(tuple(first), tuple(second), inside, kind.removeprefix("torch."), tensors)
    return job, swapped, pads if np.any(pads) else None
