"""The factors of `machine`, measured: one problem of every kind, by every algorithm that is not hopeless for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median

import torch

from ...description.convolution import Convolution
from ..algorithms import Problem
from ..role import INPUT, OUTPUT, WEIGHT
from . import choose, machine
from .measure import Bench

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
            key = machine.key(name, problem.convolution, problem.dtype, problem.channels_last, role)
            yield key, min(max(seconds / expected[name], machine.LEAST), machine.MOST)


def calibrate(progress: Callable[[list[Problem]], Iterator[Problem]] = iter) -> dict[str, float]:
    """Measure this machine with torch's number of threads, and choose by it from now on; the factors by name."""
    threads = torch.get_num_threads()
    found = {name: value for problem in progress(problems(threads)) for name, value in measured(problem)}
    machine.keep(threads, found)
    choose.forget_choices()
    return found


def summary(found: dict[str, float]) -> list[tuple[str, int, float, float, float]]:
    """For each algorithm: how many factors, the median, the least and the greatest."""
    by_name: dict[str, list[float]] = {}
    for name, value in found.items():
        by_name.setdefault(name.partition(",")[0], []).append(value)
    return [(name, len(values), median(values), min(values), max(values)) for name, values in by_name.items()]
