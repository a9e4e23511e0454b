"""Where the image lies in a tensor, and blocks of it.

Every axis of a tensor consists of parts, the first changing slowest: an axis of the image, or what is always there in
full, such as channels. Most axes are one part; tokens of an image are one axis of two, rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from torch import Tensor


class Part(NamedTuple):
    """So many places along an axis; tiled: whether some of them can be had without the others."""

    length: int
    tiled: bool = False


Axes = tuple[tuple[Part, ...], ...]  # the parts of each axis of a tensor
Span = tuple[int, int]  # start and stop


class NotLocal(Exception):
    """An operation whose outputs at one place read all places, or that asks which place it is; says why."""


def untiled(shape: Sequence[int]) -> Axes:
    """A tensor that is always there in full."""
    return tuple((Part(length),) for length in shape)


def length_of(axis: tuple[Part, ...]) -> int:
    """Places along an axis."""
    return prod(part.length for part in axis)


def is_tiled(axis: tuple[Part, ...]) -> bool:
    """Whether an axis has anything of the image."""
    return any(part.tiled for part in axis)


def merged(parts: Sequence[Part]) -> tuple[Part, ...]:
    """The parts of one axis; what is there in full goes with the part before it, whose places it makes finer.

    >>> merged([Part(2), Part(3), Part(8, True), Part(1, True), Part(4)])
    (Part(length=6, tiled=False), Part(length=32, tiled=True))
    """
    found: list[Part] = []
    for part in parts:
        if found and not part.tiled:
            found[-1] = Part(found[-1].length * part.length, found[-1].tiled)
        elif part.length > 1:
            found.append(part)
    return tuple(found) or (Part(1),)


@dataclass(frozen=True)
class Block:
    """A block of a tensor: of every part of every axis the places start..stop."""

    axes: Axes
    spans: tuple[tuple[Span, ...], ...]

    @classmethod
    def whole(cls, axes: Axes) -> Block:
        """All of it."""
        return cls(axes, tuple(tuple((0, part.length) for part in axis) for axis in axes))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the block as a tensor."""
        return tuple(prod(stop - start for start, stop in spans) for spans in self.spans)

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the tensor."""
        return self == Block.whole(self.axes)

    def __or__(self, other: Block | None) -> Block:
        """The smallest block that holds both."""
        if other is None or other == self:
            return self
        pairs = zip(self.spans, other.spans, strict=True)
        spans = (tuple((min(a, c), max(b, d)) for (a, b), (c, d) in zip(*pair, strict=True)) for pair in pairs)
        return Block(self.axes, tuple(spans))

    def of(self, tensor: Tensor, have: Block | None = None) -> Tensor:
        """This block, cut from a tensor that is the block `have`, or all of it; a view where that is possible."""
        for dim, (axis, wanted) in enumerate(zip(self.axes, self.spans, strict=True)):
            there = tuple((0, part.length) for part in axis)
            if have is not None and have.axes[dim] == axis:
                there = have.spans[dim]
            if there == wanted:
                continue
            parts = tensor.unflatten(dim, [stop - start for start, stop in there]) if len(axis) > 1 else tensor
            for number, ((start, stop), (first, _)) in enumerate(zip(wanted, there, strict=True), dim):
                parts = parts.narrow(number, start - first, stop - start)
            tensor = parts.flatten(dim, dim + len(axis) - 1) if len(axis) > 1 else parts
        return tensor


class Atom(NamedTuple):
    """What one part of one shape and one part of another have in common: so many places, of which axis in each."""

    length: int
    tiled: bool
    source: tuple[int, int]  # axis and part
    target: int  # axis


def atoms(axes: Axes, shape: Sequence[int]) -> list[Atom]:
    """The parts of a tensor split so far that they make the axes of another shape, in the same order.

    A split keeps the outer part tiled, and takes the inner one in full.
    Raises NotLocal where the axes of the new shape begin in the middle of a part.

    >>> [(one.length, one.tiled, one.target) for one in atoms(((Part(3),), (Part(8, True),)), (3, 2, 4))]
    [(3, False, 0), (2, True, 1), (4, False, 2)]
    """
    places = [(dim, at) for dim, axis in enumerate(axes) for at, part in enumerate(axis) if part.length > 1]
    left = [(axes[dim][at].length, axes[dim][at].tiled, (dim, at)) for dim, at in places]
    found: list[Atom] = []
    left.reverse()
    for target, wanted in enumerate(shape):
        while wanted > 1:
            length, tiled, source = left.pop()
            if wanted % length and length % wanted:
                raise NotLocal("it cuts rows of the image in pieces of other lengths")
            if length > wanted:
                left.append((length // wanted, False, source))
                length = wanted
            found.append(Atom(length, tiled, source, target))
            wanted //= length
    return found
