"""Pooling to a grid of cells, whatever the size of the input; and what all pooling over cells needs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from itertools import product
from math import prod
from operator import index
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...compute.pooling import torch_backend
from ...compute.tensors import THREAD, compile_time_constant
from ...description.resampling import Resampling
from ...description.shapes import sizes_of
from ...errors import SettingError, ShapeError
from ...network.base import Operation
from ...network.pooling import Grid, PoolAll as DescribedGlobal, PoolGrid as Described, Summary, grid_text, grids_of

STATISTICS = ("mean", "max")


class DescribedLayer(torch.nn.Module):
    """A layer that says which operation of a network it is; whoever traces a model sees this operation, and no part.

    ndim: the number of axes, for layers whose input may come without a batch.
    """

    ndim: ClassVar[int | None] = None

    @property
    @abstractmethod
    def operation(self) -> Operation:
        """Its description as an operation of a network."""

    @abstractmethod
    def _compute(self, x: Tensor) -> Tensor:
        """The output."""

    def forward(self, x: Tensor) -> Tensor:
        observer = THREAD.observer
        if observer is None or torch.compiler.is_compiling():
            return self._compute(x)
        if x.ndim == (self.ndim or x.ndim) + 1:
            return self.forward(x.unsqueeze(0)).squeeze(0)
        return observer.whole(self.operation, [x], self._compute)


class CellPool(DescribedLayer):
    """Layers that pool by the cells of one grid that samples fall in; statistic: "mean" or "max"."""

    ndim: ClassVar[int]

    def __init__(self, grid: Any, statistic: str) -> None:
        super().__init__()
        if statistic not in STATISTICS:
            raise SettingError("statistic", got=repr(statistic), expected=f"one of {', '.join(STATISTICS)}")
        self.grid, self.statistic = sizes_of(grid, self.ndim, "grid"), statistic

    def extra_repr(self) -> str:
        return f"grid={self.grid}, statistic={self.statistic}"


def bounds(size: int, cells: int) -> list[tuple[int, int]]:
    """First sample and end of each cell of an axis, as torch's adaptive pooling has them: cells may overlap.

    >>> bounds(5, 2)
    [(0, 3), (2, 5)]
    """
    return _bounds(index(size), cells)  # compiled for each size by itself, where sizes are left open


@compile_time_constant  # a table of the sizes, by fractions that torch.compile does not follow
def _bounds(size: int, cells: int) -> list[tuple[int, int]]:
    axis = Resampling(size, cells, "area")
    reads = (axis.read(cell) for cell in range(cells))
    return [(read[0], read[-1] + 1) for read in reads]


def batched(x: Any, ndim: int, channels: int | None, what: str) -> tuple[Tensor, bool]:
    """`x` as (batch, channels, *size), and whether the batch was there; raises ShapeError for what is no such thing."""
    wanted = ", ".join(["batch", "channels" if channels is None else str(channels), *["size"] * ndim])
    if not isinstance(x, Tensor):
        raise ShapeError(what, got=type(x).__name__, expected=f"a tensor ({wanted})")
    if x.dim() not in (ndim + 1, ndim + 2):
        raise ShapeError(what, got=f"shape {tuple(x.shape)}", expected=f"({wanted}); the batch may be left out")
    if not x.is_floating_point():
        raise SettingError(f"dtype of {what}", got=x.dtype, expected="floats", fix=f"Convert {what} with .float().")
    whole = x if x.dim() == ndim + 2 else x[None]
    if channels is not None and whole.shape[1] != channels:
        got = f"{whole.shape[1]} channels in shape {tuple(x.shape)}"
        raise ShapeError(what, got=got, expected=f"({wanted})")
    if 0 in whole.shape[1:]:
        raise ShapeError(what, got=f"shape {tuple(x.shape)}", expected="at least one channel and one sample per axis")
    return whole, whole is x


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type in which many numbers of a type are added: half precision would lose the small ones.

    >>> wide(torch.bfloat16), wide(torch.float64)
    (torch.float32, torch.float64)
    """
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


_MAX: tuple[Any, ...] = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)
_MEAN: tuple[Any, ...] = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)


class _GridPool(DescribedLayer):
    """A statistic of each cell of a grid; `ndim` is all in which the ranks differ."""

    ndim: ClassVar[int]

    def __init__(self, grid: Any, statistic: str = "max", p: float | None = None) -> None:
        super().__init__()
        self.grids, self.summary = grids_of(grid, self.ndim), Summary(statistic, p)

    @property
    def operation(self) -> Described:
        """Its description."""
        return Described(self.grids, self.summary)

    def _compute(self, x: Tensor) -> Tensor:
        if x.ndim == self.ndim + 1:
            return self._compute(x.unsqueeze(0)).squeeze(0)
        if x.ndim != self.ndim + 2:
            sizes = ", ".join(["batch", "channels", *["size"] * self.ndim])
            raise ShapeError(f"input of {self}", got=f"shape {tuple(x.shape)}", expected=f"({sizes})")
        levels = [summarised(x, grid, self.summary) for grid in self.grids]
        return levels[0] if len(levels) == 1 else torch.cat([level.flatten(2) for level in levels], 2)

    def extra_repr(self) -> str:
        return f"{grid_text(self.grids)}, {self.summary}"


