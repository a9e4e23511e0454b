"""Convolutions with steps of 1 by transforms of tiles in C++: float32, (batch, channels, *size), 1 or 2 axes.

Inputs and gradients may lie in memory in any order; results lie as they do.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from ..planning import machine
from ..tensors import empty_like
from ..weight_cache import Kernels
from . import loader
from .loader import call, fields, threads

FOURIER, WINOGRAD = 0, 1
FIELDS = (
    "kind threads batch groups ins outs height width out_height out_width "
    "kernel_height kernel_width top left length_height length_width adjoint room"
)
Strides = ctypes.c_int64 * 4


class TransformArguments(ctypes.Structure):
    """`Transform` of csrc/interface.h."""

    _fields_ = [*fields(FIELDS), *fields("x_strides y_strides", Strides)]


class TileCut(NamedTuple):
    """A convolution by transforms: its groups, the padding before the first sample, the lengths of the tiles.

    room: bytes for the spectra of tiles, besides those of the kernels. keeps: whether to keep those pays.
    """

    groups: int
    padding: Sequence[int]
    lengths: Sequence[int]
    room: int
    kind: int = FOURIER
    keeps: bool = False


def output(cut: TileCut, x: Tensor, kernels: Kernels, size: Sequence[int]) -> Tensor:
    """x (batch, in, *size) to (batch, out, *size of outputs)."""
    return _applied(cut, x, kernels, (x.shape[0], kernels.shape[0], *size), adjoint=False)


def input_grad(cut: TileCut, grad: Tensor, kernels: Kernels, size: Sequence[int]) -> Tensor:
    """grad (batch, out, *size of outputs) to (batch, in, *size), the adjoint of `output`."""
    return _applied(cut, grad, kernels, (grad.shape[0], kernels.shape[1] * cut.groups, *size), adjoint=True)


def weight_grad(cut: TileCut, x: Tensor, grad: Tensor, kernel: Sequence[int]) -> Tensor:
    """x and grad to (out, in // groups, *kernel)."""
    weight = x.new_empty(grad.shape[1], x.shape[1] // cut.groups, *kernel)
    call("torchconv_transform_weight_grad", _arguments(cut, x, grad, kernel, False), x, grad, weight)
    return weight


def _applied(cut: TileCut, x: Tensor, kernels: Kernels, shape: Sequence[int], adjoint: bool) -> Tensor:
    y = empty_like(shape, x)
    arguments = _arguments(cut, x, y, kernels.shape[2:], adjoint)
    spectra = _recalled(arguments, kernels) if cut.keeps else None
    if spectra is None:
        call("torchconv_transform_output", arguments, x, kernels.make().contiguous(), None, y)
    else:
        call("torchconv_transform_apply", arguments, x, spectra, None, y)
    return y


def _recalled(arguments: TransformArguments, kernels: Kernels) -> Tensor | None:
    """The kernels' transforms, where they are kept and no larger than the workspace."""
    count = loader.handle().torchconv_transform_floats
    count.restype = ctypes.c_int64
    numbers = count(ctypes.byref(arguments))
    if 4 * numbers > arguments.room:
        return None

    def make(weight: Tensor) -> Tensor:
        found = empty_like((numbers,), weight)
        call("torchconv_transform_kernels", arguments, weight.contiguous(), found)
        return found

    use = (loader.instructions(), *(getattr(arguments, name) for name in FIELDS.split()))
    return kernels.recall(use, 4 * numbers, make)


def _arguments(cut: TileCut, x: Tensor, y: Tensor, kernel: Sequence[int], adjoint: bool) -> TransformArguments:
    """One axis is a plane of one row."""
    planes = [tensor if tensor.ndim == 4 else tensor.unsqueeze(2) for tensor in (x, y)]
    one = [] if x.ndim == 4 else [1]
    none = [] if x.ndim == 4 else [0]
    counts = (x.shape[0], cut.groups, x.shape[1] // cut.groups, y.shape[1] // cut.groups)
    sizes = (*planes[0].shape[2:], *planes[1].shape[2:], *one, *kernel, *none, *cut.padding, *one, *cut.lengths)
    strides = (Strides(*plane.stride()) for plane in planes)
    seconds = x.numel() * machine.FFT_PER_PRODUCT * counts[-1] + (x.numel() + y.numel()) * machine.FFT_PER_NUMBER
    return TransformArguments(
        cut.kind, threads(seconds / machine.FFT_WAKES), *counts, *sizes, adjoint, cut.room, *strides
    )
