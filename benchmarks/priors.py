"""The prior that a convolution is, for what it is worth: dense, unshared, tiled and shared first stages on CIFAR-10.

    python -m benchmarks.priors FOLDER [PART ...]

FOLDER holds train.parquet and validation.parquet with columns `image` (encoded, or bytes in a struct) and `label`.
A part is "times" or the name of a rest; without one, all are run. All first stages have one geometry, 5x5 windows with
stride 3 and 16 channels. What follows is a ReLU and a fully connected layer, which knows nothing of neighbours, or the
mean of each 2x2 outputs in between, which is a prior too: that nearby outputs of a channel mean the same.
After Goodfellow, Bengio, Courville 2016, Deep learning, section 9.4: the prior helps where it is true, and permuting
the pixels of all images makes it false.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median
from time import perf_counter

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

import torchconv as tc

from . import measure

CONV = tc.Convolution(3, 16, (5, 5), stride=3)
SIZE, BATCH, STRENGTH = (32, 32), 100, 30.0
RATES = (3e-4, 1e-3, 3e-3)  # of Adam; the one that is best on the images held out for choosing
CHOOSING = 1000  # of the 5,000 validation images; the other 4,000 are the test, and choose nothing
SUBSETS = {500: (60, 3), 2000: (25, 2), 8000: (10, 1), 45000: (5, 1)}  # training images: passes, seeds
RESTS: dict[str, int] = {"fully connected": 1, "2x2 means": 2}  # side of the means
STAGES = ("shared", "tiled 2x2", "prior", "unshared", "dense")
LOOKS = 5  # at the model while it learns, of which the best counts
LARGEST_SEARCHED = 2000  # larger subsets take the rate that was best on so many; 45000 searches on all of them


@dataclass(frozen=True)
class Images:
    """Normalised images (count, 3, 32, 32) and their classes."""

    x: Tensor
    y: Tensor

    def part(self, index: Tensor | slice) -> Images:
        return Images(self.x[index], self.y[index])

    def permuted(self, order: Tensor) -> Images:
        """Every image with its pixels in another order, the same for all."""
        return Images(self.x.flatten(2)[..., order].view_as(self.x), self.y)


@dataclass(frozen=True)
class Result:
    """Shares of images classified correctly; distance: of the first stage from the shared rung."""

    chosen: float
    test: float
    distance: float


def read(path: Path) -> Images:
    """All images of a parquet file, in its order, by which the subsets are drawn."""
    table = pq.read_table(path)
    encoded = (one["bytes"] if isinstance(one, dict) else one for one in table["image"].to_pylist())
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(one)).convert("RGB")) for one in encoded])
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    return Images(x.contiguous(), torch.tensor(table["label"].to_pylist()))


def data(folder: Path) -> tuple[Images, Images]:
    """Training images and the others, with each channel's mean 0 and deviation 1 over the training images."""
    train, rest = read(folder / "train.parquet"), read(folder / "validation.parquet")
    middle, spread = train.x.mean((0, 2, 3), keepdim=True), train.x.std((0, 2, 3), keepdim=True)
    return Images((train.x - middle) / spread, train.y), Images((rest.x - middle) / spread, rest.y)


def first_stage(kind: str) -> nn.Module:
    """A fresh layer of the geometry; that under a finite prior begins on the shared rung."""
    if kind == "dense":
        return tc.nn.Dense((CONV.in_channels, *SIZE), (CONV.out_channels, *CONV.output_size(SIZE)), convolution=CONV)
    if kind == "prior":
        return tc.widen(first_stage("shared"), "none", SIZE)
    sharing = {"shared": "full", "tiled 2x2": 2, "unshared": "none"}[kind]
    return tc.nn.Conv2d(3, 16, CONV.kernel_size, CONV.stride, sharing=sharing, input_size=SIZE)


def model_of(kind: str, side: int) -> nn.Sequential:
    """The first stage and the rest, with means of so many outputs a side."""
    rows, columns = tc.Convolution(1, 1, (side, side), stride=side).output_size(CONV.output_size(SIZE))
    means = [nn.AvgPool2d(side)] if side > 1 else []
    last = nn.Linear(CONV.out_channels * rows * columns, 10)
    return nn.Sequential(first_stage(kind), nn.ReLU(), *means, nn.Flatten(), last)


