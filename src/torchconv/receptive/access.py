"""What the outputs of an operation read of its inputs: a few ways, of which every known operation is one or several.

A way says nothing about the numbers, only about the places; so a max pooling and a convolution with one window are the
same here. Together with `field.py` this is all that receptive fields, and the boxes of single units, are made of.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np

from ..description.axis import Axis
from ..description.connections import Connections
from ..description.resampling import Resampling
from .field import Field, union


class Reading(ABC):
    """One way of reading tensors; `field` says what the output reads if the inputs read so."""

    @abstractmethod
    def field(self, *fields: Field) -> Field:
        """Of the output."""

    def parts(self, *fields: Field) -> tuple[Field, ...]:
        """What of the inputs meets at the same places."""
        return fields


@dataclass(frozen=True)
class Same(Reading):
    """Each output reads the unit at its place in every input, broadcast."""

    def field(self, *fields: Field) -> Field:
        return union(fields, np.broadcast_shapes(*(field.shape for field in fields)))


@dataclass(frozen=True)
class Windows(Reading):
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
class Resize(Reading):
    """The last axes in other lengths."""

    axes: tuple[Resampling, ...]

    def field(self, *fields: Field) -> Field:
        found, first = fields[0], len(fields[0].shape) - len(self.axes)
        for dim, axis in enumerate(self.axes, first):
            found = found.gathered(dim, axis.table(), axis.progression())
        return found


@dataclass(frozen=True)
class Reduce(Reading):
    """One output of all along some axes."""

    dims: tuple[int, ...]
    keep: bool = False

    def field(self, *fields: Field) -> Field:
        return fields[0].reduced(self.dims, self.keep)


@dataclass(frozen=True)
class Mix(Reading):
    """Each output reads all along some axes; of further inputs the unit at its place."""

    dims: tuple[int, ...]

    def field(self, *fields: Field) -> Field:
        return union([field.mixed(self.dims) for field in fields], fields[0].shape)


@dataclass(frozen=True)
class Everything(Reading):
    """Each output reads all there is."""

    shape: tuple[int, ...]

    def field(self, *fields: Field) -> Field:
        whole = (field.reduced(range(len(field.shape))) for field in fields)
        return union(list(whole), self.shape)


@dataclass(frozen=True)
class Product(Reading):
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
class Attention(Reading):
    """Each query reads all keys and values of its head (Vaswani et al. 2017, section 3.2.1)."""

    shape: tuple[int, ...]

    def field(self, *fields: Field) -> Field:
        rows = [fields[0].reduced([-1], keep=True)]
        return union([*rows, *(field.reduced([-2, -1], keep=True) for field in fields[1:])], self.shape)


@dataclass(frozen=True)
class Steps(Reading):
    """One way after another."""

    steps: tuple[Reading, ...]

    def field(self, *fields: Field) -> Field:
        for step in self.steps:
            fields = (step.field(*fields),)
        return fields[0]


@dataclass(frozen=True)
class Cut(Reading):
    """Inputs cut at the (low, high) ends of their last axes, then read in another way."""

    cuts: tuple[tuple[tuple[int, int], ...], ...]
    then: Reading

    def field(self, *fields: Field) -> Field:
        return self.then.field(*self.parts(*fields))

    def parts(self, *fields: Field) -> tuple[Field, ...]:
        return tuple(
            Windows(tuple(Axis(1, padding=(-low, -high)) for low, high in cut)).field(field)
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
    return replace(field.gathered(dim, table), trends=field.trends)
