"""Steps that slide windows over the image: convolutions, pooling, padding, slices.

A block of the result is computed from exactly the samples that its windows read, by the same operator: with the true
padding where it reaches over the border of the image, and without any elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import lcm
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...compute.operator import Operator
from ...compute.padding import pad
from ...compute.pooling.operator import PoolOperator
from ...description import shapes
from ...description.axis import Axis
from ...description.convolution import Convolution
from ...description.interval import Excerpt, excerpt
from ...description.shapes import repeats
from ...network.operations import Convolve
from ...network.pooling import PoolWindows
from ...receptive import access
from ...tracing.program import Reference, Step
from .blocks import Axes, Block, NotLocal, Part, is_tiled, length_of
from .rules import Blocks, Given, Known, Rule

STRIP = 2**25  # bytes of a convolution's output that are computed at a time, so that torch's copies stay small
Excerpts = list[tuple[int, Excerpt]]  # the axis of the tensor, and what is read of it


class Windows(Rule):
    """A step that slides windows over some axes, and takes the others place by place, but for channels that it mixes.

    one: what it slides over. sliding: for each result the windows on each axis of the tensor. mixed: the axis of the
    channels that every output reads all of.
    """

    def __init__(
        self,
        step: Step,
        number: int,
        known: Known,
        one: Reference,
        sliding: Sequence[dict[int, Axis]],
        mixed: int | None,
        compute: Callable[[Windows, Tensor, Excerpts, Given], Tensor],
    ) -> None:
        super().__init__(step, number)
        self._one, self._sliding, self._compute, self._known = one, sliding, compute, known[one]
        for dim, axis in enumerate(known[one]):
            slides = any(dim in axes for axes in sliding)
            if is_tiled(axis) and (dim == mixed or (slides and len(axis) > 1)):
                raise NotLocal("its windows go over ends of rows" if slides else "every output reads all places")
            boundaries = {axes[dim].boundary for axes in sliding if dim in axes}
            if is_tiled(axis) and "circular" in boundaries:
                raise NotLocal("its border is the other side of the image")
        self.sizes = [length_of(axis) for axis in known[one]]
        self._turns = _turns(step, len(self.sizes))
        for at, axes in enumerate(sliding):
            self.axes[self.result(at)] = self._slid(known[one], axes, mixed, step.shapes[at])

    @staticmethod
    def _slid(known: Axes, axes: dict[int, Axis], mixed: int | None, shape: Sequence[int]) -> Axes:
        found = []
        for dim, (axis, length) in enumerate(zip(known, shape, strict=True)):
            changed = dim in axes or dim == mixed
            found.append((Part(length, is_tiled(axis)),) if changed else axis)
        return tuple(found)

    def reads(self, wanted: Blocks) -> Blocks:
        found: Block | None = None
        for one, asked in wanted.items():
            block = self._turned(asked)
            spans = list(block.spans)
            for dim, part in self._excerpts(one, block):
                spans[dim] = ((part.start, part.stop),)
            whole = Block.whole(self._known).spans
            cut = (span if is_tiled(axis) else full for span, full, axis in zip(spans, whole, self._known, strict=True))
            found = Block(self._known, tuple(cut)) | found
        assert found is not None
        return {self._one: found}

    def compute(self, wanted: Blocks, given: Given) -> dict[Reference, Tensor]:
        have = self.reads(wanted)[self._one]
        found = {}
        for at in range(len(self._sliding)):
            one = self.result(at)
            if one not in wanted:
                continue
            small = torch.Size(wanted[one].shape).numel() * self.step.dtypes[0].itemsize <= STRIP
            if small and have.is_whole and wanted[one].is_whole:
                found[one] = self.call(given)[at]
                continue
            found[one] = self._in_strips(one, wanted[one], have, given)
        return found

    def _in_strips(self, one: Reference, block: Block, have: Block, given: Given) -> Tensor:
        """A block, in strips along its first axis of windows where it is large."""
        width = self.step.dtypes[0].itemsize
        dim = next((dim for dim, axis in enumerate(self._known) if dim in self._sliding[0] and is_tiled(axis)), None)
        count = repeats(torch.Size(block.shape).numel() * width, STRIP)
        if dim is None or count < 2 or self._compute in (padded, sliced):
            return self._part(one, block, have, given)
        ((start, stop),) = block.spans[dim]
        each = repeats(stop - start, count)
        result = torch.empty(block.shape, dtype=self.step.dtypes[0], device=given[self._one].device)
        for first in range(start, stop, each):
            last = min(first + each, stop)
            strip = Block(block.axes, (*block.spans[:dim], ((first, last),), *block.spans[dim + 1 :]))
            result.narrow(dim, first - start, last - first).copy_(self._part(one, strip, have, given))
        return result

    def _part(self, one: Reference, block: Block, have: Block, given: Given) -> Tensor:
        turned = self._turned(block)
        own = self.reads({one: turned})[self._one]
        excerpts = self._excerpts(one, turned)
        x = own.of(given[self._one], have)
        for dim, part in excerpts:
            if not is_tiled(self._known[dim]):  # of which all is there
                x = x.narrow(dim, part.start, part.stop - part.start)
        x = _bordered(x, excerpts)
        return block.of(self._compute(self, x, excerpts, given), turned)

    def _turned(self, block: Block) -> Block:
        """A block that begins where kernels that take turns begin anew."""
        spans = list(block.spans)
        for dim, turn in self._turns.items():
            ((start, stop),) = spans[dim]
            spans[dim] = ((start - start % turn, stop),)
        return Block(block.axes, tuple(spans))

    def scratch(self, read: int, made: int) -> int:
        return min(read + made, 4 * STRIP)

    def _excerpts(self, one: Reference, block: Block) -> Excerpts:
        axes = self._sliding[next(at for at in range(len(self._sliding)) if self.result(at) == one)]
        spans = {dim: (0, 0) if not block.spans[dim] else block.spans[dim][0] for dim in axes}
        return [(dim, excerpt(axis, self.sizes[dim], *spans[dim])) for dim, axis in axes.items()]


def _turns(step: Step, ndim: int) -> dict[int, int]:
    """After how many outputs along an axis of the tensor the same kernel comes again, where several take turns."""
    if not isinstance(step.operation, Convolve):
        return {}
    conv = step.operation.convolution
    periods = zip(conv.sharing.periods, conv.bias_sharing.periods, strict=True)
    turns = {dim: lcm(one or 1, other or 1) for dim, (one, other) in enumerate(periods, ndim - conv.ndim)}
    return {dim: turn for dim, turn in turns.items() if turn > 1}


def _bordered(x: Tensor, excerpts: Excerpts) -> Tensor:
    """With the samples that a border holds which is not zeros."""
    for dim, part in excerpts:
        if part.numbers is not None:
            places = torch.from_numpy(part.numbers).to(x.device)
            x = x.index_select(dim, places.clamp(min=0))
            if (part.numbers < 0).any():
                x = x * (places >= 0).view(-1, *(1,) * (x.ndim - 1 - dim))
    return x


def _sides(part: Excerpt) -> tuple[int, int]:
    """Samples to add (low, high)."""
    assert part.axis.padding != "same"
    return part.axis.padding


def _taken(excerpts: Excerpts, most: Sequence[int]) -> tuple[list[int], list[tuple[int, int]]]:
    """Which padding torch's operator does itself, for it is the same on both sides and not too much; and the rest."""
    sides = [_sides(part) for _, part in excerpts]
    own = [low if low == high and 0 <= low <= least else 0 for (low, high), least in zip(sides, most, strict=True)]
    rest = [(0, 0) if low == mine == high else (low, high) for (low, high), mine in zip(sides, own, strict=True)]
    return own, rest


