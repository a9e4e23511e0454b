"""Convolution of tensors, differentiable any number of times: the gradient of a range is another range."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .array_ops import flipped
from .ranges import ranged
from .request import Spans


def convolution(first: Tensor, second: Tensor, spans: Spans, method: str) -> Tensor:
    """`ranged` for tensors on any device; bfloat16 and float16 are computed in float32."""
    kind = first.dtype
    if kind in (torch.float16, torch.bfloat16):
        return Ranged.apply(first.float(), second.float(), spans, method).to(kind)  # type: ignore[union-attr]
    return Ranged.apply(first, second, spans, method)  # type: ignore[return-value]


class Ranged(torch.autograd.Function):
    """A range of the full convolution over the last axes, and its two gradients by the same function."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, spans: Spans, method: str) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(first, second)
        ctx.spans, ctx.method = spans, method
        one, other = (x.detach().resolve_conj().resolve_neg() for x in (first, second))
        if first.device.type != "cpu":
            return ranged(one.contiguous(), other.contiguous(), spans, method, tensors=True)
        result = ranged(one.numpy(), other.numpy(), spans, method)
        return torch.from_numpy(result)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:  # type: ignore[override]
        first, second = ctx.saved_tensors
        needs = ctx.needs_input_grad
        return (
            _towards(first, second, grad, ctx) if needs[0] else None,
            _towards(second, first, grad, ctx) if needs[1] else None,
            None,
            None,
        )


def _towards(one: Tensor, other: Tensor, grad: Tensor, ctx: Any) -> Tensor:
    """Number i of `one` meets number j of `other` in output i + j: grad is correlated with `other`."""
    ndim = len(ctx.spans)
    turned = flipped(other, range(-ndim, 0)).conj()
    spans = tuple(
        (taps - 1 - start, taps - 1 - start + size)
        for taps, size, (start, _) in zip(other.shape[-ndim:], one.shape[-ndim:], ctx.spans, strict=True)
    )
    return convolution(grad, turned, spans, ctx.method).sum_to_size(one.shape)
