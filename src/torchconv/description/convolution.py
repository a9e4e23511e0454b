"""The description of a convolutional layer: one linear map, every variant of it a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Literal

from ..errors import SettingError, ShapeError, TextError
from . import interval, matrix, notation, shapes
from .axis import Axis, axes_of, flag
from .connections import Connections
from .sharing import Sharing

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from ..drawing.convolution import Scene
    from ..drawing.svg import Drawing


@dataclass(frozen=True, init=False, repr=False)
class Convolution:
    """A convolutional layer without its numbers: immutable, hashable, equal to every other way to write the same map.

        Z[o, p] = b[o, phase(p)] + sum over (connection i -> o, tap t) of V[i, source(p, t)] * K[phase(p), o, i, t]

    in_channels, out_channels: integers >= 1.
    kernel_size: an int per axis; the tuple gives the rank, a single int needs ndim.
    stride, dilation, input_dilation: an int, or one per axis. input_dilation > 1 makes it a transposed convolution.
    padding: samples: an int, one per axis, a (low, high) pair per axis, or "valid", "same", "full".
    groups: channel groups; or connections: a boolean (out, in) table.
    padding_mode: "zeros", "reflect", "replicate" or "circular", also one per axis.
    sharing: "full" (one kernel everywhere), a period or one per axis (tiled), "none" (unshared).
    bias_sharing: the same for the bias; None follows sharing.

    Raises SettingError for values that do not go together.
    Source: LeCun et al. 1998; Goodfellow, Bengio, Courville 2016, Deep learning, sections 9.1 and 9.5.

    >>> conv = Convolution(3, 10, (5, 5), padding=2)
    >>> conv.output_size((32, 32)), conv.parameters(), str(conv)
    ((32, 32), 760, '3->10, 5x5, padding=2')
    """

    channels: Connections
    axes: tuple[Axis, ...]
    sharing: Sharing
    bias: bool
    bias_sharing: Sharing

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: Any = "zeros",
        *,
        input_dilation: Any = 1,
        connections: Any = None,
        sharing: Any = "full",
        bias_sharing: Any = None,
        ndim: int | None = None,
    ) -> None:
        axes = axes_of(kernel_size, stride, dilation, padding, padding_mode, input_dilation, ndim)
        ndim = len(axes)
        shared = Sharing.of(sharing, ndim)
        bias_shared = Sharing.of(shared if bias_sharing is None else bias_sharing, ndim)
        self._set(Connections.of(in_channels, out_channels, groups, connections), axes, shared, bias, bias_shared)

    def _set(self, channels: Connections, axes: tuple[Axis, ...], sharing: Sharing, bias: bool, bias_sharing: Sharing):
        bias = flag("bias", bias)
        biases = bias_sharing if bias else Sharing((1,) * len(axes))
        values = {"channels": channels, "axes": axes, "sharing": sharing, "bias": bias, "bias_sharing": biases}
        for name, value in values.items():
            object.__setattr__(self, name, value)
        return self

    @classmethod
    def of_parts(
        cls,
        channels: Connections,
        axes: Sequence[Axis],
        sharing: Sharing | None = None,
        bias: bool = False,
        bias_sharing: Sharing | None = None,
    ) -> Convolution:
        """From parts that are there already; by default one kernel everywhere and no bias."""
        full = Sharing((1,) * len(axes))
        return cls.__new__(cls)._set(channels, tuple(axes), sharing or full, bias, bias_sharing or full)

    @property
    def ndim(self) -> int:
        """Number of axes that the window slides over."""
        return len(self.axes)

    @property
    def in_channels(self) -> int:
        """Channels of the input."""
        return self.channels.in_channels

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return self.channels.out_channels

    @property
    def groups(self) -> int:
        """Channel groups; 1 with a connection table."""
        return self.channels.groups

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Taps along each axis."""
        return tuple(axis.kernel for axis in self.axes)

    @property
    def stride(self) -> tuple[int, ...]:
        """Samples from one window to the next, per axis."""
        return tuple(axis.stride for axis in self.axes)

    @property
    def dilation(self) -> tuple[int, ...]:
        """Samples from one tap to the next, per axis."""
        return tuple(axis.dilation for axis in self.axes)

    @property
    def padding(self) -> tuple[tuple[int, int] | Literal["same"], ...]:
        """Samples added (low, high) per axis, or "same" where that depends on the input size."""
        return tuple(axis.padding for axis in self.axes)

    @property
    def padding_mode(self) -> tuple[str, ...]:
        """What padding holds, per axis; "zeros" where there is no padding."""
        return tuple(axis.boundary for axis in self.axes)

    @property
    def input_dilation(self) -> tuple[int, ...]:
        """Positions from one input sample to the next, per axis."""
        return tuple(axis.input_dilation for axis in self.axes)

    def output_size(self, input_size: Any) -> tuple[int, ...]:
        """Samples of the output per axis, e.g. (32, 32); raises ShapeError where no window fits."""
        return shapes.output_sizes(self.axes, shapes.sizes_of(input_size, self.ndim), self)

    def weight_shape(self, input_size: Any = None) -> tuple[int, ...]:
        """(*phases, out, in // groups, *kernel), or (*phases, connections, *kernel); unshared needs input_size."""
        return shapes.weight_shape(self.axes, self.channels, self.sharing, self._outputs(input_size))

    def bias_shape(self, input_size: Any = None) -> tuple[int, ...]:
        """(*bias phases, out); () without a bias."""
        return (*self.bias_sharing.phases(self._outputs(input_size)), self.out_channels) if self.bias else ()

    def parameters(self, input_size: Any = None) -> int:
        """Number of weights and biases."""
        return prod(self.weight_shape(input_size)) + (prod(self.bias_shape(input_size)) if self.bias else 0)

    def macs(self, input_size: Any) -> int:
        """Multiply-accumulates with a real sample for one image, exact; none with padding, bias not counted."""
        self.output_size(input_size)
        return shapes.macs(self.axes, self.channels.count, shapes.sizes_of(input_size, self.ndim))

    def macs_ignoring_borders(self, input_size: Any) -> int:
        """Multiply-accumulates for one image as most programs count them (nominal): every tap of every window."""
        return shapes.macs_ignoring_borders(self.axes, self.channels.count, shapes.sizes_of(input_size, self.ndim))

    def connection_count(self, input_size: Any) -> int:
        """Connections as LeCun et al. 1998 count them: `macs`, and one for the bias of each output."""
        biases = self.out_channels * prod(self.output_size(input_size)) if self.bias else 0
        return self.macs(input_size) + biases

    def fit(self, input_size: Any) -> tuple[interval.Fit, ...]:
        """How the stride fits the input, per axis: rows never read, and paddings that would fit."""
        self.output_size(input_size)
        sizes = shapes.sizes_of(input_size, self.ndim)
        return tuple(interval.fit(axis, size) for axis, size in zip(self.axes, sizes, strict=True))

    def adjoint(self, input_size: Any) -> Convolution:
        """The convolution whose matrix is the transpose of this one's at an input size, without a bias.

        It is what gradients towards the input flow through, and what a transposed convolution is: stride and input
        dilation change places. Its weights are those of this one flipped, with input and output channels swapped.
        Raises UnsupportedError where the boundary is not "zeros": the border then reads some samples twice.
        Source: Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning, chapter 4.

        >>> print(Convolution(3, 8, (3, 3), stride=2, padding=1).adjoint((8, 8)))
        8->3, 3x3, padding=1:2, input_dilation=2, bias=no
        """
        sizes = shapes.sizes_of(input_size, self.ndim)
        self.output_size(sizes)
        axes = [shapes.adjoint_axis(axis, size) for axis, size in zip(self.axes, sizes, strict=True)]
        return Convolution.of_parts(self.channels.swapped(), axes, shapes.adjoint_sharing(self.axes, self.sharing))

    def field(self, output: Sequence[int], input_size: Any = None) -> tuple[interval.Interval, ...]:
        """The interval of input samples that one output position reads, per axis."""
        sizes = [None] * self.ndim if input_size is None else shapes.sizes_of(input_size, self.ndim)
        if len(tuple(output)) != self.ndim:
            raise ShapeError("an output position", got=tuple(output), expected=f"one place on each of {self.ndim} axes")
        return tuple(interval.read_by(*one) for one in zip(self.axes, output, sizes, strict=True))

    def entries(self, input_size: Any) -> matrix.Entries:
        """Every product of one image as (row, column, weight) numbers."""
        self.output_size(input_size)
        return matrix.entries(self.axes, self.channels, self.sharing, shapes.sizes_of(input_size, self.ndim))

    def matrix(self, weight: Any, input_size: Any) -> csr_array:
        """The map without its bias as a scipy.sparse CSR array.

        Rows are the flattened output (out, *output size), columns the flattened input (in, *input size).
        """
        expected = self.weight_shape(input_size)
        listed = (*self.sharing.phases(self._outputs(input_size)), self.channels.count, *self.kernel_size)
        return matrix.matrix(self.entries(input_size), matrix.array_of(weight, expected, listed))

    def draw(self, input_size: Any, output: Sequence[int] | None = None) -> Drawing:
        """The arithmetic as SVG: input with padding, the window of one output, outputs and kernels coloured by phase.

        output: a place in the output, by default its middle. Raises ShapeError for what is too large to look at.
        Source: Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning, chapter 2.

        >>> Convolution(1, 1, (3, 3), padding=1).draw((5, 5)).svg.startswith("<svg")
        True
        """
        from ..drawing import convolution as pictures  # here and below: a description is used without them

        return pictures.draw(self._scene(input_size), output, f"{self:}")

    def animate(self, input_size: Any, seconds: float = 0.5, picture: str = "window") -> Drawing:
        """The window sliding over the input; picture="scatter": each input adding its kernel to the outputs it reaches.

        Both are pictures of a transposed convolution. seconds: for each step.
        """
        from ..drawing import convolution as pictures

        if picture not in ("window", "scatter"):
            raise SettingError("picture", got=repr(picture), expected="'window' or 'scatter'")
        if not seconds > 0:
            raise SettingError("seconds", got=seconds, expected="a number above 0")
        show = pictures.animate if picture == "window" else pictures.scatter
        return show(self._scene(input_size), seconds, f"{self:}")

    def draw_connections(self, input_size: int, below: int | None = None, above: int | None = None) -> Drawing:
        """Who reads whom along one axis: all, the outputs that the input `below` touches, or what output `above` reads.

        Source: Goodfellow, Bengio, Courville 2016, Deep learning, figures 9.2 and 9.3.
        """
        from ..drawing import convolution as pictures

        if self.ndim != 1:
            raise SettingError("a drawing of connections", got=f"{self.ndim} axes", expected="one")
        (size,) = shapes.sizes_of(input_size, 1)
        return pictures.connections(self.axes[0], self.sharing, size, f"{self:}", below, above)

    def draw_matrix(self, input_size: Any) -> Drawing:
        """The matrix, each entry in the colour of its weight: Toeplitz with one axis, doubly block with two."""
        from ..drawing import convolution as pictures

        return pictures.draw_matrix(self.entries(input_size), f"{self:}")

    def _scene(self, input_size: Any) -> Scene:
        from ..drawing.convolution import Scene

        return Scene(self.axes, self.sharing, shapes.sizes_of(input_size, self.ndim))

    def __str__(self) -> str:
        written = {
            "stride": (notation.per_axis(self.stride), "1"),
            "padding": (notation.per_axis(self.padding, notation.pad), "0"),
            "dilation": (notation.per_axis(self.dilation), "1"),
            "groups": (str(self.groups), "1"),
            "connections": (self.channels.text, ""),
            "padding_mode": (notation.per_axis(self.padding_mode), "zeros"),
            "input_dilation": (notation.per_axis(self.input_dilation), "1"),
            "sharing": (str(self.sharing), "full"),
            "bias": ("yes" if self.bias else "no", "yes"),
            "bias_sharing": (str(self.bias_sharing), str(self.sharing if self.bias else self.bias_sharing)),
        }
        start = [f"{self.in_channels}->{self.out_channels}", "x".join(map(str, self.kernel_size))]
        return ", ".join(start + [f"{name}={value}" for name, (value, default) in written.items() if value != default])

    def __format__(self, spec: str) -> str:
        """As messages show it: str(), but a long connection table by its size only."""
        table = self.channels.text
        short = f"a table of {self.channels.count} connections"
        return format(str(self).replace(table, short) if len(table) > 200 else str(self), spec)

    def __repr__(self) -> str:
        return f"Convolution.parse({str(self)!r})"

    @classmethod
    def parse(cls, text: str) -> Convolution:
        """The inverse of str(); raises TextError with what was expected.

        >>> Convolution.parse("1->6, 5x5, stride=2") == Convolution(1, 6, (5, 5), stride=2)
        True
        """
        parts = [part.strip() for part in text.split(",")] if isinstance(text, str) else []
        channels = parts[0].split("->") if parts else []
        if len(parts) < 2 or len(channels) != 2:
            raise TextError("a convolution", got=repr(text), expected="in->out, kernel, settings, as in 3->10, 5x5")
        kernel = tuple(notation.read_integer(size) for size in parts[1].split("x"))
        in_channels, out_channels = (notation.read_integer(part) for part in channels)
        return cls(in_channels, out_channels, kernel, **notation.read_settings(parts[2:]))

    def _outputs(self, input_size: Any) -> tuple[int, ...] | None:
        return None if input_size is None else self.output_size(input_size)
