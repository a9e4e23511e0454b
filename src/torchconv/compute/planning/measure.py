"""How long an algorithm takes for one of the three operations, and how exact it is, found out by running it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from math import inf
from statistics import median

import torch
from torch import Tensor

from ...description.convolution import Convolution
from .. import layouts
from ..algorithms import Algorithm
from ..algorithms.base import PRECISIONS
from ..algorithms.torch_kernels import TorchKernels
from ..operator import Operator
from ..problem import Problem
from ..tensors import INPUT, OUTPUT, WEIGHT
from . import choose, cost_model

ROUNDS = 5
# The least of errors that counts, in parts of the largest number: what the type itself rounds.
ROUNDING = {torch.float64: 1e-14, torch.float32: 1e-6, torch.bfloat16: 2e-2, torch.float16: 2e-3}


class Bench:
    """One problem with numbers: runs any algorithm on it, in any role."""

    def __init__(self, problem: Problem) -> None:
        conv = problem.convolution
        generator = torch.Generator(problem.device).manual_seed(0)

        def numbers(*shape: int) -> Tensor:
            drawn = torch.randn(shape, generator=generator, device=problem.device, dtype=torch.float32)
            last = layouts.CHANNELS_LAST.get(len(shape) - 2) if problem.channels_last else None
            return drawn.to(problem.dtype, memory_format=last or torch.preserve_format)

        def images(*shape: int) -> Tensor:
            drawn = numbers(*shape)
            return drawn.movedim(1, -1).contiguous().movedim(-1, 1) if problem.channels_last else drawn

        self.problem = problem
        self.x = images(problem.batch, conv.in_channels, *problem.sizes)
        self.grad = images(problem.batch, conv.out_channels, *conv.output_size(problem.sizes))
        self.weight = numbers(*conv.weight_shape(problem.sizes))

    def run(self, algorithm: Algorithm, role: str, dtype: torch.dtype | None = None) -> Tensor:
        """One operation by one algorithm, in another type if one is given."""
        # another tensor each time, so that nothing is kept of the weight: what is measured holds for learning too
        x, grad, weight = (tensor.detach().to(dtype or tensor.dtype) for tensor in (self.x, self.grad, self.weight))
        operator, sizes = _operator(self.problem, algorithm.name), self.problem.sizes
        with torch.no_grad():
            if role == OUTPUT:
                return operator(x, weight)
            return operator.weight_grad(x, grad) if role == WEIGHT else operator.input_grad(grad, weight, sizes)

    def seconds(self, algorithms: list[Algorithm], role: str, at_most: float) -> dict[str, float]:
        """The median of some interleaved runs of each; one that is hopelessly slow at first is not run again."""
        cases: dict[str, Callable[[], Tensor]] = {one.name: (lambda one=one: self.run(one, role)) for one in algorithms}
        times = {name: [timed(case)] for name, case in cases.items()}
        fastest = min(times.values())[0]
        hopeful = [name for name in cases if times[name][0] < 4 * fastest]
        for _ in range(ROUNDS):
            for name in hopeful:
                times[name].append(timed(cases[name]))
            if sum(map(sum, times.values())) > at_most:
                break
        return {name: median(found[1:] or found) for name, found in times.items()}

    def right(self, algorithms: list[Algorithm], role: str) -> list[Algorithm]:
        """Those whose result is as exact as the precision asks; torch's own kernels are not believed either."""
        exact = torch.float64 if self.problem.dtype in (torch.float32, torch.float64) else torch.float32
        wide = replace(self.problem, dtype=torch.float64)
        reference = next((one for one in algorithms if one.declines(wide) is None), algorithms[0])
        try:
            truth = self.run(reference, role, exact).double()
        except RuntimeError:  # as where the memory is too small: what cannot be checked is not believed
            return []
        scale = float(truth.abs().max()) or 1.0
        errors = {one.name: self._error(one, role, truth) / scale for one in algorithms}
        direct = errors.get(TorchKernels.name, 0.0)
        least = ROUNDING.get(self.problem.dtype, 1e-6)
        usual = direct if direct < 100 * least else least  # else torch itself is wrong here
        limit = PRECISIONS[self.problem.precision] * max(usual, least)
        return [one for one in algorithms if errors[one.name] <= limit]

    def _error(self, algorithm: Algorithm, role: str, truth: Tensor) -> float:
        """The largest; inf for what fails."""
        try:
            return float((self.run(algorithm, role).double() - truth).abs().max())
        except RuntimeError:
            return inf


