"""Exact convolution of integers of any magnitude, at the speed of floating-point numbers.

float64 adds and multiplies integers below 2**53 exactly, and transforms get them right as long as their error is
proven to be below a half. Beyond that, integers are cut into digits, and the digits are one more axis to convolve over:
the product of two numbers is the convolution of their digits, carries apart.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import prod, sqrt
from typing import NamedTuple

import numpy as np

from ..errors import IntegerOverflowError, UnsupportedError
from . import direct, fft, limbs
from .methods import WAYS, check_open, declines
from .request import Job

EXACT = 2**53  # integers up to here are float64 numbers, and so are their sums
MARGIN = 0.25  # the error of a transform that is allowed; rounding would forgive a half
MOST_PIECES, SMALL = 8, 4096
PER_NUMBER = 3e-9  # seconds to cut off or to join one digit


class Cutting(NamedTuple):
    """width: bits of a digit, 0 where numbers stay whole. pieces: digits of both operands. job, way: of the digits."""

    width: int
    pieces: tuple[int, int]
    job: Job
    way: str
    seconds: float


def convolved(first: np.ndarray, second: np.ndarray, job: Job, method: str, kind: np.dtype) -> np.ndarray:
    """The job for arrays of integers, as numbers of one kind; IntegerOverflowError where they do not fit."""
    largest = _largest(first), _largest(second)
    bound = largest[0] * largest[1] * _terms(job)
    if bound < 2**63 and method in ("auto", "direct") and _is_short(job):
        return _fitting(
            direct.run(first.astype(np.int64, copy=False), second.astype(np.int64, copy=False), job), bound, kind
        )
    first, second = (
        x if x.dtype == np.uint64 and most >= 2**63 else x.astype(np.int64, copy=False)
        for x, most in zip((first, second), largest, strict=True)
    )
    cutting = cut(job, largest[0].bit_length(), largest[1].bit_length(), method)
    pieces = _sums(first, second, cutting)
    if not cutting.width:
        return _fitting(pieces[0], bound, kind)
    word = np.dtype(np.uint64 if kind == np.uint64 else np.int64)
    result, fits = limbs.joined(pieces, cutting.width, word)
    if not fits:
        raise _overflow(kind)
    return _fitting(result, bound, kind)


def _is_short(job: Job) -> bool:
    """Whether NumPy's loop over int64 is faster than what there is for float64."""
    few = min(job.size[0], job.taps[0])
    return job.ndim == 1 and not job.batch and (few <= direct.FEW or few * job.outputs[0] <= SMALL)


def convolved_objects(first: np.ndarray, second: np.ndarray, job: Job, method: str) -> np.ndarray:
    """The job for arrays of Python integers."""
    bits = [max((int(value).bit_length() for value in x.flat), default=0) for x in (first, second)]
    if max(bits) < 63 and sum(bits) + _terms(job).bit_length() < 63:
        return convolved(
            first.astype(np.int64, copy=False), second.astype(np.int64, copy=False), job, method, np.dtype(np.int64)
        ).astype(object)
    cutting = cut(job, *bits, method, in_bytes=True)
    if method == "auto" and cutting.seconds > _loop_seconds(job, *bits):
        return direct.run(first, second, replace(job, kind="object"))
    return limbs.joined_objects(_sums(first, second, cutting), cutting.width)


def _loop_seconds(job: Job, *bits: int) -> float:
    products = prod(job.shape) * min(prod(job.size), prod(job.taps))
    return products * (4e-8 + bits[0] * bits[1] * 1e-12)


