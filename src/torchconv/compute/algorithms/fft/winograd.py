"""Winograd's minimal filtering for kernels of 3 x 3, four outputs of an axis at a time (Lavin and Gray 2016).

A tile of 6 x 6 samples gives 4 x 4 outputs with 36 products of matrices over the channels instead of 144; the error is
about six times that of the direct algorithm.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod
from typing import ClassVar

import torch
from torch import Tensor

from ....description import shapes
from ....description.convolution import Convolution
from ...native import loader, transforms
from ...planning import cost_model, machine
from ...problem import Problem
from ...tensors import OUTPUT, WEIGHT, all_finite, has_numbers
from ...weight_cache import Kernels
from ..base import Algorithm
from ..torch_kernels import KERNELS
from .tiles import Compiled

KERNEL, TILE = (3, 3), (6, 6)


class Winograd(Algorithm):
    """Fewer products, less exact sums: where precision="fast" allows it."""

    name: ClassVar[str] = "winograd"
    error: ClassVar[float] = 12.0

    def declines(self, problem: Problem) -> str | None:
        conv = problem.convolution
        if problem.precision == "auto":
            return 'only precision="fast" allows it'
        if conv.kernel_size != KERNEL or not conv.sharing.is_full:
            return "it has one kernel of 3 x 3 for all positions"
        if max(*conv.stride, *conv.dilation, *conv.input_dilation) > 1:
            return "its windows are one sample apart, and so are their samples"
        if problem.dtype != torch.float32 or problem.device != "cpu":
            return "its kernels are for float32 on a processor"
        if torch.compiler.is_compiling():
            return "torch.compile cannot look into its kernels"
        return loader.off()

    def may_pay(self, convolution: Convolution, precision: str) -> bool:
        return precision != "auto" and self.declines(Problem(convolution, torch.float32, "cpu", precision)) is None

    def seconds(self, problem: Problem, role: str) -> float:
        conv = problem.convolution
        fewest = min(conv.in_channels, conv.out_channels) // conv.groups
        if conv.channels.rows is not None or fewest < machine.WINOGRAD_FEWEST_CHANNELS:
            return inf
        work = _work(problem)
        one = _seconds(work, role) + _kernel_seconds(work) + machine.FFT_NUMBER * work.bytes / 4
        one *= machine.WINOGRAD_REORDER if role == WEIGHT else 1
        return one / cost_model.cores(problem.threads) + machine.WINOGRAD_CALL

    def workspace(self, problem: Problem, role: str) -> int:
        return _work(problem).workspace(TILE, role)

    def output(self, conv: Convolution, x: Tensor, weight: Tensor) -> Tensor:
        if not has_numbers(x):
            return KERNELS.output(conv, x, weight)
        cut, size = self._cut(conv, x.shape[2:], x), shapes.output_sizes(conv.axes, x.shape[2:])
        y = transforms.output(cut, x, self._kernels(weight), size)
        return y if all_finite(y) else KERNELS.output(conv, x, weight)

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        if not has_numbers(grad):
            return KERNELS.input_grad(conv, grad, weight, input_size)
        result = transforms.input_grad(self._cut(conv, input_size, grad), grad, self._kernels(weight), input_size)
        return result if all_finite(result) else KERNELS.input_grad(conv, grad, weight, input_size)

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        if not has_numbers(x):
            return KERNELS.weight_grad(conv, x, grad)
        result = transforms.weight_grad(self._cut(conv, x.shape[2:], x), x, grad, KERNEL)
        return result if all_finite(result) else KERNELS.weight_grad(conv, x, grad)

    def _kernels(self, weight: Tensor) -> Kernels:
        return Kernels(weight, weight.shape, how=self.name if self.keeps else None)

    def _cut(self, conv: Convolution, size: Sequence[int], array: Tensor) -> transforms.TileCut:
        threads = torch.get_num_threads()
        work = _work(Problem(conv, array.dtype, "cpu", "fast", len(array), tuple(size), threads, workspace=self.limit))
        low = [shapes.padding(axis, length)[0] for axis, length in zip(conv.axes, size, strict=True)]
        pays = _kernel_seconds(work) > machine.KEEP * _seconds(work, OUTPUT)
        return transforms.TileCut(conv.groups, low, TILE, work.spectra_room(TILE), transforms.WINOGRAD, pays)


def _work(problem: Problem) -> Compiled:
    conv, outputs = problem.convolution, shapes.output_sizes(problem.convolution.axes, problem.sizes)
    channels = (conv.in_channels, conv.out_channels, conv.groups)
    return Compiled(outputs, KERNEL, problem.batch, *channels, problem.room, problem.threads)


def _kernel_seconds(work: Compiled) -> float:
    """Of the transforms of the kernels."""
    vectors = shapes.repeats(work.kernels, machine.LANES)
    return machine.WINOGRAD_VECTOR * vectors + machine.FFT_SPECTRUM * prod(TILE) * work.kernels


def _seconds(work: Compiled, role: str) -> float:
    """Of the other transforms, and of the products."""
    tiles, points = work.tiles(TILE), prod(TILE)
    touched, products = points * tiles * (work.ins + work.outs), points * tiles * work.kernels
    vectors = machine.WINOGRAD_VECTOR * work.vectors(tiles, role)
    return vectors + machine.FFT_SPECTRUM * touched + machine.FFT_MULTIPLY * products
