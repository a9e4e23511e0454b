"""torch's kernels with the channels of one position side by side in memory, whatever order the input has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ...description.convolution import Convolution
from .. import layouts
from ..memory import has_numbers
from ..planning import cost_model
from ..role import OUTPUT
from .base import Problem
from .torch_kernels import TorchKernels


class TorchChannelsLast(TorchKernels):
    """The same kernels with the channels of one position side by side in memory."""

    name: ClassVar[str] = "torch-channels-last"

    def declines(self, problem: Problem) -> str | None:
        if problem.convolution.ndim not in layouts.CHANNELS_LAST:
            return "torch has a channels-last layout for 2 and 3 axes"
        return super().declines(problem)

    def seconds(self, problem: Problem, role: str) -> float:
        best = self._seconds(problem, role, True)
        return (
            best
            if problem.channels_last
            else best + problem.numbers / cost_model.GATHER / cost_model.cores(problem.threads)
        )

    def workspace(self, problem: Problem, role: str) -> int:
        """Both arrays in the other order, one of them twice in the gradients."""
        return self._copies(problem, 0 if problem.channels_last else 1 if role == OUTPUT else 2)

    def may_pay(self, convolution: Convolution, precision: str) -> bool:
        return convolution.ndim == 2 and max(convolution.kernel_size) >= cost_model.LARGE_KERNEL

    def bound(self, conv: Convolution, input_size: Sequence[int]) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
        compute = super().bound(conv, input_size)
        return lambda x, weight, bias: layouts.ordered_as(compute(self._laid_out(x), weight, bias), x)

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        return layouts.ordered_as(super().input_grad(conv, grad, weight, input_size), grad)

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        return layouts.ordered_as(super().weight_grad(conv, x, grad), x)

    def _laid_out(self, x: Tensor) -> Tensor:
        in_memory = has_numbers(x) or torch.compiler.is_compiling()  # inside vmap torch knows no such layouts
        return x.contiguous(memory_format=layouts.CHANNELS_LAST[x.ndim - 2]) if in_memory else x
