"""What is to be computed, known before the numbers are; algorithms take or decline it, and plans are kept under it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch

from ..description.convolution import Convolution
from .tensors import room


@dataclass(frozen=True)
class Problem:
    """What is known before the numbers are: the convolution, the type of its numbers, where and how many they are.

    precision: "auto", or "fast" or "bf16", which allow less exact algorithms.
    batch, input_size: images, and samples per axis; None where they are open. threads: of the processor.
    channels_last: whether the channels of a position are side by side in memory.
    frozen_weight: whether no gradient of the weight is wanted, so that it is likely to be the same at the next call.
    workspace: bytes that an operation may take beside its arrays; None: `tensors.room` says how many.
    """

    convolution: Convolution
    dtype: torch.dtype
    device: str
    precision: str = "auto"
    batch: int = 1
    input_size: tuple[int, ...] | None = None
    threads: int = 1
    channels_last: bool = False
    frozen_weight: bool = False
    workspace: int | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """The input size of a problem that has one."""
        assert self.input_size is not None
        return self.input_size

    @cached_property
    def numbers(self) -> int:
        """Of the input and of the output together."""
        conv = self.convolution
        outputs = conv.out_channels * prod(conv.output_size(self.sizes))
        return self.batch * (conv.in_channels * prod(self.sizes) + outputs)

    @cached_property
    def room(self) -> int:
        """Bytes of workspace that an operation may take; narrow numbers count as float32, which they become."""
        weights = prod(self.convolution.weight_shape(self.sizes))
        return room(self.workspace, (self.numbers + weights) * max(self.dtype.itemsize, 4))

    @cached_property
    def macs(self) -> int:
        """Multiply-adds of any of the three operations, products with padding among them."""
        return self.batch * self.convolution.macs_ignoring_borders(self.sizes)
