"""Which samples of the input each element of a tensor depends on, followed from one tensor to the next.

For every element and every axis of the input the first and the last sample (or, on demand, each sample) are kept, in
arrays that are 1 long along the axes nothing depends on. Beside them stands which axis of the tensor each axis of the
input is aligned with, and with what stride and offset.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import prod
from typing import Any

import numpy as np

from ..description import shapes
from ..description.axis import Axis
from ..description.interval import Interval
from ..errors import ShapeError
from .periodic import Progression

NOTHING = -(2**40)  # the mark of an element that reads no sample, in arrays of (-first, last)


@dataclass(frozen=True)
class Alignment:
    """The axis of a tensor with which an axis of the input is aligned, and how fields move along it, borders apart."""

    dim: int
    progression: Progression


Alignments = tuple[Alignment | None, ...]  # of each axis of the input; None where fields do not move along one axis


def aligned_alike(fields: Sequence[Field], joined: int | None = None) -> Alignments:
    """The alignments of what reads several tensors; None where they differ in axis or stride.

    joined: the axis along which the tensors stand one after another, which aligns with nothing.
    """
    return tuple(_common(ways, joined) for ways in zip(*(field.aligned for field in fields), strict=True))


def _common(ways: Sequence[Alignment | None], joined: int | None) -> Alignment | None:
    known = [way for way in ways if way is not None]
    dims = {way.dim for way in known}
    if len(known) < len(ways) or len(dims) != 1 or joined in dims:
        return None
    found: Progression | None = known[0].progression
    for way in known[1:]:
        found = found and (found | way.progression)
    return found and Alignment(dims.pop(), found)


def folded(array: np.ndarray) -> np.ndarray:
    """1 long along the axes that nothing depends on."""
    for dim in range(array.ndim - 1):
        if array.shape[dim] > 1:
            first, last = array.take([0], dim), array.take([-1], dim)
            if array.strides[dim] == 0 or ((first == last).all() and (array == first).all()):
                array = first
    return array


def factors(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The smallest runs of old and new axes that hold as many elements; raises ShapeError if all of them do not.

    >>> factors((6, 4), (2, 3, 4))
    [([0], [0, 1]), ([1], [2])]
    """
    if prod(old) != prod(new):
        raise ShapeError("a reshape", got=f"{tuple(old)} to {tuple(new)}", expected="as many elements")
    if not prod(old):
        return [([*range(len(old))], [*range(len(new))])]
    found, one, other = [], 0, 0
    while one < len(old) or other < len(new):
        alone = (one < len(old) and old[one] == 1, other < len(new) and new[other] == 1)
        if alone[0] != alone[1]:  # an axis of one element that comes or goes
            found.append(([one], []) if alone[0] else ([], [other]))
            one, other = one + alone[0], other + alone[1]
            continue
        start, begin = one, other
        one, other = one + 1, other + 1
        while (left := prod(old[start:one])) != (right := prod(new[begin:other])):  # the rests hold as many, so it ends
            one, other = one + (left < right), other + (left > right)
        found.append(([*range(start, one)], [*range(begin, other)]))
    return found


