"""Where torch's own kernels are known to give wrong numbers: there they are given float32, which they get right.

`python -m benchmarks.regions` looks for such places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

import torch

from ..description.convolution import Convolution


class Region(NamedTuple):
    """Convolutions whose results are off by more than a tenth.

    found: with which torch. instructions: what its kernels use of the processor, as /proc/cpuinfo names it; "" for
    any. channels: whether the output is wrong, from the input channels of a group and the taps along the last axis.
    """

    found: str
    instructions: str
    dtype: torch.dtype
    channels: Callable[[int, int], bool]

    def holds(self, convolution: Convolution) -> bool:
        """Whether a convolution is one of them, or its adjoint is, but for the type of its numbers."""
        taps, groups = convolution.kernel_size[-1], convolution.groups
        return any(self.channels(n // groups, taps) for n in (convolution.in_channels, convolution.out_channels))


def _few_even_channels(channels: int, taps: int) -> bool:
    """Where oneDNN's matrix products on AMX tiles lay out a row of the window as one run of pairs, and read it wrongly.

    Found on one axis and on two, with any groups, outputs and sizes. Without need taken with them: kernels with gaps
    between the taps, and gradients.
    """
    return channels < 16 and channels % 2 == 0 and channels * taps >= 64 and channels * taps % 32 == 0


REGIONS = (Region("2.13", "amx_bf16", torch.bfloat16, _few_even_channels),)


@lru_cache(maxsize=1)
def processor() -> dict[str, str]:
    """What /proc/cpuinfo says of the first processor, such as "model name" and "flags"; empty where there is none."""
    found: dict[str, str] = {}
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if not name.strip():
                break
            found[name.strip()] = value.strip()
    return found


def instructions() -> frozenset[str]:
    """What this processor has, as /proc/cpuinfo names it; nothing where there is no such file."""
    return frozenset(processor().get("flags", "").split())


def on_processor(has: Iterable[str]) -> tuple[Region, ...]:
    """The rows of the table that matter where these instructions are."""
    return tuple(region for region in REGIONS if region.instructions in {"", *has})


HERE = on_processor(instructions())


def types(convolution: Convolution) -> frozenset[torch.dtype]:
    """The types in which torch computes this convolution wrongly on this processor."""
    return frozenset(region.dtype for region in HERE if region.holds(convolution))
