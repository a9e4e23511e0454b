"""The description of a pooling: a statistic of every window, on the same axes as a convolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from math import comb, exp, inf, prod
from typing import Any

import numpy as np

from ..errors import SettingError, ShapeError
from . import notation, shapes
from .axis import Axis, axes_of, flag, plain

STATISTICS = ("max", "mean", "l2", "lp", "weighted")
EXACT = 1e-15  # by how much products of factors may differ from weights that are said to be such products


@dataclass(frozen=True, init=False, repr=False)
class Pooling:
    """A statistic of every window, channel by channel: immutable, hashable, equal to every other way to write the same.

    kernel_size: samples of the window: an int per axis; the tuple gives the rank, a single int needs ndim.
    stride: samples from one window to the next, an int or one per axis; None: the size of the window.
    padding: samples: an int, one per axis, a (low, high) pair per axis, or "valid", "same", "full".
    statistic: "max"; "mean"; "l2", the root of the sum of squares; "lp", the p-th root of the sum of |x|^p;
    "weighted", the weighted average.
    p: a number > 0 for "lp". weight: for "weighted", an array of the window's shape, one row for all axes, or
    "binomial" or "gaussian"; averages divide by the sum of the weights that meet data.
    ceil_mode: whether a last window that begins inside may end outside.
    count_include_pad: whether padding is data: zeros.

    Raises SettingError for values that do not go together.
    Source: Goodfellow, Bengio, Courville 2016, Deep learning, section 9.3; Boureau, Ponce, LeCun 2010; for weights
    Zhang 2019, Making convolutional networks shift-invariant again, section 3.

    >>> pooling = Pooling(3, stride=2, padding=1, ndim=2)
    >>> pooling.output_size((32, 32)), str(pooling)
    ((16, 16), 'max, 3x3, stride=2, padding=1')
    """

    axes: tuple[Axis, ...]
    kind: str
    p: float | None
    weights: tuple[float, ...] | None
    count_include_pad: bool

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        statistic: str = "max",
        p: float | None = None,
        weight: Any = None,
        *,
        ceil_mode: bool = False,
        count_include_pad: bool = False,
        ndim: int | None = None,
    ) -> None:
        stride = kernel_size if stride is None else stride
        axes = axes_of(kernel_size, stride, dilation, padding, ndim=ndim, ceil=ceil_mode)
        for axis in axes:
            if axis.ceil and min(axis.padding) < 0:  # type: ignore[type-var]
                got = f"padding {axis.padding}, which cuts samples off"
                raise SettingError("ceil_mode of a pooling", got=got, expected="padding >= 0 with it")
        kind, power, weights = _settled(statistic, p, weight, tuple(axis.kernel for axis in axes))
        pads = any(axis.padding == "same" or max(axis.padding) > 0 for axis in axes)
        counts = flag("count_include_pad", count_include_pad) and kind != "lp" and pads
        values = {"axes": axes, "kind": kind, "p": power, "weights": weights, "count_include_pad": counts}
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def on(self, axes: Sequence[Axis]) -> Pooling:
        """The same statistic of windows on other axes, whose padding is no data."""
        made = Pooling.__new__(Pooling)
        values = {"kind": self.kind, "p": self.p, "weights": self.weights}
        for name, value in {"axes": tuple(axes), **values, "count_include_pad": False}.items():
            object.__setattr__(made, name, value)
        return made

    @property
    def ndim(self) -> int:
        """Number of axes that the window slides over."""
        return len(self.axes)

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Samples of the window along each axis."""
        return tuple(axis.kernel for axis in self.axes)

    @property
    def statistic(self) -> str:
        """What is taken of a window: one of STATISTICS."""
        return "l2" if self.kind == "lp" and self.p == 2 else self.kind

    def output_size(self, input_size: Any) -> tuple[int, ...]:
        """Samples of the output per axis; raises ShapeError where no window fits, or one holds nothing but padding."""
        sizes = shapes.sizes_of(input_size, self.ndim)
        outputs = shapes.output_sizes(self.axes, sizes, f"pooling {self}")
        for number, (axis, size) in enumerate(zip(self.axes, sizes, strict=True)):
            if not self.count_include_pad and shapes.has_empty_window(axis, size):
                got = f"a window on padding only (padding {shapes.padding(axis, size)} on axis {number})"
                expected, fix = "data in every window", "Use less padding, or count_include_pad=True."
                raise ShapeError(f"pooling {self}", got=got, expected=expected, fix=fix)
        return outputs

    def factors(self) -> tuple[tuple[float, ...], ...] | None:
        """The weights of a sum as one factor for each tap of each axis; None where they are no such product."""
        if self.weights is None:
            return tuple((1.0,) * size for size in self.kernel_size)
        return _factors(self.weights, self.kernel_size)

    def full_weight(self) -> np.ndarray:
        """The weight of each sample of a window, as it was given; ones for the other statistics."""
        return np.reshape(np.ones(prod(self.kernel_size)) if self.weights is None else self.weights, self.kernel_size)

    def counted(self, number: int, size: int) -> np.ndarray:
        """Which taps of which outputs of an axis count, (outputs, kernel) bool: those on data, or on given padding."""
        axis = self.axes[number]
        if not self.count_include_pad or axis.padding == "same":
            return (shapes.sources(axis, size) >= 0) | self.count_include_pad
        (low, high), (_, end) = axis.padding, shapes.padding(axis, size)
        return shapes.sources(replace(axis, padding=(0, end - high), ceil=False), low + size + high) >= 0

    def __str__(self) -> str:
        strides = tuple(axis.stride for axis in self.axes)
        padding = notation.per_axis([axis.padding for axis in self.axes], notation.pad)
        dilation = notation.per_axis([axis.dilation for axis in self.axes])
        parts = [f"lp, p={self.p:g}" if self.statistic == "lp" else self.statistic]
        parts += ["x".join(map(str, self.kernel_size))]
        parts += [f"stride={notation.per_axis(strides)}"] * (strides != self.kernel_size)
        parts += [f"padding={padding}"] * (padding != "0") + [f"dilation={dilation}"] * (dilation != "1")
        parts += ["ceil_mode=yes"] * any(axis.ceil for axis in self.axes)
        return ", ".join(parts + ["count_include_pad=yes"] * self.count_include_pad)

    def __repr__(self) -> str:
        return f"<Pooling {self}>"


