"""Which samples each output of a resized axis reads: nearest, linear and cubic interpolation, and adaptive pooling.

Source: Keys 1981, Cubic convolution interpolation for digital image processing, section II; the rest as in torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

import numpy as np

from ..errors import SettingError

MODES = ("nearest", "nearest-exact", "linear", "cubic", "area")


@dataclass(frozen=True)
class Resampling:
    """An axis of `size` samples made `outputs` long; corners: whether the first and the last samples stay in place.

    scale: input samples for one output, where it is not size / outputs.

    >>> Resampling(2, 4, "linear").table().tolist()
    [[0, -1], [0, 1], [0, 1], [1, -1]]
    """

    size: int
    outputs: int
    mode: str = "nearest"
    corners: bool = False
    scale: Fraction | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise SettingError("resampling mode", got=repr(self.mode), expected=f"one of {', '.join(MODES)}")

    @property
    def ratio(self) -> Fraction:
        """Input samples for one output."""
        if self.corners:
            return Fraction(self.size - 1, self.outputs - 1) if self.outputs > 1 else Fraction()
        return self.scale or Fraction(self.size, self.outputs)

    def read(self, output: int) -> list[int]:
        """The positions that an output reads with a weight that is not 0; those outside are read at the border."""
        if self.mode == "area":
            return [*range(floor(output * self.ratio), ceil((output + 1) * self.ratio))]
        half = Fraction(0) if self.corners or self.mode == "nearest" else Fraction(1, 2)
        place = (output + half) * self.ratio - (0 if self.mode == "nearest-exact" else half)
        if self.mode in ("nearest", "nearest-exact"):
            return [floor(place)]
        if place == floor(place):
            return [int(place)]
        around = (0, 1) if self.mode == "linear" else (-1, 0, 1, 2)
        return [floor(place) + step for step in around]

    def table(self) -> np.ndarray:
        """The samples that each output reads, (outputs, most) int64, filled up with -1."""
        rows = [sorted({min(max(place, 0), self.size - 1) for place in self.read(one)}) for one in range(self.outputs)]
        width = max(map(len, rows))
        return np.array([row + [-1] * (width - len(row)) for row in rows], dtype=np.int64)
