"""Exact receptive fields of any model, `tc.receptive_field`: size, stride and padding, and the box of every element."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import torch  # noqa: F401  (for the doctests)

from ..description.interval import EMPTY, Interval
from ..errors import SettingError, ShapeError
from ..network.graph import Network
from ..network.propagation import propagate
from ..receptive.field import Field
from ..receptive.periodic import Progression
from .network_of import network_of, on_larger_input

Number = int | Fraction
TOLD_APART = 256  # samples of an axis that are flagged at once, for all elements; of a longer one those in a hull


def receptive_field(
    model: Any, input_shape: Any = None, layer: str | None = None, since: str | None = None
) -> ReceptiveField:
    """The receptive field of a layer, by default the output, in the input or in the output of the layer `since`.

    model, input_shape: as for `inspect`. layer, since: names of rows, or of modules with layers inside.
    The answer has .size, .stride and .padding per axis (the Distill article's), .of(place) for the exact box of one
    element, .notes on branches that are not aligned, and .feature_map for the last layer before all is read.
    Without an input shape two sizes are compared; raises SettingError where the answer depends on it, or for a layer
    that is not there.
    Source: Araujo, Norris, Sim 2019, Computing receptive fields of convolutional neural networks (Distill).

    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.MaxPool2d(2))
    >>> receptive_field(model), receptive_field(model, (3, 32, 32)).of((1, 0)).first
    (ReceptiveField(size=(5, 5), stride=(4, 4), padding=(0, 0), notes=()), (4, 0))
    """
    found = network_of(model, input_shape)
    if not found.outputs and layer is None:
        raise SettingError("the receptive field of a model", got="no output that follows from its input")
    answer = between(found.network, since, layer or found.outputs[0])
    other = on_larger_input(model, found) if input_shape is None else None
    if other is not None and between(other.network, since, layer or other.outputs[0]) != answer:
        last = f", or ask for the last feature map, layer={answer.feature_map.goal!r}" if answer.feature_map else ""
        got = "one that depends on the shape"
        raise SettingError("a receptive field without an input shape", got=got, fix=f"Give it{last}.")
    return answer


@dataclass(frozen=True)
class Box:
    """What one element reads: an interval of samples on each axis, and which of them.

    read: the samples, axis by axis; those between that are not among them are the holes of dilation.
    """

    intervals: tuple[Interval, ...]
    read: tuple[tuple[int, ...], ...] = field(repr=False)

    @property
    def first(self) -> tuple[int, ...]:
        """The first sample of each axis."""
        return tuple(interval.first for interval in self.intervals)

    @property
    def last(self) -> tuple[int, ...]:
        """The last sample of each axis."""
        return tuple(interval.last for interval in self.intervals)

    @property
    def size(self) -> tuple[int, ...]:
        """Samples from the first to the last."""
        return tuple(interval.size for interval in self.intervals)

    @property
    def holes(self) -> tuple[tuple[int, ...], ...]:
        """Samples inside the box that are not read, axis by axis."""
        pairs = zip(self.intervals, self.read, strict=True)
        return tuple(tuple(sorted({*range(i.first, i.last + 1)} - {*read})) for i, read in pairs)

    def __iter__(self):
        return iter((interval.first, interval.last) for interval in self.intervals)

    def __str__(self) -> str:
        shown = ", ".join(f"{one.first}..{one.last}" if one.size else "nothing" for one in self.intervals)
        lost = ((axis, len(holes)) for axis, holes in enumerate(self.holes) if holes)
        return "; ".join([shown, *(f"{count} samples of axis {axis} in between are not read" for axis, count in lost)])


@dataclass(frozen=True)
class ReceptiveField:
    """What the elements of one tensor read of another, per axis.

    size: samples from the first to the last that an element reads where no border cuts it; of the one that reads most.
    stride: samples from one element's field to the next one's. padding: samples that the first field begins before the
    first sample. Stride and padding are None where fields do not move at a steady pace, as where all is read.
    feature_map: where that is so, the field of the last layer before at which they do, as in front of global pooling;
    its `goal` is the layer's name.
    """

    size: tuple[int, ...]
    stride: tuple[Number | None, ...]
    padding: tuple[int | None, ...]
    notes: tuple[str, ...] = ()
    network: Network | None = field(default=None, repr=False, compare=False)
    hulls: Field | None = field(default=None, repr=False, compare=False)
    start: str | None = field(default=None, repr=False, compare=False)
    goal: str | None = field(default=None, repr=False, compare=False)
    feature_map: ReceptiveField | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of_field(cls, found: Field, **more: Any) -> ReceptiveField:
        """The receptive field of one node, from the field that was propagated to it."""
        steady = [_steady(found, axis) for axis in range(len(found.size))]
        size = tuple(way.size if way else _largest(found.reads[axis]) for axis, way in enumerate(steady))
        stride = tuple(_plain(way.stride) if way else None for way in steady)
        return cls(size, stride, tuple(way.padding if way else None for way in steady), **more)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; the layer of a feature map is named."""
        found: dict[str, Any] = {name: _values(getattr(self, name)) for name in ("size", "stride", "padding")}
        if self.feature_map:
            found["feature_map"] = {"layer": self.feature_map.goal, **self.feature_map.to_dict()}
        return found

    def of(self, unit: Sequence[int] = ()) -> Box:
        """The exact box of one element, given by its place, as (y, x), or by (channel, y, x); () for a vector's.

        Raises ShapeError for a place outside.
        """
        if self.network is None or self.hulls is None:
            raise SettingError("the box of an element", got="no input size", fix="Give the input shape.")
        place = tuple(unit) if isinstance(unit, Sequence) else (unit,)
        shape = self.hulls.shape
        space = len(shape) - 2
        if len(place) not in ((space, space + 1) if space > 0 else (0, 1)) or any(
            not 0 <= at < length for at, length in zip(place[::-1], shape[::-1], strict=False)
        ):
            within = shape[-space:] if space > 0 else shape[1:]
            raise ShapeError("an element", got=place, expected=f"a place in {within}")
        full = [None] * (len(shape) - len(place)) + [*place]
        hulls = [Interval(-int(marks[0]), int(marks[1])) for marks in _marks(self.hulls, full)]
        pairs = zip(hulls, self.hulls.size, strict=True)
        windows = tuple(Interval(0, n - 1) if n <= TOLD_APART else hull if hull.size else EMPTY for hull, n in pairs)
        found = zip(_marks(self._flags(self.network, windows), full), windows, strict=True)
        read = tuple(tuple((np.flatnonzero(marks[: one.size]) + one.first).tolist()) for marks, one in found)
        return Box(tuple(Interval(one[0], one[-1]) if one else EMPTY for one in read), read)

    def _flags(self, network: Network, windows: tuple[Interval, ...]) -> Field:
        """The field in flags for the samples of these windows, remembered for the next element with the same."""
        if windows not in self._known:
            *_, last = propagate(network, self.start, self.goal, windows)
            self._known.clear()
            self._known[windows] = last.field
        return self._known[windows]

    @cached_property
    def _known(self) -> dict[tuple[Interval, ...], Field]:
        return {}

    def __str__(self) -> str:
        shown = f"size {joined(self.size)}, stride {joined(self.stride)}, padding {joined(self.padding)}"
        return f"{shown}; feature map {self.feature_map.goal}: {self.feature_map}" if self.feature_map else shown