def convolve(rule: Windows, x: Tensor, excerpts: Excerpts, given: Given) -> Tensor:
    """Any of torch's convolutions."""
    bias = rule.step.arguments["bias"]
    if not rule.step.arguments["transposed"]:
        own, rest = _taken(excerpts, [x.shape[dim] for dim, _ in excerpts])
        return rule.call(given, input=pad(x, rest), padding=own)[0]
    pairs = [tuple(side - part.axis.span + 1 for side in _sides(part)) for _, part in excerpts]
    zeros = [0] * len(pairs)
    beyond = bias is not None and any(side > 0 for pair in pairs for side in pair)  # outputs of nothing but the bias
    more: dict[str, Any] = {"bias": None} if beyond else {}
    y = pad(rule.call(given, input=x, padding=zeros, output_padding=zeros, **more)[0], pairs)  # type: ignore[arg-type]
    if not beyond:
        return y
    assert bias is not None
    return y + given[bias].view(-1, *(1 for _ in zeros))


def largest(rule: Windows, x: Tensor, excerpts: Excerpts, given: Given) -> Tensor:
    """torch's max pooling."""
    own, rest = _taken(excerpts, [int(0.5 * part.axis.kernel) for _, part in excerpts])
    least = -float("inf") if x.is_floating_point() else torch.iinfo(x.dtype).min
    return rule.call(given, self=_filled(x, rest, least), padding=own, ceil_mode=False)[0]


def _filled(x: Tensor, pairs: Sequence[tuple[int, int]], value: Any) -> Tensor:
    """With a value around, then cut where sides are negative."""
    sides = [max(side, 0) for pair in reversed(pairs) for side in pair]
    x = F.pad(x, sides, value=value) if any(sides) else x
    return pad(x, [(min(low, 0), min(high, 0)) for low, high in pairs])


