"""Exact convolution of integers: in balanced digits of a few bits, which float64 convolves exactly, and all carries."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from math import lcm, prod, sqrt
from numbers import Integral, Rational
from typing import NamedTuple

import numpy as np

from ..errors import IntegerOverflowError, UnsupportedError
from . import direct
from .methods import choose, plans
from .request import MethodPlan, Request, request_of

Pieces = list[np.ndarray]  # from the lowest digit to the highest


def split(x: np.ndarray, width: int, count: int) -> Pieces:
    """An array of int64, uint64 or Python integers as `count` digits of `width` bits, each at most half of 2**width."""
    if x.dtype == object:
        return _balanced(_digits_of_bytes(x, width, count), width)
    digits, rest, mask = [], x, x.dtype.type((1 << width) - 1)
    for _ in range(count - 1):
        digits.append((rest & mask).astype(np.int64))
        rest = rest >> x.dtype.type(width)
    return _balanced([*digits, rest.astype(np.int64)], width)


def _digits_of_bytes(x: np.ndarray, width: int, count: int) -> Pieces:
    """Digits of 8 or 16 bits as they lie in memory; the highest has the sign."""
    size = width // 8 * count
    memory = b"".join(int(value).to_bytes(size, "little", signed=True) for value in x.flat)
    unsigned = np.frombuffer(memory, f"<u{width // 8}").reshape(*x.shape, count)
    digits = [unsigned[..., place].astype(np.int64) for place in range(count)]
    digits[-1] -= (digits[-1] >> (width - 1)) << width
    return digits


def _balanced(digits: Pieces, width: int) -> Pieces:
    """Digits 0 to 2**width - 1 as digits around 0, which halves them and, with them, the errors of transforms."""
    for place in range(len(digits) - 1):
        large = digits[place] >> (width - 1)
        digits[place] = digits[place] - (large << width)
        digits[place + 1] = digits[place + 1] + large
    return digits


def _carried(sums: Sequence[np.ndarray], width: int) -> tuple[Pieces, np.ndarray]:
    """Sums of any sign as digits 0 to 2**width - 1, and what is left above them."""
    digits, carry = [], np.int64(0)
    for one in sums:
        total = one + carry
        digits.append(total & ((1 << width) - 1))
        carry = total >> width
    return digits, np.asarray(carry)


def joined(sums: Sequence[np.ndarray], width: int, kind: np.dtype) -> tuple[np.ndarray, bool]:
    """The integers that sums of digits stand for, as int64 or uint64, and whether all of them fit into it."""
    digits, carry = _carried(sums, width)
    result = np.zeros(carry.shape, np.uint64)
    for place, digit in enumerate([*digits, carry]):
        if place * width < 64:
            result |= digit.astype(np.uint64) << np.uint64(place * width)
    result = result.view(kind)
    fits = np.array_equal(_shifted(result, len(digits) * width), carry)
    top = [place for place in range(len(digits)) if (place + 1) * width > 63]
    mask = (1 << width) - 1
    return result, fits and all(np.array_equal(_shifted(result, place * width) & mask, digits[place]) for place in top)


def _shifted(x: np.ndarray, bits: int) -> np.ndarray:
    """Arithmetic or logical shift to the right, by any number of bits, as int64."""
    if x.dtype == np.uint64:
        return (x >> np.uint64(bits)).astype(np.int64) if bits < 64 else np.zeros(x.shape, np.int64)
    return x >> np.int64(min(bits, 63))


def joined_objects(sums: Sequence[np.ndarray], width: int) -> np.ndarray:
    """The integers that sums of digits of 8 or 16 bits stand for, as Python integers."""
    above = [np.zeros_like(sums[0])] * (64 // width)  # room for what is carried beyond the highest sum
    digits, _ = _carried([*sums, *above], width)
    size = width // 8 * len(digits)
    memory = np.stack(digits, -1).astype(f"<u{width // 8}").tobytes()
    values = [int.from_bytes(memory[at : at + size], "little", signed=True) for at in range(0, len(memory), size)]
    return np.array(values, object).reshape(sums[0].shape)


EXACT = 2**53  # integers up to here are float64 numbers, and so are their sums
MARGIN = 0.25  # the error of a transform that is allowed; rounding would forgive a half
MOST_PIECES, SMALL = 8, 4096
PER_NUMBER = 3e-9  # seconds to cut off or to join one digit


class Cutting(NamedTuple):
    """How integers are cut into digits.

    width: bits of a digit, 0 where numbers stay whole. pieces: digits of both operands. plan: of the digits.
    """

    width: int
    pieces: tuple[int, int]
    plan: MethodPlan
    seconds: float


def convolved(first: np.ndarray, second: np.ndarray, request: Request, method: str, kind: np.dtype) -> np.ndarray:
    """The request for arrays of integers, as numbers of one kind; IntegerOverflowError where they do not fit."""
    largest = [max(int(x.max()), -int(x.min())) for x in (first, second)]
    bound = largest[0] * largest[1] * _terms(request)
    first, second = (
        x if x.dtype == np.uint64 and most >= 2**63 else x.astype(np.int64, copy=False)
        for x, most in zip((first, second), largest, strict=True)
    )
    if max(*largest, bound) < 2**63 and method in ("auto", "direct") and _is_short(request):
        return _fitting(_by_sums(first, second, request), bound, kind)
    cutting = cut(request, largest[0].bit_length(), largest[1].bit_length(), method)
    pieces = _sums(first, second, cutting)
    if not cutting.width:
        return _fitting(pieces[0], bound, kind)
    word = np.dtype(np.uint64 if kind == np.uint64 else np.int64)
    result, fits = joined(pieces, cutting.width, word)
    if not fits:
        raise _overflow(kind)
    return _fitting(result, bound, kind)


def _is_short(request: Request) -> bool:
    """Whether NumPy's loop over int64 is faster than what there is for float64."""
    few = min(request.size[0], request.taps[0])
    return request.ndim == 1 and not request.batch and (few <= direct.FEW or few * request.outputs[0] <= SMALL)


