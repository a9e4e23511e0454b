"""Depthwise convolution in two dimensions by the C++ kernels: tensors (batch, channels, height, width).

Weights are (channels * multiplier, kernel height, kernel width). The padding is what stands before the first sample of
each axis; what stands after the last one follows from the sizes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from math import prod

from torch import Tensor

from ..tensors import empty_like
from .library import TYPES, call, register, threads

FIELDS = (
    *("type", "threads", "batch", "channels", "multiplier", "height", "width", "out_height", "out_width"),
    *("kernel_height", "kernel_width", "stride_height", "stride_width", "top", "left"),
)
SETTINGS = "SymInt[] stride, SymInt[] padding, SymInt[] size"
PER_BYTE, PER_PRODUCT_BYTE = 0.06, 0.005  # nanoseconds of one core, about

Sizes = Sequence[int]


class Problem(ctypes.Structure):
    """`Depthwise` of csrc/interface.h."""

    _fields_ = [(name, ctypes.c_int64) for name in FIELDS]


def _output(x: Tensor, weight: Tensor, stride: Sizes, padding: Sizes, size: Sizes) -> Tensor:
    x, weight = x.contiguous(), weight.contiguous()
    y = _empty_output(x, weight, stride, padding, size)
    call("torchconv_depthwise_output", _problem(x, y, weight.shape[1:], stride, padding), x, weight, y)
    return y


def _input_grad(grad: Tensor, weight: Tensor, stride: Sizes, padding: Sizes, size: Sizes, channels: int) -> Tensor:
    grad, weight = grad.contiguous(), weight.contiguous()
    x = _empty_input(grad, weight, stride, padding, size, channels)
    call("torchconv_depthwise_input_grad", _problem(x, grad, weight.shape[1:], stride, padding), grad, weight, x)
    return x


def _weight_grad(x: Tensor, grad: Tensor, stride: Sizes, padding: Sizes, size: Sizes) -> Tensor:
    x, grad = x.contiguous(), grad.contiguous()
    weight = _empty_weight(x, grad, stride, padding, size)
    call("torchconv_depthwise_weight_grad", _problem(x, grad, size, stride, padding), x, grad, weight)
    return weight


def _empty_output(x: Tensor, weight: Tensor, stride: Sizes, padding: Sizes, size: Sizes) -> Tensor:
    return empty_like((x.shape[0], weight.shape[0], *size), x)


def _empty_input(grad: Tensor, weight: Tensor, stride: Sizes, padding: Sizes, size: Sizes, channels: int) -> Tensor:
    return empty_like((grad.shape[0], channels, *size), grad)


def _empty_weight(x: Tensor, grad: Tensor, stride: Sizes, padding: Sizes, size: Sizes) -> Tensor:
    return x.new_empty(grad.shape[1], *size)


def _problem(x: Tensor, y: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes) -> Problem:
    batch, channels, *size = x.shape
    multiplier, bytes_ = y.shape[1] // channels, x.itemsize
    nanoseconds = bytes_ * (PER_BYTE * (x.numel() + y.numel()) + PER_PRODUCT_BYTE * y.numel() * prod(kernel))
    return Problem(
        TYPES[x.dtype],
        threads(nanoseconds),
        batch,
        channels,
        multiplier,
        *size,
        *y.shape[2:],
        *kernel,
        *stride,
        *padding,
    )


output = register(f"depthwise_output(Tensor x, Tensor weight, {SETTINGS}) -> Tensor", _output, _empty_output)
input_grad = register(
    f"depthwise_input_grad(Tensor grad, Tensor weight, {SETTINGS}, SymInt channels) -> Tensor",
    _input_grad,
    _empty_input,
)
weight_grad = register(
    f"depthwise_weight_grad(Tensor x, Tensor grad, {SETTINGS}) -> Tensor", _weight_grad, _empty_weight
)