def average(rule: Windows, x: Tensor, excerpts: Excerpts, given: Given) -> Tensor:
    """torch's mean pooling; at borders windows hold fewer samples, and padding counts only where that was asked for."""
    arguments = rule.step.arguments
    y = rule.call(given, self=pad(x, [_sides(part) for _, part in excerpts]), padding=[0], ceil_mode=False)[0]
    if arguments.get("divisor_override") or not any(side for _, part in excerpts for side in _sides(part)):
        return y
    paddings = arguments["padding"] if len(arguments["padding"]) > 1 else [*arguments["padding"]] * len(excerpts)
    for (dim, part), size in zip(excerpts, paddings, strict=True):
        low, high = _sides(part)
        given_low, given_high = (
            min(max(side, 0), size) if arguments["count_include_pad"] else 0 for side in (low, high)
        )
        there = torch.zeros(part.stop - part.start + low + high, dtype=torch.float64)
        there[max(low, 0) - given_low : len(there) - max(high, 0) + given_high] = 1
        counts = there.unfold(0, part.axis.kernel, part.axis.stride).sum(1)
        y = y * (part.axis.kernel / counts).to(y.device, y.dtype).view(-1, *(1,) * (y.ndim - 1 - dim))
    return y


def padded(rule: Windows, x: Tensor, excerpts: Excerpts, given: Given) -> Tensor:
    """Padding of any kind; borders that are not zeros are there already."""
    return _filled(x, [_sides(part) for _, part in excerpts], rule.step.arguments.get("value", 0))


def sliced(rule: Windows, x: Tensor, excerpts: Excerpts, given: Given) -> Tensor:
    """Every so-many-th place of one axis."""
    ((dim, part),) = excerpts
    low, high = _sides(part)
    x = x.narrow(dim, -low, x.shape[dim] + low + high)
    return x[(slice(None),) * dim + (slice(None, None, part.axis.stride),)]


def layer(rule: Windows, x: Tensor, excerpts: Excerpts, given: Given) -> Tensor:
    """A convolution of this package."""
    operator, conv = rule.step.layer, rule.step.layer.convolution
    axes = [part.axis for _, part in excerpts]
    local = Convolution.of_parts(conv.channels, axes, conv.sharing, conv.bias, conv.bias_sharing)
    own = Operator(local, operator.algorithm, operator.layout, operator.precision, operator.workspace)
    return own(x, *map(given.__getitem__, rule.step.references[1:]))


def layer_pool(rule: Windows, x: Tensor, excerpts: Excerpts, given: Given) -> Tensor:
    """A pooling of this package; padding that counts as data is put there as zeros."""
    pooling = rule.step.layer.pooling
    axes, zeros = [], []
    for (dim, part), axis in zip(excerpts, pooling.axes, strict=True):
        low, high = _sides(part)
        counts = pooling.count_include_pad
        data = (max(low, 0), min(max(high, 0), shapes.padding(replace(axis, ceil=False), rule.sizes[dim])[1]))
        zeros.append(data if counts else (0, 0))
        axes.append(replace(part.axis, padding=(low - data[0], high - data[1]) if counts else (low, high)))
    return PoolOperator(pooling.on(axes))(pad(x, zeros))


def windows(step: Step, number: int, known: Known) -> Windows | None:
    """The rule of a step that slides windows; None for another one."""
    if isinstance(step.operation, Convolve):
        conv = step.operation.convolution
        if conv.sharing.needs_size or conv.bias_sharing.needs_size:
            raise NotLocal("its weights differ from place to place")
        compute: Any = layer
    elif isinstance(step.operation, PoolWindows):
        compute = layer_pool
    else:
        compute = next((way for word, way in COMPUTES.items() if step.name.startswith(word)), None)
    if compute is None:
        return None
    one, pattern = step.reads[0][0], step.drafts[0].pattern
    first = len(step.shapes[0])
    if isinstance(pattern, access.Slice):
        sliding = [{draft.pattern.dim % first: draft.pattern.axis} for draft in step.drafts]  # type: ignore[attr-defined]
        return Windows(step, number, known, one, sliding, None, compute)
    if not isinstance(pattern, access.SlidingWindows) or all(axis == Axis(1) for axis in pattern.axes):
        return None
    first -= len(pattern.axes)
    mixed = None if pattern.channels is None else first - 1
    return Windows(step, number, known, one, [dict(enumerate(pattern.axes, first))], mixed, compute)


COMPUTES: dict[str, Callable[[Windows, Tensor, Excerpts, Given], Tensor]] = {
    "convolution": convolve,
    "_convolution": convolve,
    "max_pool": largest,
    "avg_pool": average,
    "constant_pad": padded,
    "reflection_pad": padded,
    "replication_pad": padded,
    "circular_pad": padded,
    "slice": sliced,
    "split": sliced,
}
