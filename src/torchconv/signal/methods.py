"""Every way to convolve arrays: one table of what each takes and how it runs; "auto" is the one that takes least."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from math import prod
from typing import NamedTuple

import numpy as np

from ..errors import SettingError, UnsupportedError
from . import direct, fft, native, nonfinite, toeplitz
from .array_ops import Array, converted, padded
from .request import Job, Spans

MANY = 16  # taps along several axes from which sums in single precision lose more than transforms
FLOATING = ("float32", "float64", "complex64", "complex128")


class Way(NamedTuple):
    """seconds: an estimate. run: (first, second, job) to the result."""

    seconds: Callable[[Job], float]
    run: Callable[[Array, Array, Job], Array]


WAYS = {
    "direct": Way(direct.seconds, direct.run),
    "matrix": Way(toeplitz.seconds, toeplitz.run),
    "fft": Way(partial(fft.seconds, tiled=False), partial(fft.run, tiled=False)),
    "overlap": Way(partial(fft.seconds, tiled=True), partial(fft.run, tiled=True)),
}
METHODS = ("auto", *WAYS)


def check_method(method: str) -> None:
    """Raise SettingError unless it is one of the words."""
    if method not in METHODS:
        raise SettingError("method", got=repr(method), expected=f"one of {', '.join(METHODS)}")


def declines(name: str, job: Job) -> str | None:
    """Why a way is not open to a job; None if it is."""
    if name == "direct":
        return None
    if job.kind not in FLOATING:
        return f"numbers of type {job.kind} have neither fast transforms nor fast matrix products"
    if name == "matrix" and not job.one_kernel:
        return "each entry of the batch has a kernel, hence a matrix, of its own"
    return None


@lru_cache(maxsize=4096)
def choose(job: Job, method: str) -> tuple[Way, Job]:
    """How to run a job, by the method asked for or by the one that takes least, and in which type of numbers."""
    check_open(method, job)
    name = cheapest(job) if method == "auto" else method
    return WAYS[name], job if method == "direct" else inner(name, job)


def inner(name: str, job: Job) -> Job:
    """The job in the type it is computed in: single precision in double where it would be less exact than sums are.

    Scalar products add up in many places at once and lose less than matrix products and transforms do: single precision
    would be off by up to 15 times as much, unless the taps are many. Of sums along several axes, one tap after another,
    the opposite is true. The compiled sums along one axis are double.
    """
    if not job.is_single or _is_exact(name, job):
        return job
    return replace(job, kind="complex128" if job.is_complex else "float64")


def _is_exact(name: str, job: Job) -> bool:
    if name == "direct":
        return not direct.is_compiled(replace(job, kind="float64"))
    if name == "matrix":
        return False
    if job.ndim > 1:
        return prod(job.taps) >= MANY
    return native.takes_tiles(job) if name == "overlap" else prod(job.taps) >= native.FEWEST_WHOLE


def check_open(method: str, job: Job) -> None:
    """Raise UnsupportedError with the reason where the method asked for is not open to a job."""
    reason = None if method == "auto" else declines(method, job)
    if reason is not None:
        raise UnsupportedError(f"method={method!r}: {reason}", fix='Use method="auto" or "direct".')


def cheapest(job: Job) -> str:
    """The name of the way that takes least."""
    open_ways = [name for name in WAYS if declines(name, job) is None]
    return min(open_ways, key=lambda name: WAYS[name].seconds(inner(name, job)))


def compute(first: Array, second: Array, job: Job, method: str) -> Array:
    """The job's numbers, in the type of the operands; what is not finite stays in the windows that cover it."""
    way, inside = choose(job, method)
    if inside is not job:
        first, second = converted(first, inside.kind), converted(second, inside.kind)
    if way.run is direct.run and not job.tensors:
        result = way.run(first, second, inside)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            result = way.run(first, second, inside)
            if not nonfinite.seems_finite(result):
                result = nonfinite.mended(first, second, inside, way.run)
    return result if inside is job else converted(result, job.kind)


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
