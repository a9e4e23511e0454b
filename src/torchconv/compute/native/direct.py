"""Convolutions that are summed directly by the C++ kernels: depthwise, unshared and tiled ones, each with its adjoints.

Tensors are (batch, channels, *size), contiguous. Padding, or `low`, is what stands before the first sample of an axis;
what stands after the last one follows from the sizes. Depthwise: two axes, weights (channels * multiplier, *kernel).
Unshared and tiled: one to three axes, weights (*phases, out, in // groups, *kernel), whose phases are the output's
positions, or a period: output p uses kernel p % period on each axis.

Depthwise operations take two tensors, stride, padding and the size of the result (the gradient of the input: also its
channels); UNSHARED and TILED, by role, the size of the result (of the weights: its phases), kernel, stride, dilation,
low and groups.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..planning import machine
from ..tensors import INPUT, OPERANDS, OUTPUT, WEIGHT, empty_like
from .loader import PER_AXIS, TYPES, call, fields, per_axis, register, threads

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


def _operation(
    role: str, name: str, settings: str, shape: Callable[..., tuple], arguments: Callable, adds: bool = False
) -> Callable[..., Tensor]:
    """A kernel as an operation of torch: `shape` of the result, and `arguments` from input, output, weight, settings.

    adds: whether the kernel adds to what is there, in float32 where numbers are narrow.
    """

    def compute(first: Tensor, second: Tensor, *settings: Any) -> Tensor:
        first, second = first.contiguous(), second.contiguous()
        size = shape(first, second, *settings)
        if adds:
            result = first.new_zeros(size, dtype=torch.float32 if first.dtype == torch.bfloat16 else first.dtype)
        else:
            result = empty_like(size, first)
        tensors = dict(zip((*OPERANDS[role], role), (first, second, result), strict=True))
        described = arguments(tensors[INPUT], tensors[OUTPUT], tensors[WEIGHT], *settings)
        call(f"torchconv_{name}", described, first, second, result)
        return result.to(first.dtype)

    def empty(first: Tensor, second: Tensor, *settings: Any) -> Tensor:
        return first.new_empty(shape(first, second, *settings))

    return register(f"{name}(Tensor first, Tensor second, {settings}) -> Tensor", compute, empty)


def _depthwise(x: Tensor, y: Tensor, weight: Tensor, stride: Sizes, padding: Sizes, *_: Any) -> DepthwiseArguments:
    (batch, channels, *size), kernel, itemsize = x.shape, weight.shape[1:], weight.itemsize
    copied, products = itemsize * (x.numel() + y.numel()), itemsize * y.numel() * prod(kernel)
    count = threads(machine.DEPTHWISE_BYTE * copied + machine.DEPTHWISE_PRODUCT_BYTE * products)
    per_plane = (*size, *y.shape[2:], *kernel, *stride, *padding)
    return DepthwiseArguments(TYPES[x.dtype], count, batch, channels, y.shape[1] // channels, *per_plane)


_PLANE = "SymInt[] stride, SymInt[] padding, SymInt[] size"
depthwise_output = _operation(
    OUTPUT, "depthwise_output", _PLANE, lambda x, weight, _, __, size: (x.shape[0], weight.shape[0], *size), _depthwise
)
depthwise_input_grad = _operation(
    INPUT,
    "depthwise_input_grad",
    f"{_PLANE}, SymInt channels",
    lambda grad, weight, _, __, size, channels: (grad.shape[0], channels, *size),
    _depthwise,
)
depthwise_weight_grad = _operation(
    WEIGHT, "depthwise_weight_grad", _PLANE, lambda x, grad, _, __, size: (grad.shape[1], *size), _depthwise
)


def _local(x: Tensor, y: Tensor, weight: Tensor, size: Sizes, *settings: Any) -> LocalArguments:
    *windows, low, groups = settings
    numbers = (TYPES[y.dtype], torch.get_num_threads(), len(x), groups, x.shape[1] // groups, y.shape[1] // groups)
    axes = (per_axis(values) for values in (x.shape[2:], y.shape[2:], *windows))
    return LocalArguments(*numbers, *axes, per_axis(low, 0))


def _tiled(x: Tensor, y: Tensor, weight: Tensor, *settings: Any) -> TiledArguments:
    local = _local(x, y, weight, *settings)
    return TiledArguments(*(getattr(local, field[0]) for field in local._fields_), per_axis(weight.shape[: x.ndim - 2]))


_LOCAL = "SymInt[] size, SymInt[] kernel, SymInt[] stride, SymInt[] dilation, SymInt[] low, SymInt groups"
_SHAPES: dict[str, Callable[..., tuple]] = {
    OUTPUT: lambda x, weight, size, *_: (x.shape[0], weight.shape[x.ndim - 2], *size),
    INPUT: lambda grad, weight, size, *rest: (grad.shape[0], weight.shape[grad.ndim - 1] * rest[-1], *size),
    WEIGHT: lambda x, grad, phases, kernel, *rest: (*phases, grad.shape[1], x.shape[1] // rest[-1], *kernel),
}
UNSHARED = {
    role: _operation(role, f"unshared_{role}", _LOCAL, shape, _local, adds=role == INPUT)
    for role, shape in _SHAPES.items()
}
TILED = {role: _operation(role, f"tiled_{role}", _LOCAL, shape, _tiled) for role, shape in _SHAPES.items()}
