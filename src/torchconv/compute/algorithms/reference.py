"""The reference loops as an algorithm, so that they can be asked for by name and obey the same laws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...description.convolution import Convolution
from .. import reference
from .base import Algorithm, Problem


class ReferenceLoops(Algorithm):
    """`compute/reference.py` on tensors: in float64 or complex128, then rounded once to the type of the numbers."""

    name: ClassVar[str] = "reference"
    takes_borders: ClassVar[bool] = True
    takes_tables: ClassVar[bool] = True

    def declines(self, problem: Problem) -> str | None:
        return None if problem.device == "cpu" else "the loops run on the CPU"

    def workspace(self, problem: Problem, role: str) -> int:
        """The arrays in float64, and a few more of them."""
        return 3 * 8 * problem.numbers

    def output(self, conv: Convolution, x: Tensor, weight: Tensor) -> Tensor:
        return _tensor(reference.output(conv, _array(x), _array(weight)), x)

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        return _tensor(reference.input_grad(conv, _array(grad), _array(weight), input_size), grad)

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        return _tensor(reference.weight_grad(conv, _array(x), _array(grad)), x)


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    wide = torch.complex128 if tensor.is_complex() else torch.float64
    return tensor.detach().to(wide).resolve_conj().numpy()


def _tensor(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(array).to(like.dtype)
