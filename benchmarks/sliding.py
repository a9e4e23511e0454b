"""A classifier over every window of a larger image: as one sliding network, and crop by crop.

    python -m benchmarks.sliding [CIFAR10/train.parquet]   (validation.parquet lies beside it)

With images, networks with and without padding are trained, and slide over mosaics of four unseen images: windows that
are images must be classified as the images are, and the table says how often they are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import product
from math import prod
from statistics import median

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

import torchconv as tc

from . import measure
from .cifar import accuracy, images, trained

VALID = "CONV[32, 5x5, valid] - RELU - POOL[2x2] - CONV[48, 3x3, valid] - RELU - POOL[2x2] - FC[128] - RELU - FC"
IMAGES, EPOCHS = 20_000, 6
CASES = {  # name: text, window, image
    "LeNet-5": ("lenet5", (1, 32, 32), 64),
    "LeNet-5, larger": ("lenet5", (1, 32, 32), 128),
    "2 CONV, 2 POOL, 2 FC": (VALID, (3, 32, 32), 64),
    "VGG-16": ("vgg16", (3, 224, 224), 384),
    "ResNet-18": ("resnet18", (3, 224, 224), 384),
    "no overlap": ("CONV[64, 32x32, stride=32, valid] - RELU - FC", (3, 32, 32), 128),
}


def corners(larger: tuple[int, ...], window: tuple[int, ...], stride: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Where the windows begin, in the order of the positions."""
    return product(*(range(0, n - w + 1, s) for n, w, s in zip(larger, window, stride, strict=True)))


def crops(image: Tensor, window: tuple[int, ...], stride: tuple[int, ...]) -> Iterator[Tensor]:
    height, width = window
    for top, left in corners(tuple(image.shape[2:]), window, stride):
        yield image[..., top : top + height, left : left + width]


def ways(model: nn.Module, sliding: nn.Module, image: Tensor, window: tuple[int, ...]) -> dict[str, Callable]:
    stride = tc.receptive_field(sliding, tuple(image.shape[1:])).stride
    return {
        "sliding": lambda: sliding(image),
        "one by one": lambda: [model(crop) for crop in crops(image, window, stride)],
        "one batch": lambda: model(torch.cat(list(crops(image, window, stride)))),
    }


@torch.no_grad()
def timed(table: Table, name: str) -> None:
    text, volume, size = CASES[name]
    torch.manual_seed(0)
    model = tc.build(text, input=volume).eval()
    sliding = tc.as_convolution(model, volume)
    image = torch.randn(1, volume[0], size, size)
    cases = ways(model, sliding, image, volume[1:])
    windows = prod(sliding(image).shape[2:])
    times = measure.interleaved(cases, rounds=5, seconds=0.5)
    macs = tc.inspect(sliding, tuple(image.shape[1:])).total_macs
    table.add_row(
        name,
        f"{volume[1]} in {size}",
        str(windows),
        f"{windows * model.network.macs / macs:.1f}",
        f"{1e3 * median(times['sliding']):.1f}",
        *(f"{1e3 * median(times[way]):.1f}" for way in ("one by one", "one batch")),
        *(f"{measure.ratio(times, way, 'sliding'):.1f}" for way in ("one by one", "one batch")),
    )


@torch.no_grad()
def mosaics(model: nn.Module, x: Tensor, labels: Tensor) -> tuple[float, float, float, float]:
    """Four images to a mosaic: accuracy of each alone and as a window, equal classes, and the largest difference."""
    model.eval()
    sliding = tc.as_convolution(model, tuple(x.shape[1:]))
    together = x.unflatten(0, (-1, 2, 2)).permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
    step = x.shape[-1] // tc.receptive_field(sliding, tuple(together.shape[1:])).stride[0]
    scores = torch.cat([sliding(part)[..., ::step, ::step] for part in together.split(100)])
    scores = scores.permute(0, 2, 3, 1).flatten(0, 2)
    alone = torch.cat([model(part) for part in x.split(500)])
    same = (alone.argmax(1) == scores.argmax(1)).float().mean().item()
    window = (scores.argmax(1) == labels).float().mean().item()
    return accuracy(model, x, labels), window, same, (alone - scores).abs().max().item()


def padding(console: Console, path: str) -> None:
    """Train with and without padding, and compare windows with crops."""
    (x, labels), test = images(path, "train"), images(path, "validation")
    table = Table("network", "image alone", "as a window", "same class", "largest difference of scores")
    for word in ("valid", "same"):
        torch.manual_seed(0)
        chosen = torch.randperm(len(x))[:IMAGES]  # the splits are in the order of their classes
        model = trained(tc.build(VALID.replace("valid", word)), x[chosen], labels[chosen], EPOCHS, 2e-3)
        alone, window, same, difference = mosaics(model, *test)
        name = "no padding" if word == "valid" else "zeros around (same)"
        table.add_row(name, f"{alone:.1%}", f"{window:.1%}", f"{same:.1%}", f"{difference:.1e}")
    console.print(f"mosaics of 2x2 of CIFAR-10's {len(test[0]):,} validation images; the network, without padding:")
    console.print(f"{VALID}, trained on {IMAGES:,} images for {EPOCHS} epochs")
    console.print(table)


def main() -> None:
    """Print the times, and, with images, what padding does."""
    console = Console(width=150)
    console.print(measure.machine())
    heads = "network|window, image|windows|MACs, ratio|sliding, ms|one by one, ms|one batch, ms|one by one, ratio"
    table = Table(*heads.split("|"), "one batch, ratio")
    for name in track(CASES, "timing", transient=True, disable=not console.is_terminal):
        timed(table, name)
    console.print(table)
    if len(sys.argv) > 1:
        torch.set_num_threads(1)  # by which no result depends on how many there are
        padding(console, sys.argv[1])


if __name__ == "__main__":
    main()
