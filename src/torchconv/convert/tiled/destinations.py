"""Where the result of a tiled inference goes: an array of any kind, or a file that appears when it is whole."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import DataError, SettingError, ShapeError
from ...text import install, megabytes
from .array_layout import ArrayLayout, Part
from .image_source import ImageSource, file_of, let_go

UNFINISHED = ".tiles"  # ends the name of the folder beside a result that holds what is not finished


@dataclass(frozen=True)
class Outcome:
    """What is to be stored: the layout, shape and type of the array, the shape of its largest tile, and the device."""

    layout: ArrayLayout
    shape: tuple[int, ...]
    kind: torch.dtype
    tile: tuple[int, ...]
    device: torch.device

    @property
    def dtype(self) -> np.dtype:
        """NumPy's type; raises SettingError for those that it lacks."""
        try:
            return torch.empty(0, dtype=self.kind).numpy().dtype
        except TypeError:
            fix = "Give postprocess=torch.Tensor.float."
            raise SettingError("a result for NumPy", got=self.kind, expected="a type that it has", fix=fix) from None


class Destination:
    """What takes the tiles of a result, each once, in any order."""

    folder: Path | None = None  # for the journal; None where the result goes with the process
    name = "out"

    def open(self, outcome: Outcome, begun: bool) -> None:
        """Be ready for tiles. begun: some have been written before."""
        raise NotImplementedError

    def write(self, part: Part, tile: Tensor) -> Any:
        """Take a tile, in the result's layout, and give its values as they lie there; they outlast the process."""
        raise NotImplementedError

    def read(self, part: Part) -> np.ndarray:
        """A tile that was written before; only where there is a folder for the journal."""
        raise NotImplementedError

    def finish(self) -> None:
        """All tiles are there."""

    def result(self) -> Any:
        """What came of it, after `finish`, which may have been another process's."""
        raise NotImplementedError

    def close(self) -> None:
        """No more tiles come, whether all are there or not."""

    def exists(self) -> bool:
        """Whether there is what a journal could speak of."""
        return True

    def check_apart(self, source: ImageSource) -> None:
        """Raise SettingError where writing changes what is still to be read."""

    def check_shared(self, outcome: Outcome) -> None:
        """Raise SettingError unless several processes can write tiles of their own."""
        fix = "Give out= the path of a .npy file, which all ranks write."
        raise SettingError(f"{self.name} of a tiled inference by several processes", got="one process's own", fix=fix)


class InMemory(Destination):
    """A new tensor, or a new NumPy array."""

    def __init__(self, numpy: bool) -> None:
        self.numpy = numpy

    def open(self, outcome: Outcome, begun: bool) -> None:
        device = "cpu" if self.numpy else outcome.device
        self.layout, self.values = outcome.layout, torch.empty(outcome.shape, dtype=outcome.kind, device=device)

    def write(self, part: Part, tile: Tensor) -> Any:
        self.values[self.layout.index(part)] = tile.to(self.values.device)

    def result(self) -> Any:
        return self.values.numpy() if self.numpy else self.values


