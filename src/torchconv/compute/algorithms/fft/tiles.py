"""Overlap-save: the lengths of the tiles that a correlation is cut up into, and what they cost (Stockham 1966).

A tile of `length` samples gives length - taps + 1 outputs; neighbouring tiles overlap by taps - 1 samples. This is the
one planner of all that transform in tiles: the C++ kernels (`Compiled`, here), torch's transforms (correlation.py) and
SciPy's (signal/fft.py). They differ in what a tile costs them, and in how many lengths are worth trying.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from math import log2, prod
from typing import Any

from ....description import shapes
from ...native.loader import number
from ...planning import machine
from ...planning.machine import LANES
from ...tensors import OUTPUT, WEIGHT

SHORTEST = 4  # samples of a row, which are transformed as pairs
Lengths = tuple[int, ...]


@lru_cache(maxsize=4096)
def fast_length(least: int, even: bool = False) -> int:
    """The next length that is a product of 2, 3 and 5: transforms of it are fast, and so their errors are bounded.

    even: and that is even, unless it is below 4, for transforms of real numbers as pairs.

    >>> fast_length(7), fast_length(25), fast_length(25, even=True)
    (8, 25, 30)
    """
    from scipy.fft import next_fast_len  # here, because to import it takes long

    factor = 2 if even and least >= SHORTEST else 1
    return factor * next_fast_len(-(-least // factor), True)  # type: ignore[operator]


def cheapest(
    axes: Iterable[tuple[int, int]],
    cost: Callable[[Lengths], Any],
    finer: int,
    even: bool = True,
    fits: Callable[[Lengths], bool] = lambda lengths: True,
) -> Lengths | None:
    """The lengths of tiles that cost least, of those that fit; None where none do.

    axes: the shortest length of a tile and that of everything, per axis. finer: each length that is tried is about
    1 / finer longer than the last.
    """
    choices = product(*(_lengths_between(*axis, finer, even) for axis in axes))
    return min(filter(fits, choices), key=cost, default=None)


def _lengths_between(shortest: int, whole: int, finer: int, even: bool) -> list[int]:
    most = fast_length(whole, even)
    found, length = [], shortest
    while (fast := fast_length(length, even)) < most:
        found.append(fast)
        length = fast + max(1, fast // finer)
    return [*found, most]


def cells(outputs: int, taps: int, length: int) -> tuple[int, int]:
    """How many tiles of a length give so many outputs of an axis, and how far apart they are."""
    step = length - taps + 1
    return shapes.repeats(outputs, step), step


@dataclass(frozen=True)
class Correlation:
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
    threads: int = 1

    @cached_property
    def size(self) -> tuple[int, ...]:
        """Of the input."""
        return tuple(size + taps - 1 for size, taps in zip(self.outputs, self.kernel, strict=True))

    @cached_property
    def kernels(self) -> int:
        """How many."""
        return self.ins * self.outs // self.groups

    def steps(self, lengths: Lengths) -> tuple[int, ...]:
        """Outputs of a tile."""
        return tuple(length - taps + 1 for length, taps in zip(lengths, self.kernel, strict=True))

    def counts(self, lengths: Lengths) -> tuple[int, ...]:
        """Tiles per axis."""
        return tuple(cells(*axis)[0] for axis in zip(self.outputs, self.kernel, lengths, strict=True))

    def tiles(self, lengths: Lengths) -> int:
        """Of all images."""
        return self.batch * prod(self.counts(lengths))


class Compiled(Correlation):
    """The same by the C++ kernels: what tiles of some lengths take, in seconds of one core and in bytes."""

    @cached_property
    def bytes(self) -> int:
        """Of input, kernels and output."""
        arrays = self.batch * (self.ins * prod(self.size) + self.outs * prod(self.outputs))
        return 4 * (arrays + self.kernels * prod(self.kernel))

    def fixed(self, lengths: Lengths) -> int:
        """Bytes of the kernels' spectra, whose rows are whole vectors, and of the threads' buffers."""
        points, last, together = prod(lengths) // 2 + 2, lengths[-1], number("lines")
        lines = prod(lengths[:-1])
        buffers = (1 + 2 * self._is_pointwise) * points + min(together, lines) * last + together * lines + last
        ins, outs = self.ins // self.groups, self.outs // self.groups
        kernels = self.groups * max(_whole(ins) * outs, ins * _whole(outs))
        return 8 * (points * (_whole(self.kernels) if self._is_pointwise else kernels) + LANES * self.threads * buffers)

    def least(self, lengths: Lengths, role: str) -> int:
        """Bytes with so few tiles at a time that fewer are not possible."""
        if not self._is_pointwise:
            return self.fixed(lengths) + self._tile_bytes(prod(lengths))
        return self.fixed(lengths) + (self._sums(lengths) if role == WEIGHT else 0)

    def workspace(self, lengths: Lengths, role: str) -> int:
        """Bytes that one operation takes within its room, if that is enough for the least."""
        if self._is_pointwise:
            return self.least(lengths, role)
        fixed, one = self.fixed(lengths), self._tile_bytes(prod(lengths))
        cached = max(number("cached bytes"), 2 * fixed)
        return fixed + max(one, min(self.room - fixed, cached, self.tiles(lengths) * one))

    def spectra_room(self, lengths: Lengths) -> int:
        """Bytes left for the spectra of tiles."""
        return max(self.room - self.fixed(lengths), 1)

    def _sums(self, lengths: Lengths) -> int:
        """Bytes of the spectra of the kernels' gradient, of each share of the tiles."""
        tiles = self.tiles(lengths)
        along = self.outs > self.ins or _whole(self.outs) * tiles > _whole(tiles) * self.outs
        rows, units = (self.outs, _whole(tiles) // LANES) if along else (_whole(self.outs) // LANES, tiles)
        shares = min(units, shapes.repeats(number("shares") * self.threads, rows))
        return 8 * (prod(lengths) // 2 + 2) * LANES * rows * shares

    def _tile_bytes(self, samples: int) -> int:
        """Bytes of the spectra of one tile, its channels in whole vectors; of a vector of tiles where they are few."""
        ins, outs = self.ins // self.groups, self.outs // self.groups
        across, along = self.groups * (_whole(ins) + _whole(outs)), self.groups * LANES * max(ins, outs)
        return 8 * (samples // 2 + 2) * max(across, along if max(ins, outs) < LANES else 0)

    def vectors(self, tiles: int, role: str) -> int:
        """Transforms of tiles, a vector of channels or of tiles at a time."""
        return self._vectors(self.ins, tiles, role) + self._vectors(self.outs, tiles, role)

    @cached_property
    def _is_pointwise(self) -> bool:
        """Whether each output channel reads one input channel, so that spectra do not leave the cache."""
        return self.kernels == self.outs

    def _vectors(self, channels: int, tiles: int, role: str) -> int:
        group = channels if self._is_pointwise else channels // self.groups
        across = channels // group * shapes.repeats(group, LANES) * tiles
        along = channels * shapes.repeats(tiles, LANES)
        return across if role == WEIGHT and not self._is_pointwise else min(across, along)

    def keeping_pays(self, lengths: Lengths) -> bool:
        """Whether the kernels' transforms take a part of an operation that is worth keeping them."""
        points = 2 * (prod(lengths) // 2 + 2) * (not self._is_pointwise)
        one = self._transform(lengths) * shapes.repeats(self.kernels, LANES)
        return one + machine.FFT_SPECTRUM * points * self.kernels > machine.KEEP * self.seconds(lengths)

    @staticmethod
    def _transform(lengths: Lengths) -> float:
        samples = prod(lengths)
        return machine.FFT_VECTOR + machine.FFT_STEP * samples * log2(samples)

    def seconds(self, lengths: Lengths, role: str = OUTPUT) -> float:
        """One operation with tiles of these lengths."""
        points, tiles = prod(lengths) // 2 + 2, self.tiles(lengths)
        vectors = self.vectors(tiles, role) + shapes.repeats(self.kernels, LANES)
        transforms = self._transform(lengths) * vectors + machine.FFT_NUMBER * self.bytes / 4
        if self._is_pointwise:
            return transforms
        touched = points * 2 * (tiles * (self.ins + self.outs) + self.kernels)
        return transforms + machine.FFT_MULTIPLY * 4 * points * tiles * self.kernels + machine.FFT_SPECTRUM * touched

    def lengths(self, role: str = OUTPUT) -> Lengths | None:
        """Those that take the least time within the workspace, or the least workspace; None if all are too long."""
        return _cheapest(self, WEIGHT if role == WEIGHT else OUTPUT)


@lru_cache(maxsize=4096)
def _cheapest(work: Compiled, role: str) -> Lengths | None:
    axes = ((taps + 1, max(size, SHORTEST)) for size, taps in zip(work.size, work.kernel, strict=True))

    def cost(lengths: Lengths) -> tuple[int, float]:
        return max(0, work.least(lengths, role) - work.room), work.seconds(lengths, role)

    return cheapest(
        axes, cost, finer=12, fits=lambda lengths: prod(lengths) <= machine.FFT_LONGEST and lengths[-1] % 2 == 0
    )


def _whole(channels: int) -> int:
    """In whole vectors."""
    return shapes.repeats(channels, LANES) * LANES