def summarised(x: Tensor, grid: Grid, summary: Summary) -> Tensor:
    """(batch, channels, *size) to (batch, channels, *grid)."""
    power, mean = summary.power, _MEAN[len(grid) - 1]
    if 0 in x.shape[:2] and 0 not in x.shape[2:]:  # torch's adaptive pooling refuses no channels
        return x.flatten(2)[..., :1].unflatten(2, (1,) * len(grid)).expand(*x.shape[:2], *grid)
    if power is None:
        return _MAX[len(grid) - 1](x, grid) if summary.statistic == "max" else mean(x, grid)
    if all(cells == 1 for cells in grid):
        return torch.linalg.vector_norm(x.flatten(2), power, dim=2).reshape(*x.shape[:2], *grid)
    lengths = [[end - start for start, end in bounds(*pair)] for pair in zip(x.shape[2:], grid, strict=True)]
    counts = x.new_tensor(list(map(prod, product(*lengths)))).reshape(grid)  # samples of each cell
    return torch_backend.norm(x, summary.described, lambda powers: mean(powers, grid) * counts, _apart(grid))


def _apart(grid: Grid) -> Callable[[Tensor], Tensor]:
    """The samples of each cell along a new last axis, zeros where a cell has fewer than others."""

    def samples(x: Tensor) -> Tensor:
        for dim, cells in enumerate(grid, 2):
            table = torch.from_numpy(Resampling(index(x.shape[dim]), cells, "area").table()).to(x.device)
            taken = x.index_select(dim, table.clamp(min=0).flatten()).unflatten(dim, tuple(table.shape))
            inside = (table >= 0).reshape([*table.shape] + [1] * (taken.ndim - dim - 2))
            x = (taken * inside).movedim(dim + 1, -1)
        return x.flatten(2 + len(grid))

    return samples


class GridPool1d(_GridPool):
    """A statistic of each cell of a grid over one axis: (batch, channels, length) to (batch, channels, cells).

    >>> GridPool1d(2, "mean")(torch.tensor([[[1.0, 3.0, 5.0, 7.0]]]))
    tensor([[[2., 6.]]])
    """

    ndim = 1


class GridPool2d(_GridPool):
    """A statistic of each cell of a grid over two axes, of any size: to (batch, channels, *grid).

    grid: cells along each axis, an int or a pair; or several pairs, a pyramid: then (batch, channels, all cells).
    statistic: "max", "mean", "l2", "lp" with p > 0; borders of cells as in torch's adaptive pooling.
    Raises SettingError for other statistics, ShapeError for an input without two axes.
    Source: Lazebnik, Schmid, Ponce 2006, Beyond bags of features, section 3; He et al. 2014, section 2.2.

    >>> image = torch.arange(16.0).reshape(1, 1, 4, 4)
    >>> GridPool2d(2)(image).flatten().tolist()
    [5.0, 7.0, 13.0, 15.0]
    >>> GridPool2d([(1, 1), (2, 2)], "mean")(torch.ones(2, 3, 9, 7)).shape
    torch.Size([2, 3, 5])
    """

    ndim = 2


class GridPool3d(_GridPool):
    """A statistic of each cell of a grid over three axes.

    >>> GridPool3d((1, 2, 1), "l2")(torch.ones(1, 1, 2, 4, 2)).shape
    torch.Size([1, 1, 1, 2, 1])
    """

    ndim = 3


class GlobalPool(DescribedLayer):
    """A statistic of each channel over all places: (batch, channels, *size) to (batch, channels).

    statistic: "mean", "max", "l2", "lp" with p > 0. Raises SettingError for others, ShapeError without places.
    Source: Lin, Chen, Yan 2014, Network in network, section 3.2.

    >>> GlobalPool("l2")(torch.tensor([[[3.0, 4.0]]]))
    tensor([[5.]])
    """

    def __init__(self, statistic: str = "mean", p: float | None = None) -> None:
        super().__init__()
        self.summary = Summary(statistic, p)

    @property
    def operation(self) -> DescribedGlobal:
        """Its description."""
        return DescribedGlobal(self.summary.statistic, self.summary.p)

    def _compute(self, x: Tensor) -> Tensor:
        if x.ndim < 3:
            shape = f"shape {tuple(x.shape)}"
            raise ShapeError("input of global pooling", got=shape, expected="(batch, channels, *size)")
        places = x.flatten(2)
        if self.summary.power is not None:
            return torch.linalg.vector_norm(places, self.summary.power, dim=2)
        return places.amax(2) if self.summary.statistic == "max" else places.mean(2)

    def extra_repr(self) -> str:
        return str(self.summary)
