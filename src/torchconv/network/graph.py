"""A network: an immutable graph of operations, from which everything about an architecture is computed. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ..errors import SettingError, ShapeError, TorchconvError
from .operations import Input, Operation, Softmax, Volume


@dataclass(frozen=True)
class Node:
    """One operation under a name, and the nodes it reads; shares: the node whose weights it uses, if not its own."""

    name: str
    operation: Operation
    inputs: tuple[str, ...] = ()
    shares: str | None = None


@dataclass(frozen=True)
class Recurrence:
    """Nodes from `start` to `end` that come so often after one another; further passes share the weights of these."""

    start: str
    end: str
    passes: int


@dataclass(frozen=True)
class NodeRow:
    """What there is to know about one node."""

    node: Node
    volume: Volume
    parameters: int
    macs: int


@dataclass(frozen=True)
class Network:
    """Nodes in an order in which each comes after what it reads; the last one is the output.

    recurrences: which of them are passes of the same, inner ones first.
    Raises SettingError for a graph that is none, ShapeError naming the layer whose input does not fit.

    >>> from torchconv.network.operations import FullyConnected
    >>> network = chain([Input(Volume(1, (8, 8))), FullyConnected(10), Softmax()])
    >>> str(network.output), network.parameters, [node.name for node in network.nodes]
    ('10', 650, ['input', 'fc1', 'softmax'])
    """

    nodes: tuple[Node, ...]
    recurrences: tuple[Recurrence, ...] = ()

    def __post_init__(self) -> None:
        if not self.nodes or not isinstance(self.nodes[0].operation, Input):
            raise SettingError("a network", got="no INPUT at its start", expected="an input volume first")
        known: set[str] = set()
        for node in self.nodes:
            missing = [name for name in node.inputs if name not in known]
            if missing or node.name in known:
                got = f"unknown inputs {missing}" if missing else "its name twice"
                expected = "names of their own, and inputs among the nodes before"
                raise SettingError(f"node {node.name!r}", got=got, expected=expected)
            reads = node.operation.reads
            if len(node.inputs) < 2 if reads is None else len(node.inputs) != reads:
                expected = "two or more" if reads is None else reads
                raise SettingError(f"node {node.name!r}", got=f"{len(node.inputs)} inputs", expected=expected)
            if node.shares is not None and node.shares not in known:
                got = f"the weights of {node.shares}"
                raise SettingError(f"node {node.name!r}", got=got, expected="those of a node before")
            known.add(node.name)

    @cached_property
    def rows(self) -> tuple[NodeRow, ...]:
        """Volume, parameters and multiply-accumulates of every node; weights that are shared are counted once."""
        rows: dict[str, NodeRow] = {}
        for node in self.nodes:
            rows[node.name] = row_of(node, rows)
        return tuple(rows.values())

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

    def on(self, volume: Volume) -> Network:
        """The same operations on an input of another volume; its rows raise ShapeError where a layer does not fit.

        >>> str(chain([Input(Volume(1, (8, 8))), Softmax()]).on(Volume(1, (9, 9))).output)
        '9x9x1'
        """
        return replace(self, nodes=(Node(self.nodes[0].name, Input(volume)), *self.nodes[1:]))

    def with_weights_on(self, volume: Volume) -> Network:
        """The same on an input of another volume, if the weights of every layer are the same there.

        A layer takes another volume if the module that it would be there is the one that it is. Only fully connected
        layers on places, and weights that are not shared over places, are for one size.
        Raises ShapeError naming the layer and both sizes.

        >>> from torchconv.network.operations import FullyConnected
        >>> chain([Input(Volume(1, (8, 8))), FullyConnected(2)]).with_weights_on(Volume(1, (9, 9)))
        Traceback (most recent call last):
        torchconv.errors.ShapeError: an input 9x9x1, at layer fc1: got 9x9x1, expected 8x8x1, as on an input 8x8x1: \