class GivenArray(Destination):
    """An array that is there: a tensor, a NumPy array or memory map, arrays of zarr and h5py."""

    def __init__(self, array: Any) -> None:
        self.array, place = array, _place(array)
        if place is not None:
            self.folder = Path(f"{place}{UNFINISHED}")

    def check_apart(self, source: ImageSource) -> None:
        image, own = getattr(source, "array", None), getattr(self, "array", None)
        if image is not None and own is not None and _one_memory(image, own):
            got, fix = "the image, which tiles are still to read", "Give out= another array."
            raise SettingError(self.name, got=got, expected="memory of its own", fix=fix)

    def open(self, outcome: Outcome, begun: bool) -> None:
        self.layout = outcome.layout
        if tuple(self.array.shape) != outcome.shape:
            raise ShapeError(self.name, got=tuple(self.array.shape), expected=outcome.shape)
        if isinstance(self.array, np.ndarray) and not self.array.flags.writeable:
            raise SettingError(self.name, got="an array that is only to be read", expected="one to be written to")
        held, kind = self.array.dtype, outcome.kind
        fits = held == kind if isinstance(held, torch.dtype) else np.can_cast(outcome.dtype, held, "same_kind")
        if not fits:
            fix = f"Give postprocess=, such as lambda y: y.to(torch.{str(held).removeprefix('torch.')})."
            raise SettingError(self.name, got=f"an array of {held}", expected=str(kind).removeprefix("torch."), fix=fix)

    def check_shared(self, outcome: Outcome) -> None:
        if self.folder is None:
            super().check_shared(outcome)
        blocks = getattr(self.array, "shards", None) or getattr(self.array, "chunks", None) or ()
        sizes = zip(outcome.tile, blocks, outcome.shape, strict=False)
        if any(tile % block and tile < whole for tile, block, whole in sizes):
            got, fix = f"tiles of {outcome.tile} in chunks of {tuple(blocks)}", "Let chunks divide the tile."
            raise SettingError(f"{self.name} of several processes", got=got, expected="tiles of whole chunks", fix=fix)

    def write(self, part: Part, tile: Tensor) -> Any:
        place = self.layout.index(part)
        if isinstance(self.array, Tensor):
            self.array[place] = tile.to(self.array.device)
            return None
        values = tile.cpu().numpy().astype(self.array.dtype, copy=False)
        self.array[place] = values
        if isinstance(self.array, np.memmap):
            let_go(self.array)
        return values

    def read(self, part: Part) -> np.ndarray:
        found = np.array(self.array[self.layout.index(part)])
        if isinstance(self.array, np.memmap):
            let_go(self.array)
        return found

    def finish(self) -> None:
        if hasattr(self.array, "flush"):
            self.array.flush()

    def result(self) -> Any:
        return self.array


