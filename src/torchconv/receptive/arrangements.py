"""Ways of reading that only say which unit goes where: views, parts, joining, shuffling. See `readings.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from ..description import shapes
from ..description.axis import Axis
from ..description.resampling import Resampling
from .access import Reading, Reduce, Steps
from .field import Field, union


@dataclass(frozen=True)
class Expand(Reading):
    """Broadcast to a shape."""

    shape: tuple[int, ...]

    def field(self, *fields: Field) -> Field:
        return union(fields, self.shape)


@dataclass(frozen=True)
class Slice(Reading):
    """Every step-th unit of an axis, or padding and cutting: a window of one tap."""

    dim: int
    axis: Axis

    def field(self, *fields: Field) -> Field:
        return fields[0].through(self.dim % len(fields[0].shape), self.axis)


@dataclass(frozen=True)
class Pick(Reading):
    """Units of an axis by a table, one row for each output, -1 for none."""

    dim: int
    table: tuple[tuple[int, ...], ...]

    def field(self, *fields: Field) -> Field:
        return fields[0].gathered(self.dim % len(fields[0].shape), np.array(self.table, dtype=np.int64))


@dataclass(frozen=True)
class Unfold(Reading):
    """Windows of an axis, their taps on a new last axis."""

    dim: int
    axis: Axis

    def field(self, *fields: Field) -> Field:
        dim = self.dim % len(fields[0].shape)
        return fields[0].unfolded(dim, shapes.sources(self.axis, fields[0].shape[dim]))


@dataclass(frozen=True)
class Reshape(Reading):
    """The same units in the same order, in another shape."""

    shape: tuple[int, ...]

    def field(self, *fields: Field) -> Field:
        return fields[0].reshaped(self.shape)


@dataclass(frozen=True)
class Permute(Reading):
    """The axes in another order."""

    order: tuple[int, ...]

    def field(self, *fields: Field) -> Field:
        return fields[0].permuted(self.order)


@dataclass(frozen=True)
class Join(Reading):
    """One input after another along an axis; an axis is made for them where `stack`."""

    dim: int
    stack: bool = False

    def field(self, *fields: Field) -> Field:
        dim = self.dim % (len(fields[0].shape) + self.stack)
        if self.stack:
            fields = tuple(one.reshaped((*one.shape[:dim], 1, *one.shape[dim:])) for one in fields)
        return fields[0].joined(fields[1:], dim)


@dataclass(frozen=True)
class Flatten(Reading):
    """The axes from one on made one."""

    start: int

    def field(self, *fields: Field) -> Field:
        shape = fields[0].shape
        return fields[0].reshaped((*shape[: self.start], prod(shape[self.start :])))


@dataclass(frozen=True)
class Beside(Reading):
    """One input read in several ways, whose outputs stand one after another along an axis."""

    ways: tuple[Reading, ...]
    dim: int

    def field(self, *fields: Field) -> Field:
        return Join(self.dim).field(*(way.field(*fields) for way in self.ways))


@dataclass(frozen=True)
class Shuffle(Reading):
    """Channels to places, `factor` of them along each of the last two axes (Shi et al. 2016, section 3.2)."""

    factor: int

    def field(self, *fields: Field) -> Field:
        *front, channels, height, width = fields[0].shape
        r, n = self.factor, len(front)
        split = fields[0].reshaped((*front, channels // (r * r), r, r, height, width))
        moved = split.permuted([*range(n), n, n + 3, n + 1, n + 4, n + 2])
        found = moved.reshaped((*front, channels // (r * r), height * r, width * r))
        nearest = fields[0]
        for dim, length in ((n + 1, height), (n + 2, width)):
            way = Resampling(length, length * r)
            nearest = replace(nearest, trends=nearest.moved(dim, lambda known, way=way: known.after(way.progression())))
        return replace(found, trends=nearest.trends)


@dataclass(frozen=True)
class Unshuffle(Reading):
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
            trends = blocks.moved(dim, lambda known: known.through(Axis(r, stride=r), 0))
            blocks = replace(blocks, trends=trends)
        return replace(found, trends=blocks.trends)


@dataclass(frozen=True)
class Each(Reading):
    """Every input in a way of its own, all at the same places."""

    ways: tuple[Reading, ...]

    def field(self, *fields: Field) -> Field:
        found = [way.field(field) for way, field in zip(self.ways, fields, strict=True)]
        return union(found, np.broadcast_shapes(*(field.shape for field in found)))


def flattened(shape: Sequence[int], outputs: int) -> Reading:
    """Every output of a fully connected layer reads all of an image."""
    return Steps((Reshape((shape[0], prod(shape[1:]))), Reduce((1,), keep=True), Expand((shape[0], outputs))))


@dataclass(frozen=True)
class Sum(Reading):
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
