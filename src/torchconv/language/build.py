"""The torch module of each operation of a network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..description.axis import LARGEST, plain, positive
from ..errors import SettingError, ShapeError, UnsupportedError
from ..network import operations as ops
from ..network import pooling
from ..network.graph import Network
from ..network.operations import Activation, Convolve, FullyConnected, Input, Operation, Volume
from ..nn.conv import Conv
from ..nn.pooling.channel_pool import ChannelPool
from ..nn.pooling.grid_pool import GlobalPool, GridPool1d, GridPool2d, GridPool3d
from ..nn.pooling.learned_pool import LearnedPool
from ..nn.pooling.window_pool import Pool
from .architecture import Architecture
from .parser import parse


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


class Merging(torch.nn.Module):
    """The sum of several tensors, or their channels one after another, cut to one size where the operation says so."""

    def __init__(self, operation: ops.Merge, *volumes: Volume) -> None:
        super().__init__()
        self.operation = operation
        self._cuts = list(operation.cuts(*volumes))

    def forward(self, *parts: Tensor) -> Tensor:
        parts = tuple(_cut(part, cut) for part, cut in zip(parts, self._cuts, strict=True))
        if isinstance(self.operation, ops.Concat):
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


def _norm(operation: ops.Norm, volume: Volume) -> torch.nn.Module:
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


def _learned(operation: pooling.PoolLearned, volume: Volume) -> torch.nn.Module:
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
    pooling.PoolWindows: lambda operation, volume: Pool(operation.pooling),
    pooling.PoolLearned: _learned,
    pooling.PoolGrid: lambda operation, volume: GRIDS[len(volume.size)](operation.grids, *_summary(operation.summary)),
    pooling.PoolAll: lambda operation, volume: GlobalPool(*_summary(operation)),
    pooling.PoolChannels: lambda operation, volume: ChannelPool.of(operation.pooling),
    ops.Upsample: _upsample,
    ops.FullyConnected: lambda operation, volume: FlattenedLinear(volume.numel, operation.features, operation.bias),
    ops.Activation: lambda operation, volume: ACTIVATIONS[operation.word](),
    ops.Norm: _norm,
    ops.ScaleChannels: lambda operation, volume: ChannelScale(volume.channels),
    ops.Dropout: lambda operation, volume: torch.nn.Dropout(operation.rate),
    ops.Softmax: lambda operation, volume: torch.nn.Softmax(dim=1),
    ops.Sum: Merging,
    ops.Concat: Merging,
}


def module(operation: Operation, volumes: list[Volume]) -> torch.nn.Module:
    """The module of an operation that reads these volumes; raises UnsupportedError for an unknown kind."""
    make: Any = MODULES.get(type(operation))
    if make is None:
        expected = ", ".join(kind.__name__ for kind in MODULES)
        raise UnsupportedError(f"building {type(operation).__name__}", expected=expected)
    return make(operation, *volumes)


DEFAULT_INPUT, DEFAULT_CLASSES = (3, (32, 32)), 10
RECTIFIERS = ("relu", "leakyrelu", "elu", "gelu", "silu")


class NetworkModule(torch.nn.Module):
    """The torch module of a network: (batch, channels, *size) to the output of its last node.

    `network` is what it was built from; its children are the network's layers, under the names of their nodes.
    Raises ShapeError for an input of another volume.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        volumes = {row.node.name: row.volume for row in network.rows}
        last = {name: node.name for node in network.nodes for name in node.inputs}
        self._steps: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = []  # node, what it reads, what it reads last
        for node in network.nodes:
            if not isinstance(node.operation, Input):
                self.add_module(node.name, module(node.operation, [volumes[name] for name in node.inputs]))
                done = tuple(name for name in dict.fromkeys(node.inputs) if last[name] == node.name)
                self._steps.append((node.name, node.inputs, done))
        self._prepare()
        self._scores = len(network.without_softmax().nodes) - 1

    def _prepare(self) -> None:
        """Weights right before a rectifier sqrt(6) times as large as torch.nn's (He et al. 2015, section 2.2).

        Without it, signals in deep networks without NORM fade; tanh, NORM and scores are left as torch.nn has them.
        """
        kinds = {node.name: type(node.operation) for node in self.network.nodes}
        for node in self.network.nodes:
            if isinstance(node.operation, Activation) and node.operation.word in RECTIFIERS:
                source = node.inputs[0]
                if kinds[source] in (Convolve, FullyConnected):
                    with torch.no_grad():
                        self.get_submodule(source).weight.mul_(math.sqrt(6))  # pyright: ignore

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x, len(self._steps))

    def scores(self, x: Tensor, any_size: bool = False) -> Tensor:
        """Everything before a final SOFTMAX: what cross entropy takes; any_size: also of images of another size."""
        return self._run(x, self._scores, any_size)

    def _run(self, x: Tensor, steps: int, any_size: bool = False) -> Tensor:
        volume = self.network.input
        if not any_size and tuple(x.shape[1:]) != (volume.channels, *volume.size):
            raise ShapeError("input", got=tuple(x.shape), expected=f"(batch, {volume.channels}, *{volume.size})")
        values = {self.network.nodes[0].name: x}
        for name, inputs, done in self._steps[:steps]:
            x = self.get_submodule(name)(*[values[source] for source in inputs])
            for source in done:  # whose memory is free from here on, unless a gradient needs it
                del values[source]
            values[name] = x
        return x


