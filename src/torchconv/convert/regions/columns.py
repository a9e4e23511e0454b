"""Steps that lay windows side by side as columns, and back: F.unfold, F.fold and Tensor.unfold."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...compute.padding import pad
from ...description.axis import Axis
from ...description.interval import Excerpt, excerpt
from ...description.shapes import output_size, transposed_axes
from ...receptive import access
from ...tracing.program import Reference, Step
from .blocks import Block, NotLocal, Part, Span, is_tiled, length_of
from .rules import Blocks, Given, Known, Rule


class Columns(Rule):
    """F.unfold: the windows of (batch, channels, rows, columns) as (batch, channels * taps, windows)."""

    def __init__(self, step: Step, number: int, known: Known) -> None:
        super().__init__(step, number)
        self._one = step.arguments["self"]
        self._known = known[self._one]
        batch, channels, *places = self._known
        if is_tiled(channels) or not all(len(axis) == 1 and is_tiled(axis) for axis in places):
            raise NotLocal("its windows go over ends of rows")
        self._axes = [*zip(_settings(step), map(length_of, places), strict=True)]
        windows = tuple(Part(output_size(axis, size), True) for axis, size in self._axes)
        self.axes[self.result()] = (batch, (Part(step.shapes[0][1]),), windows)

    def _parts(self, block: Block) -> list[Excerpt]:
        return [excerpt(axis, size, *span) for (axis, size), span in zip(self._axes, block.spans[-1], strict=True)]

    def reads(self, wanted: Blocks) -> Blocks:
        block = wanted[self.result()]
        places = (((part.start, part.stop),) for part in self._parts(block))
        return {self._one: Block(self._known, (block.spans[0], _all(self._known[1]), *places))}

    def compute(self, wanted: Blocks, given: Given) -> dict[Reference, Tensor]:
        x = pad(given[self._one], [_sides(part) for part in self._parts(wanted[self.result()])])
        return {self.result(): self.call(given, self=x, padding=[0, 0])[0]}


class Folded(Rule):
    """F.fold: windows back to their places, added where they overlap."""

    def __init__(self, step: Step, number: int, known: Known) -> None:
        super().__init__(step, number)
        self._one = step.arguments["self"]
        self._known = known[self._one]
        batch, channels, windows = self._known
        axes, sizes = _settings(step), step.shapes[0][2:]
        counts = [output_size(axis, size) for axis, size in zip(axes, sizes, strict=True)]
        if is_tiled(channels) or [part.length for part in windows if part.tiled] != counts:
            raise NotLocal("its windows lie differently in the image")
        rests = [
            size - output_size(axis, count)
            for axis, size, count in zip(transposed_axes(axes, [0, 0]), sizes, counts, strict=True)
        ]
        self._axes = [*zip(transposed_axes(axes, rests), counts, strict=True)]
        self.axes[self.result()] = (batch, (Part(step.shapes[0][1]),), *((Part(size, True),) for size in sizes))

    def _parts(self, block: Block) -> list[Excerpt]:
        spans = (span for (span,) in block.spans[2:])
        return [excerpt(axis, count, *span) for (axis, count), span in zip(self._axes, spans, strict=True)]

    def reads(self, wanted: Blocks) -> Blocks:
        block = wanted[self.result()]
        windows = tuple((part.start, part.stop) for part in self._parts(block))
        return {self._one: Block(self._known, (block.spans[0], _all(self._known[1]), windows))}

    def compute(self, wanted: Blocks, given: Given) -> dict[Reference, Tensor]:
        parts = self._parts(wanted[self.result()])
        sizes = [(part.stop - part.start - 1) * part.axis.input_dilation + part.axis.span for part in parts]
        made = self.call(given, output_size=sizes, padding=[0, 0])[0]
        sides = [_sides(part) for part in parts]
        cuts = [
            (low - part.axis.span + 1, high - part.axis.span + 1)
            for (low, high), part in zip(sides, parts, strict=True)
        ]
        return {self.result(): pad(made, cuts)}


class Unfolded(Rule):
    """Tensor.unfold: windows of one axis, their taps on a new last axis."""

    def __init__(self, step: Step, number: int, known: Known, pattern: access.Unfold) -> None:
        super().__init__(step, number)
        (self._one,) = step.reads[0]
        self._known, self._axis = known[self._one], pattern.axis
        self._dim = dim = pattern.dim % len(self._known)
        if len(self._known[dim]) > 1:
            raise NotLocal("its windows go over ends of rows")
        count = (Part(step.shapes[0][dim], True),)
        self.axes[self.result()] = (*self._known[:dim], count, *self._known[dim + 1 :], (Part(pattern.axis.kernel),))

    def reads(self, wanted: Blocks) -> Blocks:
        *spans, _ = wanted[self.result()].spans
        part = excerpt(self._axis, length_of(self._known[self._dim]), *spans[self._dim][0])
        spans[self._dim] = ((part.start, part.stop),)
        return {self._one: Block(self._known, tuple(spans))}

    def compute(self, wanted: Blocks, given: Given) -> dict[Reference, Tensor]:
        return {self.result(): self.call(given)[0]}


def columns(step: Step, number: int, known: Known) -> Rule | None:
    """The rule of a step that lays windows side by side, or back; None for another one."""
    if step.name == "im2col":
        return Columns(step, number, known)
    if step.name == "col2im":
        return Folded(step, number, known)
    pattern = step.drafts[0].pattern
    if isinstance(pattern, access.Unfold) and is_tiled(known[step.reads[0][0]][pattern.dim % len(step.shapes[0][:-1])]):
        return Unfolded(step, number, known, pattern)
    return None


def _settings(step: Step) -> Sequence[Axis]:
    each = (step.arguments[name] for name in ("kernel_size", "stride", "dilation", "padding"))
    return [Axis(k, s, d, (p, p)) for k, s, d, p in zip(*each, strict=True)]


def _sides(part: Excerpt) -> tuple[int, int]:
    assert part.axis.padding != "same"
    return part.axis.padding


def _all(axis: tuple[Part, ...]) -> tuple[Span, ...]:
    return tuple((0, part.length) for part in axis)