def convolved_objects(first: np.ndarray, second: np.ndarray, request: Request, method: str) -> np.ndarray:
    """The request for arrays of Python integers."""
    bits = [max((int(value).bit_length() for value in x.flat), default=0) for x in (first, second)]
    if max(bits) < 63 and sum(bits) + _terms(request).bit_length() < 63:
        first, second = first.astype(np.int64, copy=False), second.astype(np.int64, copy=False)
        return convolved(first, second, request, method, np.dtype(np.int64)).astype(object)
    cutting = cut(request, *bits, method, in_bytes=True)
    products = prod(request.shape) * min(prod(request.size), prod(request.taps))
    if method == "auto" and cutting.seconds > products * (4e-8 + bits[0] * bits[1] * 1e-12):  # the loop over objects
        return _by_sums(first, second, request.of_kind("object"))
    return joined_objects(_sums(first, second, cutting), cutting.width)


def _sums(first: np.ndarray, second: np.ndarray, cutting: Cutting) -> list[np.ndarray]:
    """The convolutions of the digits, of every weight, as exact int64."""
    width, pieces, plan, _ = cutting
    places = len(plan.request.batch)
    if width:
        first, second = (np.stack(split(x, width, n), places) for x, n in zip((first, second), pieces, strict=True))
    first, second = first.astype(np.float64), second.astype(np.float64)
    if plan.request.swapped:
        first, second = second, first
    result = plan.run(first, second)
    rounded = np.rint(result)
    if plan.error and float(np.abs(result - rounded).max()) > MARGIN:  # transforms worse than proven
        rounded = _by_sums(first, second, plan.request)
    numbers = rounded.astype(np.int64)
    return list(np.moveaxis(numbers, places, 0)) if width else [numbers]


