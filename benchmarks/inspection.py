"""How long inspection takes, and the published numbers beside what it counts.

python -m benchmarks.inspection
"""

from __future__ import annotations

import resource
from statistics import median
from time import perf_counter

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import torchconv as tc

from . import measure

# name: parameters, multiply-accumulates as the papers' implementations count them
PUBLISHED = {
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet50": (25_557_032, 4_089_184_256),
    "vgg16": (138_357_544, 15_470_264_320),
}


def counts(console: Console) -> None:
    """Parameters and multiply-accumulates of the zoo at 1,000 classes."""
    table = Table(
        "network", "parameters", "published", "MACs, customary", "published", "MACs, exact", "volume", "field"
    )
    for name, (parameters, macs) in PUBLISHED.items():
        report = tc.inspect(tc.build(name, classes=1000))
        last = [row for row in report.rows if len(row.shape) == 4][-1]
        found = (
            f"{report.total_customary_macs:,}",
            f"{macs:,}",
            f"{report.total_macs:,}",
            last.volume,
            str(last.field),
        )
        table.add_row(name, f"{report.total_parameters:,}", f"{parameters:,}", *found)
    console.print(table)


def times(console: Console) -> None:
    """Seconds of whole inspections, median of five."""
    with torch.device("meta"):
        dense = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 100_000), nn.Linear(100_000, 1000))
    chain = nn.Sequential(*(nn.Conv2d(2, 2, 3, padding=1) for _ in range(1000)))
    resnet = _traced("resnet50")
    cases = {
        "ResNet-50 as a torch module, 224x224": (resnet, (3, 224, 224)),
        "ResNet-50 as text": ("resnet50", None),
        "1,000 convolutions in a chain": (chain, (2, 32, 32)),
        "407 million parameters, fully connected": (dense, (3, 32, 32)),
    }
    table = Table("inspected", "seconds", "rows", "peak memory of the process")
    for name, (model, shape) in cases.items():
        seconds = []
        for _ in range(5):
            begun = perf_counter()
            report = tc.inspect(model, shape)
            seconds.append(perf_counter() - begun)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        table.add_row(name, f"{median(seconds):.2f}", str(len(report.rows)), f"{peak:,.0f} MB")
    console.print(table)


def _traced(name: str) -> nn.Module:
    """A network of the zoo, hidden in a module, so that it is traced like anyone's."""
    return nn.Sequential(tc.build(name, classes=1000))


def main() -> None:
    console = Console(width=170)
    console.print(measure.machine())
    times(console)
    counts(console)


if __name__ == "__main__":
    main()
