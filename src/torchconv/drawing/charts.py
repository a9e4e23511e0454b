"""Pictures of the page of a training: curves and confusion matrices in its colours, thumbnails and first filters."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from markupsafe import Markup
from PIL import Image
from torch import Tensor

from ..description.convolution import Convolution
from ..language.network_module import NetworkModule
from ..network import operations as ops
from ..text import printable
from .svg import Shape, data_uri, document, png_of, points, styled

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 440, 250, 44, 28, 12, 12
MOST_POINTS = 300
MOST_CLASSES, SHOWN_CLASSES, NUMBERED = 50, 30, 20
LONGEST_NAME = 18
JPEG_QUALITY = 80


def curves(lines: Sequence[tuple[str, Sequence[tuple[float, float]]]], best: int | None, label: str) -> Markup:
    """Lines over the epochs, each a name for its colour and its points; best: an epoch to mark.

    label: what the picture shows, for readers that do not see it. Empty where there is nothing to draw.
    """
    lines = [(name, _thinned(found)) for name, found in lines if found]
    every = [point for _, found in lines for point in found]
    if not every:
        return Markup("")
    first, last = min(x for x, _ in every), max(x for x, _ in every)
    ticks = _ticks(min(y for _, y in every), max(y for _, y in every))
    low, high = ticks[0], ticks[-1]

    def across(x: float) -> float:
        return round(LEFT + (x - first) / max(last - first, 1e-9) * (WIDTH - LEFT - RIGHT), 1)

    def down(y: float) -> float:
        return round(TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    shapes: list[Shape] = []
    for tick in ticks:
        y = down(tick)
        shapes.append(styled("line", "grid", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y))
        shapes.append(styled("text", "axis", f"{tick:g}", x=LEFT - 6, y=y + 4, text_anchor="end"))
    for x in sorted({round(first), round((first + last) / 2), round(last)}):
        shapes.append(styled("text", "axis", str(x), x=across(x), y=HEIGHT - 8, text_anchor="middle"))
    if best is not None and first <= best <= last:
        shapes.append(styled("line", "best", x1=across(best), x2=across(best), y1=TOP, y2=HEIGHT - BOTTOM))
    for name, found in lines:
        places = [(across(x), down(y)) for x, y in found]
        shapes.append(styled("polyline", f"line {name}", points=points(places)))
        if len(places) == 1:
            shapes.append(styled("circle", f"dot {name}", cx=places[0][0], cy=places[0][1], r=3))
    return _figure(WIDTH, HEIGHT, shapes, label)


def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str], shares: bool = False) -> Markup:
    """True classes down, predicted classes across; a cell is the darker, the larger its share of the true class.

    shares: write the shares in percent in place of the counts, where there are millions.
    """
    side = 32 if len(classes) <= NUMBERED else 14
    names = [short(name) for name in classes]
    margin = 14 + 7 * max(map(len, names))
    size = margin + side * len(classes) + 4
    shapes: list[Shape] = []
    for number, name in enumerate(names):
        middle = margin + side * number + side / 2
        turned = f"translate({middle + 4} {margin - 6}) rotate(-90)"
        shapes.append(styled("text", "name", name, x=margin - 6, y=middle + 4, text_anchor="end"))
        shapes.append(styled("text", "name", name, transform=turned))
    for row, values in enumerate(counts):
        total = max(1, sum(values))
        for column, value in enumerate(values):
            x, y = margin + side * column, margin + side * row
            cell: dict[str, Any] = {"x": x, "y": y, "width": side - 1, "height": side - 1}
            if not value:
                shapes.append(styled("rect", "none", **cell))
                continue
            kind, taken = ("right", "") if row == column else ("wrong", f", taken for {names[column]}")
            strength = 0.12 + 0.88 * math.sqrt(value / total)
            shapes.append(styled("rect", kind, title=f"{names[row]}{taken}: {value}", fill_opacity=strength, **cell))
            if len(classes) <= NUMBERED:
                strong = "count strong" if strength > 0.6 else "count"
                number = str(value) if value < 10_000 else f"{value / 1000:.0f}k"
                number = f"{100 * value / total:.0f}" if shares else number
                shapes.append(styled("text", strong, number, x=x + side / 2 - 0.5, y=y + side / 2 + 3))
    return _figure(size, size, shapes, "confusion matrix, true classes down, predicted classes across")


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


def _figure(width: float, height: float, shapes: Sequence[Shape], label: str) -> Markup:
    return Markup(document(width, height, shapes, role="img", aria_label=label))


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


MOST_SIDE = 96
MOST_FILTERS, MOST_CHANNELS = 64, 16


@dataclass(frozen=True)
class Filters:
    """The kernels of a network's first convolution: a picture, its size in pixels, and what it shows."""

    uri: str
    width: int
    height: int
    said: str


