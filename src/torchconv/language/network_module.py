"""From a network to its torch module, freshly initialised."""

from __future__ import annotations

import math
from pkgutil import resolve_name
from typing import Any

import torch
from torch import Tensor

from ..compute.tensors import recording
from ..description.axis import LARGEST, plain, positive
from ..errors import SettingError, ShapeError
from ..network.base import ModuleSpec, Volume
from ..network.graph import Network
from ..network.operations import Convolve, FullyConnected, Input
from ..network.recurrence import with_passes
from .architecture import Architecture
from .parser import parse
from .program import Calls, program, run


def made(spec: ModuleSpec) -> torch.nn.Module:
    """The module that a description of one stands for."""
    return resolve_name(spec.path)(*spec.arguments, **dict(spec.settings))


DEFAULT_INPUT, DEFAULT_CLASSES = (3, (32, 32)), 10
MOST_REMEMBERED = 10_000
RECTIFIERS = ("relu", "leakyrelu", "elu", "gelu", "silu")


class NetworkModule(torch.nn.Module):
    """The torch module of a network: (batch, channels, *size) to the output of its last node.

    `network` is what it was built from; its children are the network's layers, under the names of their nodes.
    It takes images of every size that its layers can take: only weights of fully connected layers on places, and those
    that are not shared over places, are for one size. Raises ShapeError for others, naming the layer and both sizes.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self._taken: set[tuple[Any, ...]] = set()  # shapes of images that have been looked at
        self._passes: int | None = None
        volumes = {row.node.name: row.volume for row in network.rows}
        for node in network.nodes:
            if not isinstance(node.operation, Input) and node.shares is None:
                read = [volumes[name] for name in node.inputs]
                self.add_module(node.name, made(node.operation.torch_module(*read)))
        self._prepare()
        self._calls = program(network)
        self._ends = [node.shares or node.name for node in (network.nodes[-1], network.without_softmax().nodes[-1])]

    def _prepare(self) -> None:
        """Weights right before a rectifier sqrt(6) times as large as torch.nn's (He et al. 2015, section 2.2).

        Without it, signals in deep networks without NORM fade; tanh, NORM and scores are left as torch.nn has them, and
        so is what recurs and goes elsewhere in some pass.
        """
        nodes = self.network.nodes
        owners = {node.name: node.shares or node.name for node in nodes}
        readers: dict[str, list[str]] = {name: [] for name in owners.values()}
        for node in nodes:
            for name in node.inputs:
                readers[owners[name]].append(node.operation.word)
        recurrent = {node.shares for node in nodes}
        for node in nodes:
            rectified = [word in RECTIFIERS for word in readers[owners[node.name]]]
            first = node.shares is None and isinstance(node.operation, Convolve | FullyConnected)
            if first and rectified and (all(rectified) if node.name in recurrent else any(rectified)):
                with torch.no_grad():
                    self.get_submodule(node.name).weight.mul_(math.sqrt(6))  # pyright: ignore

    @property
    def passes(self) -> int | None:
        """How often what stands in RECUR is applied; None for a network without one.

        It may be set to any number; `network` and all that is told of it follow.
        """
        return self.network.recurrences[-1].passes if self.network.recurrences else None

    @passes.setter
    def passes(self, number: int) -> None:
        self.network = with_passes(self.network, number)
        self._passes = self.passes
        self._taken.clear()

    def forward(self, x: Tensor, passes: int | None = None) -> Tensor:
        return self._run(x, self._calls, self._ends[0], passes)

    def scores(self, x: Tensor, passes: int | None = None) -> Tensor:
        """Everything before a final SOFTMAX: what cross entropy takes; passes: of RECUR, by default its own number."""
        before = self._calls if self._ends[0] == self._ends[1] else self._calls[:-1]
        return self._run(x, before, self._ends[1], passes)

    def _check(self, x: Tensor, passes: int | None) -> None:
        """Raise ShapeError for images that do not fit; each shape is looked at once."""
        shape = tuple(x.shape[1:])
        if (shape, passes) in self._taken or not all(type(length) is int for length in shape):
            return
        volume = self.network.input
        if len(shape) != 1 + len(volume.size) or shape[0] != volume.channels or not all(shape):
            axes = ", ".join(("height", "width") if len(volume.size) == 2 else ("length",) * len(volume.size))
            expected = f"(batch, {volume.channels}{axes and ', '}{axes})"
            raise ShapeError("input", got=tuple(x.shape), expected=expected)
        network = self.network if passes is None else with_passes(self.network, passes)
        network.with_weights_on(Volume(shape[0], shape[1:]))
        if len(self._taken) > MOST_REMEMBERED:
            self._taken.clear()
        self._taken.add((shape, passes))

    def _run(self, x: Tensor, calls: Calls, end: str, passes: int | None) -> Tensor:
        if not recording():  # where sizes are symbols
            self._check(x, passes)
        values = {self.network.nodes[0].name: x}
        run(calls, values, self.get_submodule, self._passes if passes is None else passes)
        return values[end]


def build(
    architecture: str | Architecture | Network,
    /,
    input: tuple[int, ...] | None = None,
    classes: int | None = None,
    **bindings: int | bool,
) -> NetworkModule:
    """The torch module of a text, a name in the zoo, an architecture or a network, freshly initialised.

    input: (channels, *size), by default what the text says of INPUT, or else (3, 32, 32).
    classes: outputs of the last FC or CONV, whatever it says, and of all that are written CONV[classes]; by default
        what the text says, or else 10. Raises SettingError where the text ends in another layer.
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
        return found.network(volume, wanted, default_classes=DEFAULT_CLASSES)
    if wanted is not None and network.output.channels != wanted:
        last = f"{network.output.channels}, which {network.without_softmax().nodes[-1].name} gives"
        fix = "Give the text, or leave classes out."
        raise SettingError("classes", got=wanted, expected=last, fix=fix)
    return network


def _volume(input: Any) -> Volume:
    given = plain(input)
    if not isinstance(given, list) or not given:
        raise SettingError("input", got=repr(input), expected="(channels, *size), as in (3, 32, 32)")
    channels, *size = (positive("input", value) for value in given)
    return Volume(channels, tuple(size))
