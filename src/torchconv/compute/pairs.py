"""Pairs of places within a window of each other: what passes between them, and what they have in common.

An unshared convolution whose weights are symmetric, w(i, j) = w(j, i), and the same for all channels, needs each weight
once: `weights` is (batch, taps, *size) for the later half of the window's taps, and holds w(i, i + t) at place i. Then

    messages(weights, x)[i] = sum over j of w(i, j) x[j]        products(a, b)[i, j] = a[i] b[j] + a[j] b[i], summed
    distances(x)[i, j] = |x[i] - x[j]|^2                        over channels

are closed under differentiation: <g, messages(w, x)> is linear in each of the three, and so on. x: (batch, channels,
*size). Nothing comes from outside of the image, and no place is in a pair with itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .autograd import is_batched_gradient
from .native import pairs as native
from .native.loader import register
from .tensors import THREAD

Slices = tuple[slice, ...]


@dataclass(frozen=True)
class PairWindow:
    """The odd size of a window on each axis, and the samples between neighbouring taps."""

    size: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def taps(self) -> int:
        """How many pairs begin at a place."""
        return (prod(self.size) - 1) // 2

    def offsets(self) -> list[tuple[int, ...]]:
        """From the first place of a pair to its second, in samples, tap by tap."""
        axes = zip(self.size, self.dilation, strict=True)
        every = product(*([step * (tap - size // 2) for tap in range(size)] for size, step in axes))
        return list(every)[self.taps + 1 :]

    def places(self, size: Sequence[int]) -> Iterator[tuple[Slices, Slices]]:
        """The first and the second places of all pairs of an image, tap by tap."""
        for offset in self.offsets():
            axes = list(zip(offset, size, strict=True))
            first = tuple(slice(max(-by, 0), max(length - max(by, 0), max(-by, 0))) for by, length in axes)
            yield first, tuple(slice(one.start + by, one.stop + by) for one, by in zip(first, offset, strict=True))


def messages(weights: Tensor, x: Tensor, window: PairWindow) -> Tensor:
    """To every place the sum over its pairs of weight times the other place's numbers, (batch, channels, *size)."""
    if _followed_by_torch(weights, x):
        return _messages_by_torch(weights, x, window.size, window.dilation)
    return PairMessages.apply(weights, x, window)  # type: ignore[return-value]


def products(a: Tensor, b: Tensor, window: PairWindow) -> Tensor:
    """For every pair the sum over channels of a at one place times b at the other, both ways, (batch, taps, *size)."""
    if _followed_by_torch(a, b):
        return _products_by_torch(a, b, window.taps, window.size, window.dilation)
    return PairProducts.apply(a, b, window)  # type: ignore[return-value]


def distances(x: Tensor, window: PairWindow) -> Tensor:
    """For every pair the squared distance of its places' numbers, (batch, taps, *size)."""
    if _followed_by_torch(x):
        return _distances_by_torch(x, window.taps, window.size, window.dilation)
    return PairDistances.apply(x, window)  # type: ignore[return-value]


def _followed_by_torch(*tensors: Tensor) -> bool:
    """Whether something looks at each of torch's operations, so that there is nothing of our own to be called."""
    if torch.onnx.is_in_onnx_export() or THREAD.observer is not None:
        return True
    if torch.compiler.is_compiling():
        return False
    return torch.jit.is_tracing() or any(map(is_batched_gradient, tensors))  # type: ignore[no-untyped-call]


def _together(function: Any, info: Any, in_dims: tuple, *tensors: Tensor, window: PairWindow) -> tuple[Tensor, int]:
    """Images that vmap adds join the batch."""
    each = [
        one.expand(info.batch_size, *one.shape) if dim is None else one.movedim(dim, 0)
        for one, dim in zip(tensors, in_dims, strict=False)
    ]
    return function.apply(*(one.flatten(0, 1) for one in each), window).unflatten(0, each[0].shape[:2]), 0


class _OfPairs(torch.autograd.Function):
    """Keeps its tensors for the derivatives."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        *tensors, ctx.window = inputs
        ctx.save_for_backward(*tensors)


class PairMessages(_OfPairs):
    """`messages`, and its derivatives."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple, weights: Tensor, x: Tensor, window: PairWindow) -> tuple[Tensor, int]:
        return _together(PairMessages, info, in_dims, weights, x, window=window)

    @staticmethod
    def forward(weights: Tensor, x: Tensor, window: PairWindow) -> Tensor:  # type: ignore[override]
        return _MESSAGES(weights, x, window.size, window.dilation)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:  # type: ignore[override]
        (weights, x), (first, second, _) = ctx.saved_tensors, ctx.needs_input_grad
        return (
            products(grad, x, ctx.window) if first else None,
            messages(weights, grad, ctx.window) if second else None,
            None,
        )


