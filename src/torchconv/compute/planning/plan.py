"""How a convolution will be computed, and why: every algorithm with what it is expected to take, or why it declines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, prod
from typing import Any

import torch

from ...description.convolution import Convolution
from ...errors import SettingError, ShapeError
from ...text import megabytes, milliseconds
from ..algorithms import TABLE
from ..problem import Problem
from ..tensors import INPUT, OUTPUT, WEIGHT
from . import choose, wisdom
from .choose import PRECISIONS, ROLES
from .measure import Bench

HEADS = {OUTPUT: "output", INPUT: "input gradient", WEIGHT: "weight gradient"}
HOPELESS = 30  # times the fastest estimate, beyond which an algorithm is not even measured
DTYPES = ("float32", "float64", "bfloat16", "float16")
MEASURING = 2.0  # seconds for one operation, about


@dataclass(frozen=True)
class PlanRow:
    """One algorithm: seconds and bytes of workspace by role; or the reason why it declines.

    seconds: inf where it is never worth it. error: the largest expected, in parts of the direct algorithm's.
    """

    name: str
    error: float
    seconds: dict[str, float]
    workspace: dict[str, int]
    reason: str | None = None


@dataclass(frozen=True)
class Plan:
    """The algorithm of each of the three operations on one input.

    problem: convolution, type, device, precision, size and threads. algorithms: names by role. rows: all algorithms.
    measured: whether the seconds were measured here, or follow from counts and the constants of a machine.
    """

    problem: Problem
    algorithms: dict[str, str]
    rows: tuple[PlanRow, ...]
    measured: bool

    @property
    def algorithm(self) -> str:
        """The name of what computes the output."""
        return self.algorithms[OUTPUT]

    @property
    def seconds(self) -> float:
        """What the output takes."""
        return self._row(OUTPUT).seconds[OUTPUT]

    @property
    def workspace(self) -> int:
        """Bytes beside input, weights and output that the three operations take at most, about."""
        return max(self._row(role).workspace[role] for role in ROLES)

    @property
    def expected_error(self) -> float:
        """The largest error in float32 that is expected, in parts of that of sums taken term by term."""
        return max(self._row(role).error for role in ROLES)

    def _row(self, role: str) -> PlanRow:
        return next(row for row in self.rows if row.name == self.algorithms[role])

    def __repr__(self) -> str:
        seconds = milliseconds(self.seconds) if self.seconds < inf else "unknown time"
        return f"<Plan: {self.algorithm} for {self._title}, {seconds}>"

    @property
    def _title(self) -> str:
        problem = self.problem
        return f"{problem.convolution} on {problem.batch} images of {'x'.join(map(str, problem.sizes))}"

    def __str__(self) -> str:
        return self.explain()

    def explain(self) -> str:
        """A table of all algorithms: what they take, the chosen ones with a star, or why they decline.

        workspace: bytes beside input, weights and output of the operation that takes most. error: the largest expected
        in float32, in parts of that of sums taken term by term.
        """
        problem, how = self.problem, "measured" if self.measured else "expected"
        kind = str(problem.dtype).removeprefix("torch.")
        lines = [f"{self._title}, {kind}, {problem.device}, {problem.threads} threads", self._limits(), ""]
        lines.append(f"{how:20}" + "".join(f"{HEADS[role]:>18}" for role in ROLES) + f"{'workspace':>13}{'error':>9}")
        for row in self.rows:
            if row.reason is not None:
                lines.append(f"{row.name:20}{row.reason}")
            else:
                cells = "".join(f"{self._cell(row, role):>18}" for role in ROLES)
                most = megabytes(max(row.workspace.values()))
                lines.append(f"{row.name:20}{cells}{most:>13}{row.error:9,g}")
        return "\n".join(lines)

    def _limits(self) -> str:
        """The second line: how exact it has to be, what it may take beside the arrays, and what the chosen ones do."""
        word, most = self.problem.precision, PRECISIONS[self.problem.precision]
        error = f"errors up to {most:,g} times the direct algorithm's, {self.expected_error:,g} expected"
        return f"precision {word}: {error}; workspace {megabytes(self.workspace)} of {megabytes(self.problem.room)}"

    def _cell(self, row: PlanRow, role: str) -> str:
        seconds = row.seconds.get(role, inf)
        if self.algorithms[role] == row.name:
            return f"* {milliseconds(seconds)}" if seconds < inf else "* -"
        if row.workspace[role] > self.problem.room:
            return "too much memory"
        return "-" if seconds == inf else milliseconds(seconds)


def plan(
    conv: Any,
    input_shape: Sequence[int],
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    measure: bool = False,
    precision: str | None = None,
    channels_last: bool = False,
    workspace: int | None = None,
) -> Plan:
    """How a convolution, or a layer of one, will be computed on an input (batch, in, *size).

    measure: run the promising algorithms, refuse those whose results are not exact enough, and remember the fastest
    on disk for every later call with this very convolution, shape, type, number of threads and processor.
    precision: "auto", or "fast" or "bf16", which allow less exact algorithms; a layer's own if it is left out.
    channels_last: whether the channels of a position will lie side by side in memory.
    workspace: bytes that an operation may take beside input, weights and output; by default a layer's own, or 4 times
    those of these arrays, and at least 16 MiB. The first algorithm that is open may always be chosen.
    Seconds are of one operation. Raises ShapeError for an input that does not fit.
    Source: Frigo, Johnson 2005, The design and implementation of FFTW3, section II.

    >>> plan(Convolution(1, 1, (101, 101), padding="same"), (1, 1, 1024, 1024)).algorithm
    'fft'
    """
    convolution = conv if isinstance(conv, Convolution) else getattr(conv, "convolution", None)
    if not isinstance(convolution, Convolution):
        raise SettingError("conv of plan", got=type(conv).__name__, expected="a Convolution or a layer of torchconv.nn")
    operator: Any = getattr(conv, "_operator", None)
    if precision is None:
        precision = str(getattr(operator, "precision", "auto"))
    if workspace is None:
        workspace = getattr(operator, "workspace", None)
    asked = getattr(operator, "algorithm", "auto")
    choose.check(asked, precision, workspace)
    batch, channels, *sizes = input_shape if len(input_shape) == convolution.ndim + 2 else (0, 0)
    if channels != convolution.in_channels or prod(input_shape) < 1:
        expected = f"(batch, {', '.join([str(convolution.in_channels), *['size'] * convolution.ndim])})"
        raise ShapeError(
            f"input_shape of plan for convolution {convolution}", got=tuple(input_shape), expected=expected
        )
    size = tuple(map(int, sizes))
    convolution.output_size(size)
    where = torch.device(device).type, precision, int(batch), size, torch.get_num_threads(), channels_last
    problem = Problem(convolution, dtype, *where, workspace=workspace)
    if measure and asked == "auto":
        return _measured(problem)
    chosen = choose.choose(problem, asked)
    return Plan(problem, {role: chosen[role].name for role in ROLES}, _rows(problem, {}), False)


def plan_of_texts(
    convolution: str, shape: str, dtype: str, precision: str, measure: bool, workspace: int | None = None
) -> Plan:
    """The same for what a person writes: a description, sizes joined by x, and the name of a type.

    >>> plan_of_texts("1->1, 3x3", "1x1x8x8", "float32", "auto", False).algorithm
    'torch'
    """
    if dtype not in DTYPES:
        raise SettingError("dtype", got=dtype, expected=f"one of {', '.join(DTYPES)}")
    sizes = [int(size) if size.isdecimal() else 0 for size in shape.lower().split("x")]
    if min(sizes) < 1:
        raise SettingError("input", got=shape, expected="batch, channels and sizes joined by x, as in 8x64x56x56")
    settings: dict[str, Any] = {"measure": measure, "precision": precision, "workspace": workspace}
    return plan(Convolution.parse(convolution), sizes, dtype=getattr(torch, dtype), **settings)


def _measured(problem: Problem) -> Plan:
    bench, willing = Bench(problem), choose.opened(problem)
    first = willing[0]
    seconds: dict[str, dict[str, float]] = {}
    answer: dict[str, str] = {}
    for role in ROLES:
        known = answer.get(OUTPUT, first.name)
        fitting = choose.allowed(willing, problem, role, choose.BY_NAME[known])
        least = min(one.expected(problem, role) for one in fitting)
        promising = [one for one in fitting if one is first or one.expected(problem, role) < HOPELESS * least]
        right = bench.right(promising, role) or [first]
        seconds[role] = bench.seconds(right, role, MEASURING)
        answer[role] = min(seconds[role], key=seconds[role].__getitem__)
    wisdom.remember(problem, answer, seconds)
    choose.forget_choices()
    return Plan(problem, answer, _rows(problem, seconds), True)


def _rows(problem: Problem, measured: dict[str, dict[str, float]]) -> tuple[PlanRow, ...]:
    rows, first = [], True
    for algorithm in TABLE:
        name, reason = algorithm.name, algorithm.declines(problem)
        if reason is not None:
            rows.append(PlanRow(name, algorithm.error, {}, {}, f"declines: {reason}"))
            continue
        needed = {role: algorithm.workspace(problem, role) for role in ROLES}
        reason, first = None if first else choose.above_limit(algorithm, problem), False
        found = {role: measured[role].get(name, inf) for role in measured}
        seconds = found or {role: algorithm.expected(problem, role) for role in ROLES}
        rows.append(PlanRow(name, algorithm.error, seconds, needed, reason))
    return tuple(rows)
