"""What slides over axes: convolutions, pooling, padding, slices, unfolding, resizing."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from math import prod

from torch import Tensor

from ...description.axis import Axis
from ...description.connections import Connections
from ...description.convolution import Convolution
from ...description.resampling import Resampling
from ...description.shapes import output_size, transposed_axes
from ...network.base import Operation, Volume
from ...network.operations import Convolve
from ...receptive import access
from .call import POSITIONAL, WINDOWED, Draft, OperatorCall, spread, table

MODES = {"exact": "nearest-exact", "nearest": "nearest", "bicubic": "cubic"}
BOUNDARIES = {"reflection": "reflect", "replication": "replicate", "circular": "circular"}


def convolution(call: OperatorCall) -> Draft:
    """Any of torch's convolutions."""
    x, weight = call["input"], call["weight"]
    ndim = weight.ndim - 2
    stride, dilation, groups = spread(call["stride"], ndim), spread(call["dilation"], ndim), int(call["groups"])
    pads = tuple((pad, pad) for pad in spread(call["padding"], ndim))
    bias = call["bias"] is not None
    channels = (x.shape[1], call.out.shape[1])
    described = Convolution(*channels, tuple(weight.shape[2:]), stride, pads, dilation, groups, bias)
    if call["transposed"]:
        axes = transposed_axes(described.axes, spread(call["output_padding"], ndim))
        described = Convolution.of_parts(Connections.of(*channels, groups), axes, bias=bias)
    nominal = weight.numel() * x.numel() // channels[0] if call["transposed"] else None
    return _convolved(described, call, (x, weight, call["bias"]), nominal)


def volume_of(x: Tensor) -> Volume:
    """Of a tensor (batch, channels, *size)."""
    return Volume(x.shape[1], tuple(x.shape[2:]))


def described_layer(operation: Operation, call: OperatorCall) -> Draft:
    """A layer of this package, from the operation that it is."""
    tensors = call["tensors"]
    if isinstance(operation, Convolve):
        return _convolved(operation.convolution, call, tensors)
    volumes = [volume_of(one) for one in tensors[: operation.reads]]
    way, macs = operation.access(*volumes), operation.macs(*volumes)
    return Draft(operation.title, way, tuple(tensors), macs, axes=operation.axes, locality=operation.locality)


def _convolved(
    described: Convolution, call: OperatorCall, tensors: Sequence[Tensor | None], nominal: int | None = None
) -> Draft:
    """A convolution of x by weights, which may be computed from the input too: then each output may read all of them.

    nominal: multiply-accumulates as most programs count them, where the description does not say: those of a transposed
    convolution are counted by its inputs.
    """
    x, *others = tensors
    assert x is not None
    size = tuple(x.shape[-described.ndim :])
    images = x.numel() // (described.in_channels * prod(size))
    parts: list[tuple[Tensor, access.AccessPattern]] = [(x, access.SlidingWindows(described.axes, described.channels))]
    parts += [(one, access.Everything(call.shape)) for one in others if one is not None]
    parts = [part for part in parts if call.depends(part[0])]
    return Draft(
        "conv",
        access.Each(tuple(way for _, way in parts)) if len(parts) != 1 else parts[0][1],
        tuple(one for one, _ in parts),
        exact=described.macs(size) * images,
        nominal=described.macs_ignoring_borders(size) * images if nominal is None else nominal,
        convolution=described,
        axes=described.axes,
        locality=Convolve(described).locality,
    )


def pooling(call: OperatorCall) -> Draft:
    """Max and mean pooling: torch rounds sizes up where asked, and the last window ends behind the input."""
    ndim = int(call.name.partition("pool")[2][0])
    kernel = spread(call["kernel_size"], ndim)
    stride = spread(call["stride"], ndim, kernel)
    dilation = spread(call.given.get("dilation", 1), ndim)
    pads = spread(call["padding"], ndim)
    sizes = zip(call.x.shape[-ndim:], call.out.shape[-ndim:], strict=True)
    axes = []
    for k, s, d, low, (size, outputs) in zip(kernel, stride, dilation, pads, sizes, strict=True):
        axis = Axis(k, s, d, (low, low))
        if output_size(axis, size) != outputs:  # rounded up
            axis = Axis(k, s, d, (low, (outputs - 1) * s + axis.span - size - low))
        axes.append(axis)
    word, way = call.name.partition("_")[0] + "pool", access.SlidingWindows(tuple(axes))
    return Draft(word, way, (call.x,), axes=tuple(axes), locality=WINDOWED)


def adaptive(call: OperatorCall) -> Draft:
    """Pooling to a fixed grid."""
    ndim = int(call.name.partition("pool")[2][0])
    found = tuple(Resampling(a, b, "area") for a, b in zip(call.x.shape[-ndim:], call.out.shape[-ndim:], strict=True))
    return Draft("adaptivepool", access.Resize(found), (call.x,), locality=POSITIONAL)


