"""Normalised convolution request: a range of the full convolution over the last axes of two arrays of one type.

The full convolution of sizes n and k has n + k - 1 numbers; every mode is a range of them. Correlation is convolution
with one operand reversed, and the gradients of a range are again ranges, so the methods need to know nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

from ..errors import SettingError, ShapeError

MODES = ("full", "same", "valid")
METHODS = ("auto", "direct", "matrix", "fft", "overlap")
Array = Any  # a NumPy array, or a tensor where NumPy cannot see its device
Spans = tuple[tuple[int, int], ...]
Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Request:
    """What is to be computed, with all that follows from the shapes; equal requests are one object (`request_of`).

    first, second: shapes (*batch, *size) of the operands, of one rank; batch sizes are equal or 1. The second has
        fewer taps: `swapped` says whether the operands change places.
    spans: (start, stop) in the full convolution per convolved axis, which are the last. pads: zeros around the result,
        where more was asked for than the full convolution; None where nothing was.
    kind: numpy's name of the type of the numbers. tensors: whether they are torch's, on a device that NumPy cannot see.
    size, taps, full, outputs: sizes of the first operand, the second, the full convolution and the range, along the
        convolved axes. batch: the other axes of the result. shape: of the result. one_kernel: whether the second
        operand is the same for all of the batch. is_plain: whether there is one axis, of NumPy's arrays.
    in_double: the same in double precision, for numbers in single.
    """

    first: Shape
    second: Shape
    spans: Spans
    kind: str
    tensors: bool
    swapped: bool
    pads: tuple[tuple[int, int], ...] | None
    ndim: int
    size: Shape
    taps: Shape
    full: Shape
    outputs: Shape
    batch: Shape
    shape: Shape
    one_kernel: bool
    is_plain: bool
    is_complex: bool
    is_single: bool
    in_double: Request | None

    def of_kind(self, kind: str) -> Request:
        """The same for another type of numbers."""
        return request_of(self.first, self.second, self.spans, kind, self.tensors)


class MethodPlan(NamedTuple):
    """How one method computes a request: about how long it takes, and the function that is left to call.

    request: in the type that it is computed in. error: the most that a float64 result of transforms is off, for
    operands whose 2-norms have the product 1; 0 for sums of products.
    """

    name: str
    request: Request
    seconds: float
    run: Callable[[Array, Array], Array]
    error: float = 0.0


@lru_cache(maxsize=4096)
def request_of(first: Shape, second: Shape, spans: Spans, kind: str, tensors: bool = False) -> Request:
    """The request for a range of the full convolution of two shapes; zeros where the range reaches beyond it."""
    ndim = len(spans)
    swapped = prod(second[len(second) - ndim :]) > prod(first[len(first) - ndim :])
    if swapped:
        first, second = second, first
    lead = len(first) - ndim
    size, taps = first[lead:], second[lead:]
    full = tuple(n + k - 1 for n, k in zip(size, taps, strict=True))
    inside = tuple((max(0, start), max(0, min(stop, most))) for (start, stop), most in zip(spans, full, strict=True))
    pads = tuple((low - start, stop - high) for (start, stop), (low, high) in zip(spans, inside, strict=True))
    batch = tuple(one if other == 1 else other for one, other in zip(first[:lead], second[:lead], strict=True))
    outputs = tuple(high - low for low, high in inside)
    kind = kind.removeprefix("torch.")
    wide = {"float32": "float64", "complex64": "complex128"}.get(kind)
    around = pads if any(low or high for low, high in pads) else None
    one_kernel, is_plain = prod(second[:lead]) == 1, len(first) == 1 and not tensors
    double = request_of(first, second, inside, wide, tensors) if wide else None
    kinds = one_kernel, is_plain, kind.startswith("complex"), wide is not None, double
    sizes = ndim, size, taps, full, outputs, batch, batch + outputs
    return Request(first, second, inside, kind, tensors, swapped, around, *sizes, *kinds)


class Arrangement(NamedTuple):
    """Where the convolved axes go, and which range of the full convolution a mode means.

    to, back: orders of the axes that put the convolved ones last, and back again; None where they are last.
    empty: the shape of the result if it has no numbers.
    """

    spans: Spans
    to: tuple[int, ...] | None
    back: tuple[int, ...] | None
    empty: Shape | None


@lru_cache(maxsize=4096, typed=True)
def arrangement_of(first: Shape, second: Shape, mode: str, axes: Any, method: str) -> Arrangement:
    """The arrangement for operands of two shapes; raises SettingError and ShapeError for what does not go together."""
    if mode not in MODES:
        raise SettingError("mode", got=repr(mode), expected=f"one of {', '.join(MODES)}")
    if method not in METHODS:
        raise SettingError("method", got=repr(method), expected=f"one of {', '.join(METHODS)}")
    if len(first) != len(second):
        raise ShapeError("operands", got=f"shapes {first} and {second}", expected="the same number of axes")
    if not first:
        return Arrangement(((0, 1),), None, None, None)
    rank = len(first)
    places = _places(axes, rank)
    rest = [place for place in range(rank) if place not in places]
    _check_sizes(first, second, places, rest, mode)
    spans = spans_of(mode, *(tuple(shape[place] for place in places) for shape in (first, second)))
    batch = [second[place] if first[place] == 1 else first[place] for place in rest]
    empty = (*batch, *(stop - start for start, stop in spans)) if 0 in batch else None
    order = (*rest, *places)
    if order == tuple(range(rank)):
        return Arrangement(spans, None, None, empty)
    return Arrangement(spans, order, tuple(order.index(place) for place in range(rank)), empty)


def spans_of(mode: str, first: Shape, second: Shape) -> Spans:
    """The range of the full convolution that a mode means, per axis, for the sizes as the caller ordered them."""
    if mode == "full":
        return tuple((0, n + k - 1) for n, k in zip(first, second, strict=True))
    if mode == "same":
        return tuple(((k - 1) // 2, (k - 1) // 2 + n) for n, k in zip(first, second, strict=True))
    return tuple((min(n, k) - 1, max(n, k)) for n, k in zip(first, second, strict=True))


def _places(axes: Any, rank: int) -> tuple[int, ...]:
    if axes is None:
        return tuple(range(rank))
    listed = axes if isinstance(axes, Sequence) else (axes,)
    good = all(hasattr(axis, "__index__") and -rank <= axis < rank for axis in listed)
    places = tuple(sorted(int(axis) % rank for axis in listed)) if good else ()
    if not places or len(set(places)) < len(places):
        raise SettingError("axes", got=axes, expected=f"different numbers from {-rank} to {rank - 1}, or None for all")
    return places


def _check_sizes(first: Shape, second: Shape, places: tuple[int, ...], rest: list[int], mode: str) -> None:
    shapes = f"shapes {first} and {second}"
    if any(first[place] != second[place] and 1 not in (first[place], second[place]) for place in rest):
        raise ShapeError("operands", got=shapes, expected="equal sizes, or 1, along the axes that are not convolved")
    if any(min(first[place], second[place]) == 0 for place in places):
        raise ShapeError("operands", got=shapes, expected="at least one number along every convolved axis")
    ahead = {first[place] > second[place] for place in places if first[place] != second[place]}
    if mode == "valid" and len(ahead) == 2:
        expected = "one operand at least as large as the other along every convolved axis"
        raise ShapeError('operands of mode="valid"', got=shapes, expected=expected, fix='Use mode="same" or "full".')