@lru_cache(maxsize=4096)
def cut(request: Request, first_bits: int, second_bits: int, method: str, in_bytes: bool = False) -> Cutting:
    """The digits and the method that take least, among those that are proven to be exact; fewest digits first."""
    longest = max(first_bits, second_bits) + 1
    widths = (16, 8) if in_bytes else (0, *(-(-longest // count) for count in range(2, MOST_PIECES + 1)))
    best: Cutting | None = None
    for width in dict.fromkeys(widths):
        pieces = (-(-(first_bits + 1) // width), -(-(second_bits + 1) // width)) if width else (1, 1)
        digits = _with_digits(request, pieces) if width else request.of_kind("float64")
        largest = (2 ** (width - 1),) * 2 if width else (2**first_bits, 2**second_bits)
        moving = PER_NUMBER * (prod(digits.first) + prod(digits.second) + prod(digits.shape))
        for plan in plans(digits, method):
            if (best is None or plan.seconds + moving < best.seconds) and _is_exact(plan, *largest):
                best = Cutting(width, pieces, plan, plan.seconds + moving)
        if best is not None and width and best.width != width:
            break  # more digits take longer
    if best is None:
        choose(request.of_kind("float64"), method)  # raises where the method is not open at all
        raise UnsupportedError(f"method={method!r} for integers of {longest} bits", fix='Use method="auto".')
    return best


def _is_exact(plan: MethodPlan, first: int, second: int) -> bool:
    """Whether the result for operands of these magnitudes is exact, or rounds to it."""
    request = plan.request
    if plan.error:
        norms = first * sqrt(prod(request.size)) * second * sqrt(prod(request.taps))
        return norms * plan.error <= MARGIN and norms < EXACT
    return first * second * _terms(request) <= EXACT


def _with_digits(request: Request, pieces: tuple[int, int]) -> Request:
    """The request with the digits as the first convolved axis."""
    place = len(request.batch)
    shapes = zip((request.first, request.second), pieces, strict=True)
    first, second = ((*shape[:place], count, *shape[place:]) for shape, count in shapes)
    return request_of(first, second, ((0, sum(pieces) - 1), *request.spans), "float64")


def _by_sums(first: np.ndarray, second: np.ndarray, request: Request) -> np.ndarray:
    """Sums of products in the type of the operands."""
    return direct.plan(request, as_is=True).run(first, second)


def _terms(request: Request) -> int:
    """Most products that are added up to one output."""
    return prod(min(pair) for pair in zip(request.size, request.taps, strict=True))


def _fitting(result: np.ndarray, bound: float, kind: np.dtype) -> np.ndarray:
    """int64 or uint64 numbers as numbers of a kind, if they fit."""
    limits = np.iinfo(kind)
    if (bound > limits.max or limits.min == 0) and result.size:
        low, high = int(result.min()), int(result.max())
        if low < limits.min or high > limits.max:
            raise _overflow(kind, low if low < limits.min else high)
    return result.astype(kind, copy=False)


def _overflow(kind: np.dtype, value: int | None = None) -> IntegerOverflowError:
    return IntegerOverflowError(
        f"a result of type {kind}",
        got="a number beyond it" if value is None else value,
        expected=f"{np.iinfo(kind).min} to {np.iinfo(kind).max}",
        fix="Convert an operand to a wider type, or with .astype(object) to Python integers, which have no bound.",
    )


def convolved_python_objects(first: np.ndarray, second: np.ndarray, request: Request, method: str) -> np.ndarray:
    """The request for two arrays of objects."""
    kinds = {type(value) for x in (first, second) for value in x.flat}
    if all(issubclass(kind, Integral) for kind in kinds):
        return convolved_objects(first, second, request, method)
    if all(issubclass(kind, Rational) for kind in kinds):
        one, other = (lcm(*{int(value.denominator) for value in x.flat}) for x in (first, second))
        whole = convolved_objects(_scaled(first, one), _scaled(second, other), request, method)
        return np.asarray(np.frompyfunc(lambda value: Fraction(value, one * other), 1, 1)(whole))
    if method not in ("auto", "direct"):
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise UnsupportedError(f"method={method!r} for objects of type {names}", fix='Use method="direct".')
    return _by_sums(first, second, request)


def _scaled(x: np.ndarray, denominator: int) -> np.ndarray:
    scaled = np.frompyfunc(lambda value: int(value.numerator) * (denominator // int(value.denominator)), 1, 1)
    return np.asarray(scaled(x))
