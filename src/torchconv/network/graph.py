"""A network: an immutable graph of operations, from which everything about an architecture is computed. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..errors import SettingError, ShapeError, TorchconvError
from .operations import Input, Operation, Softmax, Volume


@dataclass(frozen=True)
class Node:
    """One operation under a name, and the nodes it reads."""

    name: str
    operation: Operation
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """What there is to know about one node."""

    node: Node
    volume: Volume
    parameters: int
    macs: int


@dataclass(frozen=True)
class Network:
    """Nodes in an order in which each comes after what it reads; the last one is the output.

    Raises SettingError for a graph that is none, ShapeError naming the layer whose input does not fit.

    >>> from torchconv.network.operations import FullyConnected
    >>> network = chain([Input(Volume(1, (8, 8))), FullyConnected(10), Softmax()])
    >>> str(network.output), network.parameters, [node.name for node in network.nodes]
    ('10', 650, ['input', 'fc1', 'softmax'])
    """

    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        known: set[str] = set()
        for node in self.nodes:
            missing = [name for name in node.inputs if name not in known]
            if missing or node.name in known:
                raise SettingError(
                    f"node {node.name!r}",
                    got=f"unknown inputs {missing}" if missing else "its name twice",
                    expected="names of their own, and inputs among the nodes before",
                )
            known.add(node.name)
        if not self.nodes or not isinstance(self.nodes[0].operation, Input):
            raise SettingError("a network", got="no INPUT at its start", expected="an input volume first")

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """Volume, parameters and multiply-accumulates of every node."""
        return tuple(self._fold())

    @property
    def input(self) -> Volume:
        """The volume that goes in."""
        return self.rows[0].volume

    @property
    def output(self) -> Volume:
        """The volume that comes out."""
        return self.rows[-1].volume

    @property
    def parameters(self) -> int:
        """Number of learned values."""
        return sum(row.parameters for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image, exact."""
        return sum(row.macs for row in self.rows)

    def without_softmax(self) -> Network:
        """The same network up to its scores, for losses that take the logarithm themselves."""
        return Network(self.nodes[:-1]) if isinstance(self.nodes[-1].operation, Softmax) else self

    def _fold(self) -> Iterator[Row]:
        volumes: dict[str, Volume] = {}
        for node in self.nodes:
            read = volumes[node.inputs[0]] if node.inputs else Volume(0)
            try:
                volumes[node.name] = node.operation.output(read)
            except TorchconvError as error:
                raise ShapeError(f"layer {node.name} on a volume {read}: {error}") from error
            yield Row(node, volumes[node.name], node.operation.parameters(read), node.operation.macs(read))


def chain(operations: Sequence[Operation]) -> Network:
    """The network in which each operation reads the one before; layers are numbered by kind: conv1, relu1, conv2."""
    counts: Counter[str] = Counter()
    nodes: list[Node] = []
    for operation in operations:
        counts[operation.word] += 1
        number = (
            "" if isinstance(operation, Input | Softmax) and counts[operation.word] == 1 else counts[operation.word]
        )
        nodes.append(Node(f"{operation.word}{number}", operation, (nodes[-1].name,) if nodes else ()))
    return Network(tuple(nodes))
