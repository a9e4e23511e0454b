"""Curves and a confusion matrix as SVG that takes its colours from the page around it. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from ..text import printable

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 440, 250, 44, 28, 12, 12
MOST_POINTS = 300
MOST_CLASSES, SHOWN_CLASSES, NUMBERED = 50, 30, 20
LONGEST_NAME = 18


def curves(lines: Sequence[tuple[str, Sequence[tuple[float, float]]]], best: int | None, label: str) -> Markup:
    """Lines over the epochs, each a name for its colour and its points; best: an epoch to mark.

    label: what the picture shows, for readers that do not see it. Empty where there is nothing to draw.
    """
    lines = [(name, _thinned(points)) for name, points in lines if points]
    points = [point for _, found in lines for point in found]
    if not points:
        return Markup("")
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    ticks = _ticks(min(y for _, y in points), max(y for _, y in points))
    low, high = ticks[0], ticks[-1]

    def across(x: float) -> float:
        return round(LEFT + (x - first) / max(last - first, 1e-9) * (WIDTH - LEFT - RIGHT), 1)

    def down(y: float) -> float:
        return round(TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    parts = [_opening(WIDTH, HEIGHT, label)]
    for tick in ticks:
        y = down(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="axis" x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
    for x in sorted({round(first), round((first + last) / 2), round(last)}):
        parts.append(f'<text class="axis" x="{across(x)}" y="{HEIGHT - 8}" text-anchor="middle">{x}</text>')
    if best is not None and first <= best <= last:
        parts.append(f'<line class="best" x1="{across(best)}" x2="{across(best)}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    for name, found in lines:
        path = " ".join(f"{across(x)},{down(y)}" for x, y in found)
        parts.append(f'<polyline class="line {escape(name)}" points="{path}"/>')
        if len(found) == 1:
            parts.append(
                f'<circle class="dot {escape(name)}" cx="{across(found[0][0])}" cy="{down(found[0][1])}" r="3"/>'
            )
    return Markup("".join(parts) + "</svg>")


def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Markup:
    """True classes down, predicted classes across; a cell is the darker, the larger its share of the true class."""
    side = 32 if len(classes) <= NUMBERED else 14
    names = [short(name) for name in classes]
    margin = 14 + 7 * max(map(len, names))
    size = margin + side * len(classes) + 4
    parts = [_opening(size, size, "confusion matrix, true classes down, predicted classes across")]
    for number, name in enumerate(names):
        middle = margin + side * number + side / 2
        parts.append(f'<text class="name" x="{margin - 6}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>')
        parts.append(
            f'<text class="name" transform="translate({middle + 4} {margin - 6}) rotate(-90)">{escape(name)}</text>'
        )
    for row, values in enumerate(counts):
        total = max(1, sum(values))
        for column, value in enumerate(values):
            kind = "right" if row == column else "wrong"
            x, y = margin + side * column, margin + side * row
            place = f'x="{x}" y="{y}" width="{side - 1}" height="{side - 1}"'
            if not value:
                parts.append(f'<rect class="none" {place}/>')
                continue
            share = value / total
            said = f"{names[row]}, taken for {names[column]}: {value}" if kind == "wrong" else f"{names[row]}: {value}"
            strength = round(0.12 + 0.88 * math.sqrt(share), 3)
            parts.append(f'<rect class="{kind}" {place} fill-opacity="{strength}"><title>{escape(said)}</title></rect>')
            if len(classes) <= NUMBERED:
                strong = " strong" if strength > 0.6 else ""
                place = f'x="{x + side / 2 - 0.5}" y="{y + side / 2 + 3}"'
                parts.append(f'<text class="count{strong}" {place}>{_count(value)}</text>')
    return Markup("".join(parts) + "</svg>")


def most_confused(counts: Sequence[Sequence[int]]) -> list[int]:
    """The classes to show: all, where they can be read, or else those with most mistakes, in their order."""
    if len(counts) <= MOST_CLASSES:
        return list(range(len(counts)))
    columns = [sum(column) for column in zip(*counts, strict=True)]
    wrong = [sum(row) + columns[number] - 2 * row[number] for number, row in enumerate(counts)]
    return sorted(sorted(range(len(counts)), key=lambda number: -wrong[number])[:SHOWN_CLASSES])


def short(name: str) -> str:
    """A name that has room beside a picture."""
    name = printable(name)
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _count(value: int) -> str:
    return str(value) if value < 10_000 else f"{value / 1000:.0f}k"


def _opening(width: float, height: float, label: str) -> str:
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg {size} role="img" aria-label="{escape(label)}">'


def _ticks(least: float, most: float) -> list[float]:
    """Round numbers, about five, around a range."""
    span = max(most - least, abs(most) * 1e-3, 1e-6)
    power = 10 ** math.floor(math.log10(span / 4))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10, 20) if span / (power * factor) <= 5)
    first, last = math.floor(least / step), math.ceil(most / step)
    return [round(number * step, 10) for number in range(first, max(last, first + 1) + 1)]


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most so many points, the first and the last among them."""
    step = max(1, -(-len(points) // MOST_POINTS))
    return [*points[:-1:step], points[-1]]
