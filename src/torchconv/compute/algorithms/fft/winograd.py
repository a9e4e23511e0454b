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
from ...native import library, transforms
from ...planning import cost_model
from ...tensors import OUTPUT, WEIGHT, all_finite, has_numbers, room
from ...weight_cache import Kernels
from ..base import Algorithm, Problem
from ..torch_kernels import TorchKernels
from .tile_costs import LANES, MULTIPLY, NUMBER, PAYS, TOUCH, Work

DIRECT = TorchKernels()
KERNEL, TILE, OUTPUTS = (3, 3), (6, 6), (4, 4)
TRANSFORM = 0.2e-6  # seconds of one vector of tiles
REORDER = 1.2  # times as long as the others the gradient of the weights takes
CALL = 30e-6
FEWEST_CHANNELS = 32


class Winograd(Algorithm):
    """Fewer products, less exact sums: where precision="fast" allows it."""

    name: ClassVar[str] = "winograd"
    error: ClassVar[float] = 12.0

    def __init__(self, keeps: bool = False) -> None:
        self._keeps = keeps

    @property
    def for_lasting_weights(self) -> Algorithm:
        return KEEPING

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
        return library.off()

    def may_pay(self, convolution: Convolution, precision: str) -> bool:
        return precision != "auto" and self.declines(Problem(convolution, torch.float32, "cpu", precision)) is None

    def seconds(self, problem: Problem, role: str) -> float:
        conv = problem.convolution
        if conv.channels.rows is not None or min(conv.in_channels, conv.out_channels) // conv.groups < FEWEST_CHANNELS:
            return inf
        outputs = shapes.output_sizes(conv.axes, problem.sizes)
        work = _work(conv, outputs, problem.batch, problem.room, problem.threads)
        one = _seconds(work, role) + _kernel_seconds(work) + NUMBER * work.bytes / 4
        return one * (REORDER if role == WEIGHT else 1) / cost_model.cores(problem.threads) + CALL

    def workspace(self, problem: Problem, role: str) -> int:
        conv, outputs = problem.convolution, shapes.output_sizes(problem.convolution.axes, problem.sizes)
        work = _work(conv, outputs, problem.batch, problem.room, problem.threads)
        return work.workspace(TILE, role)

    def output(self, conv: Convolution, x: Tensor, weight: Tensor) -> Tensor:
        if not has_numbers(x):
            return DIRECT.output(conv, x, weight)
        cut, size = self._cut(conv, x.shape[2:], x), shapes.output_sizes(conv.axes, x.shape[2:])
        y = transforms.output(cut, x, self._kernels(weight), size)
        return y if all_finite(y) else DIRECT.output(conv, x, weight)

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        if not has_numbers(grad):
            return DIRECT.input_grad(conv, grad, weight, input_size)
        result = transforms.input_grad(self._cut(conv, input_size, grad), grad, self._kernels(weight), input_size)
        return result if all_finite(result) else DIRECT.input_grad(conv, grad, weight, input_size)

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        if not has_numbers(x):
            return DIRECT.weight_grad(conv, x, grad)
        result = transforms.weight_grad(self._cut(conv, x.shape[2:], x), x, grad, KERNEL)
        return result if all_finite(result) else DIRECT.weight_grad(conv, x, grad)

    def _kernels(self, weight: Tensor) -> Kernels:
        return Kernels(weight, weight.shape, how=self.name if self._keeps else None)

    def _cut(self, conv: Convolution, size: Sequence[int], array: Tensor) -> transforms.Cut:
        outputs, batch = shapes.output_sizes(conv.axes, size), array.shape[0]
        numbers = batch * (conv.in_channels * prod(size) + conv.out_channels * prod(outputs))
        arrays = 4 * (numbers + prod(conv.weight_shape()))
        work = _work(conv, outputs, batch, room(self.limit, arrays), torch.get_num_threads())
        low = [shapes.padding(axis, length)[0] for axis, length in zip(conv.axes, size, strict=True)]
        pays = _kernel_seconds(work) > PAYS * _seconds(work, OUTPUT)
        return transforms.Cut(conv.groups, low, TILE, work.spectra_room(TILE), transforms.WINOGRAD, pays)


KEEPING = Winograd(keeps=True)


def _work(conv: Convolution, outputs: tuple[int, ...], batch: int, room: int, threads: int) -> Work:
    return Work(outputs, KERNEL, batch, conv.in_channels, conv.out_channels, conv.groups, room, threads)


def _kernel_seconds(work: Work) -> float:
    """Of the transforms of the kernels."""
    return TRANSFORM * shapes.repeats(work.kernels, LANES) + TOUCH * TILE[0] * TILE[1] * work.kernels


def _seconds(work: Work, role: str) -> float:
    """Of the other transforms, and of the products."""
    tiles, points = work.tiles(OUTPUTS), TILE[0] * TILE[1]
    touched, products = points * tiles * (work.ins + work.outs), points * tiles * work.kernels
    return TRANSFORM * work.vectors(tiles, role) + TOUCH * touched + MULTIPLY * products
