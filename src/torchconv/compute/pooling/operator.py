"""The one door to computing a pooling: differentiable, for every description, on every device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...description import shapes
from ...description.axis import Axis
from ...description.connections import Connections
from ...description.convolution import Convolution
from ...description.pooling import Pooling
from ...errors import SettingError, ShapeError
from .. import layouts
from ..native import loader
from ..native.loader import TYPES
from ..native.pooling import PlacedWindows
from ..operator import Operator
from ..planning import machine
from ..tensors import THREAD, check_tensors, has_numbers, recording
from . import torch_backend
from .autograd import WindowMax, WindowNorm, WindowSum, applied, needs_gradient

MOST_KNOWN = 256  # sizes for which preparations are kept
POWERS = (1, 2, 3, 4)  # that the kernels have
WHOLE = 1e-14  # by which sums of weights may differ that were added in another order


class PoolOperator:
    """A described pooling on tensors (batch, channels, *size), or without a batch.

    Computed by the C++ kernels on a processor where they are faster, and by torch's functions everywhere else.
    """

    def __init__(self, pooling: Pooling) -> None:
        self.pooling = pooling
        self._known: dict[tuple[int, ...], PlacedWindows] = {}
        self._direct: dict[tuple[torch.Size, bool], Callable[[Tensor], Tensor]] = {}  # torch's own
        self._convolutions: dict[tuple, tuple[Operator, Tensor, Tensor | None]] = {}

    def __reduce__(self):
        return PoolOperator, (self.pooling,)

    def __call__(self, x: Tensor) -> Tensor:
        if recording():  # follows what is prepared too, and must see no store
            self._check(x)
            return self._pooled(x)
        observer = THREAD.observer
        direct = self._direct.get((x.shape, needs_gradient(x))) if observer is None and isinstance(x, Tensor) else None
        if direct is not None:
            return direct(x)
        self._check(x)
        if x.ndim == self.pooling.ndim + 1:
            return self(x.unsqueeze(0)).squeeze(0)
        if observer is None:
            return self._prepared(x)
        from ...network.pooling import PoolWindows  # here, because who traces nothing need not wait for networks

        return observer.whole(PoolWindows(self.pooling), [x], self)

    def _prepared(self, x: Tensor) -> Tensor:
        size = tuple(x.shape[2:])
        if size not in self._known:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
                self._direct.clear()
            self.pooling.output_size(size)  # raises where no window fits
            self._known[size] = PlacedWindows(self.pooling, size)
        small = self._few(x) or not self._known[size].fits(x)
        bound = torch_backend.bound(self.pooling, size) if small and type(x) is Tensor else None
        if bound is not None and len(self._direct) < MOST_KNOWN:
            self._direct[x.shape, needs_gradient(x)] = bound
        return self._pooled(x)

    def _check(self, x: Tensor) -> None:
        check_tensors(input=x)
        ndim, pooling = self.pooling.ndim, self.pooling
        if x.ndim not in (ndim + 1, ndim + 2):
            sizes = ", ".join(["batch", "channels", *["size"] * ndim])
            raise ShapeError(f"input of pooling {pooling}", got=f"shape {tuple(x.shape)}", expected=f"({sizes})")
        if x.is_complex() or not (x.is_floating_point() or pooling.kind == "max"):
            raise SettingError(f"input of pooling {pooling}", got=f"{x.dtype}", expected="real numbers with fractions")

    def _pooled(self, x: Tensor) -> Tensor:
        if x.ndim == self.pooling.ndim + 1:
            return self._pooled(x.unsqueeze(0)).squeeze(0)
        kind, kernels = self.pooling.kind, self._by_kernels(x)
        if kind == "max":
            return applied(WindowMax, x, self._windows(x)) if kernels else torch_backend.largest(x, self.pooling)
        if kind == "lp":
            if kernels and self.pooling.p in POWERS:
                return applied(WindowNorm, x, self._windows(x))
            return torch_backend.norm(x, self.pooling, self._total)
        if kernels:
            return applied(WindowSum, x, self._windows(x))
        if kind == "weighted" and not recording() and has_numbers(x):
            return self._convolved(x)
        return torch_backend.average(x, self.pooling)

    def _by_kernels(self, x: Tensor) -> bool:
        """Whether the kernels take such a tensor, and are faster than torch's functions."""
        if recording() or not x.is_cpu or x.dtype not in TYPES or self._few(x):
            return False
        if not self._windows(x).fits(x) or not loader.available():
            return False
        if self.pooling.kind == "max" and self.pooling.count_include_pad:
            return False  # zeros among the data
        return has_numbers(x) and not layouts.channels_last(x)

    def _few(self, x: Tensor) -> bool:
        if self.pooling.kind == "max" and self.pooling.ndim == 1 and not needs_gradient(x):
            return True  # torch has a kernel for just that, which keeps no places
        return x.numel() < machine.POOL_FEW.get(self.pooling.kind, (0, 0))[needs_gradient(x)]

    def _windows(self, x: Tensor) -> PlacedWindows:
        return self._known[tuple(x.shape[2:])]

    def _total(self, x: Tensor) -> Tensor:
        """The sum of every window."""
        if self._by_kernels(x):
            return applied(WindowSum, x, self._windows(x))
        return torch_backend.total(x, self.pooling)

    def _convolved(self, x: Tensor) -> Tensor:
        """The weighted average of every window, as a convolution of each channel alone."""
        key = (*x.shape[1:], x.dtype, x.device)
        if key not in self._convolutions:
            if len(self._convolutions) >= MOST_KNOWN:
                self._convolutions.clear()
            self._convolutions[key] = self._as_convolution(x)
        operator, weight, scale = self._convolutions[key]
        y = operator(x, weight)
        return y if scale is None else y * scale

    def _as_convolution(self, x: Tensor) -> tuple[Operator, Tensor, Tensor | None]:
        """The convolution, its weights, and what outputs are multiplied with whose windows lack some of the data."""
        channels, *size = x.shape[1:]
        axes = zip(self.pooling.axes, size, strict=True)
        placed = (Axis(axis.kernel, axis.stride, axis.dilation, shapes.padding(axis, n)) for axis, n in axes)
        operator = Operator(Convolution.of_parts(Connections.of(channels, channels, channels), tuple(placed)))
        weight = torch.as_tensor(self.pooling.full_weight())
        weight = weight / weight.sum()
        sums = torch_backend.divisor(torch.empty(1, 1, *size, dtype=torch.float64), self.pooling)
        sums = sums / float(self.pooling.full_weight().sum())
        whole = bool((sums - 1).abs().max() < WHOLE)
        kept = {"dtype": x.dtype, "device": x.device}
        return operator, weight.expand(channels, 1, *weight.shape).to(**kept), None if whole else (1 / sums).to(**kept)
