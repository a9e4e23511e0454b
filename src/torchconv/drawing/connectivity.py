"""Drawings of sparse connectivity, and of matrices.

Units of one axis: inputs below, outputs above, a line where one reads the other. From below: the outputs that one input
touches. From above: the inputs that one output reads.
Source: Goodfellow, Bengio, Courville 2016, Deep learning, figures 9.2 and 9.3.
"""

from __future__ import annotations

from ..description import shapes
from ..description.axis import Axis
from ..description.matrix import Entries
from ..description.sharing import Sharing
from ..errors import SettingError, ShapeError
from . import svg
from .arithmetic import check_size
from .svg import Drawing, Shape, circle, line, rect, text

STEP, RADIUS, HIGH = 44, 14, 130


def connections(axis: Axis, sharing: Sharing, size: int, title: str, below: int | None, above: int | None) -> Drawing:
    """Which output reads which input along one axis; below: an input to follow upwards, above: an output downwards."""
    outputs = shapes.output_sizes((axis,), (size,), "a drawing")[0]
    check_size((max(size, outputs), 20), "connections")
    _check("below", below, size)
    _check("above", above, outputs)
    if below is not None and above is not None:
        raise SettingError("connections to follow", got="an input and an output", expected="one of them")
    sources = shapes.sources(axis, size)
    period = sharing.periods[0]
    pairs = [(output, int(one), tap) for output, row in enumerate(sources) for tap, one in enumerate(row) if one >= 0]

    def chosen(output: int, source: int) -> bool:
        return (below is None or source == below) and (above is None or output == above)

    width = max(size, outputs) * STEP + 60
    left = [(width - count * STEP) / 2 + STEP / 2 for count in (size, outputs)]
    found: list[Shape] = []
    for picked in (False, True):
        for output, source, tap in pairs:
            if chosen(output, source) == picked:
                number = (0 if period == 1 else output % period if period else output) * axis.kernel + tap
                colour = svg.hue(number, 0.5) if picked else svg.PLAIN
                ends = (left[0] + source * STEP, HIGH + 40, left[1] + output * STEP, 40)
                found.append(line(*ends, colour, stroke_width=2.5 if picked else 1))
    touched = {output for output, source, _ in pairs if chosen(output, source)}
    read = {source for output, source, _ in pairs if chosen(output, source)}
    for count, start, y, name, bright in ((size, left[0], HIGH + 40, "x", read), (outputs, left[1], 40, "s", touched)):
        for at in range(count):
            colour = "#b6d7a8" if at in bright else "#ffffff"
            found.append(circle(start + at * STEP, y, RADIUS, colour, stroke="#222222", stroke_width=1))
            found.append(text(start + at * STEP, y + 4, f"{name}{at}", 11))
    return Drawing(width, HIGH + 80, tuple(found), title)


def _check(name: str, unit: int | None, count: int) -> None:
    if unit is not None and not 0 <= unit < count:
        raise ShapeError(f"the unit {name}", got=unit, expected=f"an integer from 0 to {count - 1}")


LARGEST, MOST_ENTRIES = 640, 40_000


def draw(entries: Entries, title: str) -> Drawing:
    """A matrix by the colours of its weights: Toeplitz ones are stripes, unshared ones stripes of changing colours."""
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
        found.append(rect(*place, cell, cell, svg.hue(int(weight), 0.6)))
    return Drawing(max(columns * cell, 330) + 20, rows * cell + top + 10, tuple(found), title)
