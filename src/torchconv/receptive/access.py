"""Access patterns: which input elements each output element of an operation depends on.

A pattern says nothing about the numbers, so a max pooling and a convolution with one window are the same here. Every
known operation is one pattern, or several composed; `field.py` follows fields through them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from ..description import shapes
from ..description.axis import Axis
from ..description.connections import Connections
from ..description.resampling import Resampling
from .field import Field, union
from .periodic import Progression


class AccessPattern(ABC):
    """Which elements of its inputs an output depends on; `field` composes that with what the inputs depend on."""

    @abstractmethod
    def field(self, *fields: Field) -> Field:
        """The field of the output, from those of the inputs."""

    def output(self, shape: tuple[int, ...], *fields: Field) -> Field:
        """Of an output of this shape, to which constants may have broadcast it; raises ShapeError for another one."""
        found = self.field(*fields)
        return found if found.shape == shape else union([found], shape)

    def parts(self, *fields: Field) -> tuple[Field, ...]:
        """The fields of what meets at the same places: of the inputs, once they are cropped."""
        return fields


@dataclass(frozen=True)
class Pointwise(AccessPattern):
    """Each output reads the element at its place in every input, broadcast."""

    def field(self, *fields: Field) -> Field:
        return union(fields, np.broadcast_shapes(*(field.shape for field in fields)))


@dataclass(frozen=True)
class SlidingWindows(AccessPattern):
    """Windows along the last axes; with connections also which channels, on the axis before, are read together."""

    axes: tuple[Axis, ...]
    channels: Connections | None = None

    def field(self, *fields: Field) -> Field:
        found, first = fields[0], len(fields[0].shape) - len(self.axes)
        if self.channels is not None:
            found = connected(found, first - 1, self.channels)
        for dim, axis in enumerate(self.axes, first):
            if axis != Axis(1):
                found = found.through(dim, axis)
        return found


@dataclass(frozen=True)
class Resize(AccessPattern):
    """The last axes in other lengths."""

    axes: tuple[Resampling, ...]

    def field(self, *fields: Field) -> Field:
        found, first = fields[0], len(fields[0].shape) - len(self.axes)
        for dim, axis in enumerate(self.axes, first):
            found = found.gathered(dim, axis.table(), Progression.resampled(axis))
        return found


@dataclass(frozen=True)
class Reduce(AccessPattern):
    """One output of all along some axes."""

    dims: tuple[int, ...]
    keep: bool = False

    def field(self, *fields: Field) -> Field:
        return fields[0].reduced(self.dims, self.keep)


@dataclass(frozen=True)
class Mix(AccessPattern):
    """Each output reads all along some axes; of further inputs the element at its place."""

    dims: tuple[int, ...]

    def field(self, *fields: Field) -> Field:
        return union([field.reduced(self.dims, keep=True).expanded(field.shape) for field in fields], fields[0].shape)


@dataclass(frozen=True)
class Everything(AccessPattern):
    """Each output reads all there is."""

    shape: tuple[int, ...]

    def field(self, *fields: Field) -> Field:
        return union([field.reduced(range(len(field.shape))) for field in fields], self.shape)


@dataclass(frozen=True)
class MatrixProduct(AccessPattern):
    """A product of matrices: row i of the first with column j of the second; left: only the first is an input."""

    shape: tuple[int, ...]
    sides: str = "both"  # "left", "right"

    def field(self, *fields: Field) -> Field:
        found = []
        if self.sides != "right":
            vector = len(fields[0].shape) > len(self.shape)  # times a vector: the axis that is summed over goes
            found.append(fields[0].reduced([-1], keep=not vector))
        if self.sides != "left":
            vector = len(fields[-1].shape) > len(self.shape) or len(fields[-1].shape) == 1
            found.append(fields[-1].reduced([-2 if len(fields[-1].shape) > 1 else -1], keep=not vector))
        return union(found, self.shape)


@dataclass(frozen=True)
class Attention(AccessPattern):
    """Each query reads all keys and values of its head (Vaswani et al. 2017, section 3.2.1)."""

    shape: tuple[int, ...]

    def field(self, *fields: Field) -> Field:
        rows = [fields[0].reduced([-1], keep=True)]
        return union([*rows, *(field.reduced([-2, -1], keep=True) for field in fields[1:])], self.shape)


@dataclass(frozen=True)
class Composed(AccessPattern):
    """One way after another."""

    steps: tuple[AccessPattern, ...]

    def field(self, *fields: Field) -> Field:
        for step in self.steps:
            fields = (step.field(*fields),)
        return fields[0]


@dataclass(frozen=True)
class First(AccessPattern):
    """The first input, in a way of its own; of the others nothing but their size counts."""

    way: AccessPattern

    def field(self, *fields: Field) -> Field:
        return self.way.field(fields[0])

    def parts(self, *fields: Field) -> tuple[Field, ...]:
        return fields[:1]


@dataclass(frozen=True)
class Silent(AccessPattern):
    """So many channels that read nothing, at the places of the input."""

    channels: int

    def field(self, *fields: Field) -> Field:
        read = fields[0]
        shape = (*read.shape[:1], self.channels, *read.shape[2:])
        marks = (np.full((1,) * len(shape) + array.shape[-1:], read.nothing, array.dtype) for array in read.reads)
        ways = (way and replace(way, progression=way.progression.silent) for way in read.aligned)
        return Field(shape, read.size, tuple(marks), tuple(ways))


@dataclass(frozen=True)
class Cropped(AccessPattern):
    """Inputs cut at the (low, high) ends of their last axes, then read in another way."""

    cuts: tuple[tuple[tuple[int, int], ...], ...]
    then: AccessPattern

    def field(self, *fields: Field) -> Field:
        return self.then.field(*self.parts(*fields))

    def parts(self, *fields: Field) -> tuple[Field, ...]:
        return tuple(
            SlidingWindows(tuple(Axis(1, padding=(-low, -high)) for low, high in cut)).field(field)
            for field, cut in zip(fields, self.cuts, strict=True)
        )


def connected(field: Field, dim: int, channels: Connections) -> Field:
    """What channels read that read those a table, or groups, give them."""
    shape = (*field.shape[:dim], channels.out_channels, *field.shape[dim + 1 :])
    if all(array.shape[dim] == 1 for array in field.reads):
        return replace(field, shape=shape)
    if channels.rows is None and channels.groups == 1:
        return replace(field.reduced([dim], keep=True), shape=shape)
    rows = [list(channels.inputs_of(output)) for output in range(channels.out_channels)]
    width = max(map(len, rows))
    table = np.array([row + [-1] * (width - len(row)) for row in rows], dtype=np.int64)
    return replace(field.gathered(dim, table), aligned=field.aligned)


@dataclass(frozen=True)
class Expand(AccessPattern):
    """Broadcast to a shape."""

    shape: tuple[int, ...]

    def field(self, *fields: Field) -> Field:
        return union(fields, self.shape)


@dataclass(frozen=True)
class Slice(AccessPattern):
    """Every step-th element of an axis, or padding and cutting: a window of one tap."""

    dim: int
    axis: Axis

    def field(self, *fields: Field) -> Field:
        return fields[0].through(self.dim % len(fields[0].shape), self.axis)


@dataclass(frozen=True)
class Gather(AccessPattern):
    """Units of an axis by a table, one row for each output, -1 for none."""

    dim: int
    table: tuple[tuple[int, ...], ...]

    def field(self, *fields: Field) -> Field:
        return fields[0].gathered(self.dim % len(fields[0].shape), np.array(self.table, dtype=np.int64))


@dataclass(frozen=True)
class Unfold(AccessPattern):
    """Windows of an axis, their taps on a new last axis."""

    dim: int
    axis: Axis

    def field(self, *fields: Field) -> Field:
        dim = self.dim % len(fields[0].shape)
        return fields[0].unfolded(dim, shapes.sources(self.axis, fields[0].shape[dim]))


@dataclass(frozen=True)
class Reshape(AccessPattern):
    """The same elements in the same order, in another shape."""

    shape: tuple[int, ...]

    def field(self, *fields: Field) -> Field:
        return fields[0].reshaped(self.shape)


@dataclass(frozen=True)
class Permute(AccessPattern):
    """The axes in another order."""

    order: tuple[int, ...]

    def field(self, *fields: Field) -> Field:
        return fields[0].permuted(self.order)


@dataclass(frozen=True)
class Join(AccessPattern):
    """One input after another along an axis; an axis is made for them where `stack`."""

    dim: int
    stack: bool = False

    def field(self, *fields: Field) -> Field:
        dim = self.dim % (len(fields[0].shape) + self.stack)
        if self.stack:
            fields = tuple(one.reshaped((*one.shape[:dim], 1, *one.shape[dim:])) for one in fields)
        return fields[0].joined(fields[1:], dim)


@dataclass(frozen=True)
class Flatten(AccessPattern):
    """The axes from one on made one."""

    start: int

    def field(self, *fields: Field) -> Field:
        shape = fields[0].shape
        return fields[0].reshaped((*shape[: self.start], prod(shape[self.start :])))


@dataclass(frozen=True)
class Beside(AccessPattern):
    """One input read in several ways, whose outputs stand one after another along an axis."""

    ways: tuple[AccessPattern, ...]
    dim: int

    def field(self, *fields: Field) -> Field:
        return Join(self.dim).field(*(way.field(*fields) for way in self.ways))


@dataclass(frozen=True)
class Shuffle(AccessPattern):
    """Channels to places, `factor` of them along each of the last axes (Shi et al. 2016, section 3.2)."""

    factor: int
    rank: int = 2

    def field(self, *fields: Field) -> Field:
        found, r, n = fields[0], self.factor, self.rank
        *front, channels = found.shape[:-n]
        size, first = found.shape[-n:], len(front) + 1
        split = found.reshaped((*front, channels // r**n, *[r] * n, *size))
        turns = [dim for axis in range(first, first + n) for dim in (axis + n, axis)]  # a place, then those in it
        moved = split.permuted([*range(first), *turns])
        for dim, length in enumerate(size, first):
            way = Progression.resampled(Resampling(length, length * r))
            found = replace(found, aligned=found.moved(dim, lambda known, way=way: known.after(way)))
        shape = (*front, channels // r**n, *(length * r for length in size))
        return replace(moved.reshaped(shape), aligned=found.aligned)


@dataclass(frozen=True)
class Unshuffle(AccessPattern):
    """Places to channels: the inverse of `Shuffle`."""

    factor: int

    def field(self, *fields: Field) -> Field:
        *front, channels, height, width = fields[0].shape
        r, n = self.factor, len(front)
        split = fields[0].reshaped((*front, channels, height // r, r, width // r, r))
        moved = split.permuted([*range(n), n, n + 2, n + 4, n + 1, n + 3])
        found = moved.reshaped((*front, channels * r * r, height // r, width // r))
        blocks = fields[0]
        for dim in (n + 1, n + 2):
            blocks = replace(blocks, aligned=blocks.moved(dim, lambda known: known.through(Axis(r, stride=r), 0)))
        return replace(found, aligned=blocks.aligned)


@dataclass(frozen=True)
class Each(AccessPattern):
    """Every input in a way of its own, all at the same places."""

    ways: tuple[AccessPattern, ...]

    def field(self, *fields: Field) -> Field:
        found = [way.field(field) for way, field in zip(self.ways, fields, strict=True)]
        return union(found, np.broadcast_shapes(*(field.shape for field in found)))


@dataclass(frozen=True)
class Contraction(AccessPattern):
    """A sum of products by letters: `own` for the axes of each input, `result` for those of the output, of a shape."""

    own: tuple[str, ...]
    result: str
    shape: tuple[int, ...]

    def field(self, *fields: Field) -> Field:
        found = []
        for letters, field in zip(self.own, fields, strict=True):
            gone = [at for at, letter in enumerate(letters) if letter not in self.result]
            left = [letter for letter in letters if letter in self.result]
            part = field.reduced(gone) if gone else field
            part = part.permuted([left.index(letter) for letter in self.result if letter in left])
            lengths = iter(part.shape)
            found.append(part.reshaped([next(lengths) if letter in left else 1 for letter in self.result]))
        shape = np.broadcast_shapes(*(field.shape for field in found))
        return union(found, [max(n, m) if m == 1 else m for n, m in zip(self.shape, shape, strict=True)])
