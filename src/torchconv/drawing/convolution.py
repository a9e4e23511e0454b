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


MARGIN, GAP, MOST_KERNELS, MOST_FRAMES = 30, 50, 12, 400


@dataclass(frozen=True)
class Scene:
    """The geometry of a picture: axes, sharing and the input size in samples."""

    axes: tuple[Axis, ...]
    sharing: Sharing
    size: tuple[int, ...]

    def __post_init__(self) -> None:
        plane(self.size, "a convolution")
        check_size([one.stop - one.start for one in self.extents], "a convolution")
        check_size(self.outputs, "a convolution")

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
        lows = [shapes.padding(axis, size)[0] for axis, size in zip(self.axes, self.size, strict=True)]
        along = [
            [at * axis.stride + tap * axis.dilation - low for tap in range(axis.kernel)]
            for at, axis, low in zip(output, self.axes, lows, strict=True)
        ]
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
        triples = zip(position, self.axes, self.size, strict=True)
        return all(0 <= at < shapes.dilated(a, n) and shapes.spaced(at, a.input_dilation)[1] for at, a, n in triples)

    def input_colour(self, position: Sequence[int]) -> str:
        """Samples, zeros between them, and padding."""
        if self.is_real(position):
            return svg.INPUT
        pairs = zip(position, self.axes, self.size, strict=True)
        return svg.ZERO if all(0 <= at < shapes.dilated(a, n) for at, a, n in pairs) else svg.PADDING


class Layout:
    """Where the parts of a scene stand on the page."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        rows, columns = plane([len(extent) for extent in scene.extents], "a convolution", 1)
        self.input = CellGrid(rows, columns, MARGIN, MARGIN + 20)
        rows, columns = plane(scene.outputs, "a convolution", 1)
        self.output = CellGrid(rows, columns, self.input.x + self.input.width + GAP, self.input.y)
        self.below = self.input.y + max(self.input.height, self.output.height) + GAP

    def at(self, position: Sequence[int]) -> tuple[float, float]:
        """The corner of a position of the input."""
        starts = plane([extent.start for extent in self.scene.extents], "a convolution")
        row, column = plane(position, "a convolution")
        return self.input.corner((row - starts[0], column - starts[1]))

    def output_at(self, output: Sequence[int]) -> tuple[float, float]:
        """The corner of an output."""
        return self.output.corner(plane(output, "a convolution"))

    def grids(self) -> Iterator[Shape]:
        """Input and output, the output's cells in the colours of their kernels."""
        scene = self.scene
        starts = plane([extent.start for extent in scene.extents], "a convolution")

        def position(place: tuple[int, int]) -> list[int]:
            return [place[0] + starts[0], place[1] + starts[1]][-len(scene.size) :]

        yield self.input.caption(f"input {'x'.join(map(str, scene.size))}")
        yield from self.input.cells(lambda place: scene.input_colour(position(place)))
        yield self.output.caption(f"output {'x'.join(map(str, scene.outputs))}")
        yield from self.output.cells(lambda place: svg.hue(scene.phase(place[-len(scene.size) :])))

    def kernels(self) -> Iterator[Shape]:
        """A kernel for each phase, as many as have room."""
        rows, columns = plane([axis.kernel for axis in self.scene.axes], "a kernel", 1)
        shown = min(self.scene.kernels, MOST_KERNELS)
        cell = min(CELL, 90 / max(rows, columns))
        for number in range(shown):
            grid = CellGrid(rows, columns, MARGIN + number * (columns * cell + 12), self.below, cell)
            yield from grid.cells(lambda place, number=number: svg.hue(number))
        words = "1 kernel, shared by all outputs" if self.scene.kernels == 1 else f"{self.scene.kernels} kernels"
        if self.scene.sharing.needs_size:
            words += ", one for each output"
        elif self.scene.kernels > 1:
            words += ", used in turns"
        more = f" (the first {shown} are shown)" if shown < self.scene.kernels else ""
        yield text(MARGIN, self.below - 8, words + more, anchor="start")

    def page(self, found: Sequence[Shape], title: str) -> Drawing:
        """The drawing of all these shapes."""
        rows, columns = plane([axis.kernel for axis in self.scene.axes], "a kernel", 1)
        cell = min(CELL, 90 / max(rows, columns))
        kernels = MARGIN + min(self.scene.kernels, MOST_KERNELS) * (columns * cell + 12)
        width = max(self.output.x + self.output.width, kernels, MARGIN + 260) + MARGIN
        return Drawing(width, self.below + rows * cell + MARGIN, tuple(found), title)


def draw(scene: Scene, output: Sequence[int] | None, title: str) -> Drawing:
    """Input, window, output and kernels, the window where one output reads; by default the one in the middle."""
    layout = Layout(scene)
    place = tuple(size // 2 for size in scene.outputs) if output is None else tuple(output)
    if len(place) != len(scene.outputs) or not all(0 <= at < n for at, n in zip(place, scene.outputs, strict=True)):
        raise ShapeError("an output to draw", got=place, expected=f"a place in {scene.outputs}")
    found = [*layout.grids(), *layout.kernels()]
    for tap in scene.taps(place):
        x, y = layout.at(tap)
        found.append(_frame(x, y, svg.WINDOW))
    x, y = layout.output_at(place)
    return layout.page([*found, _frame(x, y, svg.WINDOW)], title)


def animate(scene: Scene, seconds: float, title: str) -> Drawing:
    """The window sliding over the input, and the output that it gives."""
    layout = Layout(scene)
    places = _frames(scene.outputs)
    found = [*layout.grids(), *layout.kernels()]
    for taps in zip(*(list(scene.taps(place)) for place in places), strict=True):
        found.append(_moving([layout.at(tap) for tap in taps], seconds))
    return layout.page([*found, _moving([layout.output_at(place) for place in places], seconds)], title)


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
    found = [*layout.grids(), *layout.kernels(), _moving(corners, seconds)]
    hidden = (-1000.0, -1000.0)
    for number in range(max(map(len, reached.values()))):
        stamps = [reached[p][number] if number < len(reached[p]) else None for p in places]
        found.append(_moving([layout.output_at(one) if one is not None else hidden for one in stamps], seconds))
    return layout.page(found, title)


def _frames(sizes: tuple[int, ...]) -> list[tuple[int, ...]]:
    if prod(sizes) > MOST_FRAMES:
        shown = "x".join(map(str, sizes))
        expected = f"at most {MOST_FRAMES}"
        raise ShapeError("an animation", got=f"{shown} steps", expected=expected, fix="Use a smaller input.")
    return list(product(*map(range, sizes)))


def _frame(x: float, y: float, colour: str, *motions: Motion) -> Shape:
    own = {"stroke": colour, "stroke_width": 2.5, "fill_opacity": 0}
    return rect(x + 2, y + 2, CELL - 4, CELL - 4, "none", *motions, **own)


def _moving(corners: Sequence[tuple[float, float]], seconds: float) -> Shape:
    values = [[f"{corner[axis] + 2:g}" for corner in corners] for axis in (0, 1)]
    moves = (Motion(name, tuple(found), seconds) for name, found in zip("xy", values, strict=True))
    return _frame(*corners[0], svg.WINDOW, *moves)


STEP, RADIUS, HIGH = 44, 14, 130


def connections(axis: Axis, sharing: Sharing, size: int, title: str, below: int | None, above: int | None) -> Drawing:
    """Which output reads which input along one axis; below: an input to follow upwards, above: an output downwards."""
    outputs = shapes.output_sizes((axis,), (size,), "a drawing")[0]
    check_size((max(size, outputs), 20), "connections")
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