def _settled(
    statistic: Any, p: Any, weight: Any, kernel: tuple[int, ...]
) -> tuple[str, float | None, tuple[float, ...] | None]:
    """The kind, the power and the weights, each in the one way in which it is kept."""
    if statistic not in STATISTICS:
        raise SettingError("pooling statistic", got=repr(statistic), expected=f"one of {', '.join(STATISTICS)}")
    if (weight is None) == (statistic == "weighted"):
        got = f'statistic="{statistic}" ' + ("without a weight" if weight is None else "with a weight")
        raise SettingError("weight of a pooling", got=got, expected='one with statistic="weighted", and only there')
    if (p is None) == (statistic == "lp") and not (statistic == "l2" and p == 2):
        got = f'statistic="{statistic}" ' + ("without p" if p is None else f"with p={p}")
        raise SettingError("p of a pooling", got=got, expected='a number > 0 with statistic="lp", and only there')
    if statistic == "weighted":
        weights = _weights(weight, kernel)
        return ("mean", None, None) if len(set(weights)) == 1 else ("weighted", None, weights)
    return ("lp", _power(2 if p is None else p), None) if statistic in ("l2", "lp") else (statistic, None, None)


def _power(p: Any) -> float:
    value = plain(p)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
        fix = 'Use statistic="max" for the limit of large p.' if value == inf else ""
        raise SettingError("p of a pooling", got=p, expected="a number > 0", fix=fix)
    return float(value)


def _weights(weight: Any, kernel: tuple[int, ...]) -> tuple[float, ...]:
    """One weight for each sample of a window, in the order of memory, as given."""
    rows = {"binomial": binomial, "gaussian": gaussian}
    if isinstance(weight, str) and weight not in rows:
        raise SettingError("weight of a pooling", got=repr(weight), expected=f"an array, or {' or '.join(rows)}")
    try:
        if isinstance(weight, str):
            found = reduce(np.multiply.outer, [np.array(rows[weight](size)) for size in kernel])
        else:
            found = _product(plain(weight), kernel)
        if found.shape != kernel:
            raise ValueError("another shape")
    except (TypeError, ValueError) as error:
        got = f"shape {np.shape(weight)}" if np.ndim(weight) else repr(weight)
        raise SettingError("weight of a pooling", got=got, expected=f"numbers of shape {kernel}") from error
    if not np.isfinite(found).all() or abs(found.sum()) <= EXACT * abs(found).sum():
        raise SettingError("weight of a pooling", got=f"a sum of {found.sum():g}", expected="a sum other than 0")
    return tuple(found.reshape(-1).tolist())


def _product(given: Any, kernel: tuple[int, ...]) -> np.ndarray:
    """An array of the window's shape, or the product of a row for each axis, or of one row for all of them."""
    rows = [np.asarray(row, dtype=float) for row in given] if isinstance(given, list) else []
    is_table = all(row.shape == kernel[1:] for row in rows) and len(rows) == kernel[0]  # a window with two axes
    if len(kernel) > 1 and not is_table and tuple(row.shape for row in rows) == tuple((size,) for size in kernel):
        return reduce(np.multiply.outer, rows)
    found = np.asarray(given, dtype=float)
    return reduce(np.multiply.outer, [found] * len(kernel)) if found.ndim == 1 < len(kernel) else found


def binomial(size: int) -> tuple[float, ...]:
    """Weights of repeated averages of two neighbours.

    >>> binomial(4)
    (1.0, 3.0, 3.0, 1.0)
    """
    return tuple(float(comb(size - 1, tap)) for tap in range(size))


def gaussian(size: int) -> tuple[float, ...]:
    """Weights of a normal distribution as wide as the window asks for, by OpenCV's rule for sigma.

    >>> [round(weight, 3) for weight in gaussian(3)]
    [0.458, 1.0, 0.458]
    """
    middle = (size - 1) / 2
    sigma = 0.3 * (middle - 1) + 0.8
    return tuple(exp(-((tap - middle) ** 2) / (2 * sigma**2)) for tap in range(size))


@lru_cache(maxsize=256)
def _factors(weights: tuple[float, ...], kernel: tuple[int, ...]) -> tuple[tuple[float, ...], ...] | None:
    values = np.reshape(weights, kernel)
    peak = np.unravel_index(abs(values).argmax(), kernel)
    lines = [values[(*peak[:axis], slice(None), *peak[axis + 1 :])] for axis in range(len(kernel))]
    lines = [line / values[peak] if axis else line for axis, line in enumerate(lines)]
    exact = abs(reduce(np.multiply.outer, lines) - values).max() <= 4 * EXACT * abs(values).max()
    return tuple(tuple(line.tolist()) for line in lines) if exact else None
