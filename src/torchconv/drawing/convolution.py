"""Drawings of one convolution: its arithmetic, still or moving, its sparse connectivity, and its matrix.

Arithmetic is the input with its padding, the window, the output and the kernels as grids of cells. Connectivity is
units of one axis, inputs below and outputs above, a line where one reads the other.
Sources: Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning; Goodfellow, Bengio, Courville
2016, Deep learning, figures 9.2 and 9.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from ..description import shapes
from ..description.axis import Axis
from ..description.matrix import Entries
from ..description.sharing import Sharing
from ..errors import SettingError, ShapeError
from . import svg
from .svg import Drawing, Motion, Shape, circle, line, rect, text

CELL = 22
MOST_CELLS = 4096


@dataclass(frozen=True)
class CellGrid:
    """Cells (rows, columns) with the upper left corner of the first at x, y."""

    rows: int
    columns: int
    x: float
    y: float
    cell: float = CELL

    @property
    def width(self) -> float:
        """Pixels."""
        return self.columns * self.cell

    @property
    def height(self) -> float:
        """Pixels."""
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


def plane(values: Sequence[int], fill: int = 0) -> tuple[int, int]:
    """One or two numbers as (rows, columns)."""
    return (values[0], values[1]) if len(values) == 2 else (fill, values[0])


def check_size(sizes: Sequence[int], what: str, most: int = MOST_CELLS, parts: str = "cells") -> None:
    """Raise ShapeError for what has more parts than anyone can look at."""
    if prod(sizes) > most:
        shown = "x".join(map(str, sizes))
        raise ShapeError(what, got=f"{shown} {parts}", expected=f"at most {most}", fix="Use a smaller input.")


MARGIN, GAP, MOST_KERNELS, MOST_FRAMES = 30, 50, 12, 400


@dataclass(frozen=True)
class Scene:
    """The geometry of a picture: axes, sharing and the input size in samples."""

    axes: tuple[Axis, ...]
    sharing: Sharing
    size: tuple[int, ...]

    def __post_init__(self) -> None:
        what = "a drawing of a convolution"
        if len(self.size) > 2:
            fix = "Draw a convolution with its last two axes."
            raise SettingError(what, got=f"{len(self.size)} axes", expected="one or two", fix=fix)
        check_size([*map(len, self.extents)], what)
        check_size(self.outputs, what)

    @property
    def outputs(self) -> tuple[int, ...]:
        """Samples of the output."""
        return shapes.output_sizes(self.axes, self.size, "a drawing")

    @property
    def extents(self) -> list[range]:
        """The positions drawn of each axis: the input, with zeros between its samples, and the padding."""
        found = []
        for axis, size in zip(self.axes, self.size, strict=True):
            low, high = shapes.padding(axis, size)
            found.append(range(-max(low, 0), shapes.dilated(axis, size) + max(high, 0)))
        return found

    def taps(self, output: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """The positions that an output reads, one for each tap."""
        along = []
        for at, axis, size in zip(output, self.axes, self.size, strict=True):
            start = at * axis.stride - shapes.padding(axis, size)[0]
            along.append(range(start, start + axis.span, axis.dilation))
        return product(*along)

    def phase(self, output: Sequence[int]) -> int:
        """The number of the kernel that an output uses."""
        phases = self.sharing.phases(self.outputs) or (1,) * len(self.size)
        number = 0
        for at, count in zip(output, phases, strict=True):
            number = number * count + at % count
        return number

    @property
    def kernels(self) -> int:
        """How many kernels there are."""
        return prod(self.sharing.phases(self.outputs) or (1,))

    def is_real(self, position: Sequence[int]) -> bool:
        """Whether a sample of the input stands at a position."""
        return self.input_colour(position) == svg.INPUT

    def input_colour(self, position: Sequence[int]) -> str:
        """Samples, zeros between them, and padding."""
        triples = [*zip(position, self.axes, self.size, strict=True)]
        if not all(0 <= at < shapes.dilated(axis, size) for at, axis, size in triples):
            return svg.PADDING
        return svg.INPUT if all(shapes.spaced(at, axis.input_dilation)[1] for at, axis, _ in triples) else svg.ZERO


class Layout:
    """Where the parts of a scene stand on the page."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.starts = plane([extent.start for extent in scene.extents])
        self.input = CellGrid(*plane([*map(len, scene.extents)], 1), MARGIN, MARGIN + 20)
        self.output = CellGrid(*plane(scene.outputs, 1), self.input.x + self.input.width + GAP, self.input.y)
        self.below = self.input.y + max(self.input.height, self.output.height) + GAP
        rows, columns = plane([axis.kernel for axis in scene.axes], 1)
        cell = min(CELL, 90 / max(rows, columns))
        lefts = [MARGIN + number * (columns * cell + 12) for number in range(min(scene.kernels, MOST_KERNELS) + 1)]
        self.kernels = [CellGrid(rows, columns, left, self.below, cell) for left in lefts[:-1]]
        self.width = max(self.output.x + self.output.width, lefts[-1], MARGIN + 260) + MARGIN

    def at(self, position: Sequence[int]) -> tuple[float, float]:
        """The corner of a position of the input."""
        row, column = plane(position)
        return self.input.corner((row - self.starts[0], column - self.starts[1]))

    def output_at(self, output: Sequence[int]) -> tuple[float, float]:
        """The corner of an output."""
        return self.output.corner(plane(output))

    def grids(self) -> Iterator[Shape]:
        """Input and output, the output's cells in the colours of their kernels, and as many kernels as have room."""
        scene = self.scene

        def position(place: tuple[int, int]) -> list[int]:
            return [place[0] + self.starts[0], place[1] + self.starts[1]][-len(scene.size) :]

        yield self.input.caption(f"input {'x'.join(map(str, scene.size))}")
        yield from self.input.cells(lambda place: scene.input_colour(position(place)))
        yield self.output.caption(f"output {'x'.join(map(str, scene.outputs))}")
        yield from self.output.cells(lambda place: svg.hue(scene.phase(place[-len(scene.size) :])))

        for number, grid in enumerate(self.kernels):
            yield from grid.cells(lambda place, number=number: svg.hue(number))
        words = "1 kernel, shared by all outputs" if scene.kernels == 1 else f"{scene.kernels} kernels"
        if scene.sharing.needs_size:
            words += ", one for each output"
        elif scene.kernels > 1:
            words += ", used in turns"
        more = f" (the first {len(self.kernels)} are shown)" if len(self.kernels) < scene.kernels else ""
        yield text(MARGIN, self.below - 8, words + more, anchor="start")

    def page(self, found: Sequence[Shape], title: str) -> Drawing:
        """The drawing of these shapes over the grids."""
        return Drawing(self.width, self.below + self.kernels[0].height + MARGIN, (*self.grids(), *found), title)


