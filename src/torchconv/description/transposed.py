"""The adjoint of a convolution is a convolution: stride and input dilation change places, the kernel is flipped.

It is what gradients flow through, and what a transposed convolution is (Dumoulin and Visin 2016, chapter 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import gcd, prod
from typing import Any

import numpy as np

from ..errors import UnsupportedError
from . import shapes
from .axis import Axis
from .connections import Connections
from .convolution import Convolution
from .sharing import Sharing


def adjoint(conv: Convolution, input_size: Any) -> Convolution:
    """The convolution whose matrix is the transpose of `conv`'s at this input size, without a bias.

    Its weights are `adjoint_weight(conv, weight, input_size)`.
    Raises UnsupportedError where the boundary is not "zeros": the border then reads some samples twice.

    >>> str(adjoint(Convolution(3, 8, (3, 3), stride=2, padding=1), (8, 8)))
    '8->3, 3x3, padding=1:2, input_dilation=2, bias=no'
    """
    sizes = shapes.sizes_of(input_size, conv.ndim)
    conv.output_size(sizes)
    axes = [_adjoint_axis(axis, size) for axis, size in zip(conv.axes, sizes, strict=True)]
    channels = conv.channels
    if channels.rows is None:
        swapped = Connections.of(channels.out_channels, channels.in_channels, channels.groups)
    else:
        swapped = Connections.of(channels.out_channels, channels.in_channels, table=channels.table().T)
    periods = zip(conv.axes, conv.sharing.periods, strict=True)
    sharing = Sharing((1,) * conv.ndim) if conv.sharing.is_full else Sharing(tuple(_period(*pair) for pair in periods))
    return Convolution.of_parts(swapped, axes, sharing)


def adjoint_weight(conv: Convolution, weight: Any, input_size: Any) -> np.ndarray:
    """The weights of `adjoint(conv, input_size)`: those of `conv`, flipped, swapped and re-phased.

    Kernel positions that meet no sample are 0.
    """
    sizes = shapes.sizes_of(input_size, conv.ndim)
    turned = adjoint(conv, sizes)
    weight = np.asarray(weight)
    channels, pairs = prod(conv.channels.weight_shape), list(conv.channels.pairs())
    place = {pair: number for number, pair in enumerate(pairs)}
    order = [place[target, source] for source, target in turned.channels.pairs()]
    phases = conv.sharing.phases(conv.output_size(sizes)) or (1,) * conv.ndim
    values = weight.reshape(*phases, channels, *conv.kernel_size)
    values = np.take(values, order, axis=conv.ndim)
    for number, (axis, size) in enumerate(zip(conv.axes, sizes, strict=True)):
        if conv.sharing.is_full:
            values = np.flip(values, conv.ndim + 1 + number)
        else:
            values = _rephased(values, number, axis, turned.sharing.periods[number], size)
    return values.reshape(turned.weight_shape(conv.output_size(sizes)))


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


def _adjoint_axis(axis: Axis, size: int) -> Axis:
    if axis.boundary != "zeros":
        raise UnsupportedError(
            f"the adjoint of padding_mode={axis.boundary!r}", fix="Pad first, and take the adjoint of both."
        )
    low = axis.span - 1 - shapes.padding(axis, size)[0]
    windows = shapes.output_size(axis, size)
    high = shapes.dilated(axis, size) - low - ((windows - 1) * axis.stride + 1) + axis.span - 1
    return Axis(axis.kernel, axis.input_dilation, axis.dilation, (low, high), "zeros", axis.stride)


def _period(axis: Axis, period: int | None) -> int | None:
    """After how many inputs the same kernel meets the same taps again."""
    return None if period is None else axis.stride * period // gcd(axis.input_dilation, axis.stride * period)


def _rephased(values: np.ndarray, number: int, axis: Axis, period: int | None, size: int) -> np.ndarray:
    """Kernels (*phases, channels, *kernel) by phase of the input instead of the output, flipped, on one axis."""
    ndim = (values.ndim - 1) // 2
    taps = np.arange(axis.kernel)[::-1]
    inputs = np.arange(size if period is None else period)[:, None]
    positions = inputs * axis.input_dilation + shapes.padding(axis, size)[0] - taps * axis.dilation
    outputs = positions // axis.stride
    met = positions % axis.stride == 0
    if period is None:
        met &= (outputs >= 0) & (outputs < shapes.output_size(axis, size))
    moved = np.moveaxis(values, (number, ndim + 1 + number), (0, 1))
    rephased = moved[outputs % len(moved), np.broadcast_to(taps, outputs.shape)]
    rephased = np.where(met.reshape(met.shape + (1,) * (moved.ndim - 2)), rephased, 0)
    return np.moveaxis(rephased, (0, 1), (number, ndim + 1 + number))
