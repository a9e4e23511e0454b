"""Drawings of a network as a row of volumes, and of receptive fields over an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import SettingError, ShapeError
from ..inspection.network_of import network_of
from ..inspection.receptive_field import Box
from ..inspection.rows import REARRANGED
from ..network.graph import Network
from ..network.operations import Volume
from . import svg
from .svg import INK, Drawing, Shape, line, picture, polygon, rect, text

HIGH, DEEP, GAP, MOST_VOLUMES = 130.0, 0.35, 26.0, 60


def draw_network(model: Any, input_shape: Any = None) -> Drawing:
    """A model as volumes in a row: height and depth are sizes, thickness is channels, both on a logarithmic scale.

    model, input_shape: as for `inspect`. Layers that leave the volume as it is are left out.
    Raises ShapeError for more volumes than anyone can look at.
    Source: LeCun et al. 1998, Gradient-based learning applied to document recognition, figure 2.

    >>> draw_network("INPUT[8x8x1] - CONV[4] - POOL - FC[10]").title
    'INPUT[8x8x1] - CONV[4] - POOL - FC[10] as volumes'
    """
    found = network_of(model, input_shape)
    volumes = _volumes(found.network)
    if len(volumes) > MOST_VOLUMES:
        raise ShapeError("a drawing of a network", got=f"{len(volumes)} volumes", expected=f"at most {MOST_VOLUMES}")
    largest = max((max(volume.size) for _, volume in volumes if volume.size), default=1)
    shapes: list[Shape] = []
    x, middle = 20.0, HIGH + 30
    for number, (name, volume) in enumerate(volumes):
        wide = float(np.log2(max(volume.channels, 1)))
        scaled = float(np.log2(1 + max(volume.size, default=0)) / np.log2(1 + largest))
        thick, high = (6 + 5 * wide, HIGH * scaled) if volume.size else (12.0, min(20 + 10 * wide, HIGH))
        colour = svg.hue(number, 0.78)
        bar = rect(x, middle - high / 2, thick, high, colour, stroke=INK, stroke_width=0.7)
        shapes += _box(x, middle, thick, high, colour) if volume.size else [bar]
        width = thick + high * DEEP if volume.size else thick + 4
        label = x + width / 2
        low = middle + HIGH / 2 + (24 if number % 2 == 0 else 50)
        shapes += [line(label, middle + high / 2 + 3, label, low - 11, "#bbbbbb", stroke_width=0.7)]
        shapes += [text(label, low, name, 11), text(label, low + 13, str(volume), 10, fill="#666666")]
        x += width + GAP
    return Drawing(max(x, 200.0), middle + HIGH / 2 + 80, tuple(shapes), f"{found.name} as volumes")


def draw_field(image: Any, *boxes: Box) -> Drawing:
    """Receptive fields over an image, the parts that borders cut off left out.

    image: (height, width) or (height, width, 3) numbers from 0 to 255 or from 0 to 1, or a PIL image.
    boxes: what `ReceptiveField.of` gives, with two axes.
    Raises ShapeError or SettingError for anything else.

    >>> from torchconv import receptive_field
    >>> draw_field(np.zeros((32, 32)), receptive_field("lenet5", layer="conv2").of((4, 4))).svg.count("<image")
    1
    """
    if not boxes or any(len(box.intervals) != 2 for box in boxes):
        raise SettingError("fields to draw", got=f"{len(boxes)} boxes", expected="one or more, with two axes")
    pixels = np.asarray(image)
    if pixels.ndim not in (2, 3):
        expected = "(height, width) or (height, width, 3)"
        raise ShapeError("an image to draw", got=f"shape {pixels.shape}", expected=expected)
    if pixels.dtype.kind == "f":
        pixels = (pixels.clip(0, 1) * 255).round()
    height, width = pixels.shape[:2]
    scale = max(1.0, 320 / max(height, width))
    shapes: list[Shape] = [picture(10, 10, width * scale, height * scale, svg.png_of(pixels.astype(np.uint8)))]
    for number, box in enumerate(boxes):
        (top, bottom), (left, right) = box
        own = {"stroke": svg.hue(number, 0.45), "stroke_width": 3, "fill_opacity": 0}
        size = ((right - left + 1) * scale, (bottom - top + 1) * scale)
        shapes.append(rect(10 + left * scale, 10 + top * scale, *size, "none", **own))
    return Drawing(width * scale + 20, height * scale + 20, tuple(shapes), "receptive fields over an image")


def _volumes(network: Network) -> list[tuple[str, Volume]]:
    found: list[tuple[str, Volume]] = []
    for row in network.rows:
        if row.volume.numel and (not found or found[-1][1] != row.volume) and row.node.operation.word not in REARRANGED:
            found.append((row.node.name, row.volume))
    return found


def _box(x: float, middle: float, thick: float, high: float, colour: str) -> Sequence[Shape]:
    """A cuboid seen from the right and above."""
    top, bottom, away, up = middle - high / 2, middle + high / 2, high * DEEP, high * DEEP * 0.6
    own = {"stroke": INK, "stroke_width": 0.7}
    right = x + thick
    above = [(x, top), (x + away, top - up), (x + away + thick, top - up), (right, top)]
    beside = [(right, top), (right + away, top - up), (right + away, bottom - up), (right, bottom)]
    faces = (polygon(above, colour, opacity=0.8, **own), polygon(beside, colour, opacity=0.6, **own))
    return rect(x, top, thick, high, colour, **own), *faces
