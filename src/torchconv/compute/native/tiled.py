"""Tiled convolution in one to three dimensions by the C++ kernels: output p uses kernel p % period on each axis.

Tensors are (batch, channels, *size), weights (*period, out, in // groups, *kernel), contiguous. `low` is what stands
before the first sample; what stands after the last one follows from the output's size.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from . import unshared
from .library import call, register

Sizes = Sequence[int]


class Problem(unshared.Problem):
    """`Tiled` of csrc/interface.h."""

    _fields_: ClassVar = [("period", ctypes.c_int64 * unshared.AXES)]


def _problem(x: Tensor, y: Tensor, period: Sizes, *settings) -> Problem:
    local = unshared.problem(x, y, *settings)
    fields = (getattr(local, name) for name, *_ in unshared.Problem._fields_)
    return Problem(*fields, (ctypes.c_int64 * unshared.AXES)(*[1] * (unshared.AXES - len(period)), *period))


def _empty_output(x: Tensor, weight: Tensor, size: Sizes, *settings) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[x.ndim - 2], *size)


def _output(x: Tensor, weight: Tensor, size: Sizes, *settings) -> Tensor:
    y = _empty_output(x, weight, size)
    x, weight = x.contiguous(), weight.contiguous()
    call("torchconv_tiled_output", _problem(x, y, weight.shape[: x.ndim - 2], *settings), x, weight, y)
    return y


def _empty_input(grad: Tensor, weight: Tensor, size: Sizes, *settings) -> Tensor:
    return grad.new_empty(grad.shape[0], weight.shape[grad.ndim - 1] * settings[-1], *size)


def _input_grad(grad: Tensor, weight: Tensor, size: Sizes, *settings) -> Tensor:
    x = _empty_input(grad, weight, size, *settings)
    grad, weight = grad.contiguous(), weight.contiguous()
    call("torchconv_tiled_input", _problem(x, grad, weight.shape[: x.ndim - 2], *settings), grad, weight, x)
    return x


def _empty_weight(x: Tensor, grad: Tensor, period: Sizes, kernel: Sizes, *settings) -> Tensor:
    return x.new_empty(*period, grad.shape[1], x.shape[1] // settings[-1], *kernel)


def _weight_grad(x: Tensor, grad: Tensor, period: Sizes, *settings) -> Tensor:
    weight = _empty_weight(x, grad, period, *settings)
    x, grad = x.contiguous(), grad.contiguous()
    call("torchconv_tiled_weight", _problem(x, grad, period, *settings), x, grad, weight)
    return weight


output = register(
    f"tiled_output(Tensor x, Tensor weight, SymInt[] size, {unshared.SETTINGS}) -> Tensor", _output, _empty_output
)
input_grad = register(
    f"tiled_input_grad(Tensor grad, Tensor weight, SymInt[] size, {unshared.SETTINGS}) -> Tensor",
    _input_grad,
    _empty_input,
)
weight_grad = register(
    f"tiled_weight_grad(Tensor x, Tensor grad, SymInt[] period, {unshared.SETTINGS}) -> Tensor",
    _weight_grad,
    _empty_weight,
)
