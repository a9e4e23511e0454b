"""Shapes, colours and drawings, and the one place that writes them as SVG or PNG.

Colours are one for each kernel, by its phase, and lighter ones for its weights.
"""

from __future__ import annotations

import base64
import colorsys
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from ..errors import SettingError, UnsupportedError

INPUT, PADDING, ZERO, WINDOW, PLAIN = "#cfe2f3", "#f0f0f0", "#fbfbfb", "#222222", "#dddddd"
GOLDEN = 0.618034  # of a turn from one hue to the next: neighbours are never alike


def hue(number: int, light: float = 0.72) -> str:
    """A colour for each number, the same on every machine.

    >>> hue(0), hue(1) != hue(2)
    ('#eb8484', True)
    """
    red, green, blue = colorsys.hls_to_rgb(number * GOLDEN % 1, light, 0.72)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


INK, PAPER = "#222222", "#ffffff"


@dataclass(frozen=True)
class Motion:
    """An attribute that jumps from value to value, each shown for `seconds`, and begins anew at the end."""

    attribute: str
    values: tuple[str, ...]
    seconds: float = 0.5

    def svg(self) -> str:
        """As SMIL, which needs no script."""
        own = {"attributeName": self.attribute, "values": ";".join(self.values)}
        own |= {"dur": f"{_number(len(self.values) * self.seconds)}s", "calcMode": "discrete"}
        return Shape("animate", tuple((own | {"repeatCount": "indefinite"}).items())).svg()


@dataclass(frozen=True)
class Shape:
    """One SVG element: its tag, attributes, text, motions, and the title that a pointer over it shows."""

    tag: str
    attributes: tuple[tuple[str, Any], ...]
    text: str = ""
    motions: tuple[Motion, ...] = ()
    title: str = ""

    def svg(self) -> str:
        """The element as text."""
        written = "".join(f' {name.replace("_", "-")}="{escape(_number(value))}"' for name, value in self.attributes)
        title = f"<title>{escape(self.title)}</title>" if self.title else ""
        inner = title + escape(self.text) + "".join(motion.svg() for motion in self.motions)
        return f"<{self.tag}{written}>{inner}</{self.tag}>" if inner else f"<{self.tag}{written}/>"


def styled(tag: str, kind: str, text: str = "", title: str = "", **attributes: Any) -> Shape:
    """A shape that takes its colours from the style sheet of the page around it, by its class."""
    return Shape(tag, (("class", kind), *attributes.items()), text, title=title)


def rect(x: float, y: float, width: float, height: float, fill: str, *motions: Motion, **more: Any) -> Shape:
    """A rectangle."""
    own = {"x": x, "y": y, "width": width, "height": height, "fill": fill, **more}
    return Shape("rect", tuple(own.items()), motions=motions)


def line(x1: float, y1: float, x2: float, y2: float, stroke: str = INK, **more: Any) -> Shape:
    """A straight line."""
    return Shape("line", tuple({"x1": x1, "y1": y1, "x2": x2, "y2": y2, "stroke": stroke, **more}.items()))


def circle(x: float, y: float, radius: float, fill: str, **more: Any) -> Shape:
    """A circle."""
    return Shape("circle", tuple({"cx": x, "cy": y, "r": radius, "fill": fill, **more}.items()))


def polygon(corners: Sequence[tuple[float, float]], fill: str, **more: Any) -> Shape:
    """A polygon."""
    return Shape("polygon", tuple({"points": points(corners), "fill": fill, **more}.items()))


def points(places: Sequence[tuple[float, float]]) -> str:
    """Points as the value of an attribute."""
    return " ".join(f"{_number(x)},{_number(y)}" for x, y in places)


def text(x: float, y: float, words: str, size: float = 12, anchor: str = "middle", fill: str = INK) -> Shape:
    """A line of text, its foot at y."""
    own = {"x": x, "y": y, "font_size": size, "text_anchor": anchor, "fill": fill, "font_family": "sans-serif"}
    return Shape("text", tuple(own.items()), words)


def picture(x: float, y: float, width: float, height: float, png: bytes) -> Shape:
    """An image, its bytes inside the drawing."""
    own = {"x": x, "y": y, "width": width, "height": height, "href": data_uri(png)}
    own["style"] = "image-rendering:pixelated"
    return Shape("image", tuple(own.items()))


def data_uri(png: bytes) -> str:
    """The bytes of a PNG as an address that needs no file."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def png_of(pixels: Any) -> bytes:
    """uint8 pixels (height, width), or (height, width, 3 or 4) with colours, as the bytes of a PNG."""
    from PIL import Image

    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "png", optimize=True)
    return written.getvalue()


def document(width: float, height: float, shapes: Iterable[Shape], **attributes: str) -> str:
    """The <svg> element that holds these shapes."""
    own = {**attributes, "width": width, "height": height, "viewBox": f"0 0 {_number(width)} {_number(height)}"}
    body = "\n".join(["", *(shape.svg() for shape in shapes), ""])
    head = Shape("svg", tuple(own.items())).svg().removesuffix("/>")
    return f"{head}>{body}</svg>\n"


@dataclass(frozen=True)
class Drawing:
    """Shapes on a white ground; shown by notebooks, saved as .svg or, without motion, as .png (through matplotlib).

    >>> drawing = Drawing(20, 10, (rect(0, 0, 20, 10, "#ff0000"),), "red")
    >>> drawing.svg.count("<rect")
    2
    """

    width: float
    height: float
    shapes: tuple[Shape, ...] = field(repr=False)
    title: str

    @property
    def svg(self) -> str:
        """The whole picture as text."""
        ground = (Shape("title", (), self.title), rect(0, 0, self.width, self.height, PAPER))
        return document(self.width, self.height, (*ground, *self.shapes), xmlns="http://www.w3.org/2000/svg")

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | Path) -> Path:
        """Write the picture to a file; raises SettingError for a suffix other than .svg and .png."""
        path = Path(path)
        if path.suffix == ".svg":
            path.write_text(self.svg, encoding="utf-8")
        elif path.suffix == ".png":
            write_png(self, path)
        else:
            raise SettingError("a drawing's file", got=path.name, expected="a name that ends in .svg or .png")
        return path


def _number(value: Any) -> str:
    """Numbers with two places at most, so that every machine writes the same."""
    if isinstance(value, str):
        return value
    return f"{round(float(value), 2) + 0.0:.2f}".rstrip("0").rstrip(".")  # plus 0 makes -0 a 0


def write_png(drawing: Drawing, path: Path) -> None:
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
        place = {"middle": "center", "start": "left", "end": "right"}[own["text_anchor"]]
        font = {"fontsize": 0.72 * own["font_size"], "ha": place, "color": own["fill"], "zorder": order}
        axes.text(own["x"], own["y"], shape.text, **font)
    elif shape.tag == "image":
        pixels = image.imread(io.BytesIO(base64.b64decode(own["href"].partition(",")[2])))
        frame = (own["x"], own["x"] + own["width"], own["y"] + own["height"], own["y"])
        axes.imshow(pixels, extent=frame, zorder=order, interpolation="nearest", aspect="auto")
