"""Pooling over regions that are learned: clusters of descriptors, and boxes of a grid's cells. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from math import prod

from ..description.resampling import Resampling
from ..errors import ShapeError
from .operations import Operation, Volume

Region = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class ClusterPool(Operation):
    """Pooling within each cluster of descriptors and each cell of a grid; of codes that belong to them if `codes`.

    channels: of the descriptors, None as long as there are no clusters. Comparing a descriptor with a centre takes a
    multiply-accumulate for each channel.

    >>> str(ClusterPool(8, (2, 2)).output(Volume(3, (9, 9))))
    '2x2x24'
    """

    clusters: int
    grid: tuple[int, ...]
    statistic: str = "mean"
    channels: int | None = None
    codes: bool = False
    word, moves = "clusterpool", "no"

    @property
    def reads(self) -> int:  # type: ignore[override]
        return 1 + self.codes

    @property
    def title(self) -> str:
        return f"{self.statistic}{self.word}"

    def output(self, features: Volume, codes: Volume | None = None) -> Volume:
        codes = features if codes is None else codes
        _check(f"pooling by {self}", features, self.grid)
        if self.channels not in (None, features.channels):
            raise ShapeError(f"pooling by {self}", got=f"a volume {features}", expected=f"{self.channels} channels")
        if codes.size != features.size:
            expected = f"the {len(features.size)} lengths of the features, {features}"
            raise ShapeError(f"codes pooled by {self}", got=f"a volume {codes}", expected=expected)
        return Volume(self.clusters * codes.channels, self.grid)

    def macs(self, features: Volume, codes: Volume | None = None) -> int:
        return self.clusters * features.numel

    def __str__(self) -> str:
        return f"{self.clusters} clusters and {'x'.join(map(str, self.grid))} cells"


@dataclass(frozen=True)
class RegionPool(Operation):
    """Pooling over every box of a grid's cells, or over some (channel, region) pairs if there are `pairs`.

    >>> str(RegionPool((4, 4)).output(Volume(3, (9, 9))))
    '100x3'
    >>> RegionPool((4, 4), pairs=((2, 0), (2, 9))).output(Volume(3, (9, 9)))
    Volume(channels=2, size=())
    """

    grid: tuple[int, ...]
    statistic: str = "max"
    pairs: tuple[tuple[int, int], ...] = ()
    word, moves = "regionpool", "no"

    @property
    def title(self) -> str:
        return f"{self.statistic}{self.word}"

    @property
    def regions(self) -> list[Region]:
        """Every box as (first cell, end) per axis, the last axis changing fastest."""
        return list(product(*(runs(cells) for cells in self.grid)))

    def output(self, volume: Volume) -> Volume:
        _check(f"pooling over {self}", volume, self.grid)
        last = max((channel for channel, _ in self.pairs), default=0)
        if last >= volume.channels:
            raise ShapeError(f"pooling over {self}", got=f"a volume {volume}", expected=f"at least {last + 1} channels")
        if self.pairs:
            return Volume(len(self.pairs))
        return Volume(volume.channels, (prod(cells * (cells + 1) // 2 for cells in self.grid),))

    def spans(self, size: tuple[int, ...]) -> list[list[range]]:
        """The samples of every run of cells, along each axis."""
        cut = [Resampling(length, cells, "area") for length, cells in zip(size, self.grid, strict=True)]
        return [[range(one.read(a)[0], one.read(b - 1)[-1] + 1) for a, b in runs(one.outputs)] for one in cut]

    def __str__(self) -> str:
        grid = "x".join(map(str, self.grid))
        return f"{len(self.pairs)} boxes of {grid} cells" if self.pairs else f"all boxes of {grid} cells"


def runs(cells: int) -> list[tuple[int, int]]:
    """Every run of cells along an axis, as (first, end).

    >>> runs(2)
    [(0, 1), (0, 2), (1, 2)]
    """
    return list(combinations(range(cells + 1), 2))


def _check(what: str, volume: Volume, grid: tuple[int, ...]) -> None:
    if len(volume.size) != len(grid):
        raise ShapeError(what, got=f"a volume {volume}", expected=f"{len(grid)} axes and channels")
