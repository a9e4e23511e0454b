"""What transforms of tiles by the C++ kernels take, about, and the lengths of the tiles that take the least.

Seconds and bytes of one core of an x86 server with AVX-512; choices need only their ratios.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import log2, prod

from ....description import shapes
from ...tensors import OUTPUT, WEIGHT
from .tiles import lengths_between

STEP = 0.75e-9  # one step of one sample of a vector of tiles, of which a transform of n samples needs n log2(n)
VECTOR = 1.5e-6  # a vector of tiles, whatever their size
MULTIPLY = 1 / 105e9  # one multiply-add in the products of matrices
TOUCH = 0.32e-9  # a number of the spectra, written and read again
NUMBER = 0.5e-9  # a number of the arrays, read or written
LANES = 16  # of a vector
LONGEST = 2**15  # samples of a tile that stay in a cache
SHORTEST = 4  # samples of a row, which are transformed as pairs
PAYS = 0.05  # part of an operation that the transforms of kernels must take to be worth keeping
BATCH = 4  # lines that are transformed together, as in csrc/tile.h
SHARES = 4  # of the work for each thread, as in csrc/pointwise.h
CACHED = 2**22  # bytes of spectra that stay in a cache until they are used, as in csrc/dense.h


@dataclass(frozen=True)
class Work:
    """A valid correlation with steps of 1: sizes per axis, channels of all groups.

    room: bytes of workspace that it may take; threads: each has a buffer for a vector of tiles.
    """

    outputs: tuple[int, ...]
    kernel: tuple[int, ...]
    batch: int
    ins: int
    outs: int
    groups: int
    room: int
    threads: int

    @property
    def bytes(self) -> int:
        """Of input, kernels and output."""
        samples = prod(size + taps - 1 for size, taps in zip(self.outputs, self.kernel, strict=True))
        arrays = self.batch * (self.ins * samples + self.outs * prod(self.outputs))
        return 4 * (arrays + self.kernels * prod(self.kernel))

    @property
    def kernels(self) -> int:
        """How many."""
        return self.ins * self.outs // self.groups

    def fixed(self, lengths: tuple[int, ...]) -> int:
        """Bytes of the kernels' spectra, whose rows are whole vectors, and of the threads' buffers."""
        points, last = prod(lengths) // 2 + 2, lengths[-1]
        lines = prod(lengths[:-1])
        buffers = (1 + 2 * self._is_pointwise) * points + min(BATCH, lines) * last + BATCH * lines + last
        ins, outs = self.ins // self.groups, self.outs // self.groups
        kernels = self.groups * max(_whole(ins) * outs, ins * _whole(outs))
        return 8 * (points * (_whole(self.kernels) if self._is_pointwise else kernels) + LANES * self.threads * buffers)

    def least(self, lengths: tuple[int, ...], role: str) -> int:
        """Bytes with so few tiles at a time that fewer are not possible."""
        if not self._is_pointwise:
            return self.fixed(lengths) + self._unit(prod(lengths))
        return self.fixed(lengths) + (self._sums(lengths) if role == WEIGHT else 0)

    def workspace(self, lengths: tuple[int, ...], role: str) -> int:
        """Bytes that one operation takes within its room, if that is enough for the least."""
        if self._is_pointwise:
            return self.least(lengths, role)
        fixed, unit = self.fixed(lengths), self._unit(prod(lengths))
        return fixed + max(unit, min(self.room - fixed, max(CACHED, 2 * fixed), self._tiles(lengths) * unit))

    def spectra_room(self, lengths: tuple[int, ...]) -> int:
        """Bytes left for the spectra of tiles."""
        return max(self.room - self.fixed(lengths), 1)

    def _sums(self, lengths: tuple[int, ...]) -> int:
        """Bytes of the spectra of the kernels' gradient, of each share of the tiles."""
        tiles = self._tiles(lengths)
        along = self.outs > self.ins or _whole(self.outs) * tiles > _whole(tiles) * self.outs
        rows, units = (self.outs, _whole(tiles) // LANES) if along else (_whole(self.outs) // LANES, tiles)
        return 8 * (prod(lengths) // 2 + 2) * LANES * rows * min(units, shapes.repeats(SHARES * self.threads, rows))

    def _unit(self, samples: int) -> int:
        """Bytes of the spectra of one tile, its channels in whole vectors; of a vector of tiles where they are few."""
        ins, outs = self.ins // self.groups, self.outs // self.groups
        across, along = self.groups * (_whole(ins) + _whole(outs)), self.groups * LANES * max(ins, outs)
        return 8 * (samples // 2 + 2) * max(across, along if max(ins, outs) < LANES else 0)

    def tiles(self, steps: tuple[int, ...]) -> int:
        """With so many outputs each, of all images."""
        return self.batch * prod(shapes.repeats(size, step) for size, step in zip(self.outputs, steps, strict=True))

    def vectors(self, tiles: int, role: str) -> int:
        """Transforms of tiles, a vector of channels or of tiles at a time."""
        return self._vectors(self.ins, tiles, role) + self._vectors(self.outs, tiles, role)

    def _tiles(self, lengths: tuple[int, ...]) -> int:
        return self.tiles(tuple(length - taps + 1 for length, taps in zip(lengths, self.kernel, strict=True)))

    @property
    def _is_pointwise(self) -> bool:
        """Whether each output channel reads one input channel, so that spectra do not leave the cache."""
        return self.kernels == self.outs

    def _vectors(self, channels: int, tiles: int, role: str) -> int:
        group = channels if self._is_pointwise else channels // self.groups
        across = channels // group * shapes.repeats(group, LANES) * tiles
        along = channels * shapes.repeats(tiles, LANES)
        return across if role == WEIGHT and not self._is_pointwise else min(across, along)

    def keeping_pays(self, lengths: tuple[int, ...]) -> bool:
        """Whether the kernels' transforms take a part of an operation that is worth keeping them."""
        points = 2 * (prod(lengths) // 2 + 2) * (not self._is_pointwise)
        one = self._transform(lengths) * shapes.repeats(self.kernels, LANES) + TOUCH * points * self.kernels
        return one > PAYS * self.seconds(lengths)

    def _transform(self, lengths: tuple[int, ...]) -> float:
        samples = prod(lengths)
        return VECTOR + STEP * samples * log2(samples)

    def seconds(self, lengths: tuple[int, ...], role: str = OUTPUT) -> float:
        """One operation with tiles of these lengths."""
        points, tiles = prod(lengths) // 2 + 2, self._tiles(lengths)
        copies = NUMBER * self.bytes / 4
        transforms = (
            self._transform(lengths) * (self.vectors(tiles, role) + shapes.repeats(self.kernels, LANES)) + copies
        )
        if self._is_pointwise:
            return transforms
        touched = points * 2 * (tiles * (self.ins + self.outs) + self.kernels)
        return transforms + MULTIPLY * 4 * points * tiles * self.kernels + TOUCH * touched


@lru_cache(maxsize=4096)
def cheapest(work: Work, role: str = OUTPUT) -> tuple[int, ...] | None:
    """The lengths that take the least time within the workspace, or the least workspace; None if all are too long."""
    choices = [
        lengths_between(taps, max(size + taps - 1, SHORTEST), 12)
        for size, taps in zip(work.outputs, work.kernel, strict=True)
    ]
    fitting = [lengths for lengths in product(*choices) if prod(lengths) <= LONGEST and lengths[-1] % 2 == 0]

    def weighed(lengths: tuple[int, ...]) -> tuple[int, float]:
        return max(0, work.least(lengths, role) - work.room), work.seconds(lengths, role)

    return min(fitting, key=weighed, default=None)


def _whole(channels: int) -> int:
    """In whole vectors."""
    return shapes.repeats(channels, LANES) * LANES
