"""Derivatives of any order for algorithms that torch does not differentiate by itself.

<grad, conv(x, weight)> is linear in each of the three. Its derivatives by grad, by x and by weight are the three
operations of a convolution; the derivative of any of them is another one. So one function with three roles is closed
under differentiation, and each role is computed by the algorithm's own operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..description import shapes
from ..description.convolution import Convolution
from .planning.choose import Choice
from .tensors import INPUT, OPERANDS, OUTPUT, WEIGHT


def apply(
    role: str, choice: Choice, conv: Convolution, first: Tensor, second: Tensor, input_size: Sequence[int]
) -> Tensor:
    """One of the three operations, differentiable any number of times; operands in the order of OPERANDS."""
    if choice.differentiable:
        return compute(role, choice, conv, first, second, input_size)
    function = Trilinear if torch.compiler.is_compiling() else ForwardTrilinear
    return function.apply(first, second, role, choice, conv, tuple(input_size))  # type: ignore[return-value]


def compute(
    role: str, choice: Choice, conv: Convolution, first: Tensor, second: Tensor, input_size: Sequence[int]
) -> Tensor:
    """The operation itself, on numbers as they are in memory: conjugate and negative views are carried out."""
    if first.shape[0] == 0 and not torch.compiler.is_compiling():
        return _of_no_images(role, conv, first, input_size)
    first, second = (operand.resolve_conj().resolve_neg() for operand in (first, second))
    algorithm = choice[role]
    if role == OUTPUT:
        return algorithm.output(conv, first, second)
    if role == INPUT:
        return algorithm.input_grad(conv, first, second, input_size)
    return algorithm.weight_grad(conv, first, second)


def _of_no_images(role: str, conv: Convolution, first: Tensor, input_size: Sequence[int]) -> Tensor:
    """The result for an empty batch, which algorithms need not know about."""
    outputs = shapes.output_sizes(conv.axes, input_size)
    if role == WEIGHT:
        return first.new_zeros(shapes.weight_shape(conv.axes, conv.channels, conv.sharing, outputs))
    return first.new_zeros(0, *((conv.out_channels, *outputs) if role == OUTPUT else (conv.in_channels, *input_size)))


class Trilinear(torch.autograd.Function):
    """A role, and its derivatives by the same function in other roles."""

    @staticmethod
    def forward(  # type: ignore[override]
        first: Tensor, second: Tensor, role: str, choice: Choice, conv: Convolution, input_size: tuple[int, ...]
    ) -> Tensor:
        return compute(role, choice, conv, first, second, input_size)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        first, second, ctx.role, ctx.choice, ctx.conv, ctx.input_size = inputs
        ctx.save_for_backward(first, second)
        ctx.save_for_forward(first, second)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple:  # type: ignore[override]
        names = OPERANDS[ctx.role]
        values = {ctx.role: cotangent, **dict(zip(names, (saved.conj() for saved in ctx.saved_tensors), strict=True))}
        grads = []
        for name, needed in zip(names, ctx.needs_input_grad, strict=False):
            first, second = (values[operand] for operand in OPERANDS[name])
            grads.append(apply(name, ctx.choice, ctx.conv, first, second, ctx.input_size) if needed else None)
        return *grads, None, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple, first: Tensor, second: Tensor, role: str, *rest: Any) -> tuple[Tensor, int]:
        """Images that vmap adds join the batch; weights that it adds are taken one after another."""
        choice, conv, input_size = rest
        first_dim, second_dim = in_dims[:2]
        if role != WEIGHT and second_dim is None:
            images = first.movedim(first_dim, 0)
            result = apply(role, choice, conv, images.flatten(0, 1), second, input_size)
            return result.reshape(*images.shape[:2], *result.shape[1:]), 0
        each = []
        for number in range(info.batch_size):
            one = first if first_dim is None else first.select(first_dim, number)
            other = second if second_dim is None else second.select(second_dim, number)
            each.append(apply(role, choice, conv, one, other, input_size))
        return torch.stack(each), 0


class ForwardTrilinear(Trilinear):
    """The same with forward-mode derivatives, which torch's compiler does not follow."""

    @staticmethod
    def jvp(ctx: Any, first_tangent: Tensor | None, second_tangent: Tensor | None, *_: Any) -> Tensor:  # type: ignore[override]
        first, second = ctx.saved_tensors
        pairs = ((first_tangent, second), (first, second_tangent))
        terms = [
            apply(ctx.role, ctx.choice, ctx.conv, a, b, ctx.input_size)
            for a, b in pairs
            if a is not None and b is not None
        ]
        return terms[0] if len(terms) == 1 else terms[0] + terms[1]
