"""Borders, zero padding, and a bias for each place: the remark of Goodfellow, Bengio, Courville 2016, section 9.5.

    python -m benchmarks.borders CIFAR10/train.parquet   (validation.parquet lies beside it)

"When using implicit zero padding, detector units at the edge of the image receive less total input and may need larger
biases." Trained are small networks of two convolutions, with one bias for each channel or one for each place as well,
and with zeros around the image or with its border repeated.
"""

from __future__ import annotations

import sys
from statistics import mean, stdev
from time import perf_counter

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from torchconv.nn import Conv2d, GridPool2d, Pool2d

from . import measure
from .cifar import accuracy, images, trained

IMAGES, EPOCHS, RATE, SEEDS = 10000, 6, 5e-3, 3
CHANNELS, SIZE, KERNEL = (16, 32), (32, 16), 5
WAYS = {
    "zeros, one bias per channel": ("zeros", "full"),
    "zeros, a bias for each place": ("zeros", "none"),
    "zeros, biases of period 4": ("zeros", 4),
    "border repeated, one bias per channel": ("replicate", "full"),
    "border repeated, a bias for each place": ("replicate", "none"),
}


def network(mode: str, sharing: object) -> torch.nn.Sequential:
    """CONV-RELU-POOL-CONV-RELU-GRIDPOOL-FC."""
    settings = {"padding": KERNEL // 2, "padding_mode": mode, "bias_sharing": sharing}
    first, second = CHANNELS
    return torch.nn.Sequential(
        Conv2d(3, first, KERNEL, **settings, input_size=SIZE[0]),
        torch.nn.ReLU(),
        Pool2d(2, statistic="mean"),
        Conv2d(first, second, KERNEL, **settings, input_size=SIZE[1]),
        torch.nn.ReLU(),
        GridPool2d(4, "mean"),
        torch.nn.Flatten(),
        torch.nn.Linear(second * 16, 10),
    )


def by_place(values: Tensor) -> tuple[float, float, float]:
    """Means of (channels, height, width) over the corners, the rest of the outer two rows and columns, and inside."""
    size, edge = values.shape[-1], KERNEL // 2
    outer = (torch.arange(size) < edge) | (torch.arange(size) >= size - edge)
    sides = outer[:, None].int() + outer[None, :].int()
    return tuple(float(values[:, sides == count].mean()) for count in (2, 1, 0))  # type: ignore[return-value]


@torch.no_grad()
def looked_at(model: torch.nn.Sequential, x: Tensor) -> dict[str, tuple[float, float, float]]:
    """Of both convolutions: what reaches the units without a bias, how often they fire, and their biases, by place."""
    found = {}
    for name, layer, seen in (("first", model[0], x[:500]), ("second", model[3], model[:3](x[:500]))):
        y, bias = layer(seen), layer.bias
        spread = bias[..., :].movedim(-1, 0) if bias.ndim == 3 else bias[:, None, None]
        repeats = [-(-y.shape[axis] // spread.shape[axis - 1]) for axis in (2, 3)]
        spread = spread.repeat(1, *repeats)[:, : y.shape[2], : y.shape[3]]
        found[f"{name}, size of the input"] = by_place((y - spread).square().mean(0).sqrt())
        found[f"{name}, share that fires"] = by_place((y > 0).float().mean(0))
        found[f"{name}, bias"] = by_place(spread)
    return found


def main() -> None:
    """Print accuracies, and what units at corners, edges and inside receive."""
    console, begun = Console(width=130), perf_counter()
    console.print(measure.machine())
    torch.set_num_threads(1)
    (x, labels), test = images(sys.argv[1], "train"), images(sys.argv[1], "validation")
    scores: dict[str, list[float]] = {name: [] for name in WAYS}
    places: dict[str, list[dict]] = {name: [] for name in WAYS}
    for seed, name in track([(seed, name) for seed in range(SEEDS) for name in WAYS], "training", transient=True):
        torch.manual_seed(seed)
        chosen = torch.randperm(len(x))[:IMAGES]
        model = trained(network(*WAYS[name]), x[chosen], labels[chosen], EPOCHS, RATE)
        scores[name].append(accuracy(model, *test))
        places[name].append(looked_at(model, test[0]))
    console.print(
        f"CIFAR-10: {IMAGES:,} training and {len(test[0]):,} validation images, {SEEDS} seeds, {EPOCHS} epochs"
    )
    table = Table("around the image; biases", "parameters", "accuracy, by seed", "mean", "deviation")
    for name, found in scores.items():
        count = sum(values.numel() for values in network(*WAYS[name]).parameters())
        shown = " ".join(f"{score:.1%}" for score in found)
        table.add_row(name, f"{count:,}", shown, f"{mean(found):.1%}", f"{100 * stdev(found):.1f}")
    console.print(table)
    table = Table("around the image; biases", "of units of the convolution", "corners", "edges", "inside")
    for name, found in places.items():
        for what in found[0]:
            means = (mean(one[what][place] for one in found) for place in range(3))
            table.add_row(name, what, *(f"{value:.3f}" for value in means))
        table.add_section()
    console.print(table)
    console.print(f"{perf_counter() - begun:.0f} s in all")


if __name__ == "__main__":
    main()
