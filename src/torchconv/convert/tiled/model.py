"""A model as tiles of its output, each of which is computed from the part of the image that it reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ...description.axis import integer
from ...errors import SettingError, ShapeError, UnsupportedError
from ...text import some
from ...tracing.model_copy import ModelFailed
from ...tracing.program import FromInput, FromNowhere, FromStep, ModelProgram, Reference, capture
from ..regions.blocks import Axes, Block, Part
from ..regions.evaluate import Evaluator
from ..regions.plan import BlockPlan
from ..regions.rules import Given
from ..regions.statistics import State

Box = tuple[slice, ...]  # of every axis of a tensor, with start and stop
States = dict[str, State]  # of every statistic of a pass: small tensors, float64
Reader = Callable[[Box], Tensor]
MODES = (None, "two-pass")


class TiledModel:
    """What a model gives for an image, tile by tile, each equal to its part of the whole.

    model: in evaluation, whatever its mode. input_shape: (batch, channels, *size) of the whole image. tile: samples of
    the image along each axis, or one number for all; where the output has another resolution, its tiles are as much
    larger or smaller. statistics: None, or "two-pass" where layers take statistics of the whole image, such as
    instance normalisation: then `passes - 1` passes gather them first, each over all tiles. output: which of several
    outputs, by name or number; by default the one there is. dtype: of the image as the model takes it.

    A tile needs nothing of other tiles, so their order is free, and they can be computed in other processes: an equal
    object is made from equal arguments. `read` is given a box of the image and returns it, of any type and device.

    output_shape, output_dtype: of the whole. tiles: boxes of the output, each output once, row by row. passes: over the
    image, the last of which gives the output. whole_macs: multiply-accumulates for the whole image at once.

    Raises UnsupportedError naming the layers that need the whole image; SettingError for a tile, a mode or an output
    that cannot be; ShapeError where the model does not take such an image.

    >>> model = TiledModel(nn.Conv2d(1, 1, 3, padding=1), (1, 1, 8, 8), tile=4)
    >>> [model.input_box(box)[2:] for box in model.tiles[:2]]
    [(slice(0, 5, None), slice(0, 5, None)), (slice(0, 5, None), slice(3, 8, None))]
    >>> image = torch.rand(1, 1, 8, 8)
    >>> model.compute(model.tiles[0], lambda box: image[box]).shape
    torch.Size([1, 1, 4, 4])
    """

    def __init__(
        self,
        model: nn.Module,
        input_shape: Iterable[int],
        tile: int | Iterable[int],
        *,
        statistics: str | None = None,
        output: str | int | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.input_shape = tuple(integer("input_shape", one) for one in input_shape)
        if len(self.input_shape) < 3 or min(self.input_shape) < 1:
            raise ShapeError("input_shape", got=self.input_shape, expected="(batch, channels, *size), all at least 1")
        if statistics not in MODES:
            raise SettingError("statistics", got=repr(statistics), expected='None or "two-pass"')
        self._tile, self._dtype = _tile_of(tile, len(self.input_shape) - 2), dtype
        name = type(model).__name__
        program = _captured(model, self.input_shape, dtype)
        self._output = _output_of(program, output, name)
        axes: Axes = tuple((Part(length, dim > 1 and length > 1),) for dim, length in enumerate(self.input_shape))
        self._plan = BlockPlan(program, axes, self._output)
        self._plan.check(name, statistics is not None)
        device = next((one.device for one in program.tensors.values()), torch.device("cpu"))
        self._evaluator = Evaluator(self._plan, device)
        self._parts = self._plan.axes[self._output]
        last = program.steps[self._output.step]
        self.output_shape = last.shapes[self._output.result]
        self.output_dtype = last.dtypes[self._output.result]
        self.passes = 1 + self._plan.level[self._output]
        self.whole_macs = float(sum(draft.exact for step in program.steps for draft in step.drafts[:1]))
        self.tiles = self._cut()
        self._boxes: dict[int, tuple[Box, ...]] = {}

    @property
    def calls(self) -> list[str]:
        """What the model calls, in words that are the same in every process."""
        steps = self._plan.program.steps
        return [re.sub(r" at 0x\w+", "", f"{one.name} {one.arguments} {one.operation}") for one in steps]

    @property
    def constants(self) -> dict[str, Tensor]:
        """Tensors that the calls read and that are not in a state_dict, such as buffers that are not kept."""
        program = self._plan.program
        read = [one for step in program.steps for one in step.references if isinstance(one, FromNowhere)]
        return program.tensors | {f"constant {number}": one.tensor for number, one in enumerate(read)}

    def _cut(self) -> tuple[Box, ...]:
        """The output in tiles."""
        spans = [_pieces(self.output_shape[dim], size) for dim, size in self._steps().items()]
        boxes = []
        for each in product(*spans):
            box = [slice(0, length) for length in self.output_shape]
            for dim, (start, stop) in zip(self._steps(), each, strict=True):
                box[dim] = slice(start, stop)
            boxes.append(tuple(box))
        return tuple(boxes)

    def _steps(self) -> dict[int, int]:
        """For each axis of the output that has the image, the length of a tile."""
        dims = [dim for dim, axis in enumerate(self._parts) if axis[0].tiled]
        tiles = [(tile, size) for tile, size in zip(self._tile, self.input_shape[2:], strict=True) if size > 1]
        found = {}
        for dim, (tile, size) in zip(dims, tiles, strict=False):  # rows come first, also where columns share their axis
            rows = self._parts[dim][0].length
            found[dim] = max(round(tile * rows / size), 1) * (self.output_shape[dim] // rows)
        return found

    def _block(self, box: Box) -> dict[Reference, Block]:
        if self._output not in self._plan.tiled:
            return {}
        spans = []
        for at, axis, length in zip(box, self._parts, self.output_shape, strict=True):
            start, stop, _ = at.indices(length)
            inner = length // axis[0].length
            if start % inner or stop % inner:
                expected = f"multiples of {inner}, for that axis holds rows"
                raise SettingError("a box of the output", got=str(at), expected=expected)
            spans.append(((start // inner, stop // inner), *((0, part.length) for part in axis[1:])))
        return {self._output: Block(self._parts, tuple(spans))}

    def input_box(self, box: Box) -> Box:
        """What of the image a box of the output is computed from."""
        blocks = self._evaluator.needs(self._block(box)).blocks
        return self._box(blocks.get(FromInput(0)))

    def _box(self, block: Block | None) -> Box:
        if block is None:
            return tuple(slice(0, 0) for _ in self.input_shape)
        return tuple(slice(*span) for (span,) in block.spans)

    def workspace_bytes(self, box: Box) -> int:
        """About how many bytes computing a box takes at the peak, its input and itself included, weights not."""
        return self._evaluator.memory(self._block(box))

    def macs(self, box: Box) -> float:
        """Multiply-accumulates for a box."""
        return self._evaluator.macs(self._block(box))

    def compute(self, box: Box, read: Reader) -> Tensor:
        """A box of the output; `read` gives boxes of the image.

        Raises UnsupportedError while passes of statistics are missing.
        """
        if self._evaluator.passes < self.passes - 1:
            got = f"{self._evaluator.passes} of {self.passes - 1} passes of statistics"
            raise UnsupportedError("a tile", got=got, expected="all of them", fix="Call finish() after each pass.")
        if self._output not in self._plan.tiled:
            return self._evaluator.whole(self._output)[box]
        return self._evaluator.compute(self._block(box), self._reader(read))[self._output]

    def _reader(self, read: Reader) -> Callable[[Block], Tensor]:
        def taken(block: Block) -> Tensor:
            found = read(self._box(block))
            if tuple(found.shape) != block.shape:
                raise ShapeError(
                    "the image", got=f"a part of {tuple(found.shape)}", expected=f"{block.shape}, as asked"
                )
            return found.to(self._evaluator.device, self._dtype)

        return taken

    def statistics_boxes(self, number: int) -> tuple[Box, ...]:
        """What of the image each tile of a pass of statistics reads."""
        if number not in self._boxes:  # each tile asks for its own
            self._boxes[number] = self._statistics_boxes(number)
        return self._boxes[number]

    def _statistics_boxes(self, number: int) -> tuple[Box, ...]:
        found = []
        for tile in range(len(self._grid())):
            wanted = self._measured(number, tile)
            merged: dict[Reference, Block] = {}
            for blocks in wanted.values():
                merged |= {one: block | merged.get(one) for one, block in blocks.items()}
            needs = self._evaluator.needs({one: block for one, block in merged.items() if one in self._plan.tiled})
            found.append(self._box(needs.blocks.get(FromInput(0))))
        return tuple(found)

    def _counts(self) -> tuple[int, ...]:
        sizes = [(tile, size) for tile, size in zip(self._tile, self.input_shape[2:], strict=True) if size > 1]
        return tuple(len(_pieces(size, tile)) for tile, size in sizes)

    def _grid(self) -> list[tuple[int, ...]]:
        return [*product(*map(range, self._counts()))]

    def _measured(self, number: int, tile: int) -> dict[int, dict[Reference, Block]]:
        """For each statistic of a pass, by the number of its step, what it reads in a tile."""
        where, counts = self._grid()[tile], self._counts()
        pairs = ((one.number, one.blocks(where, counts)) for one in self._plan.statistics[number])
        return {step: blocks for step, blocks in pairs if blocks is not None}

    def accumulate(self, number: int, tile: int, read: Reader) -> States:
        """The statistics of one tile of a pass; passes before must be finished."""
        if number != self._evaluator.passes:
            got = f"pass {number}, after {self._evaluator.passes} that are finished"
            raise UnsupportedError(
                "statistics", got=got, expected="the next pass", fix="Call finish() after each pass."
            )
        reader, states = self._reader(read), {}
        measured = self._measured(number, tile)
        for statistic in self._plan.statistics[number]:
            if statistic.number not in measured:
                continue
            blocks = measured[statistic.number]
            wanted = {one: block for one, block in blocks.items() if one in self._plan.tiled}
            values = self._evaluator.compute(wanted, reader)
            with torch.no_grad():
                whole = self._evaluator.whole
                values |= {one: block.of(whole(one)) for one, block in blocks.items() if one not in values}
                states[str(statistic.number)] = statistic.measure(Given(values, whole), blocks)
        return states

    def merge(self, number: int, one: States, other: States) -> States:
        """The statistics of two sets of tiles together."""
        both = dict(one) | other
        for statistic in self._plan.statistics[number]:
            key = str(statistic.number)
            if key in one and key in other:
                both[key] = statistic.merge(tuple(one[key]), tuple(other[key]))
        return both

    def finish(self, number: int, states: States) -> None:
        """Take in the statistics of all tiles of a pass, merged; passes come one after another."""
        if number != self._evaluator.passes:
            got = f"pass {number}, after {self._evaluator.passes} that are finished"
            raise UnsupportedError("statistics", got=got, expected="the next pass")
        self._evaluator.finish({int(key): tuple(state) for key, state in states.items()})


def _tile_of(tile: Any, ndim: int) -> tuple[int, ...]:
    values = tuple(tile) if isinstance(tile, list | tuple | torch.Size) else (tile,) * ndim
    sizes = tuple(integer("tile", one) for one in values)
    if len(sizes) != ndim or min(sizes) < 1:
        raise SettingError(
            "tile", got=tile, expected=f"a number of samples, at least 1, or one for each of {ndim} axes"
        )
    return sizes


def _pieces(length: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, length)) for start in range(0, length, size)]


def _captured(model: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> ModelProgram:
    try:
        return capture(model, (torch.empty(shape, dtype=dtype, device="meta"),))
    except ModelFailed as failed:
        where = (
            f"layer {failed.layer} of {type(model).__name__}" if failed.layer else f"a {type(model).__name__} in tiles"
        )
        raise UnsupportedError(where, got=failed.got, expected=failed.expected) from failed


def _output_of(program: ModelProgram, wanted: str | int | None, name: str) -> FromStep:
    """The output that is asked for, or the only one that follows from the image."""
    named = dict(zip(_names(program), program.outputs, strict=True))
    follow = {key: one for key, one in named.items() if isinstance(one, FromStep) and _follows(program, one)}
    if wanted is not None:
        keys = [*named]
        key = (
            keys[wanted]
            if isinstance(wanted, int) and not isinstance(wanted, bool) and 0 <= wanted < len(keys)
            else wanted
        )
        if key not in follow:
            raise SettingError("output", got=repr(wanted), expected=f"one of {some([*follow])}")
        return follow[str(key)]
    if len({*follow.values()}) != 1:
        got = f"outputs {some([*follow])}" if follow else "no output that follows from the image"
        raise SettingError(f"the outputs of {name}", got=got, expected="one tensor", fix="Say which with output=.")
    return next(iter(follow.values()))


def _follows(program: ModelProgram, one: FromStep) -> bool:
    return program.steps[one.step].depends[one.result]


def _names(program: ModelProgram) -> list[str]:
    """What the outputs are called: by their keys, or their places."""
    numbered = pytree.tree_unflatten([*range(len(program.answer))], program.form)
    paths = (path for path, _ in pytree.tree_flatten_with_path(numbered)[0])
    names = [".".join(_word(key) for key in path) for path in paths]
    return [name or "output" for name, one in zip(names, program.answer, strict=True) if one is None]


def _word(key: Any) -> str:
    """A key, a place or a name on the way to an output."""
    return str(next(getattr(key, kind) for kind in ("key", "idx", "name") if hasattr(key, kind)))
