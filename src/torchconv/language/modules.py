"""The torch module of each operation of a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import UnsupportedError
from ..network import elementwise, merging, pooling
from ..network import operations as ops
from ..network.operations import Operation, Volume
from ..nn.conv import Conv
from ..nn.pooling.channel_pool import ChannelPool
from ..nn.pooling.grid_pool import GlobalPool, GridPool1d, GridPool2d, GridPool3d
from ..nn.pooling.learned_pool import LearnedPool
from ..nn.pooling.pool import Pool


class FullyConnected(torch.nn.Linear):
    """Every output reads every value of the input, flattened as (channels, *size)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.flatten(1))


class Scaling(torch.nn.Module):
    """Every channel times `weight` plus `bias`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(channels))
        self.bias = torch.nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        shape = (-1,) + (1,) * (x.dim() - 2)
        return x * self.weight.view(shape) + self.bias.view(shape)


class Merging(torch.nn.Module):
    """The sum of several tensors, or their channels one after another, cut to one size where the operation says so."""

    def __init__(self, operation: merging.Merge, *volumes: Volume) -> None:
        super().__init__()
        self.operation = operation
        self._cuts = list(operation.cuts(*volumes))

    def forward(self, *parts: Tensor) -> Tensor:
        parts = tuple(_cut(part, cut) for part, cut in zip(parts, self._cuts, strict=True))
        if isinstance(self.operation, merging.Concat):
            return torch.cat(parts, 1)
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def extra_repr(self) -> str:
        return self.operation.word


def _cut(x: Tensor, cut: tuple[tuple[int, int], ...]) -> Tensor:
    for axis, (low, high) in enumerate(cut, 2):
        if low or high:
            x = x.narrow(axis, low, x.shape[axis] - low - high)
    return x


def _norm(operation: elementwise.Norm, volume: Volume) -> torch.nn.Module:
    if operation.kind == "local":  # five neighbours and the constants of Krizhevsky et al. 2012, section 3.3
        return torch.nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
    if operation.kind != "batch":
        groups = {"layer": 1, "instance": volume.channels}.get(operation.kind, operation.groups)
        return torch.nn.GroupNorm(groups, volume.channels, operation.eps)
    kinds = (torch.nn.BatchNorm1d, torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)
    return kinds[len(volume.size)](volume.channels, operation.eps, operation.momentum)


def _upsample(operation: ops.Upsample, volume: Volume) -> torch.nn.Module:
    mode = operation.mode if operation.mode == "nearest" else ("linear", "bilinear", "trilinear")[len(volume.size) - 1]
    factors = tuple(map(float, operation.factors))
    return torch.nn.Upsample(scale_factor=factors, mode=mode, align_corners=None if mode == "nearest" else False)


def _learned(operation: pooling.LearnedPool, volume: Volume) -> torch.nn.Module:
    return LearnedPool(operation.pooling, volume.channels if operation.per_channel else None)


def _summary(summary: pooling.Summary) -> tuple[str, float | None]:
    return summary.statistic, summary.p


GRIDS = {1: GridPool1d, 2: GridPool2d, 3: GridPool3d}
ACTIVATIONS: dict[str, Callable[[], torch.nn.Module]] = {
    "relu": torch.nn.ReLU,
    "leakyrelu": torch.nn.LeakyReLU,
    "elu": torch.nn.ELU,
    "gelu": torch.nn.GELU,
    "silu": torch.nn.SiLU,
    "tanh": torch.nn.Tanh,
    "sigmoid": torch.nn.Sigmoid,
}
MODULES: dict[type[Operation], Callable[..., torch.nn.Module]] = {
    ops.Convolve: lambda operation, volume: Conv.of(operation.convolution, input_size=volume.size),
    pooling.Pool: lambda operation, volume: Pool(operation.pooling),
    pooling.LearnedPool: _learned,
    pooling.GridPool: lambda operation, volume: GRIDS[len(volume.size)](operation.grids, *_summary(operation.summary)),
    pooling.GlobalPool: lambda operation, volume: GlobalPool(*_summary(operation)),
    pooling.ChannelPool: lambda operation, volume: ChannelPool.of(operation.pooling),
    ops.Upsample: _upsample,
    ops.FullyConnected: lambda operation, volume: FullyConnected(volume.numel, operation.features, operation.bias),
    elementwise.Activation: lambda operation, volume: ACTIVATIONS[operation.word](),
    elementwise.Norm: _norm,
    elementwise.Scale: lambda operation, volume: Scaling(volume.channels),
    elementwise.Dropout: lambda operation, volume: torch.nn.Dropout(operation.rate),
    elementwise.Softmax: lambda operation, volume: torch.nn.Softmax(dim=1),
    merging.Sum: Merging,
    merging.Concat: Merging,
}


def module(operation: Operation, volumes: list[Volume]) -> torch.nn.Module:
    """The module of an operation that reads these volumes; raises UnsupportedError for an unknown kind."""
    make: Any = MODULES.get(type(operation))
    if make is None:
        expected = ", ".join(kind.__name__ for kind in MODULES)
        raise UnsupportedError(f"building {type(operation).__name__}", expected=expected)
    return make(operation, *volumes)
