"""The matrix of a convolution as a picture: each entry in the colour of the weight that stands there."""

from __future__ import annotations

from ..description.matrix import Entries
from ..errors import ShapeError
from . import colours
from .svg import Drawing, rect, text

LARGEST, MOST_ENTRIES = 640, 40_000


def draw(entries: Entries, title: str) -> Drawing:
    """Toeplitz, circulant and doubly block matrices show as stripes, unshared ones as stripes of changing colours."""
    rows, columns = entries.shape
    if len(entries.rows) > MOST_ENTRIES or max(rows, columns) > 2000:
        got = f"{rows}x{columns} with {len(entries.rows)} entries"
        expected = f"at most {MOST_ENTRIES} entries"
        raise ShapeError("a drawing of a matrix", got=got, expected=expected, fix="Use a smaller input.")
    cell = min(16.0, LARGEST / max(rows, columns))
    left, top = 10.0, 34.0
    found = [
        text(left, 22, f"{rows} outputs x {columns} inputs, {len(entries.rows)} products", anchor="start"),
        rect(left, top, columns * cell, rows * cell, "#ffffff", stroke="#999999", stroke_width=1),
    ]
    for row, column, weight in zip(entries.rows, entries.columns, entries.weights, strict=True):
        place = (left + int(column) * cell, top + int(row) * cell)
        found.append(rect(*place, cell, cell, colours.hue(int(weight), 0.6)))
    return Drawing(max(columns * cell, 330) + 20, rows * cell + top + 10, tuple(found), title)
