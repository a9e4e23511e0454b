"""Every picture, as SVG without a library, or as PNG.

svg           shapes, colours and drawings, and the one place that writes SVG and PNG
arithmetic    the arithmetic of a convolution: input, padding, window, outputs and kernels; still and moving
connectivity  which output reads which input, and the matrix of a convolution
network       a network as volumes, receptive fields over an image
filters       the kernels of a first layer
charts        curves and confusion matrices for the page of a training

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
