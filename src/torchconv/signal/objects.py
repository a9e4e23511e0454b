"""Arrays of Python objects: integers and fractions exactly and fast, anything else by its own + and *."""

from __future__ import annotations

from fractions import Fraction
from math import lcm
from numbers import Integral, Rational

import numpy as np

from ..errors import UnsupportedError
from . import direct, exact
from .request import Job


def convolved(first: np.ndarray, second: np.ndarray, job: Job, method: str) -> np.ndarray:
    """The job for two arrays of objects."""
    kinds = {type(value) for x in (first, second) for value in x.flat}
    if all(issubclass(kind, Integral) for kind in kinds):
        return exact.convolved_objects(first, second, job, method)
    if all(issubclass(kind, Rational) for kind in kinds):
        one, other = _denominator(first), _denominator(second)
        whole = exact.convolved_objects(_scaled(first, one), _scaled(second, other), job, method)
        return _each(whole, lambda value: Fraction(value, one * other))
    if method not in ("auto", "direct"):
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise UnsupportedError(f"method={method!r} for objects of type {names}", fix='Use method="direct".')
    return direct.run(first, second, job)


def _denominator(x: np.ndarray) -> int:
    return lcm(*{int(value.denominator) for value in x.flat})


def _scaled(x: np.ndarray, denominator: int) -> np.ndarray:
    return _each(x, lambda value: int(value.numerator) * (denominator // int(value.denominator)))


def _each(x: np.ndarray, change) -> np.ndarray:
    result = np.empty(x.size, object)
    result[:] = [change(value) for value in x.flat]
    return result.reshape(x.shape)
