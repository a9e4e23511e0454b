"""What is done with one tile, in this process or another: read, prepared, computed, worked on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import SettingError, ShapeError
from .array_layout import Part, sizes, within
from .journal import State
from .model import TiledModel

Hook = Callable[[Tensor], Tensor]
SIDES = (1, 2, 4, 8, 16, 32, 64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)


@dataclass(frozen=True)
class TileWork:
    """A model on images of one shape, in tiles, with what comes before and after it; sent to other processes.

    shape: (batch, channels, *size) of the image as it is read; kind: its type.
    """

    model: nn.Module
    shape: tuple[int, ...]
    kind: torch.dtype
    tile: tuple[int, ...]
    statistics: str | None = None
    output: str | int | None = None
    dtype: torch.dtype | None = None
    preprocess: Hook | None = None
    postprocess: Hook | None = None

    def __getstate__(self) -> dict[str, Any]:  # what is behind cached properties is made again where it is needed
        return {name: value for name, value in vars(self).items() if name in self.__dataclass_fields__}

    @cached_property
    def inside(self) -> TiledModel:
        """The model in tiles; raises what TiledModel raises."""
        channels = self._prepared(torch.zeros(self.shape[0], self.shape[1], *self._small, dtype=self.kind)).shape[1]
        taken = {"statistics": self.statistics, "output": self.output, "dtype": self._taken}
        with torch.inference_mode(False):  # under which torch does not tell of its calls one by one
            return TiledModel(self.model, (self.shape[0], channels, *self.shape[2:]), self.tile, **taken)

    @cached_property
    def example(self) -> Tensor:
        """A small result, whose axes, channels and type are those of the whole; raises ShapeError for no image."""
        shape, axes = self.inside.output_shape, len(self.tile)
        if not axes + 1 <= len(shape) <= axes + 2 or shape[0] != self.shape[0]:
            expected = f"(batch, channels, and {axes} axes)"
            raise ShapeError(f"what {type(self.model).__name__} gives for an image", got=shape, expected=expected)
        made = torch.zeros(*shape[:-axes], *self._small, dtype=self.inside.output_dtype, device=self.device)
        return self._finished(made)

    @property
    def result_shape(self) -> tuple[int, ...]:
        """(batch, channels, *size) of the whole result, one channel where it has no axis of them."""
        example, axes = self.example, len(self.tile)
        channels = example.shape[1] if example.ndim == axes + 2 else 1
        return (example.shape[0], channels, *self.inside.output_shape[-axes:])

    def place(self, tile: int) -> Part:
        """Where a tile lies in the whole result."""
        part = self.inside.tiles[tile]
        return (part[0], slice(0, self.result_shape[1]), *part[-len(self.tile) :])

    @property
    def named(self) -> str:
        """The tile in words."""
        return "x".join(map(str, self.tile))

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next((one.device for one in (*self.model.parameters(), *self.model.buffers())), torch.device("cpu"))

    @property
    def _taken(self) -> torch.dtype:
        """The type of what the model takes."""
        own = (one.dtype for one in self.model.parameters() if one.is_floating_point())
        return self.dtype or next(own, torch.float32)

    @property
    def _small(self) -> tuple[int, ...]:
        return (3, 2, 5, 4)[: len(self.tile)]

    def _prepared(self, part: Tensor) -> Tensor:
        if self.preprocess is None:
            if not part.dtype.is_floating_point and self._taken.is_floating_point:
                fix = "Give preprocess=, such as lambda x: x.float() / 255."
                raise SettingError("image", got=f"values of {part.dtype}", expected="floating-point numbers", fix=fix)
            return part
        found = self.preprocess(part)
        if not isinstance(found, Tensor) or (found.shape[0], *found.shape[2:]) != (part.shape[0], *part.shape[2:]):
            _complain("preprocess", found, part)
        return found

    def _finished(self, tile: Tensor) -> Tensor:
        if self.postprocess is None:
            return tile
        found, axes = self.postprocess(tile), len(self.tile)
        right = isinstance(found, Tensor) and axes + 1 <= found.ndim <= axes + 2
        if not right or (found.shape[0], *found.shape[-axes:]) != (tile.shape[0], *tile.shape[-axes:]):
            _complain("postprocess", found, tile)
        return found

    def part(self, number: int, tile: int) -> Part:
        """What of the image is read for a tile of a pass."""
        if number < self.inside.passes - 1:
            return self._reading(self.inside.statistics_boxes(number)[tile])
        return self._reading(self.inside.input_box(self.inside.tiles[tile]))

    def _reading(self, part: Part) -> Part:
        return (part[0], slice(0, self.shape[1]), *part[2:])

    def count(self, number: int) -> int:
        """Tiles of a pass."""
        inside = self.inside
        return len(inside.statistics_boxes(number) if number < inside.passes - 1 else inside.tiles)

    @torch.no_grad()
    def run(self, number: int, tile: int, crop: Tensor) -> Any:
        """A tile of a pass over what was read for it: statistics, or in the last pass the result."""
        place, first = self.part(number, tile), self._prepared(crop)

        def read(part: Part) -> Tensor:
            return first[(part[0], slice(None), *within(part, place)[2:])]

        if number < self.inside.passes - 1:
            return self.inside.accumulate(number, tile, read)
        return self._finished(self.inside.compute(self.inside.tiles[tile], read))

    def settle(self, number: int, states: Sequence[State]) -> State:
        """What all tiles of a pass say together, in their order, so that every process comes to the same bits."""
        whole = states[0]
        for state in states[1:]:
            whole = self.inside.merge(number, whole, state)
        return whole

    @property
    def memory(self) -> int:
        """Bytes at the peak of a tile, beyond the model, the image and the result."""
        tiles, middle = self.inside.tiles, [length // 2 for length in self.inside.output_shape]
        central = [
            part for part in tiles if all(one.start <= n < one.stop for one, n in zip(part, middle, strict=True))
        ]
        return max(self._needed(part) for part in (tiles[0], *central, tiles[-1]))

    def _needed(self, part: Part) -> int:
        read = prod(sizes(self._reading(self.inside.input_box(part)))) * self.kind.itemsize
        made = (
            self.example.nbytes // prod(self._small) * prod(sizes(part)[-len(self.tile) :]) if self.postprocess else 0
        )
        return self.inside.workspace_bytes(part) + read + made

    def digest(self) -> str:
        """Of the model: its calls and tensors, and torch, whose next version may round differently."""
        digest = hashlib.blake2b(f"{torch.__version__}\n{self.model}".encode(), digest_size=16)
        digest.update("\n".join(self.inside.calls).encode())
        for name, value in (self.model.state_dict() | self.inside.constants).items():
            if isinstance(value, Tensor):
                digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
                digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()


def within_memory(work: TileWork, most: int) -> TileWork:
    """The work in the largest square tiles that need no more than so many bytes each.

    Raises SettingError where the smallest tile needs more.
    """
    size, fits, least = work.shape[2:], None, ""
    sides = [side for side in SIDES if side < max(size)] + [max(size)]
    low, high = 0, len(sides) - 1
    while low <= high:  # a tile that is larger needs more; each of them is planned as a whole
        middle = (low + high) // 2
        one = replace(work, tile=tuple(min(sides[middle], length) for length in size))
        try:
            needed = one.memory
        except SettingError as error:  # too small to be aligned
            if high == low:
                raise error
            low = middle + 1
            continue
        if needed <= most:
            fits, low = one, middle + 1
        else:
            least, high = f"at least {needed:,} for a tile of {one.named}", middle - 1
    if fits is None:
        raise SettingError("memory", got=f"{most:,} bytes", expected=least, fix="Allow more.")
    return fits


def _complain(name: str, found: object, given: Tensor) -> None:
    got = tuple(found.shape) if isinstance(found, Tensor) else f"an object of {type(found).__name__}"
    expected = f"the batch and the size of what it was given, {tuple(given.shape)}"
    raise ShapeError(f"what {name}= makes", got=got, expected=expected)
