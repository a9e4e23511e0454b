"""Sizes of outputs, positions of samples, and axes of adjoint and transposed convolutions: the only file that rounds.

Functions of an `Axis`, so that whatever slides over an axis (convolution, pooling, up-sampling) uses the same ones.
Source: Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning, relationships 6 and 14, chapter 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import gcd, prod
from typing import Any

import numpy as np

from ..errors import ShapeError, UnsupportedError
from .axis import Axis, integer, plain, positive
from .connections import Connections
from .sharing import Sharing

MOST_LOOKED_AT = 10**7
MOST_TAPS = 10**6


def dilated(axis: Axis, size: int) -> int:
    """Length of `size` samples once zeros stand between them.

    >>> dilated(Axis(3, input_dilation=2), 4)
    7
    """
    return (size - 1) * axis.input_dilation + 1 if size else 0


def padding(axis: Axis, size: int) -> tuple[int, int]:
    """Samples added (low, high) to an input of `size` samples.

    "same" gives ceil(dilated size / stride) outputs, with the odd sample on the high side. Where the axis rounds up,
    the samples that the last window lacks are added: if it begins before the high padding does, as in torch.

    >>> padding(Axis(3, stride=2, padding="same"), 6)
    (0, 1)
    >>> padding(Axis(2, stride=2, ceil=True), 5)
    (0, 1)
    """
    length = dilated(axis, size)
    if axis.padding != "same":
        low, high = axis.padding
        missing = -(length + low + high - axis.span) % axis.stride if axis.ceil else 0
        return low, high + missing if high + missing < axis.span else high
    outputs = (length + axis.stride - 1) // axis.stride  # not of a negative number: ONNX rounds those towards 0
    total = (outputs - 1) * axis.stride + axis.span - length
    if axis.span < axis.stride:  # only then can it be less than 0; a size that is a symbol is not compared in vain
        total = max(total, 0)
    return total // 2, total - total // 2


def output_size(axis: Axis, size: int) -> int:
    """Number of windows that fit into an input of `size` samples; 0 or less if none does.

    >>> output_size(Axis(3, stride=2, padding=1), 6)
    3
    """
    low, high = padding(axis, size)
    return (dilated(axis, size) + low + high - axis.span) // axis.stride + 1


def output_sizes(axes: Sequence[Axis], sizes: Sequence[int], what: object = "") -> tuple[int, ...]:
    """Output size of every axis; raises ShapeError naming `what` and the first axis on which no window fits."""
    outputs = tuple(output_size(axis, size) for axis, size in zip(axes, sizes, strict=True))
    for number, (axis, size, output) in enumerate(zip(axes, sizes, outputs, strict=True)):
        if output < 1:
            room = dilated(axis, size) + sum(padding(axis, size))
            raise ShapeError(
                f"{what}: the window is larger than the input on axis {number}"
                if what
                else f"the window on axis {number}",
                got=f"{size} samples ({room} with padding and input dilation)",
                expected=f"at least {axis.span} (kernel {axis.kernel}, dilation {axis.dilation})",
                fix="Use a larger input, more padding or a smaller kernel.",
            )
    return outputs


def sizes_of(input_size: Any, ndim: int, name: str = "input_size") -> tuple[int, ...]:
    """An input size as one integer >= 1 per axis; an int stands for all axes.

    >>> sizes_of(32, 2)
    (32, 32)
    """
    if type(input_size) is tuple and len(input_size) == ndim and all(type(n) is int and n > 0 for n in input_size):
        return input_size  # most sizes have been through here before
    given = plain(input_size)
    values = tuple(given) if isinstance(given, list) else (given,) * ndim
    if len(values) != ndim:
        raise ShapeError(name, got=tuple(values), expected=f"{ndim} sizes (channels and batch left out)")
    return tuple(positive(name, value) for value in values)


def paddings_of(value: Any, ndim: int) -> tuple[int, ...]:
    """An output padding as one integer >= 0 per axis; an int stands for all axes."""
    given = plain(value)
    values = tuple(given) if isinstance(given, list) else (given,) * ndim
    numbers = tuple(integer("output_padding", one) for one in values)
    if len(numbers) != ndim or min(numbers) < 0:
        raise ShapeError("output_padding", got=numbers, expected=f"an integer >= 0, or one for each of {ndim} axes")
    return numbers


def sources(axis: Axis, size: int) -> np.ndarray:
    """The input sample each output reads through each tap, (outputs, kernel) int64; -1 where it reads a zero.

    >>> sources(Axis(3, stride=2, padding=1), 4).tolist()
    [[-1, 0, 1], [1, 2, 3]]
    """
    low, _ = padding(axis, size)
    outputs = np.arange(max(output_size(axis, size), 0))[:, None]
    positions = outputs * axis.stride + np.arange(axis.kernel) * axis.dilation - low
    return samples(positions, axis, size)


def samples(positions: np.ndarray, axis: Axis, size: int) -> np.ndarray:
    """The input sample at each position of the dilated and padded axis; -1 where there is none."""
    length = dilated(axis, size)
    inside = bounded(positions, length, axis.boundary)
    numbers, there = spaced(inside, axis.input_dilation)
    return np.where((inside >= 0) & (inside < length) & there, numbers, -1)


def spaced(positions: Any, apart: int) -> tuple[Any, Any]:
    """The sample at each position, and whether there is one: samples stand `apart` positions from each other.

    Positions are an array or one int, so for samples of a dilated input, or windows that begin a stride apart.

    >>> spaced(4, 2), spaced(-3, 2)
    ((2, True), (-2, False))
    """
    return positions // apart, positions % apart == 0


def in_steps(distance: Any, step: Any) -> Any:
    """A distance as a number of steps, also between two: numbers, fractions, arrays or tensors.

    >>> in_steps(6.0, 4)
    1.5
    """
    return distance / step


def period(axis: Axis) -> tuple[int, int]:
    """(outputs, samples): after so many outputs the same taps meet samples again, so many samples further on.

    The stride and the input dilation in lowest terms, the other way round.

    >>> period(Axis(3, stride=2)), period(Axis(3, stride=2, input_dilation=6))
    ((1, 2), (3, 1))
    """
    common = gcd(axis.stride, axis.input_dilation)
    return axis.input_dilation // common, axis.stride // common


def transposed_axes(axes: Sequence[Axis], output_padding: Sequence[int], same: bool = False) -> tuple[Axis, ...]:
    """The axes of torch's transposed convolution, whose settings are those of the convolution it is the adjoint of.

    same: whether the padding was given as "same"; then each input sample becomes exactly `stride` output samples.

    >>> transposed_axes([Axis(3, stride=2, padding=1)], [1])
    (Axis(kernel=3, stride=1, dilation=1, padding=(1, 2), boundary='zeros', input_dilation=2, ceil=False),)
    """
    turned = []
    for axis, extra in zip(axes, output_padding, strict=True):
        low, high = padding(axis, axis.stride * axis.span)  # "same": that of any multiple of the stride
        more = axis.stride - axis.span + low + high if same else 0
        pair = (axis.span - 1 - low, axis.span - 1 - high + more + extra)
        turned.append(Axis(axis.kernel, 1, axis.dilation, pair, "zeros", axis.stride))
    return tuple(turned)


def longer(axis: Axis, extra: int) -> Axis:
    """The axis with `extra` more samples of padding at its high end."""
    low, high = padding(axis, 0)
    return replace(axis, padding=(low, high + extra))


def adjoint_axis(axis: Axis, size: int) -> Axis:
    """The axis of the adjoint at this input size; raises UnsupportedError unless the boundary is "zeros"."""
    if axis.boundary != "zeros":
        what = f"the adjoint of padding_mode={axis.boundary!r}"
        raise UnsupportedError(what, fix="Pad first, and take the adjoint of both.")
    low = axis.span - 1 - padding(axis, size)[0]
    high = dilated(axis, size) - low - ((output_size(axis, size) - 1) * axis.stride + 1) + axis.span - 1
    return Axis(axis.kernel, axis.input_dilation, axis.dilation, (low, high), "zeros", axis.stride)


def adjoint_sharing(axes: Sequence[Axis], sharing: Sharing) -> Sharing:
    """The weight sharing of the adjoint: after so many inputs the same kernel meets the same taps again."""
    steps = [period and axis.stride * period for axis, period in zip(axes, sharing.periods, strict=True)]
    turns = (step and step // gcd(axis.input_dilation, step) for axis, step in zip(axes, steps, strict=True))
    return sharing if sharing.is_full else Sharing(tuple(turns))


def remainder(axis: Axis, size: int) -> int:
    """Samples at the high end of the padded input that no window reaches.

    >>> remainder(Axis(3, stride=2, padding=1), 6)
    1
    """
    return (dilated(axis, size) + sum(padding(axis, size)) - axis.span) % axis.stride


def bounded(positions: Any, length: int, boundary: str) -> Any:
    """Positions brought inside 0..length-1 by the boundary rule; "zeros" leaves those outside where they are.

    Positions are an array or one int, so only operators that both have.

    >>> bounded(np.arange(-2, 6), 4, "reflect").tolist()
    [2, 1, 0, 1, 2, 3, 2, 1]
    """
    if boundary == "replicate":
        last = length - 1
        return (abs(positions) - abs(positions - last) + last) // 2  # clipped to 0..last
    if boundary == "circular":
        return positions % length
    if boundary == "reflect":
        turn = max(length - 1, 1)
        return (turn - abs(positions % (2 * turn) - turn)) * (1 if length > 1 else 0)
    return positions


def has_empty_window(axis: Axis, size: int) -> bool:
    """Whether some window of an axis reads nothing but padding.

    >>> has_empty_window(Axis(2, padding=(2, 0)), 8), has_empty_window(Axis(2, padding=(1, 1)), 8)
    (True, False)
    """
    low, high = padding(axis, size)
    last = (output_size(axis, size) - 1) * axis.stride - low  # where the last window begins
    if low >= axis.span or last >= dilated(axis, size):
        return True
    if axis.input_dilation == 1 and (max(low, high) <= 0 or axis.dilation <= size):
        return False  # neighbouring taps are too close to pass the whole input between them
    if output_size(axis, size) * axis.kernel > MOST_LOOKED_AT:
        return True  # so many windows, and gaps wider than the input: one of them falls into a gap
    return bool((sources(axis, size) < 0).all(axis=1).any())


def reads(axis: Axis, size: int) -> int:
    """How often a real sample is read, by all outputs through all taps; exact, in a memory that does not grow.

    Raises ShapeError where it would take too long: for huge kernels that a border or zeros in between break up.

    >>> reads(Axis(3, padding=1), 4), reads(Axis(10**9, dilation=2, padding="same"), 32)
    (10, 512)
    """
    outputs = max(output_size(axis, size), 0)
    if axis.boundary != "zeros" and axis.input_dilation == 1:
        return outputs * axis.kernel  # a border of samples: there is one wherever the kernel looks
    if axis.kernel <= MOST_TAPS and (axis.boundary == "zeros" or outputs * axis.kernel <= MOST_LOOKED_AT):
        return int(reads_per_tap(axis, size).sum())
    if axis.input_dilation == 1 and outputs <= MOST_LOOKED_AT:  # few windows: how many of its taps each has inside
        low, _ = padding(axis, size)
        start = low - np.arange(outputs, dtype=np.int64) * axis.stride  # from the first tap to the first sample
        first = np.maximum(-(-start // axis.dilation), 0)
        last = np.minimum((start + size - 1) // axis.dilation, axis.kernel - 1)
        return int(np.maximum(last - first + 1, 0).sum())
    got = f"a kernel of {axis.kernel} on {size} samples"
    expected = f"at most {MOST_TAPS} taps, {MOST_LOOKED_AT} in all windows"
    raise ShapeError("counting multiply-accumulates", got=got, expected=expected, fix="Use a smaller kernel.")


def reads_per_tap(axis: Axis, size: int) -> np.ndarray:
    """How many outputs read a real sample through each tap, (kernel,) int64; exact, in closed form.

    >>> reads_per_tap(Axis(3, padding=1), 4).tolist()
    [3, 4, 3]
    """
    if axis.boundary != "zeros":
        return (sources(axis, size) >= 0).sum(axis=0)
    low, _ = padding(axis, size)
    taps = np.arange(axis.kernel, dtype=np.int64) * axis.dilation - low
    first = np.maximum(-(taps // axis.stride), 0)  # the least output with output * stride + tap >= 0
    last = np.minimum((dilated(axis, size) - 1 - taps) // axis.stride, output_size(axis, size) - 1)
    if axis.input_dilation == 1:
        return np.maximum(last - first + 1, 0)
    return np.array([_multiples(int(a), int(b), int(t), axis) for a, b, t in zip(first, last, taps, strict=True)])


def _multiples(first: int, last: int, tap: int, axis: Axis) -> int:
    """How many outputs p in first..last have p * stride + tap divisible by the input dilation."""
    turn, _ = period(axis)
    start = next((p for p in range(first, first + turn) if (p * axis.stride + tap) % axis.input_dilation == 0), None)
    return 0 if start is None or start > last else (last - start) // turn + 1


def repeats(outputs: int, period: int) -> int:
    """How often a period of kernels is begun within so many outputs.

    >>> repeats(7, 2)
    4
    """
    return -(-outputs // period)


def bordered(axis: Axis, size: int) -> int:
    """Length of an input whose border, if it is not zeros, has been put in place."""
    return size if axis.boundary == "zeros" else dilated(axis, size) + sum(padding(axis, size))


def cuts(
    size: Sequence[Any], smaller: Sequence[Any], low: int | None = None, least: Callable[[Any, Any], Any] = min
) -> tuple[tuple[Any, Any], ...]:
    """Samples to cut off at the (low, high) end of each axis, so that the middle is left; the odd one is a high one.

    low: how many at the low end instead, where anything is cut. least: `min`, or what does the same with symbols.

    >>> cuts((64, 7), (56, 4)), cuts((64, 7), (56, 7), low=1)
    (((4, 4), (1, 2)), ((1, 7), (0, 0)))
    """
    surplus = [have - want for have, want in zip(size, smaller, strict=True)]
    lows = [more // 2 if low is None else least(low, more) for more in surplus]
    return tuple((first, more - first) for first, more in zip(lows, surplus, strict=True))


def enlarged(size: int, factor: int, target: int | None = None) -> int:
    """Samples once each has become `factor` of them; with a target that, if it is less than one sample away.

    >>> enlarged(180, 2), enlarged(180, 2, 361)
    (360, 361)
    """
    whole = size * factor
    if target is None or whole == target or abs(whole - target) < factor:
        return whole if target is None else target
    expected = f"{whole}, give or take less than {factor}"
    raise ShapeError(f"a size to reach from {size} samples by a factor of {factor}", got=target, expected=expected)


def weight_shape(
    axes: Sequence[Axis], connections: Connections, sharing: Sharing, output_size: tuple[int, ...] | None
) -> tuple[int, ...]:
    """(*phases, out, in // groups, *kernel), or (*phases, connections, *kernel) for a table."""
    return (*sharing.phases(output_size), *connections.weight_shape, *(axis.kernel for axis in axes))


def macs(axes: Sequence[Axis], pairs: int, input_size: Sequence[int]) -> int:
    """Products with a real sample, for `pairs` channel pairs; products with padding are not counted."""
    return pairs * prod(reads(axis, size) for axis, size in zip(axes, input_size, strict=True))


def macs_ignoring_borders(axes: Sequence[Axis], pairs: int, input_size: Sequence[int]) -> int:
    """The nominal count: every tap of every window; with input dilation, every tap of every input sample.

    A transposed convolution is thus counted by its inputs, each of which is multiplied with the whole kernel.
    """
    places = zip(axes, input_size, output_sizes(axes, input_size), strict=True)
    windows = (outputs if axis.input_dilation == 1 else -(-size // axis.stride) for axis, size, outputs in places)
    return pairs * prod(windows) * prod(axis.kernel for axis in axes)