def resize(call: OperatorCall) -> Draft:
    """Interpolation; torch uses the scale it was given, where there is one."""
    ndim = next(int(letter) for letter in call.name if letter.isdigit())
    mode = next((mode for word, mode in MODES.items() if word in call.name), "linear")
    sizes = zip(call.x.shape[-ndim:], call.out.shape[-ndim:], _scales(call, ndim), strict=True)
    corners = bool(call.given.get("align_corners", False))
    ratios = ((size, outputs, Fraction(1 / by).limit_denominator(10**6) if by else None) for size, outputs, by in sizes)
    axes = tuple(Resampling(size, outputs, mode, corners, ratio) for size, outputs, ratio in ratios)
    whole = all(axis.outputs % axis.size == 0 and not corners for axis in axes)
    return Draft("upsample", access.Resize(axes), (call.x,), locality=WINDOWED if whole else POSITIONAL)


def _scales(call: OperatorCall, ndim: int) -> list[float | None]:
    """How many times as long each axis is to be, where that was said."""
    if call.given.get("scale_factors"):
        return call["scale_factors"]
    names = ("scales",) if "scales" in call.given else ("scales_d", "scales_h", "scales_w")[3 - ndim :]
    return [call.given.get(name) for name in names]


def antialiased(call: OperatorCall) -> Draft:
    """Interpolation whose filters grow where an image shrinks."""
    x, steps = call.x, []
    for dim, scale in zip((x.ndim - 2, x.ndim - 1), _scales(call, 2), strict=True):
        size, outputs = x.shape[dim], call.out.shape[dim]
        ratio = 1 / scale if scale else size / outputs
        reach = max(ratio, 1.0) * (2 if "bicubic" in call.name else 1)
        ends = [(ratio * (at + 0.5) - reach + 0.5, ratio * (at + 0.5) + reach + 0.5) for at in range(outputs)]
        spans = [range(max(int(low), 0), min(int(high), size)) for low, high in ends]
        steps.append(access.Gather(dim, table(spans)))
    return Draft("upsample", access.Composed(tuple(steps)), (x,), locality=POSITIONAL)


def pad(call: OperatorCall) -> Draft:
    """Padding of any kind; torch names the last axis first."""
    given = [int(one) for one in call.given["pad" if "pad" in call.given else "padding"]]
    boundary = BOUNDARIES.get(call.name.partition("_")[0], "zeros")
    pairs = [*zip(given[::2], given[1::2], strict=True)][::-1]
    axes = tuple(Axis(1, padding=pair, boundary=boundary if max(pair) > 0 else "zeros") for pair in pairs)
    return Draft("pad", access.SlidingWindows(axes), locality=WINDOWED)


def cut(call: OperatorCall) -> Draft:
    """x[start:end:step] along one axis."""
    length = call.x.shape[call.dim]
    start, _, step = slice(call["start"], call["end"], call["step"]).indices(length)
    return Draft("slice", sliced(call.dim, length, start, step, call.out.shape[call.dim]), locality=WINDOWED)


def sliced(dim: int, length: int, start: int, step: int, outputs: int) -> access.Slice:
    """So many units of an axis from one on."""
    return access.Slice(dim, Axis(1, step, padding=(-start, start + (outputs - 1) * step + 1 - length)))


def unfold(call: OperatorCall) -> Draft:
    """x.unfold(dim, size, step)."""
    dim = int(call["dimension"]) % max(call.x.ndim, 1)
    return Draft("unfold", access.Unfold(dim, Axis(int(call["size"]), int(call["step"]))), locality=WINDOWED)


def im2col(call: OperatorCall) -> Draft:
    """F.unfold: the taps of every window as channels."""
    axes = columns(call)
    windows = (access.Unfold(2, axes[0]), access.Unfold(3, axes[1]))
    steps = (*windows, access.Permute((0, 1, 4, 5, 2, 3)), access.Reshape(call.shape))
    return Draft("unfold", access.Composed(steps), axes=axes, locality=WINDOWED)


def col2im(call: OperatorCall) -> Draft:
    """F.fold: windows back to their places, sums where they overlap."""
    axes = columns(call)
    batch, channels, *size = call.shape
    counts = [output_size(axis, length) for axis, length in zip(axes, size, strict=True)]
    ky, kx = (axis.kernel for axis in axes)
    tables = []
    for axis, length, windows in zip(axes, size, counts, strict=True):
        rows: list[list[int]] = [[] for _ in range(length)]
        for tap, window in product(range(axis.kernel), range(windows)):
            place = window * axis.stride + tap * axis.dilation - int(axis.padding[0])
            if 0 <= place < length:
                rows[place].append(tap * windows + window)
        tables.append(table(rows))
    steps = (
        access.Reshape((batch, channels, ky, kx, *counts)),
        access.Permute((0, 1, 2, 4, 3, 5)),
        access.Reshape((batch, channels, ky * counts[0], kx * counts[1])),
        access.Gather(2, tables[0]),
        access.Gather(3, tables[1]),
    )
    return Draft("fold", access.Composed(steps), locality=WINDOWED)


def columns(call: OperatorCall) -> tuple[Axis, ...]:
    """The axes of F.fold and F.unfold."""
    settings = (spread(call[name], 2) for name in ("kernel_size", "stride", "dilation", "padding"))
    return tuple(Axis(k, s, d, (p, p)) for k, s, d, p in zip(*settings, strict=True))
