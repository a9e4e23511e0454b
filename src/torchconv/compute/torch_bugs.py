"""Where torch's own kernels are known to give wrong numbers: there they are given float32, which they get right.

`python -m benchmarks.regions` looks for such places, and prints rows for the table.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

import torch

from ..description.convolution import Convolution


class Region(NamedTuple):
    """Convolutions whose results are off by more than a tenth, in some operation, somewhere within the bounds.

    found: with which torch. instructions: what its kernels use of the processor, as /proc/cpuinfo names it; "" for
    any. channels: least and most, of input and output in a group. taps: least and most, along the longest axis.
    """

    found: str
    instructions: str
    dtype: torch.dtype
    ndim: int
    channels: tuple[int, int]
    taps: tuple[int, int]

    def holds(self, convolution: Convolution) -> bool:
        """Whether a convolution is one of them, but for the type of its numbers."""
        ins, outs = (n // convolution.groups for n in (convolution.in_channels, convolution.out_channels))
        low, high = self.channels
        within = low <= min(ins, outs) and max(ins, outs) <= high
        return self.ndim == convolution.ndim and within and self.taps[0] <= max(convolution.kernel_size) <= self.taps[1]


# oneDNN on processors with AMX: 4 channels to 4 by kernels of 16, 24, 32, 48 and 64 are wrong, those between are taken
# with them.
REGIONS = (Region("2.13", "amx_bf16", torch.bfloat16, 1, (4, 4), (16, 64)),)


def instructions() -> frozenset[str]:
    """What this processor has, as /proc/cpuinfo names it; nothing where there is no such file."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("flags"):
                return frozenset(line.partition(":")[2].split())
    return frozenset()


def on_processor(has: Iterable[str]) -> tuple[Region, ...]:
    """The rows of the table that matter where these instructions are."""
    return tuple(region for region in REGIONS if region.instructions in {"", *has})


HERE = on_processor(instructions())


def types(convolution: Convolution) -> frozenset[torch.dtype]:
    """The types in which torch computes this convolution wrongly on this processor."""
    return frozenset(region.dtype for region in HERE if region.holds(convolution))
