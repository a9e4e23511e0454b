"""The layers of texts that neither torch nor `nn` has."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..compute.tensors import recording
from ..description import shapes


class FlattenedLinear(torch.nn.Linear):
    """Every output reads every value of the input, flattened as (channels, *size)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.flatten(1))


class ChannelScale(torch.nn.Module):
    """Every channel times `weight` plus `bias`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(channels))
        self.bias = torch.nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        shape = (-1,) + (1,) * (x.dim() - 2)
        return x * self.weight.view(shape) + self.bias.view(shape)


class DepthToSpace(torch.nn.Module):
    """torch.nn.PixelShuffle for any number of axes."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        size, n = x.shape[2:], x.dim() - 2
        split = x.unflatten(1, (-1, *[self.factor] * n))
        moved = split.permute(0, 1, *(dim for axis in range(2, n + 2) for dim in (axis + n, axis)))
        return moved.reshape(*moved.shape[:2], *(length * self.factor for length in size))


class Merging(torch.nn.Module):
    """The "sum" of several tensors, or the "concat" of their channels; crop, low: as of `Merge`."""

    def __init__(self, word: str, crop: bool, low: int | None) -> None:
        super().__init__()
        self._word, self._crop, self._low = word, crop, low

    def forward(self, *parts: Tensor) -> Tensor:
        if self._crop:
            axes = zip(*(part.shape[2:] for part in parts), strict=True)
            smallest: list[Any] = [reduce(torch.sym_min, lengths) for lengths in axes]
            parts = tuple(cropped(part, smallest, self._low) for part in parts)
        return torch.cat(parts, 1) if self._word == "concat" else sum(parts[1:], parts[0])

    def extra_repr(self) -> str:
        return self._word


class CropTo(torch.nn.Module):
    """A tensor cut to the size of another, at its middle or after `low` samples."""

    def __init__(self, low: int | None) -> None:
        super().__init__()
        self._low = low

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        return cropped(x, like.shape[2:], self._low)


class ZeroMaps(torch.nn.Module):
    """So many channels of zeros, of the size and type of the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self._channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros((x.shape[0], self._channels, *x.shape[2:]))

    def extra_repr(self) -> str:
        return f"{self._channels}"


class UpsampleTo(torch.nn.Upsample):
    """Up-sampling by the factors, then to the size of another tensor: high ends cut off, or the last value repeated."""

    def forward(self, input: Tensor, like: Tensor) -> Tensor:  # type: ignore[override]
        factors: Any = self.scale_factor
        size = [length * int(factor) for length, factor in zip(input.shape[2:], factors, strict=True)]
        x = functional.interpolate(input, size, mode=self.mode, align_corners=self.align_corners)
        for axis, want in enumerate(like.shape[2:], 2):
            x = _extended(x, axis, want)
        return x


def cropped(x: Tensor, size: Sequence[int], low: int | None) -> Tensor:
    """Samples cut off at the ends of each axis; sizes may be symbols, so that nothing is decided by them."""
    for axis, (first, _) in enumerate(shapes.cuts(x.shape[2:], size, low, torch.sym_min), 2):
        x = _run_of(x, axis, first, size[axis - 2])
    return x


def _run_of(x: Tensor, axis: int, first: int, length: int) -> Tensor:
    """Neighbouring samples of an axis; where sizes are symbols a copy, laid out alike whatever they are."""
    if recording():
        return x.index_select(axis, torch.arange(length, device=x.device) + first)
    return x.narrow(axis, first, length)


def _extended(x: Tensor, axis: int, want: int) -> Tensor:
    """So many samples of an axis: the high end cut off, or the last one repeated."""
    have = x.shape[axis]
    if recording():  # one way for all sizes
        return x.index_select(axis, torch.arange(want, device=x.device).clamp(max=have - 1))
    if have >= want:
        return x.narrow(axis, 0, want)
    last = x.narrow(axis, have - 1, 1)
    return torch.cat([x, last.expand([want - have if dim == axis else -1 for dim in range(x.dim())])], axis)
