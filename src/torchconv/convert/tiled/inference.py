"""The result of a whole image, tile by tile: `tc.tiled`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import SettingError
from .destinations import destination
from .engines import engine_of
from .image_source import ImageSource, image_source
from .job import Job
from .work import Hook, TileWork, within_memory

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def tiled(
    model: nn.Module,
    tile: int | Sequence[int] | None = None,
    *,
    memory: int | str | None = None,
    statistics: str | None = None,
    output: str | int | None = None,
    dtype: torch.dtype | None = None,
    preprocess: Hook | None = None,
    postprocess: Hook | None = None,
    engine: str | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> TiledInference:
    """A model on images of any size, tile by tile, with the result of the whole image.

    tile: samples of the image along each of its axes, such as (1024, 1024); None takes the largest that `memory`
    allows. memory: bytes that a tile may need beyond the model, or text such as "2GB". statistics: "two-pass" where
    layers need the whole image. output: which of several, by name or number. dtype: of what the
    model takes, by default its own; torch.uint8 for one that takes bytes. preprocess, postprocess: functions of
    each tile as it is read (batch, channels, *size), whatever its type, and of each result; they keep the size and may
    change channels and type. engine: None is this process; "ray" with so many `workers`; "torch.distributed" under
    torchrun. progress: show a bar on a terminal.

    Raises SettingError for a setting that cannot be; when it is called, UnsupportedError naming the layers that need
    the whole image, and DataError for images or results that cannot be read or written.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 5, padding=2)).eval()
    >>> image = torch.randn(1, 3, 50, 70)
    >>> torch.allclose(tiled(model, tile=(16, 32))(image), model(image), atol=1e-6)
    True
    """
    if not isinstance(model, nn.Module):
        raise SettingError("model", got=f"an object of {type(model).__name__}", expected="a torch.nn.Module")
    sides = tile if isinstance(tile, list | tuple) else (1 if tile is None else tile,)
    if not all(type(side) is int and side > 0 for side in sides) or not sides:
        raise SettingError("tile", got=repr(tile), expected="samples along each axis, such as (1024, 1024)")
    if tile is None and memory is None:
        fix = 'Or give memory=, such as "2GB".'
        raise SettingError("tile", got="None", expected="samples along each axis", fix=fix)
    if statistics not in (None, "two-pass"):
        raise SettingError("statistics", got=repr(statistics), expected="None or 'two-pass'")
    settings = {"statistics": statistics, "output": output, "dtype": dtype}
    settings |= {"preprocess": preprocess, "postprocess": postprocess}
    return TiledInference(model, tile, bytes_of(memory), settings, (engine, workers), progress)


class TiledInference:
    """A model on images of any size; `tiled` makes it."""

    def __init__(
        self,
        model: nn.Module,
        tile: int | Sequence[int] | None,
        memory: int | None,
        settings: dict[str, Any],
        engine: tuple[str | None, int | None],
        progress: bool,
    ) -> None:
        self.model, self.tile, self.memory, self.settings = model, tile, memory, settings
        self.engine, self.progress = engine, progress

    def __call__(
        self, image: Any, *, out: Any = None, channels: str | None = None, shape: Sequence[int] | None = None
    ) -> Any:
        """The result of the whole image, laid out as the image is.

        image: a tensor, an array of NumPy, zarr or h5py, a memory map; the path of a .npy, .zarr, TIFF or other image
        file; an iterator over strips of rows, or a function that returns one, with the `shape` of all together.
        channels: "first" or "last"; None takes the file's own way, else "first". With or without a batch axis.
        out: None gives a new tensor or array; an array; the path of a .npy or .zarr file, which appears when it is
        whole; a function of (place, tile). Beside a file there is a journal: the same call goes on after the last
        finished tile.
        """
        job, numpy = self._job(image, channels, shape)
        try:
            if callable(out) and not hasattr(out, "shape"):
                return self._give(job, out)
            return job.run(destination(out, numpy))
        finally:
            job.engine.close()

    def tiles(
        self, image: Any, *, channels: str | None = None, shape: Sequence[int] | None = None
    ) -> Iterator[tuple[tuple[slice, ...], Tensor]]:
        """Tiles as they are computed, each with its place: `result[place] = tile`. Arguments as of a call."""
        job, _ = self._job(image, channels, shape)
        self._check_alone(job)
        try:
            yield from job.stream()
        finally:
            job.engine.close()

    def work(self, source: ImageSource) -> TileWork:
        """What is to be done for an image; raises SettingError where the memory is not enough."""
        axes = len(source.shape) - 2
        tile = (max(source.shape[2:]),) * axes if self.tile is None else self.tile
        tile = (tile,) * axes if isinstance(tile, int) else tuple(tile)
        work = TileWork(model=self.model, shape=source.shape, kind=source.kind, tile=tile, **self.settings)
        if self.memory is None:
            return work
        if self.tile is None:
            return within_memory(work, self.memory)
        if work.memory > self.memory:
            got, expected = f"{work.memory:,} bytes for a tile of {work.named}", f"at most memory={self.memory:,}"
            raise SettingError("tile", got=got, expected=expected, fix="Give a smaller tile, or none.")
        return work

    def _job(self, image: Any, channels: str | None, shape: Sequence[int] | None) -> tuple[Job, bool]:
        source = image_source(image, self._axes(image, shape), channels, shape)
        work = self.work(source)
        _ = work.inside, work.example  # what is wrong with the model is said before anything is started or written
        return Job(work, source, engine_of(*self.engine), self.progress), not isinstance(image, Tensor)

    def _axes(self, image: Any, shape: Sequence[int] | None) -> int:
        """Of the image: as many as the tile has, else as torch's convolutions of the model have."""
        if self.tile is not None and not isinstance(self.tile, int):
            return len(self.tile)
        return next((one.ndim - 2 for one in self.model.parameters() if one.ndim > 2), 2)

    def _check_alone(self, job: Job) -> None:
        if job.engine.several:
            got, fix = "a function", "Give the path of a .npy file."
            raise SettingError("out of several processes", got=got, expected="what all of them write", fix=fix)

    def _give(self, job: Job, out: Callable[[tuple[slice, ...], Tensor], object]) -> None:
        self._check_alone(job)
        for place, tile in job.stream():
            out(place, tile)


def bytes_of(memory: int | str | None) -> int | None:
    """Bytes, from a number or text.

    >>> bytes_of("2GB"), bytes_of("1.5 GiB"), bytes_of(1000)
    (2000000000, 1610612736, 1000)
    """
    if memory is None or (isinstance(memory, int) and memory > 0):
        return memory
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", memory.lower()) if isinstance(memory, str) else None
    count = int(float(found[1]) * UNITS[found[2] or ""]) if found else 0
    if count < 1:
        raise SettingError("memory", got=repr(memory), expected='bytes, or text such as "2GB"')
    return count
