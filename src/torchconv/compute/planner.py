"""Which algorithm computes a problem: the one that is asked for, or the first of the table that does not decline."""

from __future__ import annotations

from ..errors import SettingError, UnsupportedError
from .algorithms import TABLE, Algorithm, Problem

BY_NAME = {algorithm.name: algorithm for algorithm in TABLE}
PRECISIONS = ("auto", "fast", "bf16")


def choose(problem: Problem, algorithm: str = "auto") -> Algorithm:
    """The algorithm for a problem; raises UnsupportedError with its reason if the one asked for declines."""
    if algorithm == "auto":
        return next(one for one in TABLE if one.declines(problem) is None)
    check_algorithm(algorithm)
    reason = BY_NAME[algorithm].declines(problem)
    if reason is not None:
        raise UnsupportedError(
            f"algorithm={algorithm!r} for convolution {problem.convolution} in {problem.dtype} on {problem.device}",
            got=f"it declines: {reason}",
            fix='Use algorithm="auto".',
        )
    return BY_NAME[algorithm]


def check_algorithm(algorithm: str) -> None:
    """Raises SettingError for a word that names no algorithm."""
    if algorithm != "auto" and algorithm not in BY_NAME:
        raise SettingError("algorithm", got=repr(algorithm), expected=f"one of auto, {', '.join(BY_NAME)}")


def check_precision(precision: str) -> None:
    """Raises SettingError for an unknown precision.

    It is a permission, not an order: "fast" and "bf16" allow less exact algorithms, and every one here is as exact
    as the direct one.
    """
    if precision not in PRECISIONS:
        raise SettingError("precision", got=repr(precision), expected=f"one of {', '.join(PRECISIONS)}")
