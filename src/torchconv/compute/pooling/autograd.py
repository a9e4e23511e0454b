"""Derivatives of any order for the C++ kernels of pooling.

A weighted sum is linear, and its adjoint too: each is the derivative of the other. The largest of a window is the
number at one place, and so is its derivative: to put numbers at those places, or to pick them from there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from ..native import pooling as native
from ..native.pooling import PlacedWindows
from .torch_backend import samples


def needs_gradient(x: Tensor) -> bool:
    """Whether autograd will ask for one."""
    return x.requires_grad and torch.is_grad_enabled()


def applied(function: type[_Pooled], x: Tensor, windows: PlacedWindows) -> Tensor:
    """The function of x, without the cost of a node of autograd where nothing is differentiated."""
    differentiated = needs_gradient(x) or unpack_dual(x).tangent is not None
    return (function.apply if differentiated else function.forward)(x, windows)  # type: ignore[return-value]


class _Pooled(torch.autograd.Function):
    """What is not linear keeps the input and the output for its derivatives; WindowSum and WindowPick need neither."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        x, ctx.windows = inputs
        ctx.save_for_backward(x, output)
        ctx.save_for_forward(x, output)


class WindowSum(_Pooled):
    """The weighted sum of every window, or its adjoint."""

    @staticmethod
    def forward(x: Tensor, windows: PlacedWindows, adjoint: bool = False) -> Tensor:  # type: ignore[override]
        return native.window_sum_grad(x, windows) if adjoint else native.window_sum(x, windows)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        _, ctx.windows, ctx.adjoint = inputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:  # type: ignore[override]
        return WindowSum.apply(grad, ctx.windows, not ctx.adjoint), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Any:  # type: ignore[override]
        return WindowSum.apply(tangent, ctx.windows, ctx.adjoint)


class WindowMax(_Pooled):
    """The largest number of every window."""

    @staticmethod
    def forward(x: Tensor, windows: PlacedWindows) -> Tensor:  # type: ignore[override]
        return native.window_max(x, windows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:  # type: ignore[override]
        x, y = ctx.saved_tensors
        return WindowPick.apply(grad, x.detach(), y.detach(), ctx.windows, True), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Any:  # type: ignore[override]
        x, y = ctx.saved_tensors
        return WindowPick.apply(tangent, x.detach(), y.detach(), ctx.windows, False)


class WindowPick(_Pooled):
    """Numbers from where the largest of each window lies; the adjoint adds them up there."""

    @staticmethod
    def forward(values: Tensor, x: Tensor, y: Tensor, windows: PlacedWindows, adjoint: bool) -> Tensor:  # type: ignore[override]
        if adjoint:
            return native.window_max_grad(values, x, y, windows)
        pooling = windows.pooling
        real = samples(torch.ones_like(x[:1, :1]), pooling) > 0
        hits = ((samples(x, pooling) == y[..., None]) & real).int()
        return samples(values, pooling).gather(-1, hits.argmax(-1, keepdim=True)).squeeze(-1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        _, *largest, ctx.windows, ctx.adjoint = inputs
        ctx.save_for_backward(*largest)
        ctx.save_for_forward(*largest)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:  # type: ignore[override]
        return WindowPick.apply(grad, *ctx.saved_tensors, ctx.windows, not ctx.adjoint), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Any:  # type: ignore[override]
        return WindowPick.apply(tangent, *ctx.saved_tensors, ctx.windows, ctx.adjoint)


class WindowNorm(_Pooled):
    """The root of the sum of powers of every window; where that is 0, so is its derivative."""

    @staticmethod
    def forward(x: Tensor, windows: PlacedWindows) -> Tensor:  # type: ignore[override]
        return native.window_sum(x, windows, int(windows.pooling.p or 0))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:  # type: ignore[override]
        (x, y), power = ctx.saved_tensors, int(ctx.windows.pooling.p)
        each = _over(grad, y, power)
        if torch.is_grad_enabled():
            return _slope(x, power) * WindowSum.apply(each, ctx.windows, True), None
        return native.window_sum_grad(each, ctx.windows, power, x), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Any:  # type: ignore[override]
        (x, y), power = ctx.saved_tensors, int(ctx.windows.pooling.p)
        return _over(WindowSum.apply(_slope(x, power) * tangent, ctx.windows, False), y, power)


def _over(numbers: Tensor, y: Tensor, power: int) -> Tensor:
    """Divided by y^(power - 1), 0 where y is."""
    if power == 1:
        return numbers
    zero = y == 0
    return torch.where(zero, 0.0, numbers / torch.where(zero, 1.0, y).pow(power - 1))


def _slope(x: Tensor, power: int) -> Tensor:
    return x.sign() if power == 1 else x if power == 2 else x * x.abs().pow(power - 2)
