"""Sizes of outputs and positions of samples: the only file that rounds.

Functions of an `Axis`, so that whatever slides over an axis (convolution, pooling, up-sampling) uses the same ones.
Source: Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning, relationships 6 and 14.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np

from ..errors import ShapeError
from .axis import Axis, integer, plain, positive


def dilated(axis: Axis, size: int) -> int:
    """Length of `size` samples once zeros stand between them.

    >>> dilated(Axis(3, input_dilation=2), 4)
    7
    """
    return (size - 1) * axis.input_dilation + 1 if size else 0


def padding(axis: Axis, size: int) -> tuple[int, int]:
    """Samples added (low, high) to an input of `size` samples.

    "same" gives ceil(dilated size / stride) outputs, with the odd sample on the high side.

    >>> padding(Axis(3, stride=2, padding="same"), 6)
    (0, 1)
    """
    if axis.padding != "same":
        return axis.padding
    length = dilated(axis, size)
    outputs = -(-length // axis.stride)
    total = max((outputs - 1) * axis.stride + axis.span - length, 0)
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
    found = (inside >= 0) & (inside < length) & (inside % axis.input_dilation == 0)
    return np.where(found, inside // axis.input_dilation, -1)


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


def customary_windows(axis: Axis, size: int) -> int:
    """How often the whole kernel is applied when borders are ignored: once an output, or once an input under dilation.

    >>> customary_windows(Axis(3, stride=2, padding=1), 8), customary_windows(Axis(3, input_dilation=2), 8)
    (4, 8)
    """
    return output_size(axis, size) if axis.input_dilation == 1 else -(-size // axis.stride)


def _multiples(first: int, last: int, tap: int, axis: Axis) -> int:
    """How many outputs p in first..last have p * stride + tap divisible by the input dilation."""
    period = axis.input_dilation // gcd(axis.stride, axis.input_dilation)
    start = next((p for p in range(first, first + period) if (p * axis.stride + tap) % axis.input_dilation == 0), None)
    return 0 if start is None or start > last else (last - start) // period + 1


@dataclass(frozen=True)
class Fit:
    """How the windows of one axis fit its input: the notes' "(W - F + 2P) / S + 1 is not an integer", told.

    remainder: samples at the high end of the padded input that no window reaches.
    unread: input samples that no window reads, as (first, last) runs, gaps between windows included.
    paddings: the (low, high) paddings nearest to the present ones with which nothing remains.

    >>> from torchconv.description.axis import Axis
    >>> print(fit(Axis(3, stride=2, padding=1), 6))
    1 of 8 padded samples is never read (0 of them input); padding (1, 0) or (1, 2) would fit
    """

    size: int
    padded: int
    remainder: int
    unread: tuple[tuple[int, int], ...]
    paddings: tuple[tuple[int, int], ...]

    @property
    def exact(self) -> bool:
        """Whether every input sample is read and no padding is left over."""
        return self.remainder == 0 and not self.unread

    def __str__(self) -> str:
        if self.exact:
            return "fits"
        lost = sum(last - first + 1 for first, last in self.unread)
        if self.remainder == 0:
            return f"{lost} of {self.size} input samples {_is(lost)} never read"
        ways = " or ".join(str(pair) for pair in self.paddings)
        what = f"{self.remainder} of {self.padded} padded samples {_is(self.remainder)} never read"
        return f"{what} ({lost} of them input); padding {ways} would fit"


def fit(axis: Axis, size: int) -> Fit:
    """How the stride fits an input of `size` samples; reported, never an error by itself."""
    low, high = padding(axis, size)
    padded = dilated(axis, size) + low + high
    remainder = (padded - axis.span) % axis.stride
    paddings = ((low, high - remainder), (low, high - remainder + axis.stride)) if remainder else ()
    return Fit(size, padded, remainder, tuple(_runs(~_read(axis, size))), paddings)


def _read(axis: Axis, size: int) -> np.ndarray:
    """Which input samples some window reads; linear in the sizes, however many taps there are."""
    low, _ = padding(axis, size)
    windows = max(output_size(axis, size), 0)
    starts = np.arange(axis.kernel) * axis.dilation  # a tap reads every stride-th position, from here on
    rows = -(-(axis.span + windows * axis.stride) // axis.stride)
    edges = np.zeros(rows * axis.stride, dtype=np.int64)
    edges[starts] += 1
    edges[starts + windows * axis.stride] -= 1
    covered = edges.reshape(rows, axis.stride).cumsum(axis=0).reshape(-1) > 0
    found = samples(np.flatnonzero(covered) - low, axis, size)
    read = np.zeros(size, dtype=bool)
    read[found[found >= 0]] = True
    return read


def _runs(flags: np.ndarray) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return ((int(start), int(stop) - 1) for start, stop in zip(edges[::2], edges[1::2], strict=True))


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def repeats(outputs: int, period: int) -> int:
    """How often a period of kernels is begun within so many outputs.

    >>> repeats(7, 2)
    4
    """
    return -(-outputs // period)


def bordered(axis: Axis, size: int) -> int:
    """Length of an input whose border, if it is not zeros, has been put in place."""
    return size if axis.boundary == "zeros" else dilated(axis, size) + sum(padding(axis, size))
