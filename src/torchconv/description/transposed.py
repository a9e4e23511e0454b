"""Axes of adjoint and of transposed convolutions: stride and input dilation change places.

Source: Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning, chapter 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..errors import UnsupportedError
from . import shapes
from .axis import Axis
from .sharing import Sharing


def transposed_axes(axes: Sequence[Axis], output_padding: Sequence[int], same: bool = False) -> tuple[Axis, ...]:
    """The axes of torch's transposed convolution, whose settings are those of the convolution it is the adjoint of.

    same: whether the padding was given as "same"; then each input sample becomes exactly `stride` output samples.

    >>> transposed_axes([Axis(3, stride=2, padding=1)], [1])
    (Axis(kernel=3, stride=1, dilation=1, padding=(1, 2), boundary='zeros', input_dilation=2, ceil=False),)
    """
    turned = []
    for axis, extra in zip(axes, output_padding, strict=True):
        low, high = shapes.padding(axis, axis.stride * axis.span)  # "same": that of any multiple of the stride
        more = axis.stride - axis.span + low + high if same else 0
        pair = (axis.span - 1 - low, axis.span - 1 - high + more + extra)
        turned.append(Axis(axis.kernel, 1, axis.dilation, pair, "zeros", axis.stride))
    return tuple(turned)


def longer(axis: Axis, extra: int) -> Axis:
    """The axis with `extra` more samples of padding at its high end."""
    low, high = shapes.padding(axis, 0)
    return replace(axis, padding=(low, high + extra))


def adjoint_axis(axis: Axis, size: int) -> Axis:
    """The axis of the adjoint at this input size; raises UnsupportedError unless the boundary is "zeros"."""
    if axis.boundary != "zeros":
        raise UnsupportedError(
            f"the adjoint of padding_mode={axis.boundary!r}", fix="Pad first, and take the adjoint of both."
        )
    low = axis.span - 1 - shapes.padding(axis, size)[0]
    windows = shapes.output_size(axis, size)
    high = shapes.dilated(axis, size) - low - ((windows - 1) * axis.stride + 1) + axis.span - 1
    return Axis(axis.kernel, axis.input_dilation, axis.dilation, (low, high), "zeros", axis.stride)


def adjoint_sharing(axes: Sequence[Axis], sharing: Sharing) -> Sharing:
    """The weight sharing of the adjoint."""
    if sharing.is_full:
        return sharing
    pairs = zip(axes, sharing.periods, strict=True)
    return Sharing(tuple(None if period is None else shapes.sharing_period(axis, period) for axis, period in pairs))
