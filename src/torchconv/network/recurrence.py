"""Recurrence: nodes that stand in a network several times and share their weights, as many passes as one likes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from ..description.axis import positive
from ..errors import SettingError, ShapeError
from ..receptive.access import AccessPattern, Silent
from .base import Elementwise, Locality, ModuleSpec, Unlearned, Volume
from .graph import Growing, Network, Node, Recurrence
from .operations import Input


@dataclass(frozen=True)
class Again(Elementwise):
    """Where a pass begins: what came in at first, then what the pass before gave."""

    word: ClassVar[str] = "recur"
    gives_scores = True

    def torch_module(self, *volumes: Volume) -> ModuleSpec:
        return ModuleSpec.of("torch.nn.Identity")


@dataclass(frozen=True)
class Zeros(Unlearned):
    """So many channels of zeros, of the size of what is read.

    >>> str(Zeros(5).output(Volume(3, (8, 9))))
    '8x9x5'
    """

    channels: int
    word: ClassVar[str] = "zeros"
    locality: ClassVar[Locality] = Locality.POINTWISE

    def __post_init__(self) -> None:
        positive("channels of zeros", self.channels)

    def output(self, volume: Volume) -> Volume:
        return Volume(self.channels, volume.size)

    def access(self, *volumes: Volume) -> AccessPattern:
        return Silent(self.channels)

    def torch_module(self, *volumes: Volume) -> ModuleSpec:
        return ModuleSpec.of("torchconv.language.modules.ZeroMaps", self.channels)


def repeat(growing: Growing, recurrence: Recurrence) -> None:
    """Add the passes after the first one, which is there already; the volumes have to fit as they go in again.

    Raises ShapeError naming the layer that does not fit.
    """
    names = list(growing.rows)
    first = [growing.rows[name].node for name in names[names.index(recurrence.start) + 1 :]]
    begins, ends = recurrence.start, growing.latest[recurrence.end]
    came, goes = growing.rows[begins].volume, growing.rows[ends].volume
    if came.channels != goes.channels:
        fix = "Begin with RECUR[n=3, zeros](...), or with a CONV before it."
        expected = f"as many channels as go in, {came.channels}, to go in again"
        raise ShapeError(f"what comes out of {begins}", got=f"a volume {goes}", expected=expected, fix=fix)
    for _ in range(1, recurrence.passes):
        now = {begins: growing.add(Again(), [ends], recurrence.start)}
        for node in first:
            inputs = [now.get(name, name) for name in node.inputs]
            now[node.name] = growing.add(node.operation, inputs, node.shares or node.name)
        ends = growing.latest[recurrence.end]


def with_passes(network: Network, passes: int) -> Network:
    """The same network with another number of passes in all its recurrences.

    Raises SettingError for a network without recurrence, or a number that is none, ShapeError where it does not fit.
    """
    count = positive("passes", passes)
    if not network.recurrences:
        raise SettingError("passes", got=passes, expected="none: the network has no RECUR", fix="Leave them out.")
    first, *others = first_pass(network)
    assert isinstance(first.operation, Input)
    growing = Growing(first.operation)
    for node in others:
        growing.add(node.operation, [growing.latest[name] for name in node.inputs])
        for recurrence in network.recurrences:  # inner ones first
            if recurrence.end == node.name:
                repeat(growing, replace(recurrence, passes=count))
    return growing.network(tuple(replace(one, passes=count) for one in network.recurrences))


def first_pass(network: Network) -> list[Node]:
    """The nodes that have weights of their own, each reading such nodes only."""
    owners: Mapping[str, str] = {node.name: node.shares or node.name for node in network.nodes}
    own = (node for node in network.nodes if node.shares is None)
    return [replace(node, inputs=tuple(owners[name] for name in node.inputs)) for node in own]
