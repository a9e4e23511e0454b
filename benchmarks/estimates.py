"""`python -m benchmarks.estimates`: what every algorithm was expected to take on the grid, and what it takes.

The planner chooses by estimates alone. For every shape, type, layout and operation this runs all algorithms that are
not hopeless, interleaved, and prints those where the choice was not the fastest: by how much, and whose estimate was
wrong. `--save` keeps all numbers, one JSON object a line; `--read` looks at kept numbers again, with the estimates and
choices of now.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TORCHCONV_WISDOM", os.devnull)

import torch
from rich.progress import track

from benchmarks.grid import GRID, Shape
from benchmarks.measure import machine
from torchconv.compute.planning import choose
from torchconv.compute.planning.measure import Bench
from torchconv.compute.planning.plan import ROLES
from torchconv.compute.problem import Problem

HOPELESS = 6  # times the least estimate
TORCH = ("torch", "torch-channels-last")


@dataclass(frozen=True)
class Case:
    """One operation on one shape of the grid, with the seconds of algorithms by name."""

    shape: Shape
    dtype: str
    channels_last: bool
    role: str
    seconds: dict[str, float]

    @property
    def problem(self) -> Problem:
        """For the planner."""
        one, dtype = self.shape, getattr(torch, self.dtype)
        return Problem(one.convolution, dtype, "cpu", "auto", one.batch, one.size, 2, self.channels_last)

    @property
    def chosen(self) -> str:
        """The algorithm the planner takes now."""
        return choose.choose(self.problem)[self.role].name

    @property
    def lost(self) -> float:
        """How many times longer the choice takes than the fastest."""
        return self.seconds.get(self.chosen, math.inf) / min(self.seconds.values())


def measured(shape: Shape, dtype: str, channels_last: bool, at_most: float) -> Iterator[Case]:
    """All operations of a shape."""
    case = Case(shape, dtype, channels_last, "output", {})
    bench, opened = Bench(case.problem), choose.opened(case.problem)
    for role in ROLES:
        expected = {one.name: one.seconds(case.problem, role) for one in opened}
        least = min(expected.values())
        kept = [one for one in opened if one.name == "torch" or expected[one.name] < HOPELESS * least]
        yield Case(shape, dtype, channels_last, role, bench.seconds(kept, role, at_most))


def table(cases: list[Case], worst: float) -> None:
    """Print the choices that lose, and how far the estimates are from the truth."""
    print(f"{'shape':34}{'type':10}{'layout':8}{'operation':10}{'chosen, fastest: expected and measured ms'}")
    for case in sorted(cases, key=lambda case: -case.lost):
        if case.lost < worst:
            break
        names = dict.fromkeys([case.chosen, min(case.seconds, key=case.seconds.__getitem__)])
        cells = [f"{name} {_expected(case, name):.3g} {1e3 * case.seconds.get(name, math.nan):.3g}" for name in names]
        layout = "last" if case.channels_last else "first"
        print(f"{case.shape!s:34}{case.dtype:10}{layout:8}{case.role:10}{'; '.join(cells)}  {case.lost:.2f}")
    losses = [case.lost for case in cases if math.isfinite(case.lost)]
    mean = math.exp(sum(map(math.log, losses)) / len(losses))
    print(f"\n{len(cases)} cases; the choice takes {mean:.3f} times what the fastest does")


def _expected(case: Case, name: str) -> float:
    return 1e3 * choose.BY_NAME[name].seconds(case.problem, case.role)


def main() -> None:
    """Measure, or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", nargs="*", help="only these families of the grid")
    parser.add_argument("--dtype", nargs="*", default=["float32", "bfloat16"])
    parser.add_argument("--seconds", type=float, default=0.3, help="for one operation")
    parser.add_argument("--save", type=Path)
    parser.add_argument("--read", type=Path)
    parser.add_argument("--worst", type=float, default=1.05, help="choices that lose less are not shown")
    options = parser.parse_args()
    print(machine())
    shapes = [shape for shape in GRID if not options.family or shape.family in options.family]
    cases: list[Case] = []
    if options.read:
        by_name = {str(shape): shape for shape in GRID}
        for line in options.read.read_text().splitlines():
            found = json.loads(line)
            cases.append(Case(**{**found, "shape": by_name[found["shape"]]}))
    else:
        for shape in track(shapes, "shapes", transient=True):
            for dtype in options.dtype:
                for channels_last in (False, True)[: 2 if len(shape.size) == 2 else 1]:
                    for case in measured(shape, dtype, channels_last, options.seconds):
                        cases.append(case)
                        if options.save:
                            with options.save.open("a") as file:
                                file.write(json.dumps({**vars(case), "shape": str(shape)}) + "\n")
    table(cases, options.worst)


if __name__ == "__main__":
    main()
