"""Pooling of every kind: windows, a fixed grid, everything at once, and over channels. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from math import prod
from typing import Any, ClassVar

import numpy as np

from ..description.axis import Axis, plain, positive
from ..description.connections import Connections
from ..description.interval import fit
from ..description.pooling import Pooling
from ..description.resampling import Resampling
from ..description.shapes import sources
from ..errors import SettingError, ShapeError
from ..receptive.access import AccessPattern, Beside, Composed, Each, Flatten, Gather, Reduce, Resize, SlidingWindows
from .base import Locality, ModuleSpec, Unlearned, Volume, check_axes

SUMMARIES = ("max", "mean", "l2", "lp")  # of regions that are no windows
Grid = tuple[int, ...]
Region = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class PoolWindows(Unlearned):
    """A statistic of every window, channel by channel."""

    pooling: Pooling
    word: ClassVar[str] = "pool"
    locality: ClassVar[Locality] = Locality.WINDOWED

    @property
    def axes(self) -> tuple[Axis, ...]:  # type: ignore[override]
        return self.pooling.axes

    @property
    def rank(self) -> int:  # type: ignore[override]
        return self.pooling.ndim

    def output(self, volume: Volume) -> Volume:
        check_axes(f"pooling {self.pooling}", volume, self.pooling.ndim)
        return Volume(volume.channels, self.pooling.output_size(volume.size))

    @property
    def title(self) -> str:
        return f"{self.pooling.statistic}pool"

    def access(self, *volumes: Volume) -> AccessPattern:
        return SlidingWindows(self.pooling.axes)

    def torch_module(self, *volumes: Volume) -> ModuleSpec:
        return ModuleSpec.of("torchconv.nn.pooling.window_pool.Pool", self.pooling)

    def __str__(self) -> str:
        return str(self.pooling)


@dataclass(frozen=True)
class PoolLearned(PoolWindows):
    """An average of every window whose weights are learned: one set of them, or one for each channel."""

    per_channel: bool = False
    word: ClassVar[str] = "learnedpool"

    @property
    def title(self) -> str:
        return self.word

    def parameters(self, volume: Volume) -> int:
        return prod(self.pooling.kernel_size) * (volume.channels if self.per_channel else 1)

    def macs(self, volume: Volume) -> int:
        return volume.channels * prod(self.output(volume).size) * prod(self.pooling.kernel_size)

    def torch_module(self, volume: Volume) -> ModuleSpec:
        channels = volume.channels if self.per_channel else None
        return ModuleSpec.of("torchconv.nn.pooling.learned_pool.LearnedPool", self.pooling, channels)


@dataclass(frozen=True)
class PoolChannels(Unlearned):
    """A statistic of neighbouring channels, place by place; the largest is Maxout (Goodfellow et al. 2013)."""

    pooling: Pooling
    locality: ClassVar[Locality] = Locality.POINTWISE

    @property
    def word(self) -> str:
        (axis,) = self.pooling.axes
        return "maxout" if self.pooling.kind == "max" and axis.stride == axis.kernel else "channelpool"

    @property
    def title(self) -> str:
        return self.word if self.word == "maxout" else f"{self.pooling.statistic}channelpool"

    def output(self, volume: Volume) -> Volume:
        (channels,) = self.pooling.output_size((volume.channels,))
        (axis,) = self.pooling.axes
        if not fit(axis, volume.channels).exact:
            got = f"{volume.channels} channels"
            fix = f"Windows of {axis.kernel} with a stride of {axis.stride} leave some of them out."
            raise ShapeError(f"pooling over channels, {self.pooling}", got=got, expected="all in windows", fix=fix)
        return Volume(channels, volume.size)

    def access(self, volume: Volume) -> AccessPattern:
        (axis,), channels = self.pooling.axes, volume.channels
        table = np.zeros((self.output(volume).channels, channels), dtype=bool)
        for output, inputs in enumerate(sources(axis, channels)):
            table[output, inputs[inputs >= 0]] = True
        connections = Connections.of(channels, len(table), table=table)
        return SlidingWindows((Axis(1),) * len(volume.size), connections)

    def torch_module(self, *volumes: Volume) -> ModuleSpec:
        return ModuleSpec.of("torchconv.nn.pooling.window_pool.ChannelPool.of", self.pooling)

    def __str__(self) -> str:
        return str(self.pooling)


@dataclass(frozen=True)
class Summary:
    """A statistic of regions that are no windows: "max", "mean", "l2", or "lp" with p > 0."""

    statistic: str = "mean"
    p: float | None = None

    def __post_init__(self) -> None:
        if self.statistic not in SUMMARIES:
            got, expected = repr(self.statistic), f"one of {', '.join(SUMMARIES)}"
            raise SettingError("pooling statistic", got=got, expected=expected)
        _ = self.described

    @property
    def described(self) -> Pooling:
        """The same statistic of a window."""
        return Pooling((1,), statistic=self.statistic, p=self.p)

    @property
    def power(self) -> float | None:
        """p, also of "l2"."""
        return self.described.p

    def __str__(self) -> str:
        return f"lp, p={self.p:g}" if self.statistic == "lp" else self.statistic


@dataclass(frozen=True)
class PoolAll(Summary, Unlearned):
    """One number for each channel: a statistic over all places (Lin et al. 2014, Network in network, section 3.2)."""

    word: ClassVar[str] = "globalpool"
    locality: ClassVar[Locality] = Locality.GLOBAL
    gives_scores = True
    __str__ = Summary.__str__

    @property
    def title(self) -> str:
        return f"{self.statistic}pool"

    def output(self, volume: Volume) -> Volume:
        if not volume.size:
            raise ShapeError("global pooling", got=f"a volume {volume}", expected="axes and channels")
        return Volume(volume.channels)

    def access(self, volume: Volume) -> AccessPattern:
        return Reduce(tuple(range(2, 2 + len(volume.size))))

    def torch_module(self, *volumes: Volume) -> ModuleSpec:
        return ModuleSpec.of("torchconv.nn.pooling.grid_pool.GlobalPool", self.statistic, self.p)


@dataclass(frozen=True)
class PoolGrid(Unlearned):
    """A statistic of each cell of a grid laid over an input of any size; of several grids, the cells one after another.

    Cell i of g on an axis of n samples is floor(i * n / g) up to ceil((i + 1) * n / g): neighbours may overlap.
    Source: Lazebnik, Schmid, Ponce 2006, Beyond bags of features; He et al. 2014, Spatial pyramid pooling.

    >>> str(PoolGrid(((2, 2),)).output(Volume(8, (7, 5)))), str(PoolGrid(((1, 1), (2, 2))).output(Volume(8, (7, 5))))
    ('2x2x8', '5x8')
    """

    grids: tuple[Grid, ...]
    summary: Summary = Summary("max")
    word: ClassVar[str] = "gridpool"
    locality: ClassVar[Locality] = Locality.POSITIONAL

    @property
    def rank(self) -> int:  # type: ignore[override]
        return len(self.grids[0])

    @property
    def title(self) -> str:
        return f"{self.summary.statistic}gridpool"

    def output(self, volume: Volume) -> Volume:
        for grid in self.grids:
            check_axes(f"pooling to a grid {grid_text(self.grids)}", volume, len(grid))
        if len(self.grids) == 1:
            return Volume(volume.channels, self.grids[0])
        return Volume(volume.channels, (sum(map(prod, self.grids)),))

    def access(self, volume: Volume) -> AccessPattern:
        levels = [cells_of(volume, grid) for grid in self.grids]
        if len(levels) == 1:
            return levels[0]
        return Beside(tuple(Composed((level, Flatten(2))) for level in levels), 2)

    def torch_module(self, volume: Volume) -> ModuleSpec:
        path = f"torchconv.nn.pooling.grid_pool.GridPool{len(volume.size)}d"
        return ModuleSpec.of(path, self.grids, self.summary.statistic, self.summary.p)

    def __str__(self) -> str:
        return f"{grid_text(self.grids)}, {self.summary}"


def cells_of(volume: Volume, grid: Grid) -> Resize:
    """Each cell of a grid reads the samples that it covers."""
    return Resize(tuple(Resampling(size, cells, "area") for size, cells in zip(volume.size, grid, strict=True)))


def grids_of(value: Any, ndim: int) -> tuple[Grid, ...]:
    """Grids as tuples: from one number for all axes, one for each, or several such tuples for a pyramid.

    >>> grids_of(2, 2), grids_of((3, 1), 2), grids_of([(1, 1), (2, 2)], 2)
    (((2, 2),), ((3, 1),), ((1, 1), (2, 2)))
    """
    given = plain(value)
    if not isinstance(given, list):
        return ((positive("grid", given),) * ndim,)
    levels = given if any(isinstance(one, list) for one in given) else [given]
    found = tuple(tuple(level) if isinstance(level, list) else (level,) * ndim for level in levels)
    if not found or any(len(level) != ndim for level in found):
        raise SettingError("grid", got=repr(value), expected=f"one number of cells, or one for each of {ndim} axes")
    return tuple(tuple(positive("grid", cells) for cells in level) for level in found)


def grid_text(grids: tuple[Grid, ...]) -> str:
    """As the language writes them: 1x1+2x2."""
    return "+".join("x".join(map(str, grid)) for grid in grids)


class Gridded(Unlearned):
    """Pooling whose places depend on a grid that is laid over the input."""

    grid: Grid
    statistic: str
    locality: ClassVar[Locality] = Locality.POSITIONAL

    @property
    def rank(self) -> int:  # type: ignore[override]
        return len(self.grid)

    @property
    def title(self) -> str:
        return f"{self.statistic}{self.word}"


@dataclass(frozen=True)
class PoolClusters(Gridded):
    """Pooling within each cluster of descriptors and each cell of a grid; of codes that belong to them if `codes`.

    channels: of the descriptors, None as long as there are no clusters. Comparing a descriptor with a centre takes a
    multiply-accumulate for each channel.

    >>> str(PoolClusters(8, (2, 2)).output(Volume(3, (9, 9))))
    '2x2x24'
    """

    clusters: int
    grid: tuple[int, ...]
    statistic: str = "mean"
    channels: int | None = None
    codes: bool = False
    word: ClassVar[str] = "clusterpool"

    @property
    def reads(self) -> int:  # type: ignore[override]
        return 1 + self.codes

    def output(self, features: Volume, codes: Volume | None = None) -> Volume:
        codes = features if codes is None else codes
        check_axes(f"pooling by {self}", features, len(self.grid))
        if self.channels not in (None, features.channels):
            raise ShapeError(f"pooling by {self}", got=f"a volume {features}", expected=f"{self.channels} channels")
        if codes.size != features.size:
            expected = f"the {len(features.size)} lengths of the features, {features}"
            raise ShapeError(f"codes pooled by {self}", got=f"a volume {codes}", expected=expected)
        return Volume(self.clusters * codes.channels, self.grid)

    def macs(self, features: Volume, codes: Volume | None = None) -> int:
        return self.clusters * features.numel

    def access(self, features: Volume, codes: Volume | None = None) -> AccessPattern:
        """The cluster of a descriptor is found from all its channels; codes keep to theirs."""
        cells, outputs = cells_of(features, self.grid), self.output(features, codes).channels
        every = SlidingWindows((Axis(1),) * len(self.grid), Connections.of(features.channels, outputs))
        found = Composed((every, cells))
        if codes is None:
            return found
        own = Gather(1, tuple((output % codes.channels,) for output in range(outputs)))
        return Each((found, Composed((own, cells))))

    def torch_module(self, *volumes: Volume) -> ModuleSpec:
        path = f"torchconv.nn.pooling.cluster_pool.ClusterPool{len(self.grid)}d"
        return ModuleSpec.of(path, self.clusters, self.grid, self.statistic)

    def __str__(self) -> str:
        return f"{self.clusters} clusters and {'x'.join(map(str, self.grid))} cells"


@dataclass(frozen=True)
class PoolRegions(Gridded):
    """Pooling over every box of a grid's cells, or over some (channel, region) pairs if there are `pairs`.

    >>> str(PoolRegions((4, 4)).output(Volume(3, (9, 9))))
    '100x3'
    >>> PoolRegions((4, 4), pairs=((2, 0), (2, 9))).output(Volume(3, (9, 9)))
    Volume(channels=2, size=())
    """

    grid: tuple[int, ...]
    statistic: str = "max"
    pairs: tuple[tuple[int, int], ...] = ()
    word: ClassVar[str] = "regionpool"

    @property
    def regions(self) -> list[Region]:
        """Every box as (first cell, end) per axis, the last axis changing fastest."""
        return list(product(*(runs(cells) for cells in self.grid)))

    def output(self, volume: Volume) -> Volume:
        check_axes(f"pooling over {self}", volume, len(self.grid))
        last = max((channel for channel, _ in self.pairs), default=0)
        if last >= volume.channels:
            raise ShapeError(f"pooling over {self}", got=f"a volume {volume}", expected=f"at least {last + 1} channels")
        if self.pairs:
            return Volume(len(self.pairs))
        return Volume(volume.channels, (prod(cells * (cells + 1) // 2 for cells in self.grid),))

    def access(self, volume: Volume) -> AccessPattern:
        steps: list[AccessPattern] = []
        for dim, axis in enumerate(cells_of(volume, self.grid).axes, 2):
            spans = [[*range(axis.read(first)[0], axis.read(end - 1)[-1] + 1)] for first, end in runs(axis.outputs)]
            steps.append(Gather(dim, tuple((*span, *[-1] * (axis.size - len(span))) for span in spans)))
        steps.append(Flatten(2))
        if self.pairs:
            count = len(self.regions)
            chosen = tuple((channel * count + region,) for channel, region in self.pairs)
            steps += [Flatten(1), Gather(1, chosen)]
        return Composed(tuple(steps))

    def torch_module(self, *volumes: Volume) -> ModuleSpec:
        return ModuleSpec.of("torchconv.nn.pooling.region_pool.region_pool", self.grid, self.statistic, self.pairs)

    def __str__(self) -> str:
        grid = "x".join(map(str, self.grid))
        return f"{len(self.pairs)} boxes of {grid} cells" if self.pairs else f"all boxes of {grid} cells"


def runs(cells: int) -> list[tuple[int, int]]:
    """Every run of cells along an axis, as (first, end).

    >>> runs(2)
    [(0, 1), (0, 2), (1, 2)]
    """
    return list(combinations(range(cells + 1), 2))
