"""How long an algorithm takes for one of the three operations, and how exact it is, found out by running it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from math import inf
from statistics import median

import torch
from torch import Tensor

from .. import layouts
from ..algorithms import Algorithm, Problem
from ..algorithms.base import PRECISIONS
from ..algorithms.torch_kernels import TorchKernels
from ..operator import Operator
from ..role import INPUT, OUTPUT

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
        operator = _operator(self.problem, algorithm.name)
        with torch.no_grad():
            if role == OUTPUT:
                return operator(x, weight)
            return (
                operator.input_grad(grad, weight, self.problem.sizes)
                if role == INPUT
                else operator.weight_grad(x, grad)
            )

    def seconds(self, algorithms: list[Algorithm], role: str, at_most: float) -> dict[str, float]:
        """The median of some interleaved runs of each; one that is hopelessly slow at first is not run again."""
        cases: dict[str, Callable[[], Tensor]] = {one.name: (lambda one=one: self.run(one, role)) for one in algorithms}
        times = {name: [_timed(case)] for name, case in cases.items()}
        fastest = min(times.values())[0]
        hopeful = [name for name in cases if times[name][0] < 4 * fastest]
        for _ in range(ROUNDS):
            for name in hopeful:
                times[name].append(_timed(cases[name]))
            if sum(map(sum, times.values())) > at_most:
                break
        return {name: median(found[1:] or found) for name, found in times.items()}

    def right(self, algorithms: list[Algorithm], role: str) -> list[Algorithm]:
        """Those whose result is as exact as the precision asks; torch's own kernels are not believed either."""
        exact = torch.float64 if self.problem.dtype in (torch.float32, torch.float64) else torch.float32
        try:
            truth = self.run(_reference(self.problem, algorithms), role, exact).double()
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


def _reference(problem: Problem, algorithms: list[Algorithm]) -> Algorithm:
    wide = replace(problem, dtype=torch.float64)
    return next((one for one in algorithms if one.declines(wide) is None), algorithms[0])


def _timed(case: Callable[[], Tensor]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    case()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start