@lru_cache(maxsize=64)
def _operator(problem: Problem, algorithm: str) -> Operator:
    return Operator(problem.convolution, algorithm, precision=problem.precision, workspace=problem.workspace)


def timed(case: Callable[[], object]) -> float:
    """Seconds of one call."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    case()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


# A convolution of each kind, images and their size; as large as takes some milliseconds.
PROBLEMS = (
    ("64->64, 3x3, padding=1", 8, (28, 28)),
    ("32->32, 15x15, padding=7", 4, (28, 28)),
    ("96->96, 3x3, padding=1, groups=96", 8, (56, 56)),
    ("96->96, 5x5, padding=2, groups=96", 8, (56, 56)),
    ("96->96, 3x3, stride=2, padding=1, groups=96", 8, (56, 56)),
    ("96->96, 7x7, padding=3, groups=96", 8, (56, 56)),
    ("64->64, 21x21, padding=10, groups=64", 4, (28, 28)),
    ("1->64, 3x3, padding=1", 1, (224, 224)),
    ("16->16, 3x3, padding=1, groups=4", 8, (56, 56)),
    ("16->16, 15x15, padding=7, groups=4", 4, (28, 28)),
    ("1->1, 9x9, padding=4", 1, (512, 512)),
    ("1->1, 31x31, padding=15", 1, (256, 256)),
    ("64->64, 3, padding=1", 4, (8000,)),
    ("32->32, 101, padding=50", 4, (4000,)),
    ("64->64, 9, padding=4, groups=64", 4, (8000,)),
    ("64->64, 101, padding=50, groups=64", 4, (4000,)),
    ("1->1, 9, padding=4", 8, (48000,)),
    ("1->1, 301, padding=150", 4, (16000,)),
    ("16->16, 3x3, padding=1, sharing=none", 8, (14, 14)),
    ("32->32, 3x3, padding=1, sharing=2", 8, (28, 28)),
)
DTYPES = (torch.float32, torch.bfloat16)
HOPELESS = 10  # times the least estimate
SECONDS = 0.1  # for one operation, about


def problems(threads: int) -> list[Problem]:
    """All that are measured."""
    return [
        Problem(Convolution.parse(text), dtype, "cpu", "auto", batch, size, threads, last)
        for text, batch, size in PROBLEMS
        for dtype in DTYPES
        for last in ((False, True) if len(size) == 2 else (False,))
    ]


def measured(problem: Problem) -> Iterator[tuple[str, float]]:
    """Factors by name: measured seconds in parts of the estimated ones."""
    bench, opened = Bench(problem), choose.opened(problem)
    for role in (OUTPUT, INPUT, WEIGHT):
        expected = {one.name: one.seconds(problem, role) for one in opened}
        least = min(expected.values())
        hopeful = [one for one in opened if one is opened[0] or expected[one.name] < HOPELESS * least]
        for name, seconds in bench.seconds(hopeful, role, SECONDS).items():
            key = cost_model.key(name, problem.convolution, problem.dtype, problem.channels_last, role)
            yield key, min(max(seconds / expected[name], cost_model.LEAST), cost_model.MOST)


def calibrate(progress: Callable[[list[Problem]], Iterator[Problem]] = iter) -> dict[str, float]:
    """Measure this machine with torch's number of threads, and choose by it from now on; the factors by name."""
    threads = torch.get_num_threads()
    found = {name: value for problem in progress(problems(threads)) for name, value in measured(problem)}
    cost_model.remember_factors(threads, found)
    choose.forget_choices()
    return found


def summary(found: dict[str, float]) -> list[tuple[str, int, float, float, float]]:
    """For each algorithm: how many factors, the median, the least and the greatest."""
    by_name: dict[str, list[float]] = {}
    for name, value in found.items():
        by_name.setdefault(name.partition(",")[0], []).append(value)
    return [(name, len(values), median(values), min(values), max(values)) for name, values in by_name.items()]
