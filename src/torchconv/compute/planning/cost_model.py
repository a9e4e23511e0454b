"""What torch's own kernels take, about: rates of one core of an x86 server with AVX-512, measured with torch 2.13.

Choices need only their ratios, which differ less from machine to machine than the rates do. They differ a hundredfold
from one kind of convolution to another: oneDNN has fast paths for some, and plain loops for others.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from ...description.convolution import Convolution
from ..tensors import INPUT, OUTPUT, WEIGHT
from . import store

MANY_CHANNELS = 16  # in a group, from which on oneDNN's kernels for matrix products are used
LARGE_KERNEL = 14  # samples along an axis, from which on other kernels are used
TOUCH = 1e9  # numbers that a core copies into another order in a second
GATHER = 0.45e9  # the same for those that are put side by side, from where the channels were
CALL = 5e-6  # seconds of any call

Rates = tuple[float, float, float]

# 1e9 multiply-adds of a core in a second, float32: output, gradient of the input, gradient of the weights; for
# contiguous numbers, then with the channels of a position side by side. "thin" is for four channels in a group.
RATES: dict[str, tuple[Rates, Rates]] = {
    "dense": ((90, 90, 70), (95, 95, 65)),
    "dense large": ((45, 20, 10), (120, 120, 0.35)),
    "depthwise tiny": ((6, 4, 4), (15, 7, 9)),
    "depthwise small": ((15, 11, 0.4), (28, 16, 2.5)),
    "depthwise strided": ((2, 0.8, 2), (7, 2.3, 4)),
    "depthwise": ((28, 17, 1.7), (45, 32, 3)),
    "depthwise large": ((1.9, 40, 1.8), (80, 42, 1.8)),
    "one to many": ((1.6, 1.6, 2.9), (3.7, 6, 16)),
    "thin": ((20, 6, 12), (20, 18, 15)),
    "thin large": ((20, 5, 4.3), (17, 18, 0.3)),
    "single": ((6, 0.4, 5), (6, 0.4, 5)),
    "single large": ((7.5, 2, 1.6), (7.5, 2, 1.6)),
    "dense line": ((35, 35, 30), (35, 35, 30)),
    "dense line large": ((14, 18, 10), (14, 18, 10)),
    "depthwise line": ((2.5, 3, 3), (2.5, 3, 3)),
    "depthwise line large": ((1, 40, 1), (1, 40, 1)),
    "single line": ((3, 0.5, 2), (3, 0.5, 2)),
    "single line large": ((0.4, 1.4, 1), (0.4, 1.4, 1)),
}
BFLOAT16: dict[str, tuple[Rates, Rates]] = {
    "dense": ((200, 200, 120), (210, 210, 120)),
    "dense large": ((195, 190, 45), (260, 260, 0.25)),
    "depthwise tiny": ((7.5, 5, 5), (20, 13, 12)),
    "depthwise small": ((17, 12, 0.3), (34, 20, 1.2)),
    "depthwise strided": ((2.5, 0.2, 2.5), (10, 0.25, 6)),
    "depthwise": ((28, 20, 1.6), (45, 36, 2)),
    "depthwise large": ((3.1, 50, 1.5), (105, 55, 1.8)),
    "one to many": ((3.3, 3.7, 5.5), (7.7, 10, 43)),
    "single": ((4, 0.7, 1.4), (4, 0.7, 1.4)),
    "dense line": ((45, 45, 40), (45, 45, 40)),
    "dense line large": ((110, 100, 22), (110, 100, 22)),
}
PLACES = {OUTPUT: 0, INPUT: 1, WEIGHT: 2}


def cores(threads: int) -> float:
    """How many times faster than one thread so many are."""
    return threads**0.9


def torch_rate(convolution: Convolution, dtype: torch.dtype, role: str, channels_last: bool) -> float:
    """Multiply-adds of one core in a second."""
    name = kind(convolution)
    table = BFLOAT16 if dtype == torch.bfloat16 and name in BFLOAT16 else RATES
    rate = table[name][channels_last][PLACES[role]] * 1e9
    fewest = min(convolution.in_channels, convolution.out_channels) // convolution.groups
    if fewest < MANY_CHANNELS and not name.startswith(("depthwise", "single", "one")):  # as a first layer's three
        rate *= fewest / 4 if name.startswith("thin") else 0.6
    return rate / 2 if dtype == torch.float64 else rate


def kind(convolution: Convolution) -> str:
    """The kind of convolution, in so far as torch's kernels differ.

    >>> kind(Convolution(64, 64, (31, 31), groups=64)), kind(Convolution(1, 1, (5,)))
    ('depthwise large', 'single line')
    """
    longest = max(convolution.kernel_size)
    ins, outs = convolution.in_channels // convolution.groups, convolution.out_channels // convolution.groups
    if min(ins, outs) >= MANY_CHANNELS or (ins > 1 and outs > 1 and max(ins, outs) >= MANY_CHANNELS):
        name = "dense"
    elif convolution.in_channels == convolution.out_channels == 1:
        name = "single"
    else:
        name = "depthwise" if convolution.in_channels == convolution.groups > 1 else "thin"
    if convolution.ndim == 1:
        name = name if name == "thin" else f"{name} line"
    elif convolution.in_channels == 1 < convolution.out_channels and longest < LARGE_KERNEL:
        return "one to many"
    elif name == "depthwise" and longest < LARGE_KERNEL:
        return _depthwise(convolution, longest)
    return f"{name} large" if longest >= LARGE_KERNEL else name


def _depthwise(convolution: Convolution, longest: int) -> str:
    if max(convolution.stride) > 1:
        return "depthwise strided"
    return "depthwise tiny" if longest <= 3 else "depthwise small" if longest <= 5 else "depthwise"


FORMAT = 1
LEAST, MOST = 0.05, 20.0  # a factor beyond them says that something else was measured


def group(convolution: Convolution) -> str:
    """The kind of convolution in so far as the times of algorithms differ by it."""
    if convolution.sharing.is_full:
        return kind(convolution)
    return "unshared" if convolution.sharing.periods == (None,) * convolution.ndim else "tiled"


def key(algorithm: str, convolution: Convolution, dtype: torch.dtype, channels_last: bool, role: str) -> str:
    """The name of a factor."""
    kind, layout = str(dtype).removeprefix("torch."), "channels last" if channels_last else "contiguous"
    return f"{algorithm}, {group(convolution)}, {kind}, {layout}, {role}"


def question(threads: int) -> dict[str, Any]:
    """What the factors are kept for."""
    return {"format": FORMAT, "machine": "factors of estimates", **store.circumstances("cpu", threads)}


@lru_cache(maxsize=8)
def factors(threads: int) -> dict[str, float]:
    """All that were measured with so many threads; looked up once, and after `keep`."""
    found = (store.read(question(threads)) or {}).get("factors")
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, float) and LEAST <= value <= MOST}


def keep(threads: int, found: dict[str, float]) -> None:
    """Keep the factors for later; where nothing can be written, nothing is."""
    store.write(question(threads), factors=found)
    factors.cache_clear()
