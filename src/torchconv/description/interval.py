"""Receptive fields as intervals per axis: what an output reads, and which outputs an input reaches.

Intervals, not a size and a stride, because under input dilation neighbouring outputs read windows of different sizes.
Source: Araujo, Norris, Sim 2019, Computing receptive fields of convolutional neural networks (Distill).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

import numpy as np

from ..errors import SettingError
from .axis import Axis
from .shapes import dilated, output_size, padding, samples


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


def read_by(axis: Axis, outputs: Interval, size: int | None = None) -> Interval:
    """The smallest interval of input samples that holds every sample the outputs read.

    size: input size in samples. With it the boundary rule is applied and padding left out; without it the input
    goes on without end, and samples before the first have negative numbers.

    Raises SettingError for padding="same" with a stride and no size: there the answer depends on it.

    >>> read_by(Axis(3, stride=2, padding=1), Interval(0, 1)), read_by(Axis(3, stride=2, padding=1), Interval(0, 1), 4)
    (Interval(first=-1, last=3), Interval(first=0, last=3))
    """
    if axis.padding == "same" and size is None:
        raise SettingError('the field of padding="same" with a stride depends on the size', fix="Give the input size.")
    found = EMPTY
    for output in _deciding(axis, outputs, size):
        read = _samples_of(axis, output, size)
        if len(read):
            found = found | Interval(int(read.min()), int(read.max()))
    return found


def reached_by(axis: Axis, inputs: Interval, size: int) -> Interval:
    """The smallest interval of outputs that holds every output reading one of the input samples.

    >>> reached_by(Axis(3, padding=1), Interval(0, 0), 8)
    Interval(first=0, last=1)
    """
    touching = [
        output
        for output in range(max(output_size(axis, size), 0))
        if any(inputs.first <= sample <= inputs.last for sample in _samples_of(axis, output, size))
    ]
    return Interval(touching[0], touching[-1]) if touching else EMPTY


def _samples_of(axis: Axis, output: int, size: int | None) -> np.ndarray:
    low = padding(axis, size or 0)[0]
    positions = output * axis.stride - low + np.arange(axis.kernel, dtype=np.int64) * axis.dilation
    if size is None:
        return positions[positions % axis.input_dilation == 0] // axis.input_dilation
    found = samples(positions, axis, size)
    return found[found >= 0]


def _deciding(axis: Axis, outputs: Interval, size: int | None) -> Iterator[int]:
    """The outputs that can hold the least or greatest sample.

    Windows move up with the output, so it is those at both ends: one period of the input dilation, which is after
    how many outputs the same taps meet real samples again. Those whose window crosses a border are all looked at.
    """
    period = axis.input_dilation // gcd(axis.stride, axis.input_dilation)
    last = outputs.last
    if size is None:
        ends = {*range(outputs.first, min(outputs.first + period, last + 1))}
        ends |= {*range(max(outputs.first, last - period + 1), last + 1)}
        return iter(sorted(ends))
    low = padding(axis, size)[0]
    inside = [
        output
        for output in range(outputs.first, last + 1)
        if output * axis.stride >= low and output * axis.stride - low + axis.span <= dilated(axis, size)
    ]
    middle = {*inside[period:-period]}
    return (output for output in range(outputs.first, last + 1) if output not in middle)
