"""Which samples windows read: the interval of one output, and how well all of them fit the input.

Intervals, not a size and a stride, because under input dilation neighbouring outputs read windows of different sizes.
Source: Araujo, Norris, Sim 2019, Computing receptive fields of convolutional neural networks (Distill).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import SettingError
from .axis import Axis
from .shapes import dilated, output_size, padding, remainder, repeats, samples, spaced


@dataclass(frozen=True)
class Interval:
    """Samples first..last, both included; empty if last < first.

    >>> Interval(2, 4).size, Interval(3, 2).size, Interval(0, 1) | Interval(5, 6)
    (3, 0, Interval(first=0, last=6))
    """

    first: int
    last: int

    @property
    def size(self) -> int:
        """Number of samples."""
        return max(self.last - self.first + 1, 0)

    def __or__(self, other: Interval) -> Interval:
        if not self.size or not other.size:
            return self if self.size else other
        return Interval(min(self.first, other.first), max(self.last, other.last))


EMPTY = Interval(0, -1)


def read_by(axis: Axis, output: int, size: int | None = None) -> Interval:
    """The smallest interval of input samples that holds every sample an output reads.

    size: input size in samples. With it the boundary rule is applied and padding left out; without it the input
    goes on without end, and samples before the first have negative numbers.

    Raises SettingError for padding="same" with a stride and no size: there the answer depends on it.

    >>> read_by(Axis(3, stride=2, padding=1), 0), read_by(Axis(3, stride=2, padding=1), 0, 4)
    (Interval(first=-1, last=1), Interval(first=0, last=1))
    """
    if axis.padding == "same" and size is None:
        raise SettingError('the field of padding="same" with a stride depends on the size', fix="Give the input size.")
    low = padding(axis, size or 0)[0]
    positions = output * axis.stride - low + np.arange(axis.kernel, dtype=np.int64) * axis.dilation
    if size is None:
        numbers, there = spaced(positions, axis.input_dilation)
        read = numbers[there]
    else:
        numbers = samples(positions, axis, size)
        read = numbers[numbers >= 0]
    return Interval(int(read.min()), int(read.max())) if len(read) else EMPTY


@dataclass(frozen=True)
class Excerpt:
    """Some outputs of an axis, next to each other, as an axis of their own: on the samples start..stop, and no others.

    numbers: for a border that is not zeros, the sample at each position from the first that is read to the last; then
    `axis` stands on these.
    """

    start: int
    stop: int
    axis: Axis
    numbers: np.ndarray | None = None


def excerpt(axis: Axis, size: int, first: int, stop: int) -> Excerpt:
    """What outputs first..stop, the last left out, read of an input of `size` samples, and the windows that read it.

    Padding is left where these outputs reach over the border of the input; samples that none of them reads are cut off
    (as negative padding), for one sample is taken at least.

    >>> excerpt(Axis(3, stride=2, padding=1), 8, 0, 2)
    Excerpt(start=0, stop=4, axis=Axis(kernel=3, stride=2, dilation=1, padding=(1, 0), boundary='zeros', \
input_dilation=1, ceil=False), numbers=None)
    """
    low, _ = padding(axis, size)
    begin, end = first * axis.stride - low, (stop - 1) * axis.stride - low + axis.span
    if axis.boundary != "zeros":
        numbers = samples(np.arange(begin, end), axis, size)
        bare = replace(axis, padding=(0, 0), boundary="zeros", input_dilation=1, ceil=False)
        inside = numbers[numbers >= 0]
        least = int(inside.min()) if len(inside) else 0
        return Excerpt(least, int(inside.max()) + 1 if len(inside) else 1, bare, numbers - least)
    start = min(max(-spaced(-begin, axis.input_dilation)[0], 0), size - 1)
    after = min(max(spaced(end - 1, axis.input_dilation)[0] + 1, start + 1), size)
    sides = start * axis.input_dilation - begin, end - dilated(axis, after)
    return Excerpt(start, after, replace(axis, padding=sides, ceil=False))


@dataclass(frozen=True)
class Fit:
    """How the windows of one axis fit its input: "(W - F + 2P) / S + 1 is not an integer" in full.

    remainder: samples at the high end of the padded input that no window reaches.
    unread: input samples that no window reads, as (first, last) runs, gaps between windows included.
    paddings: the (low, high) paddings nearest to the present ones with which nothing remains; cutting off is none.

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
        count, of = (self.remainder, f"{self.padded} padded") if self.remainder else (lost, f"{self.size} input")
        what = f"{count} of {of} samples {'is' if count == 1 else 'are'} never read"
        ways = " or ".join(map(str, self.paddings))
        return f"{what} ({lost} of them input); padding {ways} would fit" if self.remainder else what


def fit(axis: Axis, size: int) -> Fit:
    """How the stride fits an input of `size` samples; reported, never an error by itself."""
    low, high = padding(axis, size)
    padded = dilated(axis, size) + low + high
    left = remainder(axis, size)
    ways = (high - left, high - left + axis.stride) if left else ()
    paddings = tuple((low, way) for way in ways if way >= min(high, 0))
    edges = np.flatnonzero(np.diff(~_read(axis, size), prepend=False, append=False)).tolist()
    unread = tuple((start, stop - 1) for start, stop in zip(edges[::2], edges[1::2], strict=True))
    return Fit(size, padded, left, unread, paddings)


def _read(axis: Axis, size: int) -> np.ndarray:
    """Which input samples some window reads; linear in the sizes, however many taps there are."""
    low, _ = padding(axis, size)
    windows = max(output_size(axis, size), 0)
    starts = np.arange(axis.kernel) * axis.dilation  # a tap reads every stride-th position, from here on
    rows = repeats(axis.span + windows * axis.stride, axis.stride)
    edges = np.zeros(rows * axis.stride, dtype=np.int64)
    edges[starts] += 1
    edges[starts + windows * axis.stride] -= 1
    covered = edges.reshape(rows, axis.stride).cumsum(axis=0).reshape(-1) > 0
    found = samples(np.flatnonzero(covered) - low, axis, size)
    read = np.zeros(size, dtype=bool)
    read[found[found >= 0]] = True
    return read
