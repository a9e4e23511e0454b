"""Overlap-save: the input in tiles, transformed, multiplied point by point, transformed back (Stockham 1966).

A tile of `length` samples gives length - kernel + 1 outputs; neighbouring tiles overlap by kernel - 1 samples. Between
the transforms, every frequency is one product of matrices over the channels. The arithmetic grows with the logarithm of
the kernel and not with its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod
from typing import ClassVar

import torch
from torch import Tensor

from ....description.convolution import Convolution
from ... import layouts, padding
from ...native import library, transforms
from ...planning import cost_model
from ...tensors import INPUT, OUTPUT, WEIGHT, all_finite, has_numbers, room
from ...weight_cache import Kernels
from ..base import Algorithm, Problem
from ..torch_kernels import TorchKernels
from . import correlation, tile_costs, tiles
from .correlation import NARROW
from .stride_one import StrideOne
from .tile_costs import Work
from .tiles import Tiling

_DIRECT = TorchKernels()
FEWEST_TAPS = 20  # below it torch's kernels are hardly beaten
CALLS, CALL = 60e-6, 30e-6  # seconds of the calls it makes whatever the size: of torch, and of the C++ kernels
COMPILED = (torch.float32, *NARROW)  # types that the C++ kernels serve


class Fourier(Algorithm):
    """Fast Fourier transforms of tiles, the tile chosen by the arithmetic it costs."""

    name: ClassVar[str] = "fft"
    error: ClassVar[float] = 3.0

    def __init__(self, keeps: bool = False) -> None:
        self._keeps = keeps

    @property
    def for_lasting_weights(self) -> Algorithm:
        return KEEPING

    def declines(self, problem: Problem) -> str | None:
        conv = problem.convolution
        if not conv.sharing.is_full:
            return "transforms have one kernel for all positions"
        if conv.ndim > 3:
            return "it transforms 1 to 3 axes"
        if problem.dtype not in (torch.float32, torch.float64, *NARROW):
            return f"torch has no transform of {problem.dtype} here"
        if max(conv.input_dilation) > 1:
            return "zeros between the samples are not transformed"
        if any(axis.stride > 1 and axis.dilation > 1 for axis in conv.axes):
            return "stride and dilation on one axis"
        if torch.compiler.is_compiling():
            return "its tiles depend on sizes that a compiler may leave open"
        return None

    def may_pay(self, convolution: Convolution, precision: str) -> bool:
        return prod(convolution.kernel_size) >= FEWEST_TAPS

    def seconds(self, problem: Problem, role: str) -> float:
        conv = problem.convolution
        if problem.device != "cpu" or conv.channels.rows is not None:
            return inf
        steps = StrideOne.of(conv, problem.sizes)
        if prod(steps.kernel) < FEWEST_TAPS:
            return inf
        images, ins = problem.batch * prod(conv.dilation), conv.in_channels * prod(conv.stride)
        room = problem.room - _around(conv, steps, problem.batch, problem.sizes, problem.dtype)
        work = Work(steps.windows, steps.kernel, images, ins, conv.out_channels, conv.groups, room, problem.threads)
        lengths = _compiled(work, role) if problem.dtype in COMPILED else None
        if lengths is not None:
            moved = 0 if steps.is_plain else work.bytes / 4 / cost_model.TOUCH
            moved += problem.numbers / cost_model.TOUCH if problem.dtype in NARROW else 0
            return (work.seconds(lengths, role) + moved) / cost_model.cores(problem.threads) + CALL
        sizes = steps.windows, steps.kernel, images, ins, conv.out_channels, conv.groups
        one = tiles.least_seconds(*sizes, room // _wide(problem.dtype).itemsize)
        return (one + problem.channels_last * problem.numbers / cost_model.TOUCH) / cost_model.cores(
            problem.threads
        ) + CALLS

    def workspace(self, problem: Problem, role: str) -> int:
        """The spectra of the kernels and of so many tiles as fit into the room; around them what steps rearrange."""
        conv, sizes, dtype = problem.convolution, problem.sizes, problem.dtype
        steps = StrideOne.of(conv, sizes)
        around = _around(conv, steps, problem.batch, sizes, dtype)
        images, ins = problem.batch * prod(conv.dilation), conv.in_channels * prod(conv.stride)
        room = problem.room - around
        if dtype in COMPILED and problem.device == "cpu":
            work = Work(steps.windows, steps.kernel, images, ins, conv.out_channels, conv.groups, room, problem.threads)
            if (lengths := _compiled(work, role)) is not None:
                return around + work.workspace(lengths, role)
        size = _wide(dtype).itemsize
        return around + size * _tiling(steps, images, ins, conv.out_channels, role, room // size).workspace

    def output(self, conv: Convolution, x: Tensor, weight: Tensor) -> Tensor:
        steps = StrideOne.of(conv, x.shape[2:])
        room = self._room(conv, steps, x, x.shape[2:])
        cut = _cut(conv, steps, x, OUTPUT, room)
        if cut is None:
            y = correlation.correlate(steps.input(x), self._kernels(conv, steps, weight), conv.groups, room)
        else:
            images = x if steps.is_plain else steps.input(x)
            y = transforms.output(cut, images.float(), self._kernels(conv, steps, weight), steps.windows).to(x.dtype)
        y = steps.output(y)
        return y if all_finite(y) else _DIRECT.output(conv, x, weight)

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        steps = StrideOne.of(conv, input_size)
        room = self._room(conv, steps, grad, input_size)
        cut = _cut(conv, steps, grad, INPUT, room)
        if cut is None:
            around = padding.pad(steps.output_back(grad), [(taps - 1, taps - 1) for taps in steps.kernel])
            kernels = self._kernels(conv, steps, weight, turned=True)
            result = steps.input_back(correlation.correlate(around, kernels, conv.groups, room))
        else:
            cells, size = steps.output_back(grad).float(), input_size if steps.is_plain else steps.size
            result = transforms.input_grad(cut, cells, self._kernels(conv, steps, weight), size).to(grad.dtype)
            result = result if steps.is_plain else steps.input_back(result)
        return result if all_finite(result) else _DIRECT.input_grad(conv, grad, weight, input_size)

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        steps = StrideOne.of(conv, x.shape[2:])
        room = self._room(conv, steps, x, x.shape[2:])
        cut = _cut(conv, steps, x, WEIGHT, room)
        if cut is None:
            result = correlation.weight_grad(steps.input(x), steps.output_back(grad), steps.kernel, conv.groups, room)
        else:
            images, cells = x if steps.is_plain else steps.input(x), steps.output_back(grad)
            result = transforms.weight_grad(cut, images.float(), cells.float(), steps.kernel).to(x.dtype)
        result = steps.weight_back(result)
        return result if all_finite(result) else _DIRECT.weight_grad(conv, x, grad)

    def _kernels(self, conv: Convolution, steps: StrideOne, weight: Tensor, turned: bool = False) -> Kernels:
        """Those of the correlation with steps of 1; turned: those of its adjoint, which is one too."""

        def made(weight: Tensor) -> Tensor:
            kernels = _widened(steps.weight(weight))
            return layouts.swapped(layouts.flipped(kernels, conv.ndim), conv.groups, conv.ndim) if turned else kernels

        ins, outs = conv.in_channels // conv.groups * prod(conv.stride), conv.out_channels
        channels = (conv.groups * ins, outs // conv.groups) if turned else (outs, ins)
        return Kernels(weight, (*channels, *steps.kernel), made, (steps, turned) if self._keeps else None)

    def _room(self, conv: Convolution, steps: StrideOne, array: Tensor, size: Sequence[int]) -> int:
        """Bytes for spectra in an operation on an array of this type and batch."""
        batch, dtype = array.shape[0], array.dtype
        numbers = batch * (conv.in_channels * prod(size) + conv.out_channels * prod(steps.outputs))
        arrays = (numbers + prod(conv.weight_shape())) * _wide(dtype).itemsize
        return room(self.limit, arrays) - _around(conv, steps, batch, size, dtype)


KEEPING = Fourier(keeps=True)


def _compiled(work: Work, role: str) -> tuple[int, ...] | None:
    """The tiles for the C++ kernels; None where they do not serve."""
    return (
        tile_costs.cheapest(work, WEIGHT if role == WEIGHT else OUTPUT)
        if len(work.kernel) <= 2 and library.available()
        else None
    )


def _around(conv: Convolution, steps: StrideOne, batch: int, size: Sequence[int], dtype: torch.dtype) -> int:
    """Bytes of input and output as more channels and images, and in the type of the transforms."""
    narrow = dtype in NARROW
    numbers = 0
    if not steps.is_plain:
        ins, outs = conv.in_channels * prod(conv.stride), conv.out_channels
        numbers = (1 + narrow) * prod(conv.dilation) * (ins * prod(steps.size) + outs * prod(steps.windows))
    if narrow:
        numbers += conv.in_channels * prod(size) + conv.out_channels * prod(steps.outputs)
    return batch * numbers * _wide(dtype).itemsize


def _tiling(steps: StrideOne, images: int, ins: int, outs: int, role: str, room: int) -> Tiling:
    """The tiles of torch's transforms: the gradient of the input is a correlation, too, with zeros around."""
    size, kernel, groups = steps.size, steps.kernel, steps.groups
    if role == INPUT:
        size = tuple(length + 2 * (taps - 1) for length, taps in zip(steps.windows, kernel, strict=True))
        ins, outs = outs, ins
    return Tiling.of((images, ins, *size), (outs, ins // groups, *kernel), groups, room)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in NARROW else dtype


def _cut(conv: Convolution, steps: StrideOne, array: Tensor, role: str, room: int) -> transforms.Cut | None:
    """How the C++ kernels cut up this request, for an array of it; None where they do not serve."""
    if array.device.type != "cpu" or array.dtype not in COMPILED or not has_numbers(array):
        return None
    images, ins = array.shape[0] * prod(conv.dilation), conv.in_channels * prod(conv.stride)
    threads = torch.get_num_threads()
    work = Work(steps.windows, steps.kernel, images, ins, conv.out_channels, conv.groups, room, threads)
    lengths = _compiled(work, role)
    low = [pair[0] if steps.is_plain else 0 for pair in steps.pads]
    if lengths is None:
        return None
    return transforms.Cut(conv.groups, low, lengths, work.spectra_room(lengths), keeps=work.keeping_pays(lengths))


def _widened(tensor: Tensor) -> Tensor:
    return tensor.to(_wide(tensor.dtype))
