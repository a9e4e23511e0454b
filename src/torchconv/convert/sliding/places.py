"""Where the places of the image are in a tensor of a model, whatever the model has made of them.

A tensor that follows from the image has all axes of the image somewhere in it: as dimensions of its own, behind the
channels or in front of them, several flattened into one, or, once they were summed up, nowhere to be seen. So each of
its dimensions is a product of factors, in order, of which some are axes of the image. In the sliding model the same
tensor has the axes of the image last, in their order, and in front of them what is left of the model's dimensions:
flattening, permuting or pooling away the places of a window then changes nothing, or one number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd, lcm, prod
from typing import NamedTuple

from ...description.axis import Axis

PART = "Give the part of the model in front of it."
SIZES = "it is used on volumes of different sizes, as layers that could not share its weights"


class CannotSlide(Exception):
    """Why an operation cannot slide, and what can be done."""

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(reason)
        self.reason, self.fix = reason, fix


class Factor(NamedTuple):
    """A factor of a dimension: an axis of the image, the images of a batch, or neither."""

    size: int
    axis: int | None = None
    batch: bool = False


Dim = tuple[Factor, ...]


@dataclass(frozen=True)
class PlaceAxis:
    """One axis of the image at some place in the model.

    size: places of one window. stride: samples of the image from one place to the next; period: samples after which
    the model does the same again, more than the stride behind up-sampling. way: the windows that the places went
    through, on which depends how many there are of a larger image. pooled: the layer that took all places together.
    """

    size: int
    stride: Fraction = Fraction(1)
    period: Fraction = Fraction(1)
    way: tuple[Axis, ...] = ()
    pooled: str = ""

    def through(self, axis: Axis, size: int) -> PlaceAxis:
        """Behind the windows of an axis, so many for one window of the image."""
        stride = self.stride * Fraction(axis.stride, axis.input_dilation)
        keeps = axis.stride == axis.input_dilation == 1 and size == self.size
        way = self.way if keeps else (*self.way, axis)
        return replace(self, size=size, stride=stride, period=common(self.period, stride), way=way)

    @property
    def step(self) -> int:
        """Places from one window of all to the next."""
        return int(Fraction(self.period, self.stride))


def common(one: Fraction, other: Fraction) -> Fraction:
    """The least common multiple."""
    return Fraction(lcm(one.numerator, other.numerator), gcd(one.denominator, other.denominator))


@dataclass(frozen=True)
class WindowLayout:
    """What the dimensions of a tensor of the model are for one window of the image, and its axes of places."""

    dims: tuple[Dim, ...]
    places: tuple[PlaceAxis, ...]

    @classmethod
    def of_image(cls, channels: int, size: Sequence[int], batch: int, flat: bool) -> WindowLayout:
        """The image itself; flat: with channels and places as one dimension."""
        axes = [Factor(length, axis) for axis, length in enumerate(size)]
        features = [(Factor(channels), *axes)] if flat else [(Factor(channels),), *((one,) for one in axes)]
        return cls(((Factor(batch, batch=True),), *features), tuple(map(PlaceAxis, size)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor in the model."""
        return tuple(prod(factor.size for factor in dim) for dim in self.dims)

    @property
    def alone(self) -> bool:
        """Whether a window has one place only."""
        return all(place.size == 1 for place in self.places)

    @property
    def strides(self) -> tuple[Fraction, ...]:
        """Samples from one place to the next along every axis."""
        return tuple(place.stride for place in self.places)

    @property
    def leading(self) -> tuple[int, ...]:
        """The dimensions of the model that are one in the sliding model: all but those of nothing but places."""
        return tuple(number for number, dim in enumerate(self.dims) if not _of_places(dim))

    @property
    def natural(self) -> bool:
        """Whether the model has the tensor as the sliding model has it: the axes of the image last, in order."""
        count = len(self.leading)
        last = [factor.axis for dim in self.dims[count:] for factor in dim]
        hidden = any(factor.axis is not None for dim in self.dims[:count] for factor in dim)
        ones = all(len(dim) == 1 for dim in self.dims[count:])
        return not hidden and ones and last == [*range(len(self.places))]

    def lead(self, dim: int) -> int:
        """Which dimension of the sliding model a dimension of the model is; raises CannotSlide where it has places."""
        dim %= max(len(self.dims), 1)
        self.refuse_places(dim)
        if dim not in self.leading:
            raise CannotSlide(f"it works along dimension {dim}, which has the places")
        return self.leading.index(dim)

    def refuse_places(self, dim: int) -> None:
        """Raises CannotSlide where a dimension of the model has several places of a window."""
        places = [factor for factor in self.dims[dim] if factor.axis is not None and factor.size > 1]
        if places and channels_of(self.dims[dim]) > 1:
            size = self.shape[dim]
            reason = f"it reads {size} features that were flattened from places ({'x'.join(map(str, self.sizes))})"
            raise CannotSlide(reason, "Put it before the flattening, or behind the first Linear.")
        if places:
            raise CannotSlide(f"it works along dimension {dim}, over places, which are others in a larger image")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Places of a window."""
        return tuple(place.size for place in self.places)

    @property
    def lead_sizes(self) -> tuple[int, ...]:
        """Of the dimensions in front of the places, in the sliding model; -1 for that with the batch."""
        dims = [self.dims[number] for number in self.leading]
        return tuple(-1 if any(factor.batch for factor in dim) else channels_of(dim) for dim in dims)

    def axes_of(self, dim: int) -> tuple[int, ...]:
        """The axes of the image in a dimension."""
        return tuple(factor.axis for factor in self.dims[dim] if factor.axis is not None)

    def with_dim(self, dim: int, *sizes: int) -> WindowLayout:
        """With other channels in a dimension; its places, of one sample, stay behind them."""
        kept = tuple(factor for factor in self.dims[dim] if factor.axis is not None)
        made = (*(Factor(size) for size in sizes or (1,)), *kept)
        return replace(self, dims=(*self.dims[:dim], made, *self.dims[dim + 1 :]))

    def without(self, gone: Iterable[int]) -> WindowLayout:
        """Without some dimensions; their places, of one sample, go to the dimension in front."""
        dims: list[Dim] = []
        waiting: Dim = ()
        gone = {*gone}
        for number, dim in enumerate(self.dims):
            kept = tuple(factor for factor in dim if factor.axis is not None)
            if number not in gone:
                dims.append(waiting + dim if waiting and not dims else dim)
                waiting = ()
            elif dims:
                dims[-1] += kept
            else:
                waiting += kept
        if waiting:
            raise CannotSlide("nothing is left of its dimensions")
        return replace(self, dims=tuple(dims))

    def moved(self, change: Callable[[int, PlaceAxis], PlaceAxis]) -> WindowLayout:
        """With every axis of places changed."""
        places = tuple(change(axis, place) for axis, place in enumerate(self.places))
        sized = [
            tuple(factor if factor.axis is None else factor._replace(size=places[factor.axis].size) for factor in dim)
            for dim in self.dims
        ]
        return WindowLayout(tuple(sized), places)

    def permuted(self, order: Sequence[int]) -> WindowLayout:
        """The dimensions in another order."""
        return replace(self, dims=tuple(self.dims[number] for number in order))

    def reshaped(self, shape: Sequence[int]) -> WindowLayout:
        """The same elements in another shape."""
        factors = [one for dim in self.dims for one in dim or (Factor(1),)]
        dims: list[Dim] = []
        for number, size in enumerate(shape):
            dim: list[Factor] = []
            left = size
            while left > 1:
                left = _take(factors, dim, left)
            ones, tail = sum(other == 1 for other in shape[number + 1 :]), all(one.size == 1 for one in factors)
            for _ in range(max(len(factors) - ones, 0) if tail else size == 1 and factors[0].size == 1):
                dim.append(factors.pop(0))
            dims.append(tuple(dim))
        if dims and all(one.size == 1 for one in factors):
            dims[-1] += tuple(factors)
        elif factors:
            raise CannotSlide("nothing is left of its dimensions")
        return replace(self, dims=tuple(dims))


def _take(factors: list[Factor], dim: list[Factor], left: int) -> int:
    """Move the next factor, or a part of it, to a dimension that has room for so many; what is left of the room."""
    one = factors.pop(0)
    if left % one.size == 0:
        dim.append(one)
        return left // one.size
    if one.axis is not None or one.batch or one.size % left:
        raise CannotSlide("it mixes places with each other, or with channels, by their number", PART)
    dim.append(Factor(left))
    factors.insert(0, Factor(one.size // left))
    return 1


def _of_places(dim: Dim) -> bool:
    return bool(dim) and all(factor.axis is not None for factor in dim)


def channels_of(dim: Dim) -> int:
    """How many channels there are in a dimension."""
    return prod(factor.size for factor in dim if factor.axis is None)


def core(dim: Dim) -> tuple[tuple[int, int | None], ...]:
    """What a dimension is made of, but for places of one sample: neighbouring channels as one."""
    found: list[tuple[int, int | None]] = []
    for factor in dim:
        if factor.axis is None and found and found[-1][1] is None:
            found[-1] = (found[-1][0] * factor.size, None)
        elif factor.size > 1:
            found.append((factor.size, factor.axis))
    return tuple(found)


def together(layouts: Sequence[WindowLayout]) -> WindowLayout:
    """What is computed from the same places of several tensors, broadcast as torch does."""
    first, *others = layouts
    places = list(first.places)
    for other in others:
        for axis, (one, two) in enumerate(zip(places, other.places, strict=True)):
            _refuse_apart(one, two, first, other)
            places[axis] = replace(one, period=common(one.period, two.period))
    rank = max(len(layout.dims) for layout in layouts)
    dims: list[Dim] = []
    for number in range(-rank, 0):
        met = [layout.dims[number] for layout in layouts if len(layout.dims) >= -number]
        kinds = {core(dim) for dim in met if core(dim)}
        if len(kinds) > 1:
            raise CannotSlide("it meets places that are not the same ones, in another order or as channels")
        largest = max(met, key=lambda dim: prod(factor.size for factor in dim))
        dims.append(tuple(one for one in largest if one.size > 1 or one.axis is None))
    for axis, place in enumerate(places):
        if place.size == 1:
            at = next(number for number, dim in enumerate(first.dims) if any(one.axis == axis for one in dim))
            dims[at - len(first.dims)] += (Factor(1, axis),)
    if sorted(one.axis for dim in dims for one in dim if one.axis is not None) != [*range(len(places))]:
        raise CannotSlide("it meets places that are not the same ones, in another order")
    return WindowLayout(tuple(dims), tuple(places))


def by(layer: str) -> str:
    """Which layer has done it, in brackets."""
    return f" (by {layer})" if layer else ""


def _refuse_apart(one: PlaceAxis, two: PlaceAxis, first: WindowLayout, other: WindowLayout) -> None:
    """Raises CannotSlide where two tensors have other places."""
    if one.size != two.size and 1 in (one.size, two.size):
        pooled = (one if one.size == 1 else two).pooled
        raise CannotSlide(f"every place meets a number that is taken over all places of a window{by(pooled)}", PART)
    if one.size != two.size or one.stride != two.stride:
        shown = " and ".join(
            f"{'x'.join(map(str, each.sizes))} places ({', '.join(map(str, each.strides))}) samples apart"
            for each in (first, other)
        )
        raise CannotSlide(f"it meets places that are not the same ones: {shown}")
