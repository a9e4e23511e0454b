"""Receptive fields of a whole network: one pass from the input, or from any node, to what follows from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from ..description.interval import Interval
from ..errors import ShapeError
from ..receptive.access import AccessPattern, Everything
from ..receptive.field import Field
from .graph import Network, Node
from .operations import Volume


@dataclass(frozen=True)
class NodeField:
    """What the elements of a node's output read, and remarks on inputs that do not read around the same places."""

    node: Node
    field: Field
    notes: tuple[str, ...] = ()


def propagate(
    network: Network, start: str | None = None, goal: str | None = None, flags: bool | Sequence[Interval] = False
) -> Iterator[NodeField]:
    """What each node reads of the output of `start`, by default the input; nodes that read nothing of it are left out.

    goal: only what that node needs. flags: as for `Field.of_input`. Fields are let go when nothing more reads them.
    """
    volumes = {row.node.name: row.volume for row in network.rows}
    start = start or network.nodes[0].name
    wanted = _needed(network, goal)
    last = {name: node.name for node in network.nodes if node.name in wanted for name in node.inputs}
    known: dict[str, Field] = {}
    for node in network.nodes:
        notes: tuple[str, ...] = ()
        if node.name == start:
            shape = shape_of(volumes[start])
            found = Field.of_input(shape, field_axes(network, start), flags)
        elif node.name in wanted and any(name in known for name in node.inputs):
            way = node.operation.access(*(volumes[name] for name in node.inputs))
            some = next(known[name] for name in node.inputs if name in known)
            read = [known.get(name) or nothing(shape_of(volumes[name]), some) for name in node.inputs]
            found, notes = _read(node, way, read, shape_of(volumes[node.name]))
        else:
            continue
        known[node.name] = found
        yield NodeField(node, found, notes)
        for name in node.inputs:
            if last.get(name) == node.name:
                known.pop(name, None)


def steps(network: Network, names: Sequence[str]) -> dict[str, tuple[Fraction | None, ...]]:
    """How many samples of the input the outputs of nodes are apart along each axis; None where they move along none.

    >>> from .graph import chain
    >>> from .operations import Input, Upsample
    >>> steps(chain([Input(Volume(1, (8,))), Upsample((2,))]), ["upsample1"])
    {'upsample1': (Fraction(1, 2),)}
    """
    unknown = dict.fromkeys(names, (None,) * field_axes(network))
    found = {one.node.name: one.field.aligned for one in propagate(network) if one.node.name in unknown}
    return unknown | {name: tuple(way and way.progression.stride for way in ways) for name, ways in found.items()}


def field_axes(network: Network, start: str | None = None) -> int:
    """How many axes fields have: all after batch and channels; of raw sound, (batch, samples), the samples."""
    first = next(row for row in network.rows if start in (None, row.node.name))
    rank = len(shape_of(first.volume))
    return 1 if rank == 2 and any(node.operation.axes for node in network.nodes) else max(rank - 2, 0)


def _read(
    node: Node, way: AccessPattern, read: Sequence[Field], shape: tuple[int, ...]
) -> tuple[Field, tuple[str, ...]]:
    """The field of a node's output, of this shape, and remarks; constants of the model may have broadcast it.

    Where the access pattern and the shape do not agree, each element is taken to read everything, with a remark.
    """
    try:
        found = way.output(shape, *read)
    except (ShapeError, ValueError, IndexError):  # the last two are NumPy's
        return Everything(shape).field(*read), (f"{node.name}: which elements it reads is not known: taken for all",)
    return found, tuple(_misaligned(node, way.parts(*read))) if len(read) > 1 else ()


def shape_of(volume: Volume) -> tuple[int, ...]:
    """The shape of a volume as a tensor."""
    return getattr(volume, "shape", ()) or (1, volume.channels, *volume.size)


def nothing(shape: tuple[int, ...], like: Field) -> Field:
    """Of a tensor that reads nothing of the input that another one reads."""
    reads = tuple(array[(slice(0, 1),) * (array.ndim - 1)] for array in like.reads)
    empty = tuple((array != array) if array.dtype == bool else array * 0 + like.nothing for array in reads)
    arrays = tuple(array.reshape((1,) * len(shape) + array.shape[-1:]) for array in empty)
    return Field(shape, like.size, arrays, (None,) * len(like.size))


def _misaligned(node: Node, read: Sequence[Field]) -> Iterator[str]:
    """Which inputs of a node do not read around the same places, and by how much."""
    ways = {name: field.aligned for name, field in zip(node.inputs, read, strict=False)}
    first, *others = ways
    for other in others:
        for axis, (one, two) in enumerate(zip(ways[first], ways[other], strict=True)):
            if one is None or two is None or not (one.progression.size and two.progression.size):
                continue
            a, b = one.progression, two.progression
            if a.stride != b.stride:
                strides = f"{_number(a.stride)} and {_number(b.stride)}"
                yield f"{node.name}: {first} and {other} have strides {strides} on axis {axis}: they drift apart"
            elif a.centre != b.centre:
                apart = _number(abs(a.centre - b.centre))
                yield f"{node.name}: the centres of {first} and {other} are {apart} samples apart on axis {axis}"


def _needed(network: Network, goal: str | None) -> set[str]:
    if goal is None:
        return {node.name for node in network.nodes}
    needed = {goal}
    for node in reversed(network.nodes):
        if node.name in needed:
            needed.update(node.inputs)
    return needed


def _number(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{float(value):g}"
