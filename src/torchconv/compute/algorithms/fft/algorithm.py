"""Convolution by fast Fourier transforms of tiles, multiplied point by point, transformed back (Stockham 1966).

Between the transforms, every frequency is one product of matrices over the channels. The arithmetic grows with the
logarithm of the kernel and not with its size. tiles.py says how the input is cut up.

Strides and dilations become more channels and more images: every convolution with them is one of steps of 1. A stride
of s: outputs read windows s apart, so the input's s phases become channels of an input s times as short (space to
depth). A dilation of d: the outputs of one phase read one phase of the input, so phases become images. Both are
rearrangements, whose adjoints are the same rearrangements backwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, prod
from typing import ClassVar

import torch
from torch import Tensor

from ....description import shapes
from ....description.convolution import Convolution
from ... import layouts, padding
from ...native import loader, transforms
from ...planning import cost_model, machine
from ...problem import Problem
from ...tensors import INPUT, OUTPUT, WEIGHT, all_finite, has_numbers
from ...weight_cache import Kernels
from ..base import Algorithm
from ..torch_kernels import KERNELS
from . import correlation
from .correlation import NARROW
from .tiles import Compiled, Lengths

COMPILED = (torch.float32, *NARROW)  # types that the C++ kernels serve


class Fourier(Algorithm):
    """Fast Fourier transforms of tiles, the tile chosen by the arithmetic it costs."""

    name: ClassVar[str] = "fft"
    error: ClassVar[float] = 3.0

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
        return prod(convolution.kernel_size) >= machine.FFT_FEWEST_TAPS

    def seconds(self, problem: Problem, role: str) -> float:
        conv, dtype = problem.convolution, problem.dtype
        if problem.device != "cpu" or conv.channels.rows is not None:
            return inf
        steps = StrideOne.of(conv, problem.sizes)
        if prod(steps.kernel) < machine.FFT_FEWEST_TAPS:
            return inf
        cores = cost_model.cores(problem.threads)
        work = steps.work(conv, problem.batch, problem.room - _around(conv, steps, problem), problem.threads)
        if (lengths := _compiled(work, dtype, role)) is not None:
            copied = 0 if steps.is_plain else work.bytes / 4
            copied += problem.numbers if dtype in NARROW else 0
            return (work.seconds(lengths, role) + copied / machine.TOUCH) / cores + machine.FFT_CALL
        copied = problem.channels_last * problem.numbers / machine.TOUCH
        return (correlation.seconds(work, _wide(dtype).itemsize) + copied) / cores + machine.FFT_TORCH_CALLS

    def workspace(self, problem: Problem, role: str) -> int:
        """The spectra of the kernels and of so many tiles as fit into the room; around them what steps rearrange."""
        conv, dtype = problem.convolution, problem.dtype
        steps = StrideOne.of(conv, problem.sizes)
        around = _around(conv, steps, problem)
        work = steps.work(conv, problem.batch, problem.room - around, problem.threads)
        if problem.device == "cpu" and (lengths := _compiled(work, dtype, role)) is not None:
            return around + work.workspace(lengths, role)
        if role == INPUT:  # a correlation, too, with zeros around
            work = replace(work, outputs=work.size, ins=work.outs, outs=work.ins)
        return around + correlation.Tiling.of(work, _wide(dtype).itemsize).workspace

    def output(self, conv: Convolution, x: Tensor, weight: Tensor) -> Tensor:
        steps = StrideOne.of(conv, x.shape[2:])
        cut, room = self._cut(conv, steps, x, x.shape[2:], OUTPUT)
        if cut is None:
            y = correlation.correlate(steps.input(x), self._kernels(conv, steps, weight), conv.groups, room)
        else:
            images = x if steps.is_plain else steps.input(x)
            y = transforms.output(cut, images.float(), self._kernels(conv, steps, weight), steps.windows).to(x.dtype)
        y = steps.output(y)
        return y if all_finite(y) else KERNELS.output(conv, x, weight)

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        steps = StrideOne.of(conv, input_size)
        cut, room = self._cut(conv, steps, grad, input_size, INPUT)
        if cut is None:
            around = padding.pad(steps.output_back(grad), [(taps - 1, taps - 1) for taps in steps.kernel])
            kernels = self._kernels(conv, steps, weight, turned=True)
            result = steps.input_back(correlation.correlate(around, kernels, conv.groups, room))
        else:
            cells, size = steps.output_back(grad).float(), input_size if steps.is_plain else steps.size
            result = transforms.input_grad(cut, cells, self._kernels(conv, steps, weight), size).to(grad.dtype)
            result = result if steps.is_plain else steps.input_back(result)
        return result if all_finite(result) else KERNELS.input_grad(conv, grad, weight, input_size)

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        steps = StrideOne.of(conv, x.shape[2:])
        cut, room = self._cut(conv, steps, x, x.shape[2:], WEIGHT)
        if cut is None:
            result = correlation.weight_grad(steps.input(x), steps.output_back(grad), steps.kernel, conv.groups, room)
        else:
            images, cells = x if steps.is_plain else steps.input(x), steps.output_back(grad)
            result = transforms.weight_grad(cut, images.float(), cells.float(), steps.kernel).to(x.dtype)
        result = steps.weight_back(result)
        return result if all_finite(result) else KERNELS.weight_grad(conv, x, grad)

    def _kernels(self, conv: Convolution, steps: StrideOne, weight: Tensor, turned: bool = False) -> Kernels:
        """Those of the correlation with steps of 1; turned: those of its adjoint, which is one too."""

        def made(weight: Tensor) -> Tensor:
            kernels = _widened(steps.weight(weight))
            return layouts.swapped(layouts.flipped(kernels, conv.ndim), conv.groups, conv.ndim) if turned else kernels

        ins, outs = conv.in_channels // conv.groups * prod(conv.stride), conv.out_channels
        channels = (conv.groups * ins, outs // conv.groups) if turned else (outs, ins)
        return Kernels(weight, (*channels, *steps.kernel), made, (steps, turned) if self.keeps else None)

    def _cut(
        self, conv: Convolution, steps: StrideOne, array: Tensor, size: Sequence[int], role: str
    ) -> tuple[transforms.TileCut | None, int]:
        """How the C++ kernels cut up an operation on an array, None where they do not serve; and bytes for spectra."""
        problem = Problem(
            conv, array.dtype, array.device.type, batch=len(array), input_size=tuple(size), workspace=self.limit
        )
        left = problem.room - _around(conv, steps, problem)
        work = steps.work(conv, len(array), left, torch.get_num_threads())
        served = array.device.type == "cpu" and has_numbers(array)
        lengths = _compiled(work, array.dtype, role) if served else None
        if lengths is None:
            return None, left
        low = [pair[0] if steps.is_plain else 0 for pair in steps.pads]
        keeps = work.keeping_pays(lengths)
        return transforms.TileCut(conv.groups, low, lengths, work.spectra_room(lengths), keeps=keeps), left


def _compiled(work: Compiled, dtype: torch.dtype, role: str) -> Lengths | None:
    """The tiles for the C++ kernels; None where they do not serve."""
    return work.lengths(role) if dtype in COMPILED and len(work.kernel) <= 2 and loader.available() else None


def _around(conv: Convolution, steps: StrideOne, problem: Problem) -> int:
    """Bytes of input and output as more channels and images, and in the type of the transforms."""
    narrow, numbers = problem.dtype in NARROW, 0
    if not steps.is_plain:
        work = steps.work(conv, problem.batch, 0, 1)
        numbers = (1 + narrow) * work.batch * (work.ins * prod(steps.size) + work.outs * prod(steps.windows))
    return (numbers + narrow * problem.numbers) * _wide(problem.dtype).itemsize


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in NARROW else dtype


def _widened(tensor: Tensor) -> Tensor:
    return tensor.to(_wide(tensor.dtype))


Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class StrideOne:
    """How input, kernel and output of a convolution become those of a valid one with steps of 1, and back.

    kernel, size, outputs: per axis, of the convolution with steps of 1. images: phases that join the batch.
    """

    groups: int
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: Pairs  # of the input
    tails: Pairs  # of the kernel: zeros up to a multiple of the stride
    kernel: tuple[int, ...]
    size: tuple[int, ...]
    outputs: tuple[int, ...]  # of the convolution itself

    @classmethod
    def of(cls, conv: Convolution, input_size: Sequence[int]) -> StrideOne:
        """For a convolution whose axes have a stride or a dilation, not both, and no input dilation."""
        outputs = shapes.output_sizes(conv.axes, input_size)
        kernel, size, pads = [], [], []
        for axis, length, count in zip(conv.axes, input_size, outputs, strict=True):
            taps = shapes.repeats(axis.kernel, axis.stride)
            windows = shapes.repeats(count, axis.dilation)
            low, _ = shapes.padding(axis, length)
            kernel.append(taps)
            size.append(windows + taps - 1)
            pads.append((low, size[-1] * axis.stride * axis.dilation - low - length))
        tails = tuple((0, taps * axis.stride - axis.kernel) for taps, axis in zip(kernel, conv.axes, strict=True))
        return cls(conv.groups, conv.stride, conv.dilation, tuple(pads), tails, tuple(kernel), tuple(size), outputs)

    def work(self, conv: Convolution, batch: int, room: int, threads: int) -> Compiled:
        """The correlation, for so many images."""
        images, ins = batch * prod(conv.dilation), conv.in_channels * prod(conv.stride)
        return Compiled(self.windows, self.kernel, images, ins, conv.out_channels, conv.groups, room, threads)

    @property
    def is_plain(self) -> bool:
        """Whether the convolution has steps of 1 already, so that there is nothing to do but to pad."""
        return max(*self.stride, *self.dilation) == 1

    @property
    def windows(self) -> tuple[int, ...]:
        """Outputs per axis of the convolution with steps of 1."""
        return tuple(size - taps + 1 for size, taps in zip(self.size, self.kernel, strict=True))

    def input(self, x: Tensor) -> Tensor:
        """(batch, in, *size) to (batch * images, in * phases, *size)."""
        x = padding.pad(x, self.pads)
        return layouts.split_phases(layouts.split_phases(x, self.dilation, into=0), self.stride, into=1)

    def input_back(self, x: Tensor) -> Tensor:
        """The adjoint of `input`."""
        x = layouts.join_phases(layouts.join_phases(x, self.stride, out_of=1), self.dilation, out_of=0)
        return padding.unpad(x, self.pads)

    def weight(self, weight: Tensor) -> Tensor:
        """(out, in // groups, *kernel) to (out, in // groups * phases, *kernel)."""
        return layouts.split_phases(padding.pad(weight, self.tails), self.stride, into=1)

    def weight_back(self, weight: Tensor) -> Tensor:
        """The adjoint of `weight`."""
        return padding.unpad(layouts.join_phases(weight, self.stride, out_of=1), self.tails)

    def output(self, y: Tensor) -> Tensor:
        """(batch * images, out, *windows) to (batch, out, *output size)."""
        return padding.pad(layouts.join_phases(y, self.dilation, out_of=0), self._surplus())

    def output_back(self, grad: Tensor) -> Tensor:
        """The adjoint of `output`."""
        return layouts.split_phases(padding.unpad(grad, self._surplus()), self.dilation, into=0)

    def _surplus(self) -> Pairs:
        whole = (windows * step for windows, step in zip(self.windows, self.dilation, strict=True))
        return tuple((0, count - size) for count, size in zip(self.outputs, whole, strict=True))
