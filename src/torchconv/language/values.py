"""How the values in the brackets of a layer are read."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from ..description import notation
from ..description.axis import positive
from ..errors import TextError

# A slot recognises a value without a name: it returns what it says, or None if it is not of its kind.
Recognise = Callable[[str], Any]
DECIMAL = r"[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?"


def number(text: str) -> int | None:
    """An integer >= 1.

    >>> number("12"), number("same")
    (12, None)
    """
    return positive("a size", notation.read_integer(text)) if re.fullmatch(r"[0-9]+", text) else None


def sizes(text: str) -> int | tuple[int, ...] | None:
    """One number or several joined by x, as kernels and volumes are written.

    >>> sizes("5"), sizes("32x32x3"), sizes("same")
    (5, (32, 32, 3), None)
    """
    if not re.fullmatch(r"[0-9]+(x[0-9]+)*", text):
        return None
    found = notation.read_per_axis(text, notation.read_integer)
    for size in found if isinstance(found, tuple) else (found,):
        positive("a size", size)
    return found


def grids(text: str) -> tuple[int | tuple[int, ...], ...] | None:
    """Sizes of one grid, or of several joined by +.

    >>> grids("2x2"), grids("1+2x3"), grids("max")
    (((2, 2),), (1, (2, 3)), None)
    """
    found = [sizes(part) for part in text.split("+")]
    return None if None in found else tuple(one for one in found if one is not None)


def rate(text: str) -> float | None:
    """A number with or without a point, or with an exponent."""
    return float(text) if re.fullmatch(DECIMAL, text) else None


def name(text: str) -> str | None:
    """A name such as those of variables."""
    return text if re.fullmatch(r"[A-Za-z_]\w*", text) else None


def one_of(*words: str) -> Recognise:
    """One of these words."""
    return lambda text: text if text in words else None


def read_decimal(text: str) -> float:
    """A number as `0.1` or `1e-5`; raises TextError for anything else."""
    value = rate(text)
    if value is None or not math.isfinite(value):
        raise TextError("a number", got=repr(text), expected="a number such as 0.1")
    return value


def read_steps(text: str) -> int | tuple[int, ...]:
    """Integers per axis."""
    return notation.read_per_axis(text, notation.read_integer)
