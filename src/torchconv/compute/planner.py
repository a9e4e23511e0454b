"""Which algorithm computes each of the three operations: the one asked for, or the one expected to be fastest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..description.convolution import Convolution
from ..errors import SettingError, UnsupportedError
from . import wisdom
from .algorithms import TABLE, Algorithm, Problem
from .algorithms.separable import Separable
from .roles import INPUT, OUTPUT, WEIGHT

BY_NAME = {algorithm.name: algorithm for algorithm in TABLE}
PRECISIONS = ("auto", "fast", "bf16")
age = 0  # grows whenever choices are forgotten, so that those who keep them can tell
SEPARABLE = Separable()
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
        return _fastest(problem) if problem.input_size is not None else _same(opened(problem)[0])
    check_algorithm(algorithm)
    reason = BY_NAME[algorithm].declines(problem)
    if reason is not None:
        raise UnsupportedError(
            f"algorithm={algorithm!r} for convolution {problem.convolution} in {problem.dtype} on {problem.device}",
            got=f"it declines: {reason}",
            fix='Use algorithm="auto".',
        )
    asked = BY_NAME[algorithm]
    return _same(asked.for_lasting_weights if problem.weight_stays else asked)


def is_settled(convolution: Convolution, precision: str = "auto") -> bool:
    """Whether no input makes "auto" look beyond the first way that is open to a convolution."""
    measured = wisdom.convolutions()
    return not any(algorithm.may_pay(convolution, precision) for algorithm in TABLE) and not (
        measured and str(convolution) in measured
    )


@lru_cache(maxsize=4096)
def _fastest(problem: Problem) -> Choice:
    candidates = opened(problem)
    names = {one.name: one for one in candidates}
    measured = {role: names.get(name) for role, name in wisdom.recall(problem).items()}
    output = measured.get(OUTPUT) or _pick(candidates, problem, OUTPUT)
    fitting = [one for one in candidates if alike(one, output)]
    rest = []
    for role in (INPUT, WEIGHT):
        one = measured.get(role)
        rest.append(one if one is not None and alike(one, output) else _pick(fitting, problem, role))
    choice = Choice(output, *rest)
    return _for_lasting_weights(choice, problem) if problem.weight_stays else choice


def _for_lasting_weights(choice: Choice, problem: Problem) -> Choice:
    """Weights that stay are worth looking at: what was made of them is kept, and few factors may be faster."""
    found = []
    for role in (OUTPUT, INPUT, WEIGHT):
        one = choice[role].for_lasting_weights
        found.append(SEPARABLE.instead_of(one, problem, role, one.expected(problem, role) / MARGIN))
    return Choice(*found)


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
    best = min(candidates, key=lambda one: one.expected(problem, role))
    return best if best.expected(problem, role) * MARGIN < candidates[0].expected(problem, role) else candidates[0]


def opened(problem: Problem) -> list[Algorithm]:
    """The algorithms that do not decline, in the order of the table."""
    return [algorithm for algorithm in TABLE if algorithm.declines(problem) is None]


def _same(algorithm: Algorithm) -> Choice:
    return Choice(algorithm, algorithm, algorithm)


def check_algorithm(algorithm: str) -> None:
    """Raises SettingError for a word that names no algorithm."""
    if algorithm != "auto" and algorithm not in BY_NAME:
        raise SettingError("algorithm", got=repr(algorithm), expected=f"one of auto, {', '.join(BY_NAME)}")


def check_precision(precision: str) -> None:
    """Raises SettingError for an unknown precision; it is a permission to be less exact, not an order."""
    if precision not in PRECISIONS:
        raise SettingError("precision", got=repr(precision), expected=f"one of {', '.join(PRECISIONS)}")
