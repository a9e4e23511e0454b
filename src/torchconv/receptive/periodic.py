"""Receptive fields along an axis without ends: intervals that repeat, each period a step further.

The outputs of a convolution read windows one stride apart. Behind up-sampling, windows of several sizes take turns;
they still repeat. Sizes, strides and paddings of receptive fields follow from this, whatever the size of the image.
Source: Araujo, Norris, Sim 2019, Computing receptive fields of convolutional neural networks (Distill), section 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from math import gcd, lcm
from operator import or_

from ..description import shapes
from ..description.axis import Axis
from ..description.interval import EMPTY, Interval
from ..description.resampling import Resampling


@dataclass(frozen=True)
class Progression:
    """Element q * period + r reads intervals[r], moved by q * step samples; samples before the first are negative.

    >>> Progression().through(Axis(3, stride=2), low=1).through(Axis(3), low=1)
    Progression(intervals=(Interval(first=-3, last=3),), step=2)
    """

    intervals: tuple[Interval, ...] = (Interval(0, 0),)
    step: int = 1

    @classmethod
    def resampled(cls, axis: Resampling) -> Progression:
        """What the outputs of a resized axis read of its samples."""
        reads = [axis.read(output) for output in range(axis.ratio.denominator)]
        return cls(tuple(Interval(min(one), max(one)) for one in reads), axis.ratio.numerator)

    @property
    def silent(self) -> Progression:
        """As far apart, reading nothing."""
        return Progression((EMPTY,) * self.period, self.step)

    @property
    def period(self) -> int:
        """Units after which the intervals repeat."""
        return len(self.intervals)

    @property
    def size(self) -> int:
        """Samples that an element reads, from the first to the last; of the element that reads most."""
        return max(interval.size for interval in self.intervals)

    @property
    def stride(self) -> Fraction:
        """Samples from one element's field to the next one's, on average."""
        return Fraction(self.step, self.period)

    @property
    def padding(self) -> int:
        """Samples that the first element's field begins before the first sample."""
        return next((-interval.first for interval in self.intervals if interval.size), 0)

    @property
    def centre(self) -> Fraction:
        """Where the field of element 0 has its middle, in samples; over a period on average."""
        middles = [
            Fraction(interval.first + interval.last, 2) - element * self.stride
            for element, interval in enumerate(self.intervals)
            if interval.size
        ]
        return sum(middles, Fraction()) / len(middles) if middles else Fraction()

    def at(self, element: int) -> Interval:
        """What an element reads."""
        turns, place = divmod(element, self.period)
        found = self.intervals[place]
        return Interval(found.first + turns * self.step, found.last + turns * self.step) if found.size else EMPTY

    def through(self, axis: Axis, low: int) -> Progression:
        """What the windows of an axis read of these elements; low: samples padded in front of them."""
        windows, moved = shapes.period(axis)
        turns = self.period // gcd(self.period, moved)
        found = tuple(self._window(axis, low, output) for output in range(windows * turns))
        return Progression(found, moved * turns // self.period * self.step).reduced()

    def after(self, elements: Progression) -> Progression:
        """What is read by elements that themselves read intervals of these: `elements` says which."""
        turns = self.period // gcd(self.period, elements.step)
        found = []
        for element in range(elements.period * turns):
            read = elements.at(element)
            found.append(self._hull(_deciding(range(read.first, read.last + 1), self.period)))
        return Progression(tuple(found), elements.step * turns // self.period * self.step).reduced()

    def __or__(self, other: Progression) -> Progression | None:
        """What elements read that read as both do; None where the strides differ, and the fields drift apart."""
        if self.stride != other.stride:
            return None
        period = lcm(self.period, other.period)
        found = tuple(self.at(element) | other.at(element) for element in range(period))
        return Progression(found, int(self.stride * period)).reduced()

    def reduced(self) -> Progression:
        """The same with the shortest period."""
        for period in (divisor for divisor in range(1, self.period) if self.period % divisor == 0):
            if (self.step * period) % self.period:
                continue
            short = Progression(self.intervals[:period], self.step * period // self.period)
            if all(short.at(element) == found for element, found in enumerate(self.intervals)):
                return short
        return self

    def _window(self, axis: Axis, low: int, output: int) -> Interval:
        taps = _deciding(range(axis.kernel), self.period * axis.input_dilation)
        positions = (output * axis.stride + tap * axis.dilation - low for tap in taps)
        met = (shapes.spaced(position, axis.input_dilation) for position in positions)
        return self._hull(element for element, is_there in met if is_there)

    def _hull(self, elements: Iterable[int]) -> Interval:
        return reduce(or_, map(self.at, elements), EMPTY)


def _deciding(run: range, enough: int) -> Iterable[int]:
    """Those of a run among which are the ones that read the first and the last sample: fields move up with elements."""
    return run if len(run) <= 2 * enough else [*run[:enough], *run[-enough:]]
