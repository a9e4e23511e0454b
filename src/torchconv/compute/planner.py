"""Which algorithm computes each of the three operations: the one asked for, or the one expected to be fastest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..description.convolution import Convolution
from ..errors import SettingError, UnsupportedError
from .algorithms import TABLE, Algorithm, Problem
from .roles import INPUT, OUTPUT, WEIGHT

BY_NAME = {algorithm.name: algorithm for algorithm in TABLE}
PRECISIONS = ("auto", "fast", "bf16")
MARGIN = 1.3  # how many times faster another way must be expected to be than the first: estimates are estimates


@dataclass(frozen=True)
class Choice:
    """The algorithm of each operation, by its role. They agree on what is done around them (borders, tables)."""

    output: Algorithm
    input: Algorithm
    weight: Algorithm

    def __getitem__(self, role: str) -> Algorithm:
        return getattr(self, role)

    @property
    def differentiable(self) -> bool:
        """Whether torch may differentiate the operations by itself."""
        return self.output.differentiable and self.input.differentiable and self.weight.differentiable

    @property
    def takes_borders(self) -> bool:
        """Whether padding other than zeros is read by the algorithms themselves."""
        return self.output.takes_borders

    @property
    def takes_tables(self) -> bool:
        """Whether connection tables are read by the algorithms themselves."""
        return self.output.takes_tables


def choose(problem: Problem, algorithm: str = "auto") -> Choice:
    """The algorithms for a problem; raises UnsupportedError with its reason if the one asked for declines."""
    if algorithm == "auto":
        return _fastest(problem) if problem.input_size is not None else _same(_open(problem)[0])
    check_algorithm(algorithm)
    reason = BY_NAME[algorithm].declines(problem)
    if reason is not None:
        raise UnsupportedError(
            f"algorithm={algorithm!r} for convolution {problem.convolution} in {problem.dtype} on {problem.device}",
            got=f"it declines: {reason}",
            fix='Use algorithm="auto".',
        )
    return _same(BY_NAME[algorithm])


def is_settled(convolution: Convolution) -> bool:
    """Whether no input makes "auto" look beyond the first way that is open to a convolution."""
    return not any(algorithm.may_pay(convolution) for algorithm in TABLE)


@lru_cache(maxsize=4096)
def _fastest(problem: Problem) -> Choice:
    candidates = _open(problem)
    output = _pick(candidates, problem, OUTPUT)
    alike = [
        one
        for one in candidates
        if (one.takes_borders, one.takes_tables) == (output.takes_borders, output.takes_tables)
    ]
    return Choice(output, _pick(alike, problem, INPUT), _pick(alike, problem, WEIGHT))


def _pick(candidates: list[Algorithm], problem: Problem, role: str) -> Algorithm:
    """The first, unless another is expected to be faster by a margin."""
    best = min(candidates, key=lambda one: one.seconds(problem, role))
    return best if best.seconds(problem, role) * MARGIN < candidates[0].seconds(problem, role) else candidates[0]


def _open(problem: Problem) -> list[Algorithm]:
    return [algorithm for algorithm in TABLE if algorithm.declines(problem) is None]


def _same(algorithm: Algorithm) -> Choice:
    return Choice(algorithm, algorithm, algorithm)


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
