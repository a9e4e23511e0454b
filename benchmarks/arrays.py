"""Convolution of arrays against scipy.signal, on the sizes of scipy's own benchmarks and around them.

    python -m benchmarks.arrays

The peer is the faster, at each size, of scipy.signal.convolve(method="auto") and scipy.signal.oaconvolve. What counts
is time on the wall, of calls that take turns.
"""

from __future__ import annotations

import os
from itertools import product
from math import exp, log
from statistics import median

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import scipy
import scipy.signal
from rich.console import Console
from rich.table import Table

import torchconv as tc

from . import measure

SMALL = [((n,), (k,)) for n, k in product((1, 2, 8, 13, 30, 36, 50, 75), repeat=2) if k <= n]
SMALL_IMAGES = [((8, 13), (8, 8)), ((13, 30), (8, 13)), ((30, 30), (8, 8)), ((30, 30), (13, 30)), ((30, 30), (30, 30))]
SIGNALS = [((n,), (k,)) for n in (100, 1000, 10_000, 100_000, 1_000_000) for k in (5, 20, 100, 1000, 10_000) if k <= n]
IMAGES = [((n, n), (k, k)) for n in (100, 256, 512, 1000) for k in (3, 5, 9, 21, 50)]
GROUPS = {
    "scipy's pairs of signals": (SMALL, "float64"),
    "scipy's pairs of images": (SMALL_IMAGES, "float64"),
    "longer signals": (SIGNALS, "float64"),
    "images": (IMAGES, "float64"),
    "longer signals, float32": (SIGNALS, "float32"),
    "images, float32": (IMAGES, "float32"),
    "signals of integers": (SIGNALS, "int64"),
}


def ratio(sizes: tuple, kind: str, mode: str) -> tuple[float, float]:
    """Seconds of the faster peer over ours, median over the rounds, and our seconds."""
    rng = np.random.default_rng(0)
    a, b = (
        rng.integers(-1000, 1000, size) if kind == "int64" else rng.standard_normal(size).astype(kind) for size in sizes
    )
    cases = {
        "ours": lambda: tc.convolve(a, b, mode),
        "convolve": lambda: scipy.signal.convolve(a, b, mode),
        "oaconvolve": lambda: scipy.signal.oaconvolve(a, b, mode),
    }
    times = measure.interleaved(cases, rounds=9, seconds=0.06)
    peer = min(("convolve", "oaconvolve"), key=lambda name: median(times[name]))
    return measure.ratio(times, peer, "ours"), median(times["ours"])


def main() -> None:
    """Print the ratios of every group and every size at which a peer was faster."""
    console = Console(width=120)
    console.print(measure.machine() + f", scipy {scipy.__version__}, numpy {np.__version__}")
    table = Table(title="the faster of scipy's two functions over ours, in time: above 1 we are faster")
    for heading in ("sizes", "mode", "number", "geometric mean", "worst", "at", "best", "at "):
        table.add_column(heading, justify="left" if heading in ("sizes", "mode") else "right")
    slower = []
    for name, (pairs, kind) in GROUPS.items():
        for mode in ("full", "same", "valid"):
            found = sorted((*ratio(sizes, kind, mode), sizes) for sizes in pairs)
            mean = exp(sum(log(one[0]) for one in found) / len(found))
            ends = [text for one in (found[0], found[-1]) for text in (f"{one[0]:.2f}", _named(one[2]))]
            table.add_row(name, mode, str(len(found)), f"{mean:.2f}", *ends)
            slower += [(name, mode, _named(sizes), *one) for *one, sizes in found if one[0] < 0.95]
    console.print(table)
    for name, mode, sizes, times, seconds in slower:
        console.print(f"slower: {name}, {mode}, {sizes}: {times:.2f}, ours {seconds * 1e6:.0f} us")


def _named(sizes: tuple) -> str:
    return " * ".join("x".join(map(str, size)) for size in sizes)


if __name__ == "__main__":
    main()
