"""What torch's own kernels take, about: rates of one core of an x86 server with AVX-512, measured with torch 2.13.

Choices need only their ratios, which differ less from machine to machine than the rates do.
"""

from __future__ import annotations

from math import prod

import torch

from ..description.convolution import Convolution

# Multiply-adds of a core in a second, float32: many channels with small kernels and with large ones, few channels.
DENSE, DENSE_LARGE, THIN, DEPTHWISE_LARGE = 120e9, 62e9, 30e9, 2e9
MANY_CHANNELS = 16
LARGE_KERNEL = 13  # samples along an axis, beyond which oneDNN takes another path
TOUCH = 2e9  # numbers that a core copies into another order in a second
CALL = 5e-6  # seconds of any call


def cores(threads: int) -> float:
    """How many times faster than one thread so many are."""
    return threads**0.9


def torch_rate(convolution: Convolution, dtype: torch.dtype) -> float:
    """Multiply-adds of one core in a second."""
    ins, outs = (count // convolution.groups for count in (convolution.in_channels, convolution.out_channels))
    large = max(convolution.kernel_size) > LARGE_KERNEL
    if min(ins, outs) >= MANY_CHANNELS:
        rate = DENSE_LARGE if large else DENSE
    else:
        rate = DEPTHWISE_LARGE if large and prod(convolution.kernel_size) > LARGE_KERNEL**2 else THIN
    return rate / 2 if dtype == torch.float64 else rate
