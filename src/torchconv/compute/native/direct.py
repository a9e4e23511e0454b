"""Convolutions that are summed directly by the C++ kernels: depthwise, unshared and tiled ones, each with its adjoints.

Tensors are (batch, channels, *size), contiguous. Padding, or `low`, is what stands before the first sample of an axis;
what stands after the last one follows from the sizes. Depthwise: two axes, weights (channels * multiplier, *kernel).
Unshared and tiled: one to three axes, weights (*phases, out, in // groups, *kernel), whose phases are the output's
positions, or a period: output p uses kernel p % period on each axis.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from ..planning import machine
from ..tensors import empty_like, large_like
from .library import PER_AXIS, TYPES, call, fields, per_axis, register, threads

Sizes = Sequence[int]


class DepthwiseArguments(ctypes.Structure):
    """`Depthwise` of csrc/interface.h."""

    _fields_ = [
        *fields("type threads batch channels multiplier height width out_height out_width"),
        *fields("kernel_height kernel_width stride_height stride_width top left"),
    ]


class LocalArguments(ctypes.Structure):
    """`Local` of csrc/interface.h."""

    _fields_ = [
        *fields("type threads batch groups inputs outputs"),
        *fields("size output_size kernel stride dilation low", PER_AXIS),
    ]


class TiledArguments(LocalArguments):
    """`Tiled` of csrc/interface.h."""

    _fields_: ClassVar = fields("period", PER_AXIS)


def _depthwise(x: Tensor, y: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes) -> DepthwiseArguments:
    batch, channels, *size = x.shape
    copied, products = x.itemsize * (x.numel() + y.numel()), x.itemsize * y.numel() * prod(kernel)
    count = threads(machine.DEPTHWISE_BYTE * copied + machine.DEPTHWISE_PRODUCT_BYTE * products)
    per_plane = (*size, *y.shape[2:], *kernel, *stride, *padding)
    return DepthwiseArguments(TYPES[x.dtype], count, batch, channels, y.shape[1] // channels, *per_plane)


def _depthwise_output(x: Tensor, weight: Tensor, stride: Sizes, padding: Sizes, size: Sizes) -> Tensor:
    x, weight = x.contiguous(), weight.contiguous()
    y = _empty_depthwise_output(x, weight, stride, padding, size)
    call("torchconv_depthwise_output", _depthwise(x, y, weight.shape[1:], stride, padding), x, weight, y)
    return y


def _depthwise_input_grad(
    grad: Tensor, weight: Tensor, stride: Sizes, padding: Sizes, size: Sizes, channels: int
) -> Tensor:
    grad, weight = grad.contiguous(), weight.contiguous()
    x = _empty_depthwise_input(grad, weight, stride, padding, size, channels)
    call("torchconv_depthwise_input_grad", _depthwise(x, grad, weight.shape[1:], stride, padding), grad, weight, x)
    return x


def _depthwise_weight_grad(x: Tensor, grad: Tensor, stride: Sizes, padding: Sizes, size: Sizes) -> Tensor:
    x, grad = x.contiguous(), grad.contiguous()
    weight = x.new_empty(grad.shape[1], *size)
    call("torchconv_depthwise_weight_grad", _depthwise(x, grad, size, stride, padding), x, grad, weight)
    return weight


def _empty_depthwise_output(x: Tensor, weight: Tensor, stride: Sizes, padding: Sizes, size: Sizes) -> Tensor:
    return empty_like((x.shape[0], weight.shape[0], *size), x)


def _empty_depthwise_input(
    grad: Tensor, weight: Tensor, stride: Sizes, padding: Sizes, size: Sizes, channels: int
) -> Tensor:
    return empty_like((grad.shape[0], channels, *size), grad)


_PLANE = "SymInt[] stride, SymInt[] padding, SymInt[] size"
depthwise_output = register(
    f"depthwise_output(Tensor x, Tensor weight, {_PLANE}) -> Tensor", _depthwise_output, _empty_depthwise_output
)
depthwise_input_grad = register(
    f"depthwise_input_grad(Tensor grad, Tensor weight, {_PLANE}, SymInt channels) -> Tensor",
    _depthwise_input_grad,
    _empty_depthwise_input,
)
depthwise_weight_grad = register(
    f"depthwise_weight_grad(Tensor x, Tensor grad, {_PLANE}) -> Tensor",
    _depthwise_weight_grad,
    lambda x, grad, stride, padding, size: x.new_empty(grad.shape[1], *size),
)


def _local(
    x: Tensor, y: Tensor, kernel: Sizes, stride: Sizes, dilation: Sizes, low: Sizes, groups: int, period: Sizes = ()
) -> LocalArguments:
    """x and y: tensors of the input's and of the output's shape; period: of tiled ones."""
    numbers = (TYPES[y.dtype], torch.get_num_threads(), len(x), groups, x.shape[1] // groups, y.shape[1] // groups)
    axes = [per_axis(values) for values in (x.shape[2:], y.shape[2:], kernel, stride, dilation)] + [per_axis(low, 0)]
    return TiledArguments(*numbers, *axes, per_axis(period)) if period else LocalArguments(*numbers, *axes)


def _empty_input(grad: Tensor, weight: Tensor, size: Sizes, *settings) -> Tensor:
    return grad.new_empty(grad.shape[0], weight.shape[grad.ndim - 1] * settings[-1], *size)


def _empty_unshared_output(x: Tensor, weight: Tensor, *settings) -> Tensor:
    ndim = x.ndim - 2
    return x.new_empty(x.shape[0], weight.shape[ndim], *weight.shape[:ndim])


def _unshared_output(x: Tensor, weight: Tensor, *settings) -> Tensor:
    y = _empty_unshared_output(x, weight)
    x, weight = x.contiguous(), weight.contiguous()
    call("torchconv_unshared_output", _local(x, y, *settings), x, weight, y)
    return y


def _unshared_input_grad(grad: Tensor, weight: Tensor, size: Sizes, *settings) -> Tensor:
    grad, weight = grad.contiguous(), weight.contiguous()
    wide = torch.float32 if grad.dtype == torch.bfloat16 else grad.dtype
    x = torch.zeros_like(_empty_input(grad, weight, size, *settings), dtype=wide)
    call("torchconv_unshared_input", _local(x, grad, *settings), grad, weight, x)
    return x.to(grad.dtype)


def _unshared_weight_shape(x: Tensor, grad: Tensor, kernel: Sizes, groups: int) -> tuple[int, ...]:
    return (*grad.shape[2:], grad.shape[1], x.shape[1] // groups, *kernel)


def _unshared_weight_grad(x: Tensor, grad: Tensor, kernel: Sizes, *settings) -> Tensor:
    shape = _unshared_weight_shape(x, grad, kernel, settings[-1])
    memory = large_like(shape, x)
    weight = x.new_empty(shape) if memory is None else memory
    x, grad = x.contiguous(), grad.contiguous()
    call("torchconv_unshared_weight", _local(x, grad, kernel, *settings), x, grad, weight)
    return weight


_SETTINGS = "SymInt[] kernel, SymInt[] stride, SymInt[] dilation, SymInt[] low, SymInt groups"
unshared_output = register(
    f"unshared_output(Tensor x, Tensor weight, {_SETTINGS}) -> Tensor", _unshared_output, _empty_unshared_output
)
unshared_input_grad = register(
    f"unshared_input_grad(Tensor grad, Tensor weight, SymInt[] size, {_SETTINGS}) -> Tensor",
    _unshared_input_grad,
    _empty_input,
)
unshared_weight_grad = register(
    f"unshared_weight_grad(Tensor x, Tensor grad, {_SETTINGS}) -> Tensor",
    _unshared_weight_grad,
    lambda x, grad, kernel, *settings: x.new_empty(_unshared_weight_shape(x, grad, kernel, settings[-1])),
)


def _empty_tiled_output(x: Tensor, weight: Tensor, size: Sizes, *settings) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[x.ndim - 2], *size)


def _tiled_output(x: Tensor, weight: Tensor, size: Sizes, *settings) -> Tensor:
    y = _empty_tiled_output(x, weight, size)
    x, weight = x.contiguous(), weight.contiguous()
    call("torchconv_tiled_output", _local(x, y, *settings, period=weight.shape[: x.ndim - 2]), x, weight, y)
    return y


def _tiled_input_grad(grad: Tensor, weight: Tensor, size: Sizes, *settings) -> Tensor:
    x = _empty_input(grad, weight, size, *settings)
    grad, weight = grad.contiguous(), weight.contiguous()
    call("torchconv_tiled_input", _local(x, grad, *settings, period=weight.shape[: x.ndim - 2]), grad, weight, x)
    return x


def _empty_tiled_weight(x: Tensor, grad: Tensor, period: Sizes, kernel: Sizes, *settings) -> Tensor:
    return x.new_empty(*period, grad.shape[1], x.shape[1] // settings[-1], *kernel)


def _tiled_weight_grad(x: Tensor, grad: Tensor, period: Sizes, *settings) -> Tensor:
    weight = _empty_tiled_weight(x, grad, period, *settings)
    x, grad = x.contiguous(), grad.contiguous()
    call("torchconv_tiled_weight", _local(x, grad, *settings, period=period), x, grad, weight)
    return weight


tiled_output = register(
    f"tiled_output(Tensor x, Tensor weight, SymInt[] size, {_SETTINGS}) -> Tensor", _tiled_output, _empty_tiled_output
)
tiled_input_grad = register(
    f"tiled_input_grad(Tensor grad, Tensor weight, SymInt[] size, {_SETTINGS}) -> Tensor",
    _tiled_input_grad,
    _empty_input,
)
tiled_weight_grad = register(
    f"tiled_weight_grad(Tensor x, Tensor grad, SymInt[] period, {_SETTINGS}) -> Tensor",
    _tiled_weight_grad,
    _empty_tiled_weight,
)
