"""Every picture, as SVG without a library, or as PNG.

svg          shapes, colours and drawings, and the one place that writes SVG and PNG
convolution  the arithmetic of a convolution, still and moving; which output reads which input; its matrix
network      a network as volumes, receptive fields over an image
charts       for the page of a training: curves, confusion matrices, thumbnails, the kernels of a first layer

Public are `Drawing`, `draw_network` and `draw_field`. A convolution draws itself: `Convolution.draw` and its like.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from .network import draw_field, draw_network
    from .svg import Drawing

__all__ = ["Drawing", "draw_field", "draw_network"]

__getattr__, __dir__ = lazy(__name__, {"Drawing": "svg", "draw_field": "network", "draw_network": "network"})
