"""How the windows of a convolution fit its input: which samples no window reads, and which paddings would fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from . import shapes
from .axis import Axis


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
    low, high = shapes.padding(axis, size)
    padded = shapes.dilated(axis, size) + low + high
    remainder = (padded - axis.span) % axis.stride
    paddings = ((low, high - remainder), (low, high - remainder + axis.stride)) if remainder else ()
    return Fit(size, padded, remainder, tuple(_runs(~_read(axis, size))), paddings)


def _read(axis: Axis, size: int) -> np.ndarray:
    """Which input samples some window reads; linear in the sizes, however many taps there are."""
    low, _ = shapes.padding(axis, size)
    windows = max(shapes.output_size(axis, size), 0)
    starts = np.arange(axis.kernel) * axis.dilation  # a tap reads every stride-th position, from here on
    rows = -(-(axis.span + windows * axis.stride) // axis.stride)
    edges = np.zeros(rows * axis.stride, dtype=np.int64)
    edges[starts] += 1
    edges[starts + windows * axis.stride] -= 1
    covered = edges.reshape(rows, axis.stride).cumsum(axis=0).reshape(-1) > 0
    found = shapes.samples(np.flatnonzero(covered) - low, axis, size)
    read = np.zeros(size, dtype=bool)
    read[found[found >= 0]] = True
    return read


def _runs(flags: np.ndarray) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return ((int(start), int(stop) - 1) for start, stop in zip(edges[::2], edges[1::2], strict=True))


def _is(count: int) -> str:
    return "is" if count == 1 else "are"