class PairProducts(_OfPairs):
    """`products`, and its derivatives."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple, a: Tensor, b: Tensor, window: PairWindow) -> tuple[Tensor, int]:
        return _together(PairProducts, info, in_dims, a, b, window=window)

    @staticmethod
    def forward(a: Tensor, b: Tensor, window: PairWindow) -> Tensor:  # type: ignore[override]
        return _PRODUCTS(a, b, window.taps, window.size, window.dilation)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:  # type: ignore[override]
        (a, b), (first, second, _) = ctx.saved_tensors, ctx.needs_input_grad
        return (
            messages(grad, b, ctx.window) if first else None,
            messages(grad, a, ctx.window) if second else None,
            None,
        )


class PairDistances(_OfPairs):
    """`distances`, and its derivatives."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple, x: Tensor, window: PairWindow) -> tuple[Tensor, int]:
        return _together(PairDistances, info, in_dims, x, window=window)

    @staticmethod
    def forward(x: Tensor, window: PairWindow) -> Tensor:  # type: ignore[override]
        return _DISTANCES(x, window.taps, window.size, window.dilation)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        total = messages(grad, torch.ones_like(x[:, :1]), ctx.window)
        return 2 * (x * total - messages(grad, x, ctx.window)), None


def _messages(weights: Tensor, x: Tensor, window: Sequence[int], dilation: Sequence[int]) -> Tensor:
    if native.declines(x) is None and len(x):
        return native.messages(weights, x, window, dilation)
    return _messages_by_torch(weights, x, window, dilation)


def _products(a: Tensor, b: Tensor, taps: int, window: Sequence[int], dilation: Sequence[int]) -> Tensor:
    if native.declines(a) is None and len(a):
        return native.products(a, b, taps, window, dilation)
    return _products_by_torch(a, b, taps, window, dilation)


def _distances(x: Tensor, taps: int, window: Sequence[int], dilation: Sequence[int]) -> Tensor:
    if native.declines(x) is None and len(x):
        return native.distances(x, taps, window, dilation)
    return _distances_by_torch(x, taps, window, dilation)


def _messages_by_torch(weights: Tensor, x: Tensor, window: Sequence[int], dilation: Sequence[int]) -> Tensor:
    y = torch.zeros_like(x if weights.shape[1] == 0 else x * weights[:, :1])
    for tap, (first, second) in enumerate(PairWindow(tuple(window), tuple(dilation)).places(x.shape[2:])):
        weight = weights[:, tap, None][(..., *first)]
        y[(..., *first)] += weight * x[(..., *second)]
        y[(..., *second)] += weight * x[(..., *first)]
    return y


def _products_by_torch(a: Tensor, b: Tensor, taps: int, window: Sequence[int], dilation: Sequence[int]) -> Tensor:
    return _compared(
        lambda one, other: (a[one] * b[other] + a[other] * b[one]).sum(1), a, PairWindow(tuple(window), tuple(dilation))
    )


def _distances_by_torch(x: Tensor, taps: int, window: Sequence[int], dilation: Sequence[int]) -> Tensor:
    return _compared(
        lambda one, other: (x[one] - x[other]).square().sum(1), x, PairWindow(tuple(window), tuple(dilation))
    )


def _compared(measure: Callable[[tuple, tuple], Tensor], x: Tensor, window: PairWindow) -> Tensor:
    """What the places of pairs have in common, with zeros where a window is cut off at the border."""
    size, found = x.shape[2:], []
    for first, second in window.places(size):
        pads = [(one.start, length - one.stop) for one, length in zip(first, size, strict=True)]
        common = measure((..., *first), (..., *second))
        if min(map(min, pads)) < 0:  # a tap longer than the image
            common, pads = torch.zeros_like(x[:, 0]), []
        found.append(F.pad(common, [side for pair in reversed(pads) for side in pair]) if pads else common)
    return torch.stack(found, 1) if found else x[:, :0]


_EVERYWHERE = "CompositeExplicitAutograd"  # by the kernels on processors, and by torch on any other device
_WINDOW = "SymInt[] window, SymInt[] dilation"
_MESSAGES = register(
    f"pair_messages(Tensor weights, Tensor x, {_WINDOW}) -> Tensor",
    _messages,
    lambda weights, x, *_: torch.empty_like(x, memory_format=torch.contiguous_format),
    _EVERYWHERE,
)
_PRODUCTS = register(
    f"pair_products(Tensor a, Tensor b, SymInt taps, {_WINDOW}) -> Tensor",
    _products,
    lambda a, b, taps, *_: a.new_empty(a.shape[0], taps, *a.shape[2:]),
    _EVERYWHERE,
)
_DISTANCES = register(
    f"pair_distances(Tensor x, SymInt taps, {_WINDOW}) -> Tensor",
    _distances,
    lambda x, taps, *_: x.new_empty(x.shape[0], taps, *x.shape[2:]),
    _EVERYWHERE,
)