its weights are for that size. Build the network for this input.
        """
        if volume == self.input:
            return self
        changed = self.on(volume)
        own, other = ({row.node.name: row.volume for row in network.rows} for network in (self, changed))
        for node in self.nodes[1:]:
            was, now = ([volumes[name] for name in node.inputs] for volumes in (own, other))
            if was != now and node.operation.torch_module(*was) != node.operation.torch_module(*now):
                got, before = (", ".join(map(str, read)) for read in (now, was))
                expected = f"{before}, as on an input {self.input}: its weights are for that size"
                fix = "Build the network for this input."
                raise ShapeError(f"an input {volume}, at layer {node.name}", got=got, expected=expected, fix=fix)
        return changed

    def without_softmax(self) -> Network:
        """The same network up to its scores, for losses that take the logarithm themselves."""
        return replace(self, nodes=self.nodes[:-1]) if isinstance(self.nodes[-1].operation, Softmax) else self


def row_of(node: Node, rows: Mapping[str, NodeRow]) -> NodeRow:
    """What there is to know about a node, from the rows before it; raises ShapeError naming it and its volumes."""
    read = [rows[name].volume for name in node.inputs]
    try:
        volume = node.operation.output(*read)
        parameters = node.operation.parameters(*read) if node.shares is None else 0
        found = NodeRow(node, volume, parameters, node.operation.macs(*read))
    except TorchconvError as error:
        shown = f"{'a volume' if len(read) == 1 else 'volumes'} {', '.join(map(str, read))}"
        raise ShapeError(f"layer {node.name} on {shown}: {error}") from error
    if node.shares is not None:
        own = [rows[name].volume for name in rows[node.shares].node.inputs]
        if node.operation.torch_module(*read) != node.operation.torch_module(*own):
            got, expected = (", ".join(map(str, volumes)) for volumes in (read, own))
            raise ShapeError(f"layer {node.name}, with the weights of {node.shares}", got=got, expected=expected)
    return found


class Growing:
    """A network that is being written: nodes are added one after another, numbered by kind; `rows` tells of each.

    >>> from torchconv.network.operations import FullyConnected
    >>> growing = Growing(Input(Volume(1, (8, 8))))
    >>> growing.add(FullyConnected(10), ["input"]), str(growing.rows["fc1"].volume)
    ('fc1', '10')
    """

    def __init__(self, start: Input) -> None:
        self._counts: Counter[str] = Counter()
        self.rows: dict[str, NodeRow] = {}
        self.latest: dict[str, str] = {}  # of each node with weights of its own the last one that shares them
        self.add(start, ())

    def add(self, operation: Operation, inputs: Sequence[str], shares: str | None = None) -> str:
        """The name of a new node; shares: whose weights it uses. Raises ShapeError where its inputs do not fit."""
        word = operation.word if shares is None else shares
        self._counts[word] += 1
        name = f"{word}{self._counts[word]}" if shares is None else f"{word}_{self._counts[word] + 1}"
        if shares is None and isinstance(operation, Input | Softmax) and self._counts[word] == 1:
            name = word
        node = Node(name, operation, tuple(inputs), shares)
        self.rows[name] = row_of(node, self.rows)
        self.latest[shares or name] = name
        return name

    def network(self, recurrences: tuple[Recurrence, ...] = ()) -> Network:
        """All that was added."""
        return Network(tuple(row.node for row in self.rows.values()), recurrences)

    def copy(self) -> Growing:
        """Another one that goes on from here."""
        other = Growing.__new__(Growing)
        other._counts, other.rows, other.latest = self._counts.copy(), self.rows.copy(), self.latest.copy()
        return other


def chain(operations: Sequence[Operation]) -> Network:
    """The network in which each operation reads the one before; layers are numbered by kind: conv1, relu1, conv2.

    Raises SettingError without an INPUT at its start, ShapeError for a layer that does not fit.
    """
    if not operations or not isinstance(operations[0], Input):
        raise SettingError("a network", got="no INPUT at its start", expected="an input volume first")
    growing = Growing(operations[0])
    name = operations[0].word
    for operation in operations[1:]:
        name = growing.add(operation, [name])
    return growing.network()
