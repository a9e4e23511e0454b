"""Where the image of a tiled inference comes from: an array of any kind, a file, or strips of rows in their order."""

from __future__ import annotations

import hashlib
import mmap
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import DataError, SettingError, ShapeError
from .array_layout import ArrayLayout, Part
from .image_files import open_image

PROBED = 16  # samples of each axis by which an array on a disk is known again
PIECE = 2**24  # values that are digested at once


class ImageSource(ABC):
    """An image that gives parts of itself: `shape` is (batch, channels, *size), whatever the array's layout."""

    layout: ArrayLayout
    shape: tuple[int, ...]
    kind: torch.dtype
    repeats = True  # whether it can be read more than once

    @abstractmethod
    def read(self, part: Part) -> Tensor:
        """A part of (batch, channels, *size)."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What tells it from other images, for JSON."""


class ArrayImage(ImageSource):
    """Anything with a shape, a dtype and slices: a tensor, a NumPy array or memory map, arrays of zarr and h5py.

    file: where it comes from, by which it is known again; arrays in memory are known by their values.
    """

    def __init__(self, array: Any, layout: ArrayLayout, file: Path | None = None) -> None:
        self.array, self.layout, self.file = array, layout, file or file_of(array)
        self.shape = layout.whole(array.shape)
        self.kind = self.read((slice(0, 0),) * len(self.shape)).dtype

    def read(self, part: Part) -> Tensor:
        found = self.array[self.layout.index(part)]
        if isinstance(self.array, np.memmap):
            found = np.array(found)
            let_go(self.array)
        return self.layout.tensor(found)

    def identity(self) -> dict[str, Any]:
        found: dict[str, Any] = {"shape": list(self.shape), "dtype": str(self.kind)}
        if self.file is not None:
            stat = self.file.stat()
            return {**found, "file": [self.file.name, stat.st_size, stat.st_mtime_ns]}
        digest = hashlib.blake2b(digest_size=16)
        for part in self._looked_at():
            digest.update(self.read(part).cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return {**found, "values": digest.hexdigest()}

    def _looked_at(self) -> Iterator[Part]:
        """All of an array in memory, band by band, and the middle of others."""
        before, size = tuple(slice(0, length) for length in self.shape[:2]), self.shape[2:]
        if not isinstance(self.array, Tensor | np.ndarray):
            yield (*before, *(slice(length // 2, min(length, length // 2 + PROBED)) for length in size))
            return
        rows = max(1, PIECE // max(1, int(np.prod(self.shape)) // max(1, size[0])))
        for start in range(0, size[0], rows):
            yield (*before, slice(start, min(size[0], start + rows)), *(slice(0, length) for length in size[1:]))


class StripImage(ImageSource):
    """Strips of rows of the first axis, from the first to the last, each whole on the other axes; read in their order.

    strips: an iterator, or what gives a new one each time: a function, a list. Strips are held until all their rows are
    forgotten. array_shape: that of all strips together.
    """

    def __init__(self, strips: Any, array_shape: Sequence[int], layout: ArrayLayout) -> None:
        self.make: Callable[[], Any] = strips if callable(strips) else lambda: iter(strips)
        self.repeats = callable(strips) or iter(strips) is not strips
        self.array_shape, self.layout, self.shape = tuple(array_shape), layout, layout.whole(array_shape)
        self._begin()
        self._take()
        self.kind = self.held[0][1].dtype

    def _begin(self) -> None:
        self.strips: Iterator[Any] = iter(self.make())
        self.end, self.gone = 0, 0
        self.held: list[tuple[int, Tensor]] = []

    def _take(self) -> None:
        """One more strip."""
        strip, start, rows, row = next(self.strips, None), self.end, self.shape[2], self.layout.row
        if strip is not None:
            expected, got = list(self.array_shape), list(strip.shape)
            if [*got[:row], *got[row + 1 :]] != [*expected[:row], *expected[row + 1 :]] or len(got) != len(expected):
                wanted = ", ".join("rows" if axis == row else str(length) for axis, length in enumerate(expected))
                raise ShapeError(f"the strip from row {start}", got=tuple(got), expected=f"({wanted})")
            self.end += got[row]
        if strip is None or self.end > rows:
            raise DataError("the strips of an image", got=f"{self.end} rows", expected=f"{rows}, as shape= says")
        self.held.append((start, self.layout.tensor(strip)))

    def read(self, part: Part) -> Tensor:
        batch, channels, rows, *others = part
        if rows.start < self.gone:
            self._begin()
        while self.end < rows.stop:
            self._take()
            self._forget(rows.start)
        parts = [
            strip[(batch, channels, slice(max(rows.start - start, 0), rows.stop - start), *others)]
            for start, strip in self.held
            if start < rows.stop and start + strip.shape[2] > rows.start
        ]
        return torch.cat(parts, dim=2)

    def _forget(self, row: int) -> None:
        """Let strips go that end before this row."""
        kept = [(start, strip) for start, strip in self.held if start + strip.shape[2] > row]
        self.gone = kept[0][0] if kept else self.end
        self.held = kept

    def identity(self) -> dict[str, Any]:
        return {"shape": list(self.shape), "dtype": str(self.kind), "strips": True}


def image_source(image: Any, axes: int, channels: str | None = None, shape: Sequence[int] | None = None) -> ImageSource:
    """Whatever holds an image, as something that gives parts of it.

    axes: of the image. channels: "first" or "last"; None takes the file's own way, else "first".
    shape: of the whole, for strips. Raises DataError, SettingError or ShapeError for what cannot be read.
    """
    file, array, own = None, image, "first"
    if isinstance(image, str | Path):
        array, own = open_image(file := Path(image))
    if hasattr(array, "shape") and hasattr(array, "__getitem__"):
        if shape is not None and tuple(shape) != tuple(array.shape):
            fix = "Only strips of rows need shape=."
            raise ShapeError("shape of an image", got=tuple(shape), expected=f"its own, {tuple(array.shape)}", fix=fix)
        what = "image" if file is None else f"image {file}"
        return ArrayImage(array, ArrayLayout.of(len(array.shape), axes, channels or own, what), file)
    if not callable(image) and not hasattr(image, "__iter__"):
        expected = "a tensor, an array, a file, or strips of rows"
        raise SettingError("image", got=f"an object of {type(image).__name__}", expected=expected)
    if shape is None:
        fix = "Give shape=, that of all strips together, such as shape=(3, 20000, 20000)."
        raise SettingError("an image that comes in strips", got="no shape of the whole", fix=fix)
    return StripImage(image, shape, ArrayLayout.of(len(shape), axes, channels or "first"))


def let_go(array: np.memmap) -> None:
    """Let the pages of a memory-mapped file leave the memory of this process; what was written stays in the file."""
    mapped = getattr(array, "_mmap", None)
    if mapped is not None and array.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def file_of(array: Any) -> Path | None:
    """The file behind a memory map of all of it."""
    name = getattr(array, "filename", None) if isinstance(array, np.memmap) else None
    return Path(name) if name and isinstance(array.base, mmap.mmap) else None
