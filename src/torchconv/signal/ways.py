"""Every way to convolve arrays: one table of what each takes and how it runs; "auto" is the one that takes least."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

from ..errors import SettingError, UnsupportedError
from . import fourier, nonfinite, sums, toeplitz
from .job import Job
from .views import Array

FLOATING = ("float32", "float64", "complex64", "complex128")


class Way(NamedTuple):
    """seconds: an estimate. run: (first, second, job) to the result."""

    seconds: Callable[[Job], float]
    run: Callable[[Array, Array, Job], Array]


WAYS = {
    "direct": Way(sums.seconds, sums.run),
    "matrix": Way(toeplitz.seconds, toeplitz.run),
    "fft": Way(partial(fourier.seconds, tiled=False), partial(fourier.run, tiled=False)),
    "overlap": Way(partial(fourier.seconds, tiled=True), partial(fourier.run, tiled=True)),
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
def choose(job: Job, method: str) -> Callable[[Array, Array, Job], Array]:
    """How to run a job: by the method asked for, or by the one that takes least."""
    check_open(method, job)
    return WAYS[cheapest(job) if method == "auto" else method].run


def check_open(method: str, job: Job) -> None:
    """Raise UnsupportedError with the reason where the method asked for is not open to a job."""
    reason = None if method == "auto" else declines(method, job)
    if reason is not None:
        raise UnsupportedError(f"method={method!r}: {reason}", fix='Use method="auto" or "direct".')


def cheapest(job: Job) -> str:
    """The name of the way that takes least."""
    open_ways = [name for name in WAYS if declines(name, job) is None]
    return min(open_ways, key=lambda name: WAYS[name].seconds(job))


def compute(first: Array, second: Array, job: Job, method: str) -> Array:
    """The job's numbers, in the type of the operands; what is not finite stays in the windows that cover it."""
    run = choose(job, method)
    result = run(first, second, job)
    if (run is sums.run and not job.tensors) or nonfinite.seems_finite(result):
        return result
    return nonfinite.mended(first, second, job, run)
