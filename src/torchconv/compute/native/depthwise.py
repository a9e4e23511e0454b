"""Depthwise convolution in two dimensions by the C++ kernels: tensors (batch, channels, height, width), contiguous.

Weights are (channels * multiplier, kernel height, kernel width); padding is what stands before the first sample, and
what stands after the last one follows from the output's size.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from .operations import TYPES, call, register

FIELDS = (
    *("type", "threads", "batch", "channels", "multiplier", "height", "width", "out_height", "out_width"),
    *("kernel_height", "kernel_width", "stride_height", "stride_width", "top", "left"),
)
SETTINGS = "SymInt[] stride, SymInt[] padding, SymInt[] size"


class Problem(ctypes.Structure):
    """`Depthwise` of csrc/interface.h."""

    _fields_ = [(name, ctypes.c_int64) for name in FIELDS]


def _output(x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int], size: Sequence[int]) -> Tensor:
    x, weight = x.contiguous(), weight.contiguous()
    y = x.new_empty(x.shape[0], weight.shape[0], *size)
    call("torchconv_depthwise_output", _problem(x, y, weight.shape[1:], stride, padding), x, weight, y)
    return y


def _problem(x: Tensor, y: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]) -> Problem:
    batch, channels, *size = x.shape
    threads, multiplier = torch.get_num_threads(), y.shape[1] // channels
    return Problem(
        TYPES[x.dtype], threads, batch, channels, multiplier, *size, *y.shape[2:], *kernel, *stride, *padding
    )


output = register(
    f"depthwise_output(Tensor x, Tensor weight, {SETTINGS}) -> Tensor",
    _output,
    lambda x, weight, stride, padding, size: x.new_empty(x.shape[0], weight.shape[0], *size),
)
