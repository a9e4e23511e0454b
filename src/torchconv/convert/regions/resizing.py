"""Steps that resize the image: by torch's own weights for the size of the whole, whatever the factor.

Torch computes places and weights with the precision of the numbers that it resizes, so that they differ with the place;
here they are what torch gives when it resizes signals from which its weights can be read off.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...description.resampling import Resampling
from ...receptive import access
from ...tracing.program import Reference, Step
from .blocks import Axes, Block, NotLocal, Part, Span, is_tiled
from .rules import Blocks, Given, Known, Rule

EXACT = tuple(2**power for power in range(7))  # factors at which torch's places and weights are exact


@dataclass(frozen=True)
class Taps:
    """Which samples each output of an axis reads, (outputs, taps) int64, and with which weights."""

    places: Tensor
    weights: Tensor

    def span(self, start: int, stop: int) -> Span:
        """The samples that some outputs read."""
        places = self.places[start:stop]
        return int(places.min()), int(places.max()) + 1

    def apply(self, x: Tensor, dim: int, span: Span, first: int) -> Tensor:
        """Some outputs, from samples along an axis that begin with `first`."""
        places, weights = self.places[slice(*span)] - first, self.weights[slice(*span)]
        if places.shape[1] == 1:
            return x.index_select(dim, places[:, 0].to(x.device))
        total: Tensor | None = None
        for tap in range(places.shape[1]):
            weight = weights[:, tap].to(x.device, x.dtype).view(-1, *(1,) * (x.ndim - 1 - dim))
            part = x.index_select(dim, places[:, tap].to(x.device)).mul_(weight)
            total = part if total is None else total.add_(part)
        assert total is not None
        return total


class Resized(Rule):
    """Interpolation of the last axes. What was there in full, and becomes longer, can be had in part afterwards."""

    def __init__(self, step: Step, number: int, known: Known, centres: list[np.ndarray], widths: list[int]) -> None:
        super().__init__(step, number)
        (self._one,) = step.reads[0]
        self._known, self._centres, self._widths = known[self._one], centres, widths
        shape = step.shapes[0]
        self._first = len(shape) - len(centres)
        self._sizes = [part.length for axis in self._known[self._first :] for part in axis[:1]]
        if any(len(axis) > 1 for axis in self._known[self._first :]):
            raise NotLocal("it resizes over ends of rows")
        last = ((Part(length, length > 1),) for length in shape[self._first :])
        self.axes[self.result()] = (*self._known[: self._first], *last)

    @cached_property
    def _taps(self) -> list[Taps]:
        return [self._axis_taps(at) for at in range(len(self._centres))]

    def _axis_taps(self, at: int) -> Taps:
        """Those of one axis, read off signals that are 1 at every so-many-th sample."""
        size, outputs, width = self._sizes[at], self.step.shapes[0][self._first + at], self._widths[at]
        kind = self.step.dtypes[0]
        signals = torch.zeros((width, size), dtype=kind)
        signals[torch.arange(size) % width, torch.arange(size)] = 1
        rank = len(self._centres)
        lengths, results = [2] * rank, [2] * rank  # torch's anti-aliased kernels are wrong on axes of length 1
        lengths[at], results[at] = size, outputs
        others = {name: None for number, name in enumerate(self._scales) if number != at}
        shape = [width, *(size if number == at else 1 for number in range(rank))]
        image = signals.view(shape).expand(width, *lengths)[None].contiguous()
        made = self.step.function(*self._arguments(image, results, others))[0].movedim(1 + at, 1).flatten(2)
        weights = made[..., 0].T.double()
        around = np.floor(self._centres[at]).astype(np.int64)[:, None] + np.arange(width) - (width // 2 - 1)
        places = torch.from_numpy(around)
        there = (places >= 0) & (places < size)
        found = weights.gather(1, places % width) * there
        return _trimmed(places.clamp(0, size - 1), found)

    @property
    def _scales(self) -> list[str]:
        return [name for name in self.step.arguments if name.startswith("scales")]

    def _arguments(self, x: Tensor, sizes: list[int], others: dict[str, Any]) -> list[Any]:
        _, *rest = (self.step.arguments | {"output_size": sizes} | others).values()
        return [x, *rest]

    def reads(self, wanted: Blocks) -> Blocks:
        block = wanted[self.result()]
        spans = [*block.spans[: self._first]]
        for taps, ((start, stop),), axis in zip(self._taps, block.spans[self._first :], self._last, strict=True):
            spans.append((taps.span(start, stop) if is_tiled(axis) else (0, axis[0].length),))
        return {self._one: Block(self._known, tuple(spans))}

    @property
    def _last(self) -> Axes:
        return self._known[self._first :]

    def compute(self, wanted: Blocks, given: Given) -> dict[Reference, Tensor]:
        block, read = wanted[self.result()], self.reads(wanted)[self._one]
        x = given[self._one]
        if block.is_whole and read.is_whole:
            return {self.result(): self.call(given)[0]}
        if self._is_exact:
            lengths = zip(self.step.shapes[0][self._first :], self._sizes, strict=True)
            factors = [length // size for length, size in lengths]
            sizes = [length * factor for length, factor in zip(x.shape[self._first :], factors, strict=True)]
            result = self.call(given, output_size=sizes)[0]
            pairs = zip(read.spans[self._first :], factors, strict=True)
            last = tuple(((start * factor, stop * factor),) for ((start, stop),), factor in pairs)
            return {self.result(): block.of(result, Block(block.axes, (*block.spans[: self._first], *last)))}
        for dim, (taps, (span,), (have,)) in enumerate(
            zip(self._taps, block.spans[self._first :], read.spans[self._first :], strict=True), self._first
        ):
            x = taps.apply(x, dim, span, have[0])
        return {self.result(): x}

    @cached_property
    def _is_exact(self) -> bool:
        """Whether torch's operator gives the same bits for a part of the image, moved to its start."""
        pattern = self.step.drafts[0].pattern
        axes = pattern.axes if isinstance(pattern, access.Resize) else ()
        plain = [not axis.corners and axis.ratio * axis.outputs == axis.size for axis in axes]
        return bool(axes) and all(plain) and all(axis.outputs in [axis.size * by for by in EXACT] for axis in axes)


