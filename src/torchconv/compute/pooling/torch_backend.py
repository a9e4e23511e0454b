"""Pooling by torch's functions, which every device has, and compilers, exporters and vmap follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from math import inf, prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...description import shapes
from ...description.pooling import Pooling
from .. import padding as borders
from ..tensors import autocast_dtype


def _avg_pool3d(x: Tensor, *settings: Any) -> Tensor:
    """torch's own, which has no kernel for narrow numbers on processors: there they are added up in float32."""
    if x.is_cpu and x.dtype in (torch.bfloat16, torch.float16):
        return F.avg_pool3d(x.float(), *settings).to(x.dtype)
    return F.avg_pool3d(x, *settings)


_MAX = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
_MEAN = (F.avg_pool1d, F.avg_pool2d, _avg_pool3d)
_CONV = (F.conv1d, F.conv2d, F.conv3d)
LARGE_POWER = 4  # up to which the powers of usual numbers stay within float32
Pairs = list[tuple[int, int]]


class Geometry:
    """A pooling's settings on one input, as torch's functions take them.

    open: whether how much padding there is may be a symbol, so that nothing is decided by it.
    """

    def __init__(self, pooling: Pooling, size: Sequence[int]) -> None:
        axes, self.size = pooling.axes, tuple(size)
        self.pooling = pooling
        self.kernel = pooling.kernel_size
        self.stride = tuple(axis.stride for axis in axes)
        self.dilation = tuple(axis.dilation for axis in axes)
        self.pads: Pairs = [shapes.padding(axis, size) for axis, size in zip(axes, self.size, strict=True)]
        self.open = borders.follows_size(axes)
        given = (pad if axis.padding == "same" else axis.padding for axis, pad in zip(axes, self.pads, strict=True))
        self.given: Pairs = list(given)  # without what rounding up adds  # type: ignore[arg-type]
        self.rounded = [pad != own for pad, own in zip(self.pads, self.given, strict=True)]

    @property
    def own(self) -> tuple[tuple[int, ...], bool] | None:
        """Padding and ceil_mode with which torch makes the same windows itself, or None."""
        if self.open:
            return None
        flat = self.pooling.ndim < 3  # torch's means in three dimensions leave the padding out of account
        fits = (
            low == high and 0 <= low <= axis.kernel // 2 and size + 2 * low * flat >= axis.span
            for (low, high), axis, size in zip(self.given, self.pooling.axes, self.size, strict=True)
        )
        ceil = all(axis.ceil or axis.stride == 1 for axis in self.pooling.axes) or not any(self.rounded)
        return (tuple(low for low, _ in self.given), any(self.rounded)) if ceil and all(fits) else None

    def padded(self, x: Tensor, value: float = 0.0, given: float | None = None) -> Tensor:
        """With `value` all around, and on padding that was given with `given`, if that is another one."""
        if self.open:  # nothing may depend on how many samples it is
            sides = [side for pair in reversed(self.pads) for side in pair]
            return F.pad(x, sides, value=value if given is None else given)
        if given is None:
            return _filled(x, self.pads, value)
        more = [(0, pad[1] - own[1]) for own, pad in zip(self.given, self.pads, strict=True)]
        return _filled(_filled(x, self.given, given), more, value)


def _filled(x: Tensor, pairs: Pairs, value: float) -> Tensor:
    """Samples added around, or cut off where negative."""
    if value == 0:
        return borders.pad(x, pairs)
    sides = [side for pair in reversed(pairs) for side in pair]
    return F.pad(x, sides, value=value) if any(sides) else x


def bound(pooling: Pooling, size: Sequence[int]) -> Callable[[Tensor], Tensor] | None:
    """Torch's own function that does it all on inputs of this size, with its settings; None where there is none."""
    found = Geometry(pooling, size)
    if found.own is None or pooling.weights is not None or pooling.kind == "lp":
        return None
    (padding, ceil), kernel, stride = found.own, found.kernel, found.stride
    if pooling.kind == "max" and not pooling.count_include_pad:
        pool, dilation = _MAX[pooling.ndim - 1], found.dilation
        return lambda x: pool(x, kernel, stride, padding, dilation, ceil)
    if pooling.kind == "mean" and max(found.dilation) == 1:
        mean, counts = _MEAN[pooling.ndim - 1], pooling.count_include_pad
        return lambda x: mean(x, kernel, stride, padding, ceil, counts)
    return None