def draw(scene: Scene, output: Sequence[int] | None, title: str) -> Drawing:
    """Input, window, output and kernels, the window where one output reads; by default the one in the middle."""
    layout = Layout(scene)
    place = tuple(size // 2 for size in scene.outputs) if output is None else tuple(output)
    if len(place) != len(scene.outputs) or not all(0 <= at < n for at, n in zip(place, scene.outputs, strict=True)):
        raise ShapeError("an output to draw", got=place, expected=f"a place in {scene.outputs}")
    corners = [*map(layout.at, scene.taps(place)), layout.output_at(place)]
    return layout.page([_frame(*corner) for corner in corners], title)


def animate(scene: Scene, seconds: float, title: str) -> Drawing:
    """The window sliding over the input, and the output that it gives."""
    layout = Layout(scene)
    places = _frames(scene.outputs)
    taps = zip(*(map(layout.at, scene.taps(place)) for place in places), strict=True)
    return layout.page([_moving(one, seconds) for one in (*taps, [*map(layout.output_at, places)])], title)


def scatter(scene: Scene, seconds: float, title: str) -> Drawing:
    """The other picture of a transposed convolution: each input sample adds a kernel to the outputs it reaches."""
    layout = Layout(scene)
    places = _frames(scene.size)
    steps = [axis.input_dilation for axis in scene.axes]
    reached: dict[tuple[int, ...], list[tuple[int, ...]]] = {place: [] for place in places}
    for output in product(*map(range, scene.outputs)):
        for tap in scene.taps(output):
            if scene.is_real(tap):
                source = tuple(shapes.spaced(at, step)[0] for at, step in zip(tap, steps, strict=True))
                reached[source].append(output)
    corners = [layout.at([at * step for at, step in zip(place, steps, strict=True)]) for place in places]
    found = [_moving(corners, seconds)]
    hidden = (-1000.0, -1000.0)
    for number in range(max(map(len, reached.values()))):
        stamps = [reached[p][number] if number < len(reached[p]) else None for p in places]
        found.append(_moving([layout.output_at(one) if one is not None else hidden for one in stamps], seconds))
    return layout.page(found, title)


def _frames(sizes: tuple[int, ...]) -> list[tuple[int, ...]]:
    check_size(sizes, "an animation", MOST_FRAMES, "steps")
    return list(product(*map(range, sizes)))


def _frame(x: float, y: float, *motions: Motion) -> Shape:
    own = {"stroke": svg.WINDOW, "stroke_width": 2.5, "fill_opacity": 0}
    return rect(x + 2, y + 2, CELL - 4, CELL - 4, "none", *motions, **own)


def _moving(corners: Sequence[tuple[float, float]], seconds: float) -> Shape:
    values = [[f"{corner[axis] + 2:g}" for corner in corners] for axis in (0, 1)]
    moves = (Motion(name, tuple(found), seconds) for name, found in zip("xy", values, strict=True))
    return _frame(*corners[0], *moves)


STEP, RADIUS, HIGH = 44, 14, 130


def connections(axis: Axis, sharing: Sharing, size: int, title: str, below: int | None, above: int | None) -> Drawing:
    """Which output reads which input along one axis; below: an input to follow upwards, above: an output downwards."""
    outputs = shapes.output_sizes((axis,), (size,), "a drawing")[0]
    check_size((max(size, outputs), 20), "a drawing of connections")
    _check_place("below", below, size)
    _check_place("above", above, outputs)
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


def _check_place(name: str, unit: int | None, count: int) -> None:
    if unit is not None and not 0 <= unit < count:
        raise ShapeError(f"the unit {name}", got=unit, expected=f"an integer from 0 to {count - 1}")


LARGEST, MOST_ENTRIES = 640, 40_000


def draw_matrix(entries: Entries, title: str) -> Drawing:
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
