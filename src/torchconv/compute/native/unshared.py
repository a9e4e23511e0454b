"""Unshared convolution in one to three dimensions by the C++ kernels: every output position has a kernel of its own.

Tensors are (batch, channels, *size), weights (*outputs, out, in // groups, *kernel), contiguous. `low` is what stands
before the first sample; what stands after the last one follows from the outputs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from ..tensors import large_like
from .library import TYPES, call, register

AXES = 3  # of the kernels; fewer ones are the last of these
SETTINGS = "SymInt[] kernel, SymInt[] stride, SymInt[] dilation, SymInt[] low, SymInt groups"
Sizes = Sequence[int]


class Problem(ctypes.Structure):
    """`Local` of csrc/interface.h."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("type", "threads", "batch", "groups", "inputs", "outputs")),
        *((name, ctypes.c_int64 * AXES) for name in ("size", "output_size", "kernel", "stride", "dilation", "low")),
    ]


def problem(x: Tensor, y: Tensor, kernel: Sizes, stride: Sizes, dilation: Sizes, low: Sizes, groups: int) -> Problem:
    """x and y: tensors of the input's and of the output's shape."""
    channels = (x.shape[1] // groups, y.shape[1] // groups)
    per_axis = ((x.shape[2:], 1), (y.shape[2:], 1), (kernel, 1), (stride, 1), (dilation, 1), (low, 0))
    triples = ((*[least] * (AXES - len(values)), *values) for values, least in per_axis)
    axes = ctypes.c_int64 * AXES
    return Problem(
        TYPES[x.dtype], torch.get_num_threads(), len(x), groups, *channels, *(axes(*triple) for triple in triples)
    )


def _empty_output(x: Tensor, weight: Tensor, *settings: object) -> Tensor:
    ndim = x.ndim - 2
    return x.new_empty(x.shape[0], weight.shape[ndim], *weight.shape[:ndim])


def _output(x: Tensor, weight: Tensor, *settings) -> Tensor:
    y = _empty_output(x, weight)
    x, weight = x.contiguous(), weight.contiguous()
    call("torchconv_unshared_output", problem(x, y, *settings), x, weight, y)
    return y


def _empty_input(grad: Tensor, weight: Tensor, size: Sizes, *settings) -> Tensor:
    return grad.new_empty(grad.shape[0], weight.shape[grad.ndim - 1] * settings[-1], *size)


def _input_grad(grad: Tensor, weight: Tensor, size: Sizes, *settings) -> Tensor:
    grad, weight = grad.contiguous(), weight.contiguous()
    wide = torch.float32 if grad.dtype == torch.bfloat16 else grad.dtype
    x = torch.zeros_like(_empty_input(grad, weight, size, *settings), dtype=wide)
    local = problem(x, grad, *settings)
    local.type = TYPES[grad.dtype]
    call("torchconv_unshared_input", local, grad, weight, x)
    return x.to(grad.dtype)


def _weight_shape(x: Tensor, grad: Tensor, kernel: Sizes, groups: int) -> tuple[int, ...]:
    return (*grad.shape[2:], grad.shape[1], x.shape[1] // groups, *kernel)


def _weight_grad(x: Tensor, grad: Tensor, kernel: Sizes, *settings) -> Tensor:
    shape = _weight_shape(x, grad, kernel, settings[-1])
    memory = large_like(shape, x)
    weight = x.new_empty(shape) if memory is None else memory
    x, grad = x.contiguous(), grad.contiguous()
    call("torchconv_unshared_weight", problem(x, grad, kernel, *settings), x, grad, weight)
    return weight


output = register(f"unshared_output(Tensor x, Tensor weight, {SETTINGS}) -> Tensor", _output, _empty_output)
input_grad = register(
    f"unshared_input_grad(Tensor grad, Tensor weight, SymInt[] size, {SETTINGS}) -> Tensor", _input_grad, _empty_input
)
weight_grad = register(
    f"unshared_weight_grad(Tensor x, Tensor grad, {SETTINGS}) -> Tensor",
    _weight_grad,
    lambda x, grad, kernel, *settings: x.new_empty(_weight_shape(x, grad, kernel, settings[-1])),
)