def build(
    architecture: str | Architecture | Network,
    /,
    input: tuple[int, ...] | None = None,
    classes: int | None = None,
    **bindings: int | bool,
) -> NetworkModule:
    """The torch module of a text, a name in the zoo, an architecture or a network, freshly initialised.

    input: (channels, *size), by default what the text says of INPUT, or else (3, 32, 32). classes: outputs of a bare
        last FC, by default 10; raises SettingError where the last layer says another number.
    bindings: values for the names in a text: numbers for counts, True or False for what is optional.
    Raises TextError, SettingError or ShapeError for what cannot be read or does not fit together.

    >>> model = build("INPUT[8x8x1] - CONV[4] - RELU - POOL - FC - SOFTMAX")
    >>> model(torch.zeros(2, 1, 8, 8)).shape, [name for name, _ in model.named_parameters()]
    (torch.Size([2, 10]), ['conv1.weight', 'conv1.bias', 'fc1.weight', 'fc1.bias'])
    """
    network = _network(architecture, input, classes, bindings)
    size = f"{network.parameters:,} parameters"
    large = ShapeError("a network", got=size, expected="one that fits into memory", fix="Use fewer of them.")
    if network.parameters > LARGEST:
        raise large
    try:
        return NetworkModule(network)
    except (RuntimeError, MemoryError) as error:
        if no_memory(error):
            raise large from error
        raise


def no_memory(error: Exception) -> bool:
    """Whether Python or torch says that the memory is not there."""
    return isinstance(error, MemoryError) or any(word in str(error) for word in ("memory", "alloc", "overflow"))


def _network(
    architecture: str | Architecture | Network,
    input: tuple[int, ...] | None,
    classes: int | None,
    bindings: dict[str, int | bool],
) -> Network:
    volume = None if input is None else _volume(input)
    wanted = None if classes is None else positive("classes", classes)
    if isinstance(architecture, Network):
        if bindings:
            raise SettingError(
                "bindings", got=", ".join(bindings), expected="none with a network", fix="Give the text."
            )
        network = architecture if volume is None else architecture.on(volume)
    else:
        found = architecture if isinstance(architecture, Architecture) else parse(architecture)
        found = found.bind(**bindings)
        volume = volume or found.input or Volume(*DEFAULT_INPUT)
        network = found.network(volume, wanted or DEFAULT_CLASSES)
    if wanted is not None and network.output.channels != wanted:
        last = f"{network.output.channels}, which {network.without_softmax().nodes[-1].name} gives"
        raise SettingError(
            "classes", got=wanted, expected=last, fix="Write a bare FC at the end, or leave classes out."
        )
    return network


def _volume(input: Any) -> Volume:
    given = plain(input)
    if not isinstance(given, list) or not given:
        raise SettingError("input", got=repr(input), expected="(channels, *size), as in (3, 32, 32)")
    channels, *size = (positive("input", value) for value in given)
    return Volume(channels, tuple(size))
