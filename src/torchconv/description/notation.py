"""How settings are written: `3->10, 5x5, stride=2, padding=0:1` and back."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import TextError


def per_axis(values: Sequence[Any], write: Callable[[Any], str] = str) -> str:
    """Values of the axes joined by `x`, or one value where all are the same.

    >>> per_axis((2, 1)), per_axis((2, 2))
    ('2x1', '2')
    """
    words = [write(value) for value in values]
    return words[0] if len(set(words)) == 1 else "x".join(words)


def pad(value: Any) -> str:
    """Padding of one axis: `1` on both sides, `0:1` low and high, or the word "same".

    >>> pad((1, 1)), pad((0, 1)), pad("same")
    ('1', '0:1', 'same')
    """
    if isinstance(value, str):
        return value
    low, high = value
    return str(low) if low == high else f"{low}:{high}"


def read_per_axis(text: str, read: Callable[[str], Any]) -> Any:
    """The inverse of `per_axis`: one value, or a tuple with one for each axis.

    >>> read_per_axis("2x1", int), read_per_axis("2", int)
    ((2, 1), 2)
    """
    parts = text.split("x")
    return read(parts[0]) if len(parts) == 1 else tuple(read(part) for part in parts)


def read_integer(text: str) -> int:
    """An integer, or a TextError that shows the text."""
    if not re.fullmatch(r"-?[0-9]{1,18}", text):  # int() also takes +2, 1_0 and other alphabets' digits
        raise TextError("a number", got=repr(text), expected="an integer such as 3")
    return int(text)


def read_steps(text: str) -> int | tuple[int, ...]:
    """Integers of the axes."""
    return read_per_axis(text, read_integer)


def read_pad(text: str) -> Any:
    """The inverse of `pad`.

    >>> read_pad("0:1"), read_pad("same")
    ((0, 1), 'same')
    """
    if text in ("same", "valid", "full"):
        return text
    parts = [read_integer(part) for part in text.split(":")]
    if len(parts) > 2:
        raise TextError("padding", got=repr(text), expected="an integer, low:high or a word")
    return parts[0] if len(parts) == 1 else tuple(parts)


def read_pads(text: str) -> Any:
    """Padding of all axes; one pair for all is put into a tuple, because a bare pair means one integer per axis.

    >>> read_pads("0:1"), read_pads("0:1x2")
    (((0, 1),), ((0, 1), 2))
    """
    pads = read_per_axis(text, read_pad)
    return (pads,) if ":" in text and "x" not in text else pads


def read_period(text: str) -> int | str:
    """A period of weight sharing, or one of its words."""
    if text in ("full", "none"):
        return text
    if not re.fullmatch(r"[0-9]+", text):
        raise TextError("sharing", got=repr(text), expected="full, none or a period such as 2")
    return read_integer(text)


def read_switch(text: str) -> bool:
    """yes or no."""
    if text not in ("yes", "no"):
        raise TextError("bias", got=repr(text), expected="yes or no")
    return text == "yes"


def read_table(text: str) -> list[list[int]]:
    """A connection table written as rows of 0 and 1, one for each output: `110/011`."""
    rows = text.split("/")
    if set(text) - set("01/") or len({len(row) for row in rows}) != 1:
        raise TextError("connections", got=repr(text), expected="rows of 0 and 1 such as 110/011, all of one length")
    return [[int(mark) for mark in row] for row in rows]


READERS: dict[str, Callable[[str], Any]] = {
    "stride": read_steps,
    "padding": read_pads,
    "dilation": read_steps,
    "groups": read_integer,
    "connections": read_table,
    "padding_mode": lambda text: read_per_axis(text, str),
    "input_dilation": read_steps,
    "sharing": lambda text: read_per_axis(text, read_period),
    "bias_sharing": lambda text: read_per_axis(text, read_period),
    "bias": read_switch,
}


def read_settings(parts: Sequence[str]) -> dict[str, Any]:
    """Settings written as `name=value`, with the values their names call for; TextError for an unknown name.

    >>> read_settings(["stride=2", "padding=0:1x1"])
    {'stride': 2, 'padding': ((0, 1), 1)}
    """
    settings: dict[str, Any] = {}
    for part in parts:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or name not in READERS:
            raise TextError("a setting", got=repr(part), expected="name=value with name one of " + ", ".join(READERS))
        if name in settings:
            raise TextError("a setting", got=f"{name} twice", expected="each once")
        settings[name] = READERS[name](value)
    return settings
