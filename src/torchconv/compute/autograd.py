"""Derivatives of any order for algorithms that torch does not differentiate by itself.

<grad, conv(x, weight)> is linear in each of the three. Its derivatives by grad, by x and by weight are the three
operations of a convolution; the derivative of any of them is another one. So one function with three roles is closed
under differentiation, and each role is computed by the algorithm's own operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..description import shapes
from ..description.convolution import Convolution
from .planning.choose import Choice
from .tensors import INPUT, OPERANDS, OUTPUT, WEIGHT

_TORCH: Any = torch  # with its private functions for batched gradients, which its annotations leave out


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


def is_batched_gradient(tensor: Tensor) -> bool:
    """Whether a tensor stands for many, as torch.autograd.grad(..., is_grads_batched=True) makes them.

    Few operations know such tensors, of torch's older vmap; its newer one calls `Trilinear.vmap` instead.
    """
    return not torch.compiler.is_compiling() and _TORCH._C._functorch.is_legacy_batchedtensor(tensor)


def per_gradient(function: Callable[..., Tensor], *operands: Tensor) -> Tensor:
    """The function of each of the tensors that a batched gradient stands for, as such a tensor."""
    level = _TORCH._C._vmapmode_increment_nesting() - 1
    _TORCH._C._vmapmode_decrement_nesting()
    many = [_TORCH._remove_batch_dim(one, level, 1, 0) if is_batched_gradient(one) else None for one in operands]
    count = next(len(one) for one in many if one is not None)
    each = [
        function(*(one if batch is None else batch[number] for one, batch in zip(operands, many, strict=True)))
        for number in range(count)
    ]
    return _TORCH._add_batch_dim(torch.stack(each), 0, level)


class Trilinear(torch.autograd.Function):
    """A role, and its derivatives by the same function in other roles."""

    @staticmethod
    def forward(  # type: ignore[override]
        first: Tensor, second: Tensor, role: str, choice: Choice, conv: Convolution, input_size: tuple[int, ...]
    ) -> Tensor:
        if any(map(is_batched_gradient, (first, second))):
            return per_gradient(lambda a, b: apply(role, choice, conv, a, b, input_size), first, second)
        result = compute(role, choice, conv, first, second, input_size)
        # A view of what only this function knows can be given no tangent: torch fails an assertion of its own.
        return result.data if not torch.compiler.is_compiling() and result._is_view() else result

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
