"""Weight sharing: which kernel (or bias) each output position uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import SettingError
from .axis import plain, positive
from .notation import per_axis


@dataclass(frozen=True)
class Sharing:
    """A period per axis: output position `p` uses kernel `p % period`, or a kernel of its own (None).

    All periods 1 is an ordinary convolution, a larger one is tiled (Le et al. 2010, Tiled convolutional
    neural networks, section 3), None is unshared, also called locally connected.

    >>> Sharing.of("none", 2).phases((28, 28)), Sharing.of(2, 2).phases((28, 28)), Sharing.of("full", 2).phases()
    ((28, 28), (2, 2), ())
    """

    periods: tuple[int | None, ...]

    @classmethod
    def of(cls, value: Any, ndim: int) -> Sharing:
        """From "full", "none", a period, or one of these per axis; raises SettingError for anything else."""
        if isinstance(value, Sharing):
            value = value.periods
        value = plain(value)
        values = tuple(value) if isinstance(value, list) else (value,) * ndim
        if len(values) != ndim:
            raise SettingError("sharing", got=repr(value), expected=f"one value, or one for each of {ndim} axes")
        return cls(tuple(_period(one) for one in values))

    @property
    def is_full(self) -> bool:
        """Whether one kernel serves every position."""
        return all(period == 1 for period in self.periods)

    @property
    def needs_size(self) -> bool:
        """Whether the number of kernels depends on the output size."""
        return None in self.periods

    def phases(self, output_size: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """How many kernels there are along each axis; () for one kernel everywhere."""
        if self.is_full:
            return ()
        if self.needs_size and output_size is None:
            what = "unshared weights: their number depends on the size of the input"
            raise SettingError(what, fix="Give input_size.")
        sizes = output_size or (0,) * len(self.periods)
        return tuple(size if period is None else period for period, size in zip(self.periods, sizes, strict=True))

    def __str__(self) -> str:
        return per_axis([{None: "none", 1: "full"}.get(period, period) for period in self.periods])


def _period(value: Any) -> int | None:
    if value == "full":
        return 1
    if value is None or value == "none":
        return None
    if isinstance(value, str):
        raise SettingError("sharing", got=repr(value), expected='"full", "none" or a period')
    return positive("sharing", value)
