"""What torch's own kernels take, about: rates of one core of an x86 server with AVX-512, measured with torch 2.13.

Choices need only their ratios, which differ less from machine to machine than the rates do. They differ a hundredfold
from one kind of convolution to another: oneDNN has fast paths for some, and plain loops for others.
"""

from __future__ import annotations

import torch

from ..description.convolution import Convolution
from .roles import INPUT, OUTPUT, WEIGHT

MANY_CHANNELS = 16  # in a group, from which on oneDNN's kernels for matrix products are used
LARGE_KERNEL = 14  # samples along an axis, from which on other kernels are used
TOUCH = 2e9  # numbers that a core copies into another order in a second
CALL = 5e-6  # seconds of any call

Rates = tuple[float, float, float]

# 1e9 multiply-adds of a core in a second, float32: output, gradient of the input, gradient of the weights; for
# contiguous numbers, then with the channels of a position side by side. "thin" is for four channels in a group.
RATES: dict[str, tuple[Rates, Rates]] = {
    "dense": ((90, 90, 70), (95, 95, 65)),
    "dense large": ((45, 20, 10), (120, 120, 0.35)),
    "depthwise tiny": ((10, 9.5, 6), (17, 15, 12)),
    "depthwise": ((35, 30, 1.7), (50, 40, 6)),
    "depthwise large": ((1.9, 40, 1.8), (80, 42, 1.8)),
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
    "depthwise tiny": ((7.5, 7, 5), (20, 15, 15)),
    "depthwise": ((25, 22, 1.6), (48, 38, 2.5)),
    "depthwise large": ((3.1, 40, 1.5), (80, 45, 1.8)),
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
    if fewest < MANY_CHANNELS and not name.startswith(("depthwise", "single")):  # as a first layer's three
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
    line = " line" if convolution.ndim == 1 and name != "thin" else ""
    if longest >= LARGE_KERNEL:
        return f"{name}{line} large"
    return "depthwise tiny" if name == "depthwise" and not line and longest <= 3 else name + line
