"""The torch module of each operation of a network."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..description import shapes
from ..errors import UnsupportedError
from ..network import elementwise, merging
from ..network import operations as ops
from ..network.operations import Operation, Volume
from ..nn.conv import Conv


class Pooling(torch.nn.Module):
    """Max or mean of every window, padding left out of both; torch's own pooling wherever it can say the same."""

    def __init__(self, pool: ops.Pool, volume: Volume) -> None:
        super().__init__()
        for axis in pool.axes:
            if axis.boundary != "zeros" or axis.input_dilation != 1:
                raise UnsupportedError("pooling", got=axis, expected="padding that is left out and input_dilation=1")
        self.pool = pool
        self.kernel = tuple(axis.kernel for axis in pool.axes)
        self.stride = tuple(axis.stride for axis in pool.axes)
        self.dilation = tuple(axis.dilation for axis in pool.axes)
        pads = [shapes.padding(axis, size) for axis, size in zip(pool.axes, volume.size, strict=True)]
        self.pads = tuple(side for pair in reversed(pads) for side in pair)  # functional.pad starts at the last axis

    def forward(self, x: Tensor) -> Tensor:
        return self._max(x) if self.pool.statistic == "max" else self._mean(x)

    def extra_repr(self) -> str:
        return f"{self.pool.statistic}, kernel={self.kernel}, stride={self.stride}, padding={self.pads}"

    def _max(self, x: Tensor) -> Tensor:
        pool = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[len(self.kernel) - 1]
        return pool(self._padded(x, -inf), self.kernel, self.stride, 0, self.dilation)

    def _mean(self, x: Tensor) -> Tensor:
        """Sum over count, so that a window at the border averages its real samples only."""
        if not any(self.pads):
            return self._average(x)
        counts = self._average(self._padded(torch.ones_like(x[:1, :1]), 0.0))
        return self._average(self._padded(x, 0.0)) / counts

    def _average(self, x: Tensor) -> Tensor:
        if any(step > 1 for step in self.dilation):  # torch's mean has no dilation; a convolution with one weight has
            channels = x.shape[1]
            weight = x.new_full((channels, 1, *self.kernel), 1 / torch.Size(self.kernel).numel())
            convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[len(self.kernel) - 1]
            return convolve(x, weight, None, self.stride, 0, self.dilation, channels)
        pool = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[len(self.kernel) - 1]
        return pool(x, self.kernel, self.stride)

    def _padded(self, x: Tensor, value: float) -> Tensor:
        return functional.pad(x, self.pads, value=value) if any(self.pads) else x


class FullyConnected(torch.nn.Linear):
    """Every output reads every value of the input, flattened as (channels, *size)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.flatten(1))


class GlobalPooling(torch.nn.Module):
    """One number for each channel."""

    def __init__(self, pool: ops.GlobalPool) -> None:
        super().__init__()
        self.statistic = pool.statistic

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).amax(2) if self.statistic == "max" else x.flatten(2).mean(2)

    def extra_repr(self) -> str:
        return self.statistic


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
    ops.Pool: Pooling,
    ops.GlobalPool: lambda operation, volume: GlobalPooling(operation),
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
