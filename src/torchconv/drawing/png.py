"""Drawings as PNG, by matplotlib."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UnsupportedError

if TYPE_CHECKING:
    from .svg import Drawing, Shape

ALIGNED = {"middle": "center", "start": "left", "end": "right"}


def write(drawing: Drawing, path: Path) -> None:
    """Write a drawing, twice as large as in pixels of its own; what moves is shown where it begins."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        fix = "Install matplotlib, or save as .svg."
        raise UnsupportedError("a drawing as PNG", got="no matplotlib", fix=fix) from error
    figure = Figure(figsize=(drawing.width / 100, drawing.height / 100), dpi=200)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, drawing.width)
    axes.set_ylim(drawing.height, 0)
    axes.axis("off")
    for order, shape in enumerate(drawing.shapes):
        _add(axes, shape, order)
    figure.savefig(path, facecolor="white")


def _add(axes: Any, shape: Shape, order: int) -> None:
    from matplotlib import image, patches

    own = dict(shape.attributes)
    style = {"zorder": order, "alpha": float(own.get("opacity", 1))}
    painted = {
        "facecolor": own.get("fill", "none"),
        "edgecolor": own.get("stroke", "none"),
        "linewidth": 0.72 * float(own.get("stroke_width", 1 if "stroke" in own else 0)),
        **style,
    }
    if shape.tag == "rect":
        axes.add_patch(patches.Rectangle((own["x"], own["y"]), own["width"], own["height"], **painted))
    elif shape.tag == "circle":
        axes.add_patch(patches.Circle((own["cx"], own["cy"]), own["r"], **painted))
    elif shape.tag == "polygon":
        corners = [tuple(map(float, point.split(","))) for point in own["points"].split()]
        axes.add_patch(patches.Polygon(corners, closed=True, **painted))
    elif shape.tag == "line":
        thick = 0.72 * float(own.get("stroke_width", 1))
        axes.plot((own["x1"], own["x2"]), (own["y1"], own["y2"]), color=own["stroke"], linewidth=thick, **style)
    elif shape.tag == "text":
        place = ALIGNED[own["text_anchor"]]
        font = {"fontsize": 0.72 * own["font_size"], "ha": place, "color": own["fill"], "zorder": order}
        axes.text(own["x"], own["y"], shape.text, **font)
    elif shape.tag == "image":
        pixels = image.imread(io.BytesIO(base64.b64decode(own["href"].partition(",")[2])))
        frame = (own["x"], own["x"] + own["width"], own["y"] + own["height"], own["y"])
        axes.imshow(pixels, extent=frame, zorder=order, interpolation="nearest", aspect="auto")