class NewFile(Destination):
    """A .npy file: written in a folder beside it, and moved to its place when it is whole."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, f"out {path}"
        self.folder = Path(f"{path}{UNFINISHED}")
        self.unfinished = self.folder / f"unfinished{path.suffix}"
        self.file: int | None = None
        if path.is_dir():
            raise DataError(self.name, got="a folder", expected="a file")
        if not path.parent.is_dir():
            raise DataError(self.name, got=f"no folder {path.parent}", expected="a file in a folder that is there")

    def exists(self) -> bool:
        return self.unfinished.exists()

    def check_shared(self, outcome: Outcome) -> None:
        """Always."""

    def open(self, outcome: Outcome, begun: bool) -> None:
        self.layout = outcome.layout
        if not begun:
            need = int(np.prod(outcome.shape)) * outcome.dtype.itemsize
            free = shutil.disk_usage(self.path.parent).free
            if need > free:
                fix = "Make room, or give out= on another disk."
                raise DataError(self.name, got=f"{megabytes(free)} free", expected=megabytes(need), fix=fix)
            np.lib.format.open_memmap(self.unfinished, "w+", outcome.dtype, outcome.shape)
        held = np.load(self.unfinished, mmap_mode="r")
        self.begin, self.steps = held.offset, held.strides
        self.file = os.open(self.unfinished, os.O_RDWR)

    def write(self, part: Part, tile: Tensor) -> Any:
        """Row by row: a full disk is an error here, and would end the process if the file was mapped into memory."""
        values = np.ascontiguousarray(tile.cpu().numpy())
        starts = [one.start or 0 for one in self.layout.index(part)]
        begin = self.begin + sum(start * step for start, step in zip(starts, self.steps, strict=True))
        last = values.ndim - 1 - (self.layout.channels and self.layout.last)  # rows, with their channels
        for number in np.ndindex(values.shape[:last]):
            place = begin + sum(n * step for n, step in zip(number, self.steps, strict=False))
            left = memoryview(values[number].data).cast("B")
            while left:
                written = os.pwrite(self.file, left, place)  # pyright: ignore
                left, place = left[written:], place + written
        return values

    def read(self, part: Part) -> np.ndarray:
        return np.array(np.load(self.unfinished, mmap_mode="r")[self.layout.index(part)])

    def finish(self) -> None:
        if self.file is not None:
            os.fsync(self.file)
        self.unfinished.replace(self.path)

    def close(self) -> None:
        if self.file is not None:
            os.close(self.file)
            self.file = None

    def result(self) -> Any:
        return np.load(self.path, mmap_mode="r")


class NewZarr(GivenArray):
    """A folder of zarr, in chunks of a tile: written beside its place, and moved there when it is whole."""

    def __init__(self, path: Path) -> None:
        try:
            import zarr  # noqa: F401
        except ModuleNotFoundError:
            raise DataError(f"out {path}", got="no package zarr to write it with", fix=install("tiff")) from None
        self.path, self.name = path, f"out {path}"
        self.folder = Path(f"{path}{UNFINISHED}")
        self.unfinished = self.folder / f"unfinished{path.suffix}"
        if path.exists():
            raise DataError(self.name, got="a folder that is there", fix="Remove it, or give another out=.")

    def exists(self) -> bool:
        return self.unfinished.exists()

    def open(self, outcome: Outcome, begun: bool) -> None:
        import zarr

        if not begun:
            shape, chunks = outcome.shape, outcome.tile
            zarr.create_array(self.unfinished, shape=shape, chunks=chunks, dtype=outcome.dtype, overwrite=True)
        self.array = zarr.open_array(self.unfinished, mode="r+")
        super().open(outcome, begun)

    def finish(self) -> None:
        self.unfinished.replace(self.path)

    def result(self) -> Any:
        import zarr

        return zarr.open_array(self.path, mode="r")


def _place(array: Any) -> Path | None:
    """Where on a disk an array lies: a file that is mapped into memory, or a folder of zarr."""
    root = getattr(getattr(array, "store", None), "root", None)
    return file_of(array) or (None if root is None else Path(root) / array.path)


def _one_memory(one: Any, other: Any) -> bool:
    """Whether what is written to one array is read from the other."""
    places = _place(one), _place(other)
    if None not in places:
        return places[0].resolve() == places[1].resolve()  # pyright: ignore[reportOptionalMemberAccess]
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.shares_memory(one, other)
    spans = [_addresses(array) for array in (one, other) if isinstance(array, np.ndarray | Tensor)]
    return one is other or (len(spans) == 2 and max(spans)[0] < min(spans)[1])


def _addresses(array: np.ndarray | Tensor) -> tuple[int, int]:
    """From where to where the memory lies that holds an array."""
    if isinstance(array, np.ndarray):
        begin = array.__array_interface__["data"][0]
        reach = [step * (length - 1) for step, length in zip(array.strides, array.shape, strict=True)]
        return begin + sum(min(one, 0) for one in reach), begin + sum(max(one, 0) for one in reach) + array.itemsize
    storage = array.untyped_storage()
    return storage.data_ptr(), storage.data_ptr() + storage.nbytes()


def destination(out: Any, numpy: bool) -> Destination:
    """Where a result goes: None is a new tensor or array, a path a new file, else an array or a function."""
    if out is None:
        return InMemory(numpy)
    if isinstance(out, str | Path):
        path = Path(out)
        if path.suffix not in (".npy", ".zarr"):
            raise SettingError("out", got=str(path), expected="a path that ends in .npy or .zarr")
        return NewZarr(path) if path.suffix == ".zarr" else NewFile(path)
    if hasattr(out, "shape") and hasattr(out, "__setitem__"):
        return GivenArray(out)
    expected = "an array, a path that ends in .npy or .zarr, or a function of a place and a tile"
    raise SettingError("out", got=f"an object of {type(out).__name__}", expected=expected)
