"""From a network to its torch module, freshly initialised; and the few layers that neither torch nor `nn` has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pkgutil import resolve_name
from typing import Any

import torch
from torch import Tensor

from ..description.axis import LARGEST, plain, positive
from ..errors import SettingError, ShapeError
from ..network.base import ModuleSpec, Volume
from ..network.graph import Network
from ..network.operations import Convolve, FullyConnected, Input
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
    """The "sum" of several tensors, or the "concat" of their channels, samples at their (low, high) ends cut off."""

    def __init__(self, word: str, cuts: Sequence[Sequence[tuple[int, int]]]) -> None:
        super().__init__()
        self._word, self._cuts = word, cuts

    def forward(self, *parts: Tensor) -> Tensor:
        parts = tuple(_cut(part, cut) for part, cut in zip(parts, self._cuts, strict=True))
        return torch.cat(parts, 1) if self._word == "concat" else sum(parts[1:], parts[0])

    def extra_repr(self) -> str:
        return self._word


def _cut(x: Tensor, cut: Sequence[tuple[int, int]]) -> Tensor:
    for axis, (low, high) in enumerate(cut, 2):
        if low or high:
            x = x.narrow(axis, low, x.shape[axis] - low - high)
    return x


def made(spec: ModuleSpec) -> torch.nn.Module:
    """The module that a description of one stands for."""
    return resolve_name(spec.path)(*spec.arguments, **dict(spec.settings))


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
                read = [volumes[name] for name in node.inputs]
                self.add_module(node.name, made(node.operation.torch_module(*read)))
                done = tuple(name for name in dict.fromkeys(node.inputs) if last[name] == node.name)
                self._steps.append((node.name, node.inputs, done))
        self._prepare()
        self._scores = len(network.without_softmax().nodes) - 1

    def _prepare(self) -> None:
        """Weights right before a rectifier sqrt(6) times as large as torch.nn's (He et al. 2015, section 2.2).

        Without it, signals in deep networks without NORM fade; tanh, NORM and scores are left as torch.nn has them.
        """
        weighted = {node.name for node in self.network.nodes if isinstance(node.operation, Convolve | FullyConnected)}
        for node in self.network.nodes:
            if node.operation.word in RECTIFIERS and node.inputs[0] in weighted:
                with torch.no_grad():
                    self.get_submodule(node.inputs[0]).weight.mul_(math.sqrt(6))  # pyright: ignore

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
            got, expected = ", ".join(bindings), "none with a network"
            raise SettingError("bindings", got=got, expected=expected, fix="Give the text.")
        network = architecture if volume is None else architecture.on(volume)
    else:
        found = architecture if isinstance(architecture, Architecture) else parse(architecture)
        found = found.bind(**bindings)
        volume = volume or found.input or Volume(*DEFAULT_INPUT)
        network = found.network(volume, wanted or DEFAULT_CLASSES)
    if wanted is not None and network.output.channels != wanted:
        last = f"{network.output.channels}, which {network.without_softmax().nodes[-1].name} gives"
        fix = "Write a bare FC at the end, or leave classes out."
        raise SettingError("classes", got=wanted, expected=last, fix=fix)
    return network


def _volume(input: Any) -> Volume:
    given = plain(input)
    if not isinstance(given, list) or not given:
        raise SettingError("input", got=repr(input), expected="(channels, *size), as in (3, 32, 32)")
    channels, *size = (positive("input", value) for value in given)
    return Volume(channels, tuple(size))
