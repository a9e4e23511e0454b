"""What torch's own kernels take, from the rates of machine.py, and the factors measured on the machine at hand."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from ...description.convolution import Convolution
from ..tensors import INPUT, OUTPUT, WEIGHT
from . import machine, wisdom

PLACES = {OUTPUT: 0, INPUT: 1, WEIGHT: 2}


def cores(threads: int) -> float:
    """How many times faster than one thread so many are."""
    return threads**machine.CORES


def torch_rate(convolution: Convolution, dtype: torch.dtype, role: str, channels_last: bool) -> float:
    """Multiply-adds of one core in a second."""
    name = kind(convolution)
    table = machine.BFLOAT16 if dtype == torch.bfloat16 and name in machine.BFLOAT16 else machine.RATES
    rate = table[name][channels_last][PLACES[role]] * 1e9
    fewest = min(convolution.in_channels, convolution.out_channels) // convolution.groups
    if fewest < machine.MANY_CHANNELS and name.startswith(("dense", "thin")):  # as a first layer's three
        rate *= fewest / 4 if name.startswith("thin") else 0.6
    return rate / 2 if dtype == torch.float64 else rate


def kind(convolution: Convolution) -> str:
    """The kind of convolution, in so far as torch's kernels differ.

    >>> kind(Convolution(64, 64, (31, 31), groups=64)), kind(Convolution(1, 1, (5,)))
    ('depthwise large', 'single line')
    """
    longest = max(convolution.kernel_size)
    ins, outs = convolution.in_channels // convolution.groups, convolution.out_channels // convolution.groups
    if min(ins, outs) >= machine.MANY_CHANNELS or (ins > 1 and outs > 1 and max(ins, outs) >= machine.MANY_CHANNELS):
        name = "dense"
    elif convolution.in_channels == convolution.out_channels == 1:
        name = "single"
    else:
        name = "depthwise" if convolution.in_channels == convolution.groups > 1 else "thin"
    if convolution.ndim == 1:
        name = name if name == "thin" else f"{name} line"
    elif convolution.in_channels == 1 < convolution.out_channels and longest < machine.LARGE_KERNEL:
        return "one to many"
    elif name == "depthwise" and longest < machine.LARGE_KERNEL:
        return _depthwise(convolution, longest)
    return f"{name} large" if longest >= machine.LARGE_KERNEL else name


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
    return {"format": FORMAT, "machine": "factors of estimates", **wisdom.circumstances("cpu", threads)}


@lru_cache(maxsize=8)
def factors(threads: int) -> dict[str, float]:
    """All that were measured with so many threads; looked up once, and after `remember_factors`."""
    found = (wisdom.read(question(threads)) or {}).get("factors")
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, float) and LEAST <= value <= MOST}


def remember_factors(threads: int, found: dict[str, float]) -> None:
    """Keep the factors for later; where nothing can be written, nothing is."""
    wisdom.write(question(threads), factors=found)
    factors.cache_clear()