@dataclass(frozen=True)
class Field:
    """What the elements of a tensor of this shape read of each axis of an input of `size` samples.

    reads: one array of marks per axis of the input, (*shape or 1, marks): (-first, last) of the samples read, or
    whether each is.
    """

    shape: tuple[int, ...]
    size: tuple[int, ...]
    reads: tuple[np.ndarray, ...]
    aligned: Alignments

    @classmethod
    def of_input(cls, shape: Sequence[int], ndim: int, flags: bool | Sequence[Interval] = False) -> Field:
        """Of the input itself, whose last `ndim` axes are looked at.

        flags: every sample told apart, not only hulls; with an interval for each axis the samples in it, in front of
        one more flag for those outside.
        """
        shape = tuple(shape)
        size = shape[len(shape) - ndim :]
        windows = [Interval(0, length - 1) for length in size] if isinstance(flags, bool) else flags
        reads = []
        for dim, (length, window) in enumerate(zip(size, windows, strict=True), len(shape) - ndim):
            places = np.arange(length)
            marks = np.stack([-places, places], 1)
            if flags:
                outside = (places < window.first) | (places > window.last)
                flag = np.where(outside, window.size, places - window.first)
                marks = flag[:, None] == np.arange(window.size + outside.any())
            reads.append(marks.reshape([length if at == dim else 1 for at in range(len(shape))] + [-1]))
        aligned = tuple(Alignment(len(shape) - ndim + axis, Progression()) for axis in range(ndim))
        return cls(shape, size, tuple(reads), aligned)

    @property
    def nothing(self) -> Any:
        """The mark of an element that reads nothing."""
        return False if self.reads[0].dtype == bool else NOTHING

    def map(self, change: Callable[[np.ndarray], np.ndarray], shape: Sequence[int], aligned: Alignments) -> Field:
        """With every array changed by a function."""
        return Field(tuple(shape), self.size, tuple(change(array) for array in self.reads), aligned)

    def realigned(self, place: Callable[[int], int | None]) -> Alignments:
        """The alignments once each axis of the tensor has become the one that `place` says, if any."""
        dims = [one and place(one.dim) for one in self.aligned]
        pairs = zip(dims, self.aligned, strict=True)
        return tuple(None if dim is None or one is None else replace(one, dim=dim) for dim, one in pairs)

    def moved(self, dim: int, change: Callable[[Progression], Progression]) -> Alignments:
        """The alignments, those with `dim` changed."""
        return tuple(Alignment(dim, change(one.progression)) if one and one.dim == dim else one for one in self.aligned)

    def through(self, dim: int, axis: Axis) -> Field:
        """What the windows of an axis read that slides along `dim`."""
        length = self.shape[dim]
        low, high = shapes.padding(axis, length)
        laid = shapes.samples(np.arange(-low, shapes.dilated(axis, length) + high), axis, length)
        outputs = shapes.output_size(axis, length)
        run = max((outputs - 1) * axis.stride + 1, 0)
        taps = [slice(start, start + run, axis.stride) for start in range(0, axis.span, axis.dilation)]
        aligned = self.moved(dim, lambda known: known.through(axis, low))
        return self._gathered(dim, outputs, laid, taps, aligned)

    def gathered(self, dim: int, table: np.ndarray, progression: Progression | None = None) -> Field:
        """What elements read that read those of a table along `dim`, (outputs, most), -1 for none."""
        if progression is None:
            aligned = self.realigned(lambda known: None if known == dim else known)
        else:
            aligned = self.moved(dim, lambda known: known.after(progression))
        columns = [slice(start, start + len(table)) for start in range(0, table.size, max(len(table), 1))]
        return self._gathered(dim, len(table), table.T.ravel(), columns, aligned)

    def _gathered(self, dim: int, outputs: int, laid: np.ndarray, taps: Sequence[slice], aligned: Alignments) -> Field:
        """laid: elements side by side along `dim`, -1 for none; an output reads those at its place in every tap."""
        shape = (*self.shape[:dim], outputs, *self.shape[dim + 1 :])
        along = [array.shape[dim] != 1 or self.shape[dim] == 1 for array in self.reads]
        reads = list(self.reads)
        if not any(along):  # so that windows on nothing but padding are known somewhere
            along[0], reads[0] = True, self._spread(reads[0], [dim])
        for number in (at for at, has in enumerate(along) if has):
            if not reads[number].shape[dim]:  # of a tensor without elements nothing can be read
                reads[number] = np.pad(reads[number], [(0, int(at == dim)) for at in range(len(shape) + 1)])
                reads[number][...] = self.nothing
            taken = np.take(reads[number], np.maximum(laid, 0), axis=dim)
            inside = (laid >= 0).reshape([-1 if at == dim else 1 for at in range(taken.ndim)])
            taken = np.where(inside, taken, self.nothing)
            reads[number] = reduce(np.maximum, (taken[(slice(None),) * dim + (tap,)] for tap in taps))
        return Field(shape, self.size, tuple(reads), aligned).settled()

    def unfolded(self, dim: int, table: np.ndarray) -> Field:
        """With the elements of a table along `dim`, (outputs, taps), each tap on its own along a new last axis."""
        shape = (*self.shape[:dim], len(table), *self.shape[dim + 1 :], table.shape[1])
        reads = []
        for array in self.reads:
            taken = np.take(self._spread(array, [dim]), np.maximum(table, 0), axis=dim)
            inside = (table >= 0).reshape([1] * dim + [*table.shape] + [1] * (array.ndim - dim - 1))
            reads.append(np.moveaxis(np.where(inside, taken, self.nothing), dim + 1, -2))
        return Field(shape, self.size, tuple(reads), (None,) * len(self.size)).settled()

    def reduced(self, dims: Sequence[int], keep: bool = False) -> Field:
        """What elements read that read all along some axes; keep: whether those stay, 1 long."""
        dims = tuple(sorted(dim % len(self.shape) for dim in dims))
        kept = [dim for dim in range(len(self.shape)) if keep or dim not in dims]
        shape = tuple(1 if dim in dims else self.shape[dim] for dim in kept)
        aligned = self.realigned(lambda dim: None if dim in dims else kept.index(dim))
        return self.map(lambda array: array.max(axis=dims, keepdims=keep, initial=self.nothing), shape, aligned)

    def expanded(self, shape: Sequence[int]) -> Field:
        """Broadcast to a shape with more axes in front, or longer ones where this is 1 long; else raises ShapeError."""
        more = len(shape) - len(self.shape)
        if more < 0 or any(own not in (1, length) for own, length in zip(self.shape, shape[more:], strict=True)):
            raise ShapeError("broadcasting", got=f"{self.shape} to {tuple(shape)}", expected="equal lengths, or 1")
        aligned = self.realigned(lambda dim: dim + more if self.shape[dim] == shape[dim + more] else None)
        return self.map(lambda array: array.reshape((1,) * more + array.shape), shape, aligned)

    def permuted(self, order: Sequence[int]) -> Field:
        """With its axes in another order."""
        order = [dim % len(self.shape) for dim in order]
        shape = [self.shape[dim] for dim in order]
        return self.map(lambda array: array.transpose(*order, -1), shape, self.realigned(order.index))

    def reshaped(self, shape: Sequence[int]) -> Field:
        """In another shape with as many elements; axes that nothing depends on stay so where they can."""
        parts = factors(self.shape, tuple(shape))
        places = {old[0]: new[0] for old, new in parts if len(old) == len(new) == 1}

        def change(array: np.ndarray) -> np.ndarray:
            wanted: list[int] = []
            for old, new in parts:
                plain = all(array.shape[dim] == 1 for dim in old)
                array = array if plain else self._spread(array, old)
                wanted += [1 if plain else shape[dim] for dim in new]
            return array.reshape(*wanted, array.shape[-1])

        return self.map(change, shape, self.realigned(places.get)).settled()

    def settled(self) -> Field:
        """With an element that reads nothing of one axis reading nothing of any, and axes 1 long where they can be."""
        flags, reads = self.reads[0].dtype == bool, self.reads
        empty = [~array.any(-1, keepdims=True) if flags else array[..., -1:] == NOTHING for array in reads]
        if any(one.any() for one in empty):
            anywhere = reduce(np.logical_or, empty)
            reads = (np.where(anywhere, self.nothing, array) for array in reads)
        return replace(self, reads=tuple(map(folded, reads)))

    def _spread(self, array: np.ndarray, dims: Sequence[int]) -> np.ndarray:
        shape = [self.shape[dim] if dim in dims else array.shape[dim] for dim in range(len(self.shape))]
        return np.broadcast_to(array, [*shape, array.shape[-1]])

    def joined(self, others: Sequence[Field], dim: int) -> Field:
        """One after another along an axis."""
        fields = [self, *others]
        length = sum(field.shape[dim] for field in fields)
        shape = (*self.shape[:dim], length, *self.shape[dim + 1 :])
        reads = []
        for arrays in zip(*(field.reads for field in fields), strict=True):
            first = arrays[0]
            if all(array.shape == first.shape and array.shape[dim] == 1 and (array == first).all() for array in arrays):
                reads.append(first)
                continue
            common = np.broadcast_shapes(*([1 if at == dim else n for at, n in enumerate(a.shape)] for a in arrays))
            full = (
                np.broadcast_to(a, [f.shape[dim] if at == dim else n for at, n in enumerate(common)])
                for a, f in zip(arrays, fields, strict=True)
            )
            reads.append(np.concatenate(list(full), dim))
        return Field(shape, self.size, tuple(reads), aligned_alike(fields, dim))


def union(fields: Sequence[Field], shape: Sequence[int]) -> Field:
    """What elements read that read the elements at their place in each of several tensors, broadcast to a shape."""
    spread = [field.expanded(shape) for field in fields]
    reads = tuple(reduce(np.maximum, arrays) for arrays in zip(*(field.reads for field in spread), strict=True))
    return Field(tuple(shape), fields[0].size, tuple(map(folded, reads)), aligned_alike(spread))
