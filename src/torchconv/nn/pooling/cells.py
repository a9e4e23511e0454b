"""What pooling over a grid of cells needs: the cells of an axis, and inputs that fit."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

import torch
from torch import Tensor

from ...description.resampling import Resampling
from ...description.shapes import sizes_of
from ...errors import SettingError, ShapeError

STATISTICS = ("mean", "max")


def statistic_of(statistic: Any) -> str:
    """`statistic` as one of the words; raises SettingError for any other.

    >>> statistic_of("max")
    'max'
    """
    if statistic not in STATISTICS:
        raise SettingError("statistic", got=repr(statistic), expected=f"one of {', '.join(STATISTICS)}")
    return statistic


def grid_of(grid: Any, ndim: int) -> tuple[int, ...]:
    """A grid as one number of cells >= 1 per axis; an int stands for all axes.

    >>> grid_of(4, 2)
    (4, 4)
    """
    return sizes_of(grid, ndim, "grid")


def bounds(size: int, cells: int) -> list[tuple[int, int]]:
    """First sample and end of each cell of an axis, as torch's adaptive pooling has them: cells may overlap.

    >>> bounds(5, 2)
    [(0, 3), (2, 5)]
    """
    return _bounds(index(size), cells)  # compiled for each size by itself, where sizes are left open


@torch.compiler.assume_constant_result  # a table of the sizes, by fractions that torch.compile does not follow
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


def shown(grid: Sequence[int], statistic: str) -> str:
    """The settings that all pooling over cells has, as layers show them.

    >>> shown((4, 4), "max")
    'grid=(4, 4), statistic=max'
    """
    return f"grid={tuple(grid)}, statistic={statistic}"
