"""Which algorithm computes each of the three operations: the one asked for, or the one expected to be fastest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ...description.convolution import Convolution
from ...errors import SettingError, UnsupportedError
from ...text import megabytes
from ..algorithms import TABLE, Algorithm
from ..algorithms.base import PRECISIONS
from ..algorithms.separable import Separable
from ..problem import Problem
from ..tensors import INPUT, OUTPUT, WEIGHT
from . import machine, wisdom

BY_NAME = {algorithm.name: algorithm for algorithm in TABLE}
ROLES = (OUTPUT, INPUT, WEIGHT)
age = 0  # grows whenever choices are forgotten, so that those who keep them can tell
SEPARABLE = Separable()


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
        return _fastest(problem) if problem.input_size is not None else _same(opened(problem)[0])
    check_algorithm(algorithm)
    one, known = BY_NAME[algorithm], problem.input_size is not None
    reason = one.declines(problem)
    if reason is None and known and problem.workspace is not None:
        reason = None if one is opened(problem)[0] else above_limit(one, problem)
    if reason is not None:
        raise UnsupportedError(
            f"algorithm={algorithm!r} for convolution {problem.convolution} in {problem.dtype} on {problem.device}",
            got=f"it declines: {reason}",
            fix='Use algorithm="auto".',
        )
    one = one.for_frozen_weights if problem.frozen_weight else one
    return _same(one.within(problem.workspace) if known else one)


def takes_first(convolution: Convolution, precision: str = "auto") -> bool:
    """Whether "auto" takes the first algorithm that does not decline, whatever the input."""
    measured = wisdom.convolutions()
    return not any(algorithm.may_pay(convolution, precision) for algorithm in TABLE) and not (
        measured and str(convolution) in measured
    )


@lru_cache(maxsize=4096)
def _fastest(problem: Problem) -> Choice:
    learned, willing = wisdom.recall(problem), opened(problem)
    found: list[Algorithm] = []
    for role in ROLES:
        candidates = allowed(willing, problem, role, *found[:1])
        measured = next((one for one in candidates if one.name == learned.get(role)), None)
        found.append(measured or _pick(candidates, problem, role))
    if problem.frozen_weight:
        found = [_with_frozen_weights(one, problem, role) for one, role in zip(found, ROLES, strict=True)]
    return Choice(*(one.within(problem.workspace) for one in found))


def _with_frozen_weights(one: Algorithm, problem: Problem, role: str) -> Algorithm:
    """Frozen weights are worth looking at: what was made of them is kept, and few factors may be faster."""
    found = SEPARABLE.instead_of(one.for_frozen_weights, problem, role, one.expected(problem, role) / machine.MARGIN)
    return found if too_large(found, problem, role) is None else one


def forget_choices() -> None:
    """Choose anew what was chosen before something was measured."""
    global age
    age += 1
    _fastest.cache_clear()


def alike(one: Algorithm, other: Algorithm) -> bool:
    """Whether the same is done around two algorithms, so that one may compute the gradients of the other's outputs."""
    return (one.takes_borders, one.takes_tables) == (other.takes_borders, other.takes_tables)


def _pick(candidates: list[Algorithm], problem: Problem, role: str) -> Algorithm:
    """The first, unless another is expected to be faster by a margin."""
    expected = [one.expected(problem, role) for one in candidates]
    least = min(expected)
    return candidates[expected.index(least)] if least * machine.MARGIN < expected[0] else candidates[0]


def opened(problem: Problem) -> list[Algorithm]:
    """The algorithms that do not decline, in the order of the table."""
    return [algorithm for algorithm in TABLE if algorithm.declines(problem) is None]


def allowed(
    willing: Sequence[Algorithm], problem: Problem, role: str, output: Algorithm | None = None
) -> list[Algorithm]:
    """Those that may be chosen for an operation: the first that is willing, and others within the limit of workspace.

    willing: what does not decline. output: the algorithm of the output, where that is chosen already.
    """
    candidates = [one for one in willing if output is None or alike(one, output)]
    return [one for one in candidates if one is candidates[0] or too_large(one, problem, role) is None]


def too_large(algorithm: Algorithm, problem: Problem, role: str) -> str | None:
    """What an operation needs, and the limit below it; None within the limit."""
    needed = algorithm.workspace(problem, role)
    return f"needs {megabytes(needed)}, limit {megabytes(problem.room)}" if needed > problem.room else None


def above_limit(algorithm: Algorithm, problem: Problem) -> str | None:
    """Why the limit leaves a willing algorithm no operation; None if it leaves one."""
    return too_large(algorithm, problem, min(ROLES, key=lambda role: algorithm.workspace(problem, role)))


def _same(algorithm: Algorithm) -> Choice:
    return Choice(algorithm, algorithm, algorithm)


def check(algorithm: str, precision: str, workspace: int | None) -> None:
    """Raises SettingError for a word that names no algorithm or precision, or for what is no number of bytes."""
    check_algorithm(algorithm)
    if precision not in PRECISIONS:  # a permission to be less exact, not an order
        raise SettingError("precision", got=repr(precision), expected=f"one of {', '.join(PRECISIONS)}")
    if workspace is not None and (not isinstance(workspace, int) or isinstance(workspace, bool) or workspace < 0):
        raise SettingError("workspace", got=repr(workspace), expected="a number of bytes, or None for the default")


def check_algorithm(algorithm: str) -> None:
    """Raises SettingError for a word that names no algorithm."""
    if algorithm != "auto" and algorithm not in BY_NAME:
        raise SettingError("algorithm", got=repr(algorithm), expected=f"one of auto, {', '.join(BY_NAME)}")