def png(pixels: Tensor) -> str:
    """uint8 (channels, height, width) as a PNG in a data URI; large ones made smaller. Other channels: the first."""
    channels = pixels if pixels.shape[0] == 3 else pixels[0]
    array = (channels.permute(1, 2, 0) if channels.dim() == 3 else channels).contiguous().numpy()
    if max(array.shape[:2]) > MOST_SIDE:
        image = Image.fromarray(array)
        image.thumbnail((MOST_SIDE, MOST_SIDE), Image.Resampling.LANCZOS)
        array = np.asarray(image)
    return data_uri(png_of(array))


def jpeg(pixels: Tensor) -> str:
    """uint8 (3, height, width) as a JPEG in a data URI, of its own size."""
    content = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(content, format="JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def filters(module: NetworkModule) -> Filters | None:
    """The kernels of the first convolution, if it has two axes; None without one."""
    node = next((node for node in module.network.nodes if isinstance(node.operation, ops.Convolve)), None)
    if node is None or not isinstance(node.operation, ops.Convolve) or node.operation.convolution.ndim != 2:
        return None
    weight = module.get_submodule(node.name).weight
    assert isinstance(weight, Tensor)
    kernels, place = _kernels(weight.detach().cpu().float(), node.operation.convolution)
    count, channels = kernels.shape[:2]
    shown = kernels[:MOST_FILTERS, :MOST_CHANNELS] if channels not in (1, 3) else kernels[:MOST_FILTERS]
    # each filter by its own largest weight: grey is 0
    strength = shown.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    bytes_ = ((shown / strength + 1) * 127.5).round().clamp(0, 255).nan_to_num(127).to(torch.uint8)
    colour = channels == 3
    tiles = bytes_.permute(0, 2, 3, 1) if colour else bytes_.flatten(0, 1)[..., None].expand(-1, -1, -1, 3)
    across = min(len(tiles), 8 if len(tiles) <= 32 else 16) if channels in (1, 3) else shown.shape[1]
    image = _tiled(tiles.numpy(), across)
    each = "in colour" if colour else "in grey" if channels == 1 else f"a row each, its {shown.shape[1]} inputs across"
    some = f"the first {len(shown)} of {count}" if count > len(shown) else f"all {count}"
    said = f"{node.name}: {some} filters of {weight.shape[-2]}x{weight.shape[-1]}, {each}{place}; mid grey is 0"
    height, width = image.shape[:2]
    zoom = max(1, min(12, 860 // width))  # whole pixels, as wide as the page has room for
    return Filters(data_uri(png_of(image)), width * zoom, height * zoom, said)


def _kernels(weight: Tensor, convolution: Convolution) -> tuple[Tensor, str]:
    """(filters, channels, height, width) of one phase, and which."""
    own = 3 if convolution.channels.rows is not None else 4
    phases = weight.shape[: weight.dim() - own]
    for length in phases:
        weight = weight[length // 2]
    place = f" at position {', '.join(str(length // 2) for length in phases)}" if phases else ""
    return (weight[:, None] if own == 3 else weight), place


def _tiled(tiles: np.ndarray, across: int) -> np.ndarray:
    """The page of tiles (N, height, width, 3) in rows, a clear pixel between them."""
    count, height, width, _ = tiles.shape
    down = -(-count // across)
    page = np.zeros((down * (height + 1) - 1, across * (width + 1) - 1, 4), np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // across * (height + 1), number % across * (width + 1)
        page[top : top + height, left : left + width, :3] = tile
        page[top : top + height, left : left + width, 3] = 255
    return page
