"""torch's kernels on numbers rounded to bfloat16, summed in float32: where precision="bf16" allows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from ...description.convolution import Convolution
from ..planning import cost_model
from .base import Algorithm, Problem
from .torch_kernels import TorchKernels

KERNELS = TorchKernels()


class TorchBfloat16(Algorithm):
    """Operands rounded to 8 bits, half as many bytes and products twice as fast; about 0.004 of relative error."""

    name: ClassVar[str] = "torch-bf16"
    error: ClassVar[float] = 5e4
    differentiable: ClassVar[bool] = True

    def declines(self, problem: Problem) -> str | None:
        if problem.precision != "bf16":
            return 'only precision="bf16" allows it'
        if problem.dtype != torch.float32:
            return "it is for numbers in float32"
        return KERNELS.declines(problem)

    def may_pay(self, convolution: Convolution, precision: str) -> bool:
        return precision == "bf16"

    def seconds(self, problem: Problem, role: str) -> float:
        rounding = problem.numbers / cost_model.TOUCH / cost_model.cores(problem.threads)
        return KERNELS.seconds(replace(problem, dtype=torch.bfloat16), role) + rounding

    def workspace(self, problem: Problem, role: str) -> int:
        """Half as many bytes as the arrays and what torch copies of them."""
        weights = prod(problem.convolution.weight_shape(problem.sizes))
        return (KERNELS.workspace(problem, role) + (problem.numbers + weights) * problem.dtype.itemsize) // 2

    def output(self, conv: Convolution, x: Tensor, weight: Tensor) -> Tensor:
        return KERNELS.output(conv, x.bfloat16(), weight.bfloat16()).float()

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        return KERNELS.input_grad(conv, grad.bfloat16(), weight.bfloat16(), input_size).float()

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        return KERNELS.weight_grad(conv, x.bfloat16(), grad.bfloat16()).float()
