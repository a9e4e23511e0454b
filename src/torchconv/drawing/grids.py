"""Rows of cells: an input with its padding, an output, a kernel; one axis is one row of a grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..errors import SettingError, ShapeError
from .svg import Shape, rect, text

CELL = 22
MOST_CELLS = 4096


@dataclass(frozen=True)
class Grid:
    """Cells (rows, columns) with the upper left corner of the first at x, y."""

    rows: int
    columns: int
    x: float
    y: float
    cell: float = CELL

    @property
    def width(self) -> float:
        """In pixels."""
        return self.columns * self.cell

    @property
    def height(self) -> float:
        """In pixels."""
        return self.rows * self.cell

    def corner(self, place: Sequence[int]) -> tuple[float, float]:
        """The upper left corner of a cell, (row, column)."""
        return self.x + place[1] * self.cell, self.y + place[0] * self.cell

    def cells(self, colour: Callable[[tuple[int, int]], str]) -> Iterator[Shape]:
        """Every cell in its colour."""
        for row in range(self.rows):
            for column in range(self.columns):
                x, y = self.corner((row, column))
                yield rect(x, y, self.cell, self.cell, colour((row, column)), stroke="#999999", stroke_width=0.5)

    def caption(self, words: str) -> Shape:
        """A line above the grid."""
        return text(self.x, self.y - 8, words, anchor="start")


def plane(values: Sequence[int], what: str, fill: int = 0) -> tuple[int, int]:
    """One or two numbers as (rows, columns); raises SettingError for more axes than can be drawn."""
    if len(values) > 2:
        fix = "Draw a convolution with its last two axes."
        raise SettingError(f"a drawing of {what}", got=f"{len(values)} axes", expected="one or two", fix=fix)
    return (values[0], values[1]) if len(values) == 2 else (fill, values[0])


def check_size(sizes: Sequence[int], what: str) -> None:
    """Raise ShapeError for what has more cells than anyone can look at."""
    count = 1
    for size in sizes:
        count *= size
    if count > MOST_CELLS:
        shown = "x".join(map(str, sizes))
        expected = f"at most {MOST_CELLS}"
        raise ShapeError(f"a drawing of {what}", got=f"{shown} cells", expected=expected, fix="Use a smaller input.")
