"""The prior of a convolution on CIFAR-10: first stages with looser and tighter ties, few and many images.

    python -m benchmarks.priors CIFAR10/train.parquet   (validation.parquet lies beside it)

Every model is a first stage, RELU, mean pooling, and one fully connected layer; the first stages have outputs of the
same size. One fixed permutation of the pixels, the same for all images, takes away what neighbourhoods tell, and
nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from math import inf
from statistics import mean
from time import perf_counter

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

import torchconv as tc
from torchconv.nn import Conv2d, Dense, Pool2d

from . import measure
from .cifar import accuracy, images, trained

CHANNELS, KERNEL, STRIDE, OUT, POOL = 16, 5, 2, 16, 4
RATE, STRENGTH = 5e-3, 30.0
RUNS = {500: (40, 3), 2000: (20, 3), 8000: (10, 2), 45000: (5, 1)}  # images: epochs, seeds


def windowed(sharing: object) -> Callable[[], torch.nn.Module]:
    return lambda: Conv2d(3, CHANNELS, KERNEL, STRIDE, KERNEL // 2, sharing=sharing, input_size=(32, 32))


STAGES: dict[str, tuple[Callable[[], torch.nn.Module], float | None]] = {
    "dense": (lambda: Dense((3, 32, 32), (CHANNELS, OUT, OUT)), None),
    "unshared": (windowed("none"), None),
    f"unshared, prior of strength {STRENGTH:g}": (windowed("none"), STRENGTH),
    "tiled, period 2": (windowed(2), None),
    "shared": (windowed("full"), None),
}


def run(stage: str, count: int, seed: int, data: tuple, permuted: bool) -> float:
    """Test accuracy of one model."""
    (x, labels), (test, wanted) = data
    torch.manual_seed(seed)
    chosen = torch.randperm(len(x))[:count]
    x, labels = x[chosen], labels[chosen]
    if permuted:
        order = torch.randperm(32 * 32, generator=torch.Generator().manual_seed(0))
        x, test = (one.flatten(2)[..., order].reshape(one.shape) for one in (x, test))
    make, strength = STAGES[stage]
    first = make()
    rest = torch.nn.ReLU(), Pool2d(POOL, statistic="mean"), torch.nn.Flatten()
    model = torch.nn.Sequential(first, *rest, torch.nn.Linear(CHANNELS * (OUT // POOL) ** 2, 10))
    pull = None if strength is None else tc.PriorPenalty(strength)
    after = None if pull is None else lambda model, rate: pull.pull_(model[0], rate)
    epochs, _ = RUNS[count]
    return accuracy(trained(model, x, labels, epochs, RATE, after), test, wanted)


def experiment(console: Console, data: tuple) -> None:
    table = Table("first stage", "parameters", *(f"{count:,}{kind}" for kind in ("", ", permuted") for count in RUNS))
    found = {}
    jobs = [(stage, kind, count) for stage in STAGES for kind in (False, True) for count in RUNS]
    for stage, kind, count in track(jobs, "training", transient=True):
        found[stage, kind, count] = [run(stage, count, seed, data, kind) for seed in range(RUNS[count][1])]
    for stage in STAGES:
        parameters = sum(values.numel() for values in STAGES[stage][0]().parameters())
        scores = (mean(found[stage, kind, count]) for kind in (False, True) for count in RUNS)
        table.add_row(stage, f"{parameters:,}", *(f"{score:.1%}" for score in scores))
    table.add_section()
    leads = (
        mean(found["shared", kind, count]) - max(mean(found[stage, kind, count]) for stage in ("dense", "unshared"))
        for kind in (False, True)
        for count in RUNS
    )
    table.add_row("lead of shared", "", *(f"{100 * lead:+.1f}" for lead in leads))
    console.print(table)


def widening(console: Console) -> None:
    layer = torch.nn.Conv2d(64, 64, 3, padding=1)
    cases = {"unshared": lambda: tc.widen(layer, "none", (28, 28)), "tiled": lambda: tc.widen(layer, 2, (28, 28))}
    times = measure.interleaved(cases, rounds=7, seconds=1)
    loose = cases["unshared"]()
    narrow = measure.interleaved({"narrow": lambda: tc.narrow(loose)}, rounds=3, seconds=1)["narrow"]
    console.print(f"64->64, 3x3 on 28x28: widen to unshared {min(times['unshared']):.3f} s (asked for: under 0.2 s), ")
    console.print(f"to tiled with period 2 {min(times['tiled']):.4f} s; narrow from unshared {min(narrow):.2f} s")
    assert tc.narrow(loose).distance == 0
    tc.PriorPenalty(inf).pull_(loose, 1.0)


def main() -> None:
    """Print the time of widening, and the accuracies."""
    console, begun = Console(width=150), perf_counter()
    console.print(measure.machine())
    widening(console)
    torch.set_num_threads(1)  # by which no result depends on how many there are
    data = images(sys.argv[1], "train"), images(sys.argv[1], "validation")
    console.print("CIFAR-10, accuracy on the 5,000 validation images; means over 3, 3, 2 and 1 seeds")
    console.print(
        f"first stage {KERNEL}x{KERNEL}, stride {STRIDE}, 3 -> {CHANNELS} channels; then RELU and FC; no augmentation"
    )
    experiment(console, data)
    console.print(f"{perf_counter() - begun:.0f} s in all")


if __name__ == "__main__":
    main()