def largest(x: Tensor, pooling: Pooling) -> Tensor:
    """The largest number of every window."""
    if (own := bound(pooling, x.shape[2:])) is not None:
        return own(x)
    found = Geometry(pooling, x.shape[2:])
    least = -inf if x.is_floating_point() else torch.iinfo(x.dtype).min
    x = found.padded(x, least, 0.0 if pooling.count_include_pad else None)
    return _MAX[pooling.ndim - 1](x, found.kernel, found.stride, 0, found.dilation)


def average(x: Tensor, pooling: Pooling) -> Tensor:
    """The mean, or the weighted average, of every window."""
    own = bound(pooling, x.shape[2:])
    return total(x, pooling) / divisor(x, pooling) if own is None else own(x)


def divisor(x: Tensor, pooling: Pooling) -> Tensor:
    """The sum of the weights that count, (1, 1, *output size)."""
    found = Geometry(pooling, x.shape[2:])
    ones = x.new_ones(1, 1, *found.size)
    return _sums(found.padded(ones, 0.0, 1.0 if pooling.count_include_pad else None), found)


def total(x: Tensor, pooling: Pooling) -> Tensor:
    """The weighted sum of every window."""
    found = Geometry(pooling, x.shape[2:])
    x = found.padded(x)
    if pooling.weights is None and max(found.dilation) == 1:
        return _MEAN[pooling.ndim - 1](x, found.kernel, found.stride) * prod(found.kernel)
    planes = _sums(x.flatten(0, 1).unsqueeze(1), found)
    return planes.reshape(*x.shape[:2], *planes.shape[2:])


def convolved(x: Tensor, weight: Tensor, pooling: Pooling) -> Tensor:
    """The sum of every window with weights for each channel, (channels, 1, *kernel_size)."""
    found = Geometry(pooling, x.shape[2:])
    settings = found.stride, 0, found.dilation, weight.shape[0]
    return _CONV[pooling.ndim - 1](found.padded(x), weight, None, *settings)


def norm(
    x: Tensor, pooling: Pooling, sum_of: Callable[[Tensor], Tensor], samples_of: Callable[..., Tensor] | None = None
) -> Tensor:
    """The p-th root of the sum of |x|^p of every window; where that is 0, so is its derivative.

    sum_of: the sum of every window; samples_of: its samples along a new last axis.

    Large powers would become too large or too small, so there each window is divided by its largest number before.
    """
    p = float(pooling.p or 0)
    if p <= LARGE_POWER:
        return _root(sum_of(_power(x, p)), p)
    windows = samples(x, pooling) if samples_of is None else samples_of(x)
    largest = torch.nan_to_num(windows.detach(), nan=0.0, posinf=0.0, neginf=0.0).abs().amax(-1, keepdim=True)
    scale = torch.where(largest > 0, largest, 1.0)
    return scale.squeeze(-1) * _root(_power(windows / scale, p).sum(-1), p)


def _power(x: Tensor, p: float) -> Tensor:
    """|x|^p, whose derivative at 0 is 0 for every p."""
    if p >= 1:
        return x.abs() if p == 1 else x * x if p == 2 else x.abs().pow(p)
    zero = x == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, x).abs().pow(p))


def _root(x: Tensor, p: float) -> Tensor:
    if p == 1:
        return x
    zero = x == 0
    safe = torch.where(zero, 1.0, x)
    return torch.where(zero, 0.0, safe.sqrt() if p == 2 else safe.pow(1 / p))


def _sums(x: Tensor, found: Geometry) -> Tensor:
    """Of tensors (planes, 1, *padded size)."""
    weight = torch.as_tensor(found.pooling.full_weight(), dtype=x.dtype, device=x.device)[None, None]
    off = nullcontext() if autocast_dtype(x.device.type) is None else torch.autocast(x.device.type, enabled=False)
    with off:  # pooling keeps the type of its input
        return _CONV[found.pooling.ndim - 1](x, weight, None, found.stride, 0, found.dilation)


def samples(x: Tensor, pooling: Pooling) -> Tensor:
    """The samples of every window, side by side along a new last axis, zeros for padding."""
    x = Geometry(pooling, x.shape[2:]).padded(x)
    for number, axis in enumerate(pooling.axes, 2):
        x = x.unfold(number, axis.span, axis.stride)[..., :: axis.dilation]
    return x.flatten(2 + pooling.ndim)
