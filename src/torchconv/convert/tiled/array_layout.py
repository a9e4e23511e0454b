"""How an array holds an image: where its channels are, and whether it has a batch axis or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ...errors import SettingError, ShapeError

Part: TypeAlias = "tuple[slice, ...]"  # of a tensor (batch, channels, *size): a start and a stop for each of its axes


@dataclass(frozen=True)
class ArrayLayout:
    """Which axes an array has besides the `axes` of its image, and whether the channels come after them.

    >>> ArrayLayout(2, batch=False, last=True).shape((1, 3, 20, 30))
    (20, 30, 3)
    """

    axes: int
    batch: bool = True
    channels: bool = True
    last: bool = False

    @classmethod
    def of(cls, ndim: int, axes: int, channels: str = "first", what: str = "image") -> ArrayLayout:
        """By an array's number of axes; raises SettingError or ShapeError for what cannot be."""
        if channels not in ("first", "last"):
            raise SettingError("channels", got=repr(channels), expected="'first' or 'last'")
        if not axes <= ndim <= axes + 2:
            expected = f"{axes} axes, with channels {axes + 1}, with a batch {axes + 2}"
            raise ShapeError(what, got=f"{ndim} axes", expected=expected, fix="A tile has one size for each axis.")
        return cls(axes, ndim == axes + 2, ndim > axes, channels == "last" and ndim > axes)

    def of_result(self, result: Tensor, channels: int) -> ArrayLayout:
        """Of a result (batch, channels, *size) or (batch, *size) of an image laid out so.

        An image without an axis of channels has a result without one, if it has one channel.
        """
        has = result.ndim == self.axes + 2 and (self.channels or channels > 1)
        return replace(self, channels=has, last=self.last and has)

    def _pick(self, batch: Any, channels: Any, size: Sequence[Any]) -> tuple[Any, ...]:
        one = (channels,) if self.channels else ()
        return (*((batch,) if self.batch else ()), *(() if self.last else one), *size, *(one if self.last else ()))

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Of the array that holds a tensor (batch, channels, *size)."""
        return self._pick(shape[0], shape[1], shape[2:])

    def whole(self, shape: Sequence[int]) -> tuple[int, ...]:
        """(batch, channels, *size) of an array of this shape."""
        left = [int(length) for length in shape]
        batch = left.pop(0) if self.batch else 1
        channels = left.pop(-1 if self.last else 0) if self.channels else 1
        return (batch, channels, *left)

    @property
    def row(self) -> int:
        """The array's axis that is the first one of the image."""
        return self.batch + (self.channels and not self.last)

    def index(self, part: Part) -> tuple[slice, ...]:
        """What takes a part of the image out of the array; all channels where there is no axis of them."""
        return self._pick(part[0], part[1], part[2:])

    def tensor(self, array: Any) -> Tensor:
        """An array as a tensor (batch, channels, *size)."""
        found = array if isinstance(array, Tensor) else torch.from_numpy(writable(np.asarray(array)))
        found = found if self.batch else found[None]
        if not self.channels:
            return found[:, None]
        return found.movedim(-1, 1) if self.last else found

    def array(self, tensor: Tensor) -> Tensor:
        """A tensor (batch, channels, *size), or (batch, *size), as this layout has it: a view."""
        if self.channels:
            tensor = tensor.movedim(1, -1) if self.last else tensor
        elif tensor.ndim == self.axes + 2:
            tensor = tensor[:, 0]
        return tensor if self.batch else tensor[0]


def sizes(part: Part) -> tuple[int, ...]:
    """How large a part is along each axis."""
    return tuple(one.stop - one.start for one in part)


def within(part: Part, other: Part) -> Part:
    """Where a part lies in another that holds it."""
    return tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(part, other, strict=True))


def writable(array: np.ndarray) -> np.ndarray:
    """The values as torch takes them: in this machine's order of bytes, with no negative step, and not read-only."""
    if array.dtype.kind not in "biufc":
        raise SettingError("image", got=f"values of {array.dtype}", expected="numbers")
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return native if native.flags.writeable and all(step >= 0 for step in native.strides) else native.copy()