def _trimmed(places: Tensor, weights: Tensor) -> Taps:
    """Without the columns of zeros at either side."""
    some = weights != 0
    first = some.int().argmax(1, keepdim=True)
    last = weights.shape[1] - 1 - some.flip(1).int().argmax(1, keepdim=True)
    columns = first + torch.arange(int((last - first).max()) + 1)
    inside = columns <= last
    columns = torch.where(inside, columns, last)
    return Taps(places.gather(1, columns), weights.gather(1, columns) * inside)


def resizing(step: Step, number: int, known: Known) -> Resized | None:
    """The rule of a step that resizes; None for another one."""
    pattern = step.drafts[0].pattern
    if "upsample" not in step.name:
        return None
    if isinstance(pattern, access.Resize):
        return Resized(step, number, known, [_centres(axis) for axis in pattern.axes], [8] * len(pattern.axes))
    assert isinstance(pattern, access.Composed)  # anti-aliased: filters as wide as the image shrinks
    tables = [np.array(way.table) for way in pattern.steps if isinstance(way, access.Gather)]
    centres = [(table[:, 0] + table.max(1)) / 2 for table in tables]
    return Resized(step, number, known, centres, [2 * ceil(table.shape[1] / 2) + 4 for table in tables])


def _centres(axis: Resampling) -> np.ndarray:
    """Where the outputs lie among the samples."""
    half = 0.0 if axis.corners or axis.mode == "nearest" else 0.5
    return (np.arange(axis.outputs) + half) * float(axis.ratio) - (0 if axis.mode == "nearest-exact" else half)
