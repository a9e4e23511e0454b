"""Random texts at random sizes: what a network tells of an image of any size is what its module makes of it."""

from __future__ import annotations

import random

import pytest
import torch

from torchconv.errors import TorchconvError
from torchconv.language.network_module import NetworkModule, build
from torchconv.language.parser import parse
from torchconv.network.graph import Network
from torchconv.network.operations import Volume
from torchconv.network.recurrence import with_passes

LARGEST = 20_000  # values of a layer, so that the test is quick


def layer(source: random.Random, marks: list[str]) -> str:
    """Any layer, or one that goes back to a mark."""
    kernel, stride, filters = source.choice([1, 2, 3, 4, 5]), source.choice([1, 1, 1, 2, 3]), source.choice([2, 3, 4])
    pad = source.choice(["same", "same", "valid", f"padding={source.randint(0, 2)}:{source.randint(0, 2)}"])
    either, mode = source.choice(["same", "valid"]), source.choice(["nearest", "linear"])
    found = [
        f"CONV[{filters}, {kernel}, stride={stride}, dilation={source.choice([1, 2])}, {pad}]",
        f"CONV[{filters}, {kernel}, stride={stride}, {pad}, transposed]",
        f"CONV[{filters}, {kernel}, padding_mode=reflect]",
        f"CONV[{filters}, {kernel}, input_dilation=2]",
        f"TILED[{filters}, {kernel}, {pad}]",
        f"LOCAL[{filters}, {kernel}, {pad}]" if source.random() < 0.1 else "TANH",
        f"POOL[{kernel}, stride={stride}, {source.choice(['max', 'mean', 'l2'])}, {either}]",
        f"POOL[{kernel}, stride={stride}, ceil_mode=yes]",
        f"LEARNEDPOOL[{kernel}, {either}]",
        f"UPSAMPLE[{source.choice([1, 2, 3])}, {mode}]",
        "GRIDPOOL[2]" if source.random() < 0.1 else "GELU",
        *("RELU", "NORM", "NORM[layer]", "SCALE", "DROPOUT", "MAXOUT", "PIXELSHUFFLE", "CHANNELPOOL[2, stride=1]"),
    ]
    if marks:
        mark, other = source.choice(marks), source.choice(marks)
        found += 2 * [
            f"UPSAMPLE[to={mark}, {mode}]",
            f"UPSAMPLE[{source.choice([1, 2, 3, 4])}, to={mark}]",
            f"CROP[to={mark}]",
            f"CROP[to={mark}, low={source.randint(0, 3)}]",
            f"CONCAT(FROM[{mark}] | IDENTITY)",
            f"CONCAT[crop, low={source.randint(0, 2)}](FROM[{mark}] | IDENTITY | FROM[{other}])",
            f"SUM[crop](FROM[{mark}] - CONV[{filters}] | CONV[{filters}])",
            f"CONV[{filters}, {kernel}, stride={stride}, {pad}, transposed, to={mark}]",
        ]
    return source.choice(found)


def chain(source: random.Random, marks: list[str], depth: int, most: int) -> str:
    """Layers, marks, repeats, branches and recurrences."""
    found = []
    for _ in range(source.randint(1, most)):
        kind = source.random()
        if kind < 0.2:
            marks.append(f"m{source.randrange(10**9)}")
            found.append(f"MARK[{marks[-1]}]")
        elif kind < 0.5 and depth < 2:
            inner = [chain(source, list(marks), depth + 1, 3) for _ in range(2)]
            found.append(
                f"({inner[0]})*{source.randint(1, 2)}"
                if kind < 0.28
                else f"RECUR({inner[0]})[n={source.randint(1, 3)}{source.choice(['', ', zeros'])}]"
                if kind < 0.4
                else f"{source.choice(['SUM', 'CONCAT'])}[crop]({inner[0]} | {inner[1]})"
            )
        else:
            found.append(layer(source, marks))
    return " - ".join(found)


def told(network: Network, passes: int | None, volume: Volume) -> Network | None:
    """The network at a size; None where a layer cannot take it."""
    try:
        network = network if passes is None else with_passes(network, passes)
        found = network.with_weights_on(volume)
        return found if found.rows else None
    except TorchconvError:
        return None


def compare(model: NetworkModule, source: random.Random, volume: Volume) -> bool:
    """Whether an image of this volume was taken: refused by both, or of the size that was told."""
    passes = source.choice([None, 1, 2, 4]) if model.network.recurrences else None
    found = told(model.network, passes, volume)
    x = torch.zeros(2, volume.channels, *volume.size)
    if found is None:
        with pytest.raises(TorchconvError):
            model(x, passes=passes)
        return False
    if max(row.volume.numel for row in found.rows) > LARGEST:
        return False
    assert tuple(model(x, passes=passes).shape) == (2, found.output.channels, *found.output.size)
    return True


@torch.no_grad()
def sizes_of(seed: int) -> str:
    """What became of a random text: refused, too large, built, or compared at another size."""
    source = random.Random(seed)
    ndim, channels = source.choice([1, 2, 2, 2, 3]), source.choice([1, 2, 3, 4])
    text = chain(source, [], 0, 8)
    volumes = [
        Volume(channels, tuple(source.randint(3, (40, 24, 13)[ndim - 1]) for _ in range(ndim))) for _ in range(4)
    ]
    try:
        network = parse(text).network(volumes[0], default_classes=3)
    except TorchconvError:
        return "refused"
    if max(row.volume.numel for row in network.rows) > LARGEST or network.parameters > LARGEST:
        return "large"
    model = build(network).eval()
    found = [compare(model, source, volume) for volume in volumes[1:]]
    return "compared" if any(found) else "built"


@pytest.mark.parametrize("first", range(0, 200, 100))
def test_every_size_comes_out_as_told(first: int) -> None:
    found = [sizes_of(seed) for seed in range(first, first + 100)]
    assert found.count("compared") > 15, found