def train(kind: str, side: int, images: Images, rest: Images, passes: int, rate: float, seed: int) -> Result:
    """Learn, and keep the best of a few looks at the images held out for choosing."""
    torch.manual_seed(seed)
    model, prior = model_of(kind, side), tc.PriorPenalty(STRENGTH)
    optimizer = torch.optim.Adam(model.parameters(), rate, fused=True)
    found = []
    looks = {passes * (look + 1) // LOOKS for look in range(LOOKS)}
    for done in range(1, passes + 1):
        for index in torch.randperm(len(images.y)).split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(model(images.x[index]), images.y[index]).backward()
            optimizer.step()
            if kind == "prior":
                prior.pull_(model, rate)
        if done in looks:
            right = correct(model, rest)
            found.append((float(right[:CHOOSING].mean()), float(right[CHOOSING:].mean())))
    away = 0.0 if kind == "shared" else prior.distances(model)["0"]
    return Result(*max(found, key=lambda one: one[0]), away)


@torch.no_grad()
def correct(model: nn.Module, images: Images) -> Tensor:
    """1 for every image that is classified correctly."""
    guesses = torch.cat([model(part).argmax(1) for part in images.x.split(1000)])
    return (guesses == images.y).float()


def cell(
    kind: str, side: int, whole: Images, rest: Images, count: int, rates: tuple[float, ...]
) -> tuple[list[Result], float]:
    """The results of all seeds at the best rate, and that rate."""
    passes, seeds = SUBSETS[count]

    def run(rate: float, seed: int) -> Result:
        subset = torch.randperm(len(whole.y), generator=torch.Generator().manual_seed(seed))[:count]
        return train(kind, side, whole.part(subset), rest, passes, rate, seed)

    first = {rate: run(rate, 0) for rate in rates}
    best = max(rates, key=lambda rate: first[rate].chosen)
    return [first[best], *(run(best, seed) for seed in range(1, seeds))], best


def experiment(console: Console, name: str, train_images: Images, rest: Images) -> None:
    """Every stage on every subset, with pixels in place and permuted."""
    order = torch.randperm(SIZE[0] * SIZE[1], generator=torch.Generator().manual_seed(0))
    table = Table("pixels", "first stage", "parameters", *(f"{count:,} images" for count in SUBSETS), "rates, distance")
    table.title = f"the rest of the network: {name}"
    for pixels, (whole, others) in {
        "in place": (train_images, rest),
        "permuted": (train_images.permuted(order), rest.permuted(order)),
    }.items():
        for kind in STAGES:
            row, rates, used, away = [], RATES, [], 0.0
            for count in SUBSETS:
                results, best = cell(kind, RESTS[name], whole, others, count, rates)
                row.append(shown([one.test for one in results]))
                used.append(f"{best:g}")
                rates = RATES if count < LARGEST_SEARCHED else (best,)
                away = results[0].distance
            parameters = sum(values.numel() for values in first_stage(kind).parameters())
            named = f"unshared, prior {STRENGTH:g}" if kind == "prior" else kind
            table.add_row(pixels, named, f"{parameters:,}", *row, f"{' '.join(used)}, {away:.3g}")
            print(name, pixels, kind, row, used, away, file=sys.stderr, flush=True)
        table.add_section()
    console.print(table)


def shown(shares: list[float]) -> str:
    """The mean in percent, and the least and the largest where there are several."""
    several = f" ({100 * min(shares):.1f} to {100 * max(shares):.1f})" if len(shares) > 1 else ""
    return f"{100 * mean(shares):.1f}{several}"


def ladder_times(console: Console) -> None:
    """How long the steps of the ladder take for a layer of 64 to 64 channels, 3x3, on 28x28."""
    layer = nn.Conv2d(64, 64, 3, padding=1)
    loose = tc.widen(layer, "none", (28, 28))
    steps = {
        "widen to unshared": partial(tc.widen, layer, "none", (28, 28)),
        "narrow back": partial(tc.narrow, loose),
        "PriorPenalty.distances": partial(tc.PriorPenalty(1.0).distances, loose),
    }
    table = Table("64 to 64 channels, 3x3, padding 1, 28x28", "median of 7, seconds")
    for name, step in steps.items():
        step()
        table.add_row(name, f"{median(timed(step) for _ in range(7)):.3f}")
    console.print(table)


def timed(step: partial) -> float:
    begun = perf_counter()
    step()
    return perf_counter() - begun


def main() -> None:
    """Print the tables of accuracies on unseen images, and the time that a change of rung takes."""
    torch.set_num_threads(1)
    console, parts = Console(width=180), sys.argv[2:] or ["times", *RESTS]
    console.print(measure.machine())
    if "times" in parts:
        ladder_times(console)
    for name in [part for part in parts if part in RESTS]:
        begun = perf_counter()
        experiment(console, name, *data(Path(sys.argv[1])))
        console.print("percent of 4,000 unseen images classified correctly: mean over seeds (least to largest)")
        console.print(f"subset: (passes, seeds): {SUBSETS}; rate of Adam chosen on {CHOOSING:,} other images")
        console.print(f"distance: of the last subset's first stage from shared; {perf_counter() - begun:.0f} s in all")


if __name__ == "__main__":
    main()