def _sums(first: np.ndarray, second: np.ndarray, cutting: Cutting) -> list[np.ndarray]:
    """The convolutions of the digits, of every weight, as exact int64."""
    width, pieces, job, way, _ = cutting
    places = len(job.batch)
    if width:
        first, second = (
            np.stack(limbs.split(x, width, count), places) for x, count in zip((first, second), pieces, strict=True)
        )
    first, second = first.astype(np.float64), second.astype(np.float64)
    result = WAYS[way].run(first, second, job)
    rounded = np.rint(result)
    if way in ("fft", "overlap") and float(np.abs(result - rounded).max()) > MARGIN:  # transforms worse than proven
        rounded = WAYS["direct"].run(first, second, job)
    numbers = rounded.astype(np.int64)
    return list(np.moveaxis(numbers, places, 0)) if width else [numbers]


@lru_cache(maxsize=4096)
def cut(job: Job, first_bits: int, second_bits: int, method: str, in_bytes: bool = False) -> Cutting:
    """The digits and the way that take least, among those that are proven to be exact."""
    found = []
    if not in_bytes:
        whole = replace(job, kind="float64")
        found += [Cutting(0, (1, 1), whole, *one) for one in _exact(whole, method, 2**first_bits, 2**second_bits)]
    longest = max(first_bits, second_bits) + 1
    widths = (16, 8) if in_bytes else sorted({-(-longest // count) for count in range(2, MOST_PIECES + 1)})
    for width in widths:
        pieces = -(-(first_bits + 1) // width), -(-(second_bits + 1) // width)
        digits = _with_digits(job, pieces)
        half = 2 ** (width - 1)
        found += [Cutting(width, pieces, digits, *one) for one in _exact(digits, method, half, half)]
    if not found:
        check_open(method, replace(job, kind="float64"))
        raise UnsupportedError(f"method={method!r} for integers of {longest} bits", fix='Use method="auto".')
    return min(found, key=lambda one: one.seconds)


def _exact(job: Job, method: str, first: int, second: int) -> list[tuple[str, float]]:
    """The ways whose result for operands of these magnitudes is exact or rounds to it, and their seconds."""
    names = [name for name in (WAYS if method == "auto" else (method,)) if declines(name, job) is None]
    found = []
    for name in names:
        if name in ("fft", "overlap"):
            norms = first * sqrt(prod(job.size)) * second * sqrt(prod(job.taps))
            exact = norms * fft.error_bound(job, name == "overlap") <= MARGIN and norms < EXACT
        else:
            exact = first * second * _terms(job) <= EXACT
        numbers = prod(job.first) + prod(job.second) + prod(job.shape)
        found += [(name, WAYS[name].seconds(job) + numbers * PER_NUMBER)] if exact else []
    return found


def _with_digits(job: Job, pieces: tuple[int, int]) -> Job:
    """The job with the digits as the first convolved axis."""
    place = len(job.batch)
    first, second = (
        (*shape[:place], count, *shape[place:]) for shape, count in zip((job.first, job.second), pieces, strict=True)
    )
    return Job(first, second, ((0, sum(pieces) - 1), *job.spans), "float64")


def _terms(job: Job) -> int:
    """Most products that are added up to one output."""
    return prod(min(pair) for pair in zip(job.size, job.taps, strict=True))


def _largest(x: np.ndarray) -> int:
    return max(int(x.max()), -int(x.min()))


def _fitting(result: np.ndarray, bound: float, kind: np.dtype) -> np.ndarray:
    """int64 or uint64 numbers as numbers of a kind, if they fit."""
    limits = np.iinfo(kind)
    if (bound > limits.max or limits.min == 0) and result.size:
        low, high = int(result.min()), int(result.max())
        if low < limits.min or high > limits.max:
            raise _overflow(kind, low if low < limits.min else high)
    return result.astype(kind, copy=False)


def _overflow(kind: np.dtype, value: int | None = None) -> IntegerOverflowError:
    return IntegerOverflowError(
        f"a result of type {kind}",
        got="a number beyond it" if value is None else value,
        expected=f"{np.iinfo(kind).min} to {np.iinfo(kind).max}",
        fix="Convert an operand to a wider type, or with .astype(object) to Python integers, which have no bound.",
    )