def between(network: Network, start: str | None = None, goal: str | None = None) -> ReceptiveField:
    """What the elements of node `goal`, by default the last, read of node `start`, by default the input.

    Both are names of nodes, or of modules, which stand for the last node inside them.
    """
    start, goal = start and _node(network, start), _node(network, goal or network.nodes[-1].name)
    notes: list[str] = []
    last = found = None
    for found in propagate(network, start, goal):
        notes += found.notes
        last = found if last is None or all(found.field.aligned) else last
    if found is None or found.node.name != goal:
        raise SettingError(f"the field of {goal} in {start or 'the input'}", got="no way from one to the other")
    known = {"network": network, "start": start}
    answer = ReceptiveField.of_field(found.field, notes=tuple(notes), hulls=found.field, goal=goal, **known)
    if last is None or all(answer.stride) or last.node.name in (start, network.nodes[0].name):
        return answer
    feature_map = ReceptiveField.of_field(last.field, hulls=last.field, goal=last.node.name, **known)
    return replace(answer, feature_map=feature_map)


def _node(network: Network, name: str) -> str:
    """The node of this name, or the last one of a call of the module of this name: the first call, or as in block#2."""
    names = [node.name for node in network.nodes]
    if name in names:
        return name
    path, _, call = name.partition("#")
    inside = groupby(names, lambda one: one.startswith((f"{path}.", f"{path}#")))
    calls = [[*found][-1] for there, found in inside if there]
    number = int(call) if call.isdecimal() else 1
    if not 1 <= number <= len(calls):
        raise SettingError("a layer", got=repr(name), expected=f"one of {', '.join(names[:40])}, or a module of them")
    return calls[number - 1]


def _steady(found: Field, axis: int) -> Progression | None:
    """How fields move along an axis: as propagated, or, where reshapes hide it, as fields inside the borders show."""
    alignment = found.aligned[axis]
    return alignment.progression if alignment else _measured(found.reads[axis], found.size[axis])


def _measured(array: np.ndarray, size: int) -> Progression | None:
    marks = array.reshape(-1, array.shape[-1])
    if max(array.shape[:-1], default=1) != len(marks) or len(marks) < 3:
        return None
    first, last = -marks[:, 0], marks[:, 1]
    inner = np.flatnonzero((first > 0) & (last < size - 1))
    steps = {*np.diff(first[inner]).tolist()} | {*np.diff(last[inner]).tolist()}
    if len(inner) < 3 or len(steps) != 1 or {*np.diff(inner).tolist()} != {1}:
        return None
    step, at = steps.pop(), int(inner[0])
    begin = int(first[at]) - at * step
    way = Progression((Interval(begin, begin + int(last[at] - first[at])),), step)
    begins = begin + np.arange(len(marks)) * step
    same = (first == np.maximum(begins, 0)) & (last == np.minimum(begins + way.size - 1, size - 1))
    return way if step > 0 and same.all() else None


def _marks(found: Field, place: Sequence[int | None]) -> Iterator[np.ndarray]:
    """For each axis of the input what the elements at a place read together; None stands for all along an axis."""
    for array in found.reads:
        at = (slice(None) if one is None else min(one, n - 1) for one, n in zip(place, array.shape, strict=False))
        yield array[tuple(at)].reshape(-1, array.shape[-1]).max(axis=0)


def _largest(array: np.ndarray) -> int:
    return int(np.where(array[..., 1] < 0, 0, array[..., 0] + array[..., 1] + 1).max())


def _plain(value: Fraction) -> Number:
    return int(value) if value.denominator == 1 else value


def _values(values: Sequence[Number | None]) -> list[int | float | None]:
    return [one if one is None or isinstance(one, int) else float(one) for one in values]


def joined(values: Sequence[Any]) -> str:
    """Sizes as 3x3, with a dash for what there is not."""
    return "x".join("-" if value is None else str(value) for value in values)
