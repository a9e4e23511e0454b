"""The pictures of a convolution, as methods of its description."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..description import shapes
from ..errors import SettingError
from . import arithmetic, connectivity
from .svg import Drawing

if TYPE_CHECKING:
    from ..description.axis import Axis
    from ..description.matrix import Entries
    from ..description.sharing import Sharing


class Pictured:
    """What has axes and sharing can be drawn; sizes in samples. Drawings are SVG; `save` also writes PNG."""

    axes: tuple[Axis, ...]
    sharing: Sharing

    if TYPE_CHECKING:

        def entries(self, input_size: Any) -> Entries: ...

    def draw(self, input_size: Any, output: Sequence[int] | None = None) -> Drawing:
        """The arithmetic: input with padding, the window of one output, the outputs and kernels coloured by phase.

        output: a place in the output, by default its middle. Raises ShapeError for what is too large to look at.
        Source: Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning, chapter 2.

        >>> from torchconv import Convolution
        >>> Convolution(1, 1, (3, 3), padding=1).draw((5, 5)).svg.startswith("<svg")
        True
        """
        return arithmetic.draw(self._scene(input_size), output, f"{self:}")

    def animate(self, input_size: Any, seconds: float = 0.5, picture: str = "window") -> Drawing:
        """The window sliding over the input; picture="scatter": each input adding its kernel to the outputs it reaches.

        Both are pictures of a transposed convolution. seconds: for each step.
        """
        if picture not in ("window", "scatter"):
            raise SettingError("picture", got=repr(picture), expected="'window' or 'scatter'")
        if not seconds > 0:
            raise SettingError("seconds", got=seconds, expected="a number above 0")
        show = arithmetic.animate if picture == "window" else arithmetic.scatter
        return show(self._scene(input_size), seconds, f"{self:}")

    def draw_connections(self, input_size: int, below: int | None = None, above: int | None = None) -> Drawing:
        """Who reads whom along one axis: all, the outputs that the input `below` touches, or what output `above` reads.

        Source: Goodfellow, Bengio, Courville 2016, Deep learning, figures 9.2 and 9.3.
        """
        if len(self.axes) != 1:
            raise SettingError("a drawing of connections", got=f"{len(self.axes)} axes", expected="one")
        (size,) = shapes.sizes_of(input_size, 1)
        return connectivity.connections(self.axes[0], self.sharing, size, f"{self:}", below, above)

    def draw_matrix(self, input_size: Any) -> Drawing:
        """The matrix, each entry in the colour of its weight: Toeplitz with one axis, doubly block with two."""
        return connectivity.draw(self.entries(input_size), f"{self:}")

    def _scene(self, input_size: Any) -> arithmetic.Scene:
        return arithmetic.Scene(self.axes, self.sharing, shapes.sizes_of(input_size, len(self.axes)))
