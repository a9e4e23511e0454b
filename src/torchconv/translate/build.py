"""From a network to a torch module whose children carry the names of its nodes."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..description import shapes
from ..description.axis import positive
from ..errors import SettingError, ShapeError, UnsupportedError
from ..language.architecture import Architecture
from ..language.parser import parse
from ..network import operations as ops
from ..network.graph import Network
from ..network.operations import Operation, Volume
from ..nn.conv import Conv


class NetworkModule(torch.nn.Module):
    """The torch module of a network: (batch, channels, *size) to the output of its last node.

    `network` is what it was built from; its children are the network's layers, under the names of their nodes.
    Raises ShapeError for an input of another volume.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        volumes = {row.node.name: row.volume for row in network.rows}
        for node in network.nodes:
            if not isinstance(node.operation, ops.Input):
                self.add_module(node.name, _module(node.operation, volumes[node.inputs[0]]))

    def forward(self, x: Tensor) -> Tensor:
        return self._run(self.network, x)

    def scores(self, x: Tensor) -> Tensor:
        """Everything before a final SOFTMAX: what cross entropy takes."""
        return self._run(self.network.without_softmax(), x)

    def _run(self, network: Network, x: Tensor) -> Tensor:
        volume = network.input
        if tuple(x.shape[1:]) != (volume.channels, *volume.size):
            raise ShapeError("input", got=tuple(x.shape), expected=f"(batch, {volume.channels}, *{volume.size})")
        values = {network.nodes[0].name: x}
        for node in network.nodes[1:]:
            values[node.name] = self.get_submodule(node.name)(values[node.inputs[0]])
        return values[network.nodes[-1].name]


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


def _norm(operation: ops.Norm, volume: Volume) -> torch.nn.Module:
    kinds = (torch.nn.BatchNorm1d, torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)
    return kinds[len(volume.size)](volume.channels)


MODULES: dict[type[Operation], Callable[[Any, Volume], torch.nn.Module]] = {
    ops.Convolve: lambda operation, volume: Conv.of(operation.convolution, input_size=volume.size),
    ops.Pool: Pooling,
    ops.Activation: lambda operation, volume: torch.nn.ReLU(),
    ops.Norm: _norm,
    ops.Dropout: lambda operation, volume: torch.nn.Dropout(operation.rate),
    ops.FullyConnected: lambda operation, volume: FullyConnected(volume.numel, operation.features),
    ops.Softmax: lambda operation, volume: torch.nn.Softmax(dim=1),
}


def build(
    architecture: str | Architecture | Network,
    input: tuple[int, ...] = (3, 32, 32),
    classes: int | None = 10,
    **bindings: int,
) -> NetworkModule:
    """The torch module of a text, an architecture or a network, freshly initialised.

    input: (channels, *size), used where the text says INPUT without sizes. classes: outputs of a bare last FC.
    bindings: values for the names of counts in a text.
    Raises TextError, SettingError or ShapeError for what cannot be read or does not fit together.

    >>> model = build("INPUT[8x8x1] - CONV[4] - RELU - POOL - FC - SOFTMAX")
    >>> model(torch.zeros(2, 1, 8, 8)).shape, [name for name, _ in model.named_parameters()]
    (torch.Size([2, 10]), ['conv1.weight', 'conv1.bias', 'fc1.weight', 'fc1.bias'])
    """
    network = _network(architecture, input, classes, bindings)
    try:
        return NetworkModule(network)
    except (RuntimeError, MemoryError) as error:  # torch says so where the memory is not there
        size = f"{network.parameters:,} parameters"
        raise ShapeError(
            "a network", got=size, expected="one that fits into memory", fix="Use fewer of them."
        ) from error


def _network(
    architecture: str | Architecture | Network, input: tuple[int, ...], classes: int | None, bindings: dict[str, int]
) -> Network:
    if isinstance(architecture, Network):
        if bindings:
            raise SettingError(
                "bindings", got=", ".join(bindings), expected="none with a network", fix="Give the text."
            )
        return architecture
    found = architecture.bind(**bindings) if isinstance(architecture, Architecture) else parse(architecture, **bindings)
    channels, *size = (positive("input", value) for value in input)
    return found.network(Volume(channels, tuple(size)), None if classes is None else positive("classes", classes))


def _module(operation: Operation, volume: Volume) -> torch.nn.Module:
    make = MODULES.get(type(operation))
    if make is None:
        raise UnsupportedError(
            f"building {type(operation).__name__}", expected=", ".join(kind.__name__ for kind in MODULES)
        )
    return make(operation, volume)
