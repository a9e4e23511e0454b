"""NaN and Inf reach exactly the outputs whose windows cover them, by whichever method the rest is computed.

Transforms and matrices multiply what they should leave alone by zero, and zero times NaN is NaN. So bad numbers are
taken out, and what they do is counted: three more convolutions, of zeros and ones, say for each output how many of its
products are NaN, +Inf and -Inf.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .array_ops import converted
from .request import Array, Request

Run = Callable[[Array, Array, Request], Array]


def seems_finite(result: Array) -> bool:
    """Whether all numbers are finite; a sum that overflows says no, which costs time but is never wrong."""
    if isinstance(result, Tensor):
        return bool(torch.isfinite(result.sum()))
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduce(result, axis=None)
    return total - total == 0


def mended(first: Array, second: Array, request: Request, run: Run) -> Array:
    """The request again: finite numbers scaled so that nothing overflows on the way, the others counted."""
    if request.is_complex:
        return _complex(first, second, request, run)
    space: Any = torch if isinstance(first, Tensor) else np
    with np.errstate(all="ignore"):
        one, other = _Sorted(first, space), _Sorted(second, space)
        result = run(one.scaled, other.scaled, request) * 2.0**one.power * 2.0**other.power
        if one.all_finite and other.all_finite:
            return result
        counted = request.of_kind("float64")

        def count(*pairs: tuple[Array, Array]) -> Array:
            return space.round(sum(run(a, b, counted) for a, b in pairs))

        nan = count((one.nan, other.ones), (one.ones, other.nan), (one.inf, other.zero), (one.zero, other.inf)) > 0
        both = count((one.inf, other.some), (one.some, other.inf), (-one.inf, other.inf))
        surplus = count((one.inf * one.sign, other.sign), (one.sign, other.inf * other.sign)) - count(
            (one.inf * one.sign, other.inf * other.sign)
        )
    up, down = both + surplus > 0, both - surplus > 0
    result[up] = float("inf")
    result[down] = -float("inf")
    result[nan | (up & down)] = float("nan")
    return result


class _Sorted:
    """The numbers of an operand by kind: scaled finite ones, and the rest as zeros and ones."""

    def __init__(self, x: Array, space: Any) -> None:
        finite = space.isfinite(x)
        self.all_finite = bool(finite.all())
        clean = space.where(finite, x, space.zeros_like(x))
        self.power = int(np.frexp(float(abs(clean).max()))[1])
        # In two steps: 2 to the power itself may be beyond the largest or the smallest number.
        self.scaled = clean * 2.0 ** (-self.power // 2) * 2.0 ** (-self.power - -self.power // 2)

        nan = space.isnan(x)
        masks = (nan, nan | ~nan, space.isinf(x), x == 0, (x != 0) & ~nan, x > 0, x < 0)
        self.nan, self.ones, self.inf, self.zero, self.some, up, down = (converted(mask, "float64") for mask in masks)
        self.sign = up - down


def _complex(first: Array, second: Array, request: Request, run: Run) -> Array:
    """By real and imaginary parts, as complex numbers are multiplied: (a + ib)(c + id) = ac - bd + i(ad + bc)."""
    real = request.of_kind("float32" if request.is_single else "float64")
    (a, b), (c, d) = ((x.real + 0, x.imag + 0) for x in (first, second))
    ac, bd, ad, bc = (mended(x, y, real, run) for x, y in ((a, c), (b, d), (a, d), (b, c)))
    with np.errstate(invalid="ignore"):
        real_part, imaginary = ac - bd, ad + bc
    if isinstance(first, Tensor):
        return torch.complex(real_part, imaginary)
    result = np.empty(real_part.shape, first.dtype)
    result.real, result.imag = real_part, imaginary
    return result
