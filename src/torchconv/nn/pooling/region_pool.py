"""Pooling over every rectangle of a grid's cells: the over-complete set that receptive field learning selects from."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate, groupby, pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...description.axis import integer
from ...errors import DataError, SettingError, ShapeError, TorchconvError
from ...network.pooling import PoolRegions as Described, Region, runs
from . import grid_pool


class RegionPool(grid_pool.CellPool):
    """Pooling over all boxes made of the cells of a grid, or over selected ones, for any number of axes.

    Input (batch, channels, *size), the batch may be missing; output (batch, channels, regions), region r being
    `regions[r]`, or (batch, pairs) once (channel, region) pairs are selected.

    grid: cells per axis, placed as by torch's adaptive pooling. statistic: "max" or "mean", of all samples in a box,
    each counted once.
    State: `pairs` (pairs, 2), int64; none means all.
    Raises ShapeError for an input that does not fit.

    Source: Jia, Huang, Darrell 2012, Beyond spatial pyramids: receptive field learning for pooled image features,
    section 3: a pooled feature is op(activations of one code in one region), and the over-complete set is that of all
    rectangles of a grid of 4x4 cells, 100 of them, for each code.
    """

    ndim: ClassVar[int]
    pairs: Tensor

    def __init__(self, grid: Any, statistic: str = "max") -> None:
        super().__init__(grid, statistic)
        self.register_buffer("pairs", torch.empty(0, 2, dtype=torch.int64))
        self._chosen: dict[int, list[int]] = {}  # channels by region, in the order of the pairs

    @property
    def regions(self) -> list[Region]:
        """Every box as (first cell, end) per axis, the last axis changing fastest.

        >>> RegionPool1d(2).regions
        [((0, 1),), ((0, 2),), ((1, 2),)]
        """
        return self.operation.regions

    @property
    def operation(self) -> Described:
        """Its description."""
        pairs = ((channel, region) for region, channels in self._chosen.items() for channel in channels)
        return Described(self.grid, self.statistic, tuple(pairs))

    def select(self, pairs: Iterable[tuple[int, int]]) -> RegionPool:
        """A layer for some (channel, region) pairs only, in order of region, then channel: its `pairs`.

        Raises SettingError for none, for one given twice, or one that there is not.
        """
        ordered = _ordered(pairs, len(self.regions))
        chosen = type(self)(self.grid, self.statistic)
        chosen.pairs = torch.tensor(ordered, device=self.pairs.device)
        chosen._group()
        return chosen

    def _group(self) -> None:
        groups = groupby(self.pairs.tolist(), key=lambda pair: pair[1])
        self._chosen = {region: [channel for channel, _ in group] for region, group in groups}

    def _compute(self, x: Tensor) -> Tensor:
        whole, has_batch = grid_pool.batched(x, self.ndim, None, "input")
        if self._chosen and whole.shape[1] <= (last := max(map(max, self._chosen.values()))):
            got, expected = f"{whole.shape[1]} in shape {tuple(x.shape)}", f"at least {last + 1} channels, as selected"
            raise ShapeError("channels of the input", got=got, expected=expected)
        wide = whole.to(grid_pool.wide(whole.dtype)) if self.statistic == "mean" else whole
        pooled = (self._some(wide) if self._chosen else self._all(wide)).to(whole.dtype)
        return pooled if has_batch else pooled[0]

    def _all(self, x: Tensor) -> Tensor:
        """Axis by axis, because the maximum (or sum) over a box is that over its columns' maxima (or sums)."""
        pooled, counts = x, torch.ones(1, dtype=x.dtype, device=x.device)
        for axis, (size, count) in enumerate(zip(x.shape[2:], self.grid, strict=True)):
            bounds = grid_pool.bounds(size, count)
            pooled = _intervals(pooled, axis + 2, bounds, self.statistic)
            lengths = [bounds[end - 1][1] - bounds[start][0] for start, end in runs(count)]
            counts = (counts[:, None] * torch.tensor(lengths, dtype=x.dtype, device=x.device)).flatten()
        pooled = pooled.flatten(2)
        return pooled / counts if self.statistic == "mean" else pooled

    def _some(self, x: Tensor) -> Tensor:
        """Each selected region by itself, of the channels that want it."""
        bounds = [grid_pool.bounds(size, count) for size, count in zip(x.shape[2:], self.grid, strict=True)]
        regions, pooled = self.regions, []
        for region, channels in self._chosen.items():
            cells = zip(bounds, regions[region], strict=True)
            box = [slice(at[first][0], at[end - 1][1]) for at, (first, end) in cells]
            samples = x[(slice(None), channels, *box)].flatten(2)
            pooled.append(samples.amax(2) if self.statistic == "max" else samples.mean(2))
        return torch.cat(pooled, 1)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *arguments: Any) -> None:
        """Saved pairs replace those selected here, unless they are none that `select` makes."""
        saved = state_dict.get(f"{prefix}pairs")
        if isinstance(saved, Tensor) and saved.dim() == 2 and saved.shape[1] == 2:
            try:
                _check_saved(saved, len(self.regions))
            except TorchconvError as error:
                arguments[-1].append(f"{prefix}pairs: {error}")  # torch raises what is in this list
                return
            self.pairs = self.pairs.new_empty(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        if not self.pairs.is_meta:
            self._group()

    def extra_repr(self) -> str:
        return super().extra_repr() + (f", pairs={len(self.pairs)}" if self._chosen else "")


def _ordered(pairs: Iterable[tuple[int, int]], regions: int) -> list[tuple[int, int]]:
    """(channel, region) pairs in order of region, then channel; raises SettingError for what are none."""
    given = [(integer("channel", channel), integer("region", region)) for channel, region in pairs]
    if not given or len(set(given)) < len(given):
        got = "none" if not given else "one of them twice"
        raise SettingError("pairs of channel and region", got=got, expected="at least one, each once")
    for channel, region in given:
        if channel < 0 or not 0 <= region < regions:
            expected = f"a channel >= 0 and a region from 0 to {regions - 1}"
            raise SettingError("pair of channel and region", got=(channel, region), expected=expected)
    return sorted(given, key=lambda pair: pair[::-1])


def _check_saved(pairs: Tensor, regions: int) -> None:
    """Files are not trusted: an index that is off, or another order, would pool other regions without a word."""
    if pairs.is_floating_point() or pairs.is_complex() or pairs.dtype == torch.bool:
        raise DataError("pairs of channel and region", got=pairs.dtype, expected="integers")
    if not pairs.is_meta and len(pairs):
        rows = [(channel, region) for channel, region in pairs.tolist()]
        if _ordered(rows, regions) != rows:
            raise DataError("pairs of channel and region", got=rows, expected="order of region, then channel")


def _intervals(x: Tensor, dim: int, bounds: list[tuple[int, int]], statistic: str) -> Tensor:
    """The maximum or sum over every run of cells along an axis, in the order of `combinations`.

    Cells may share samples, so samples are first joined into segments that no cell divides; runs with the same first
    cell then grow from one another. Nothing is subtracted, so a NaN stays in the runs that hold it.
    """
    edges = sorted({edge for cell in bounds for edge in cell})
    reduce, join = (torch.amax, torch.maximum) if statistic == "max" else (torch.sum, torch.add)
    segments = [reduce(x.narrow(dim, low, high - low), dim) for low, high in pairwise(edges)]
    runs = []
    for first in range(len(bounds)):
        begin = edges.index(bounds[first][0])
        grown = list(accumulate(segments[begin:], join))
        runs += [grown[edges.index(end) - begin - 1] for _, end in bounds[first:]]
    return torch.stack(runs, dim)


class RegionPool1d(RegionPool):
    """Pooling of (batch, channels, length) over all runs of cells to (batch, channels, regions).

    >>> RegionPool1d(2)(torch.tensor([[[1.0, 5.0, 2.0, 3.0]]]))
    tensor([[[5., 5., 3.]]])
    """

    ndim = 1


class RegionPool2d(RegionPool):
    """Pooling of (batch, channels, height, width) over all rectangles of cells to (batch, channels, regions).

    >>> RegionPool2d(4, "mean")(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 3, 100])
    """

    ndim = 2


class RegionPool3d(RegionPool):
    """Pooling of (batch, channels, depth, height, width) over all boxes of cells to (batch, channels, regions).

    >>> RegionPool3d(2)(torch.zeros(2, 3, 4, 4, 4)).shape
    torch.Size([2, 3, 27])
    """

    ndim = 3


def region_pool(grid: tuple[int, ...], statistic: str, pairs: tuple[tuple[int, int], ...] = ()) -> RegionPool:
    """The layer for as many axes as the grid has: of all regions, or of some (channel, region) pairs."""
    layer = (RegionPool1d, RegionPool2d, RegionPool3d)[len(grid) - 1](grid, statistic)
    return layer.select(pairs) if pairs else layer
