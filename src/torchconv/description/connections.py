"""Which output channel reads which input channel: all of them, groups, or any table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import SettingError
from .axis import plain, positive


@dataclass(frozen=True)
class Connections:
    """For every output channel, the input channels it reads, in increasing order.

    `rows` is None where `groups` says it all, so that groups=2 and its table are one and the same value.
    A table is LeNet-5's C3 (LeCun et al. 1998, Gradient-based learning, table I) or any other.

    >>> Connections.of(4, 2, table=[[1, 1, 0, 0], [0, 0, 1, 1]]) == Connections.of(4, 2, groups=2)
    True
    """

    in_channels: int
    out_channels: int
    groups: int
    rows: tuple[tuple[int, ...], ...] | None

    @classmethod
    def of(cls, in_channels: int, out_channels: int, groups: int = 1, table: Any = None) -> Connections:
        """From a number of groups, or from a boolean (out, in) table; raises SettingError if they do not fit."""
        in_channels, out_channels = positive("in_channels", in_channels), positive("out_channels", out_channels)
        groups = positive("groups", groups)
        if table is None:
            if in_channels % groups or out_channels % groups:
                expected = f"a divisor of in_channels={in_channels} and of out_channels={out_channels}"
                raise SettingError("groups", got=groups, expected=expected)
            return cls(in_channels, out_channels, groups, None)
        if groups != 1:
            raise SettingError("groups and connections", got=f"groups={groups} and a table", expected="one of the two")
        rows = _rows(table, in_channels, out_channels)
        groups = in_channels // max(len(rows[0]), 1)
        grouped = cls(in_channels, out_channels, groups, None)
        if in_channels % groups == out_channels % groups == 0 and all(
            row == tuple(grouped.inputs_of(output)) for output, row in enumerate(rows)
        ):
            return grouped
        return cls(in_channels, out_channels, 1, rows)

    @property
    def count(self) -> int:
        """Number of (output, input) pairs."""
        if self.rows is None:
            return self.out_channels * (self.in_channels // self.groups)
        return sum(len(row) for row in self.rows)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """The channel axes of the weights: (out, in // groups), or (connections,) for a table."""
        return (self.out_channels, self.in_channels // self.groups) if self.rows is None else (self.count,)

    def swapped(self) -> Connections:
        """With inputs and outputs in each other's place."""
        table = None if self.rows is None else self.table().T
        return Connections.of(self.out_channels, self.in_channels, self.groups, table)

    def inputs_of(self, output: int) -> range | tuple[int, ...]:
        """The input channels that one output channel reads."""
        if self.rows is not None:
            return self.rows[output]
        width = self.in_channels // self.groups
        start = output // (self.out_channels // self.groups) * width
        return range(start, start + width)

    def pairs(self) -> Iterator[tuple[int, int]]:
        """(output, input) pairs in the order of the weights."""
        return ((output, source) for output in range(self.out_channels) for source in self.inputs_of(output))

    @property
    def text(self) -> str:
        """The table as rows of 0 and 1; "" where `groups` says it all."""
        return "" if self.rows is None else "/".join("".join(map(str, row)) for row in self.table().astype(int))

    def table(self) -> np.ndarray:
        """The boolean (out, in) table."""
        table = np.zeros((self.out_channels, self.in_channels), dtype=bool)
        for output in range(self.out_channels):
            table[output, list(self.inputs_of(output))] = True
        return table


def table_of(value: Any) -> np.ndarray:
    """A connection table as an array with two axes; raises SettingError for what is none."""
    try:
        array = np.asarray(plain(value))
    except ValueError:
        got = "rows of different lengths"
        raise SettingError("connections", got=got, expected="a boolean (out, in) table") from None
    if array.ndim != 2:
        got = repr(value) if array.ndim == 0 else f"{array.ndim} axes"
        raise SettingError("connections", got=got, expected="a boolean (out, in) table")
    return array


def _rows(table: Any, in_channels: int, out_channels: int) -> tuple[tuple[int, ...], ...]:
    array = table_of(table)
    if array.shape != (out_channels, in_channels):
        got, expected = f"a table of shape {array.shape}", f"(out, in) = ({out_channels}, {in_channels})"
        raise SettingError("connections", got=got, expected=expected)
    if not np.isin(array, (0, 1)).all():
        raise SettingError("connections", got="values other than 0 and 1", expected="a boolean table")
    if not array.any():
        raise SettingError("connections", got="a table without a connection", expected="at least one")
    return tuple(tuple(int(source) for source in np.flatnonzero(row)) for row in array)
