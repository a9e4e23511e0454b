"""What transforms of tiles by the C++ kernels take, about, and the lengths of the tiles that take the least.

Seconds and bytes of one core of an x86 server with AVX-512; choices need only their ratios.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import log2, prod

from ...description import shapes
from ..roles import OUTPUT, WEIGHT
from .tiling import lengths_between

STEP = 0.75e-9  # one step of one sample of a vector of tiles, of which a transform of n samples needs n log2(n)
VECTOR = 1.5e-6  # a vector of tiles, whatever their size
MULTIPLY = 1 / 105e9  # one multiply-add in the products of matrices
TOUCH = 0.32e-9  # a number of the spectra, written and read again
NUMBER = 0.5e-9  # a number of the arrays, read or written
LANES = 16  # of a vector
LONGEST = 2**15  # samples of a tile that stay in a cache
SHORTEST = 4  # samples of a row, which are transformed as pairs
WORKSPACE = 4  # times the bytes of the arrays
PAYS = 0.05  # part of an operation that the transforms of kernels must take to be worth keeping


@dataclass(frozen=True)
class Work:
    """A valid correlation with steps of 1: sizes per axis, channels of all groups."""

    outputs: tuple[int, ...]
    kernel: tuple[int, ...]
    batch: int
    ins: int
    outs: int
    groups: int

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

    @property
    def room(self) -> int:
        """Bytes of workspace that may be used."""
        return WORKSPACE * self.bytes

    def kernel_bytes(self, points: int) -> int:
        """Of the kernels' spectra."""
        return 8 * points * self.kernels

    def tiles(self, steps: tuple[int, ...]) -> int:
        """With so many outputs each, of all images."""
        return self.batch * prod(shapes.repeats(size, step) for size, step in zip(self.outputs, steps, strict=True))

    def vectors(self, tiles: int, role: str) -> int:
        """Transforms of tiles, a vector of channels or of tiles at a time."""
        return self._vectors(self.ins, tiles, role) + self._vectors(self.outs, tiles, role)

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
        points = prod(lengths) // 2 + 2
        tiles = self.tiles(tuple(length - taps + 1 for length, taps in zip(lengths, self.kernel, strict=True)))
        copies = NUMBER * self.bytes / 4
        transforms = (
            self._transform(lengths) * (self.vectors(tiles, role) + shapes.repeats(self.kernels, LANES)) + copies
        )
        if self._is_pointwise:
            return transforms
        touched = points * 2 * (tiles * (self.ins + self.outs) + self.kernels)
        return transforms + MULTIPLY * 4 * points * tiles * self.kernels + TOUCH * touched


@lru_cache(maxsize=4096)
def cheapest(work: Work) -> tuple[int, ...] | None:
    """The lengths that take the least time within the workspace, or the least workspace; None if all are too long."""
    choices = [
        lengths_between(taps, max(size + taps - 1, SHORTEST), 12)
        for size, taps in zip(work.outputs, work.kernel, strict=True)
    ]
    fitting = [lengths for lengths in product(*choices) if prod(lengths) <= LONGEST and lengths[-1] % 2 == 0]

    def weighed(lengths: tuple[int, ...]) -> tuple[int, float]:
        needed = work.kernel_bytes(prod(lengths) // 2 + 2)
        return max(0, needed - work.room), work.seconds(lengths)

    return min(fitting, key=weighed, default=None)
