"""What an algorithm is: one way to compute the three operations of a convolution, or the reason it declines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...description.convolution import Convolution


@dataclass(frozen=True)
class Problem:
    """What is known before the numbers are: the convolution, the type of its numbers and where they are."""

    convolution: Convolution
    dtype: torch.dtype
    device: str


class Algorithm(ABC):
    """One way to compute. The three operations are the three derivatives of <grad, conv(x, weight)>, not conjugated.

    Arrays: x (batch, in, *size), grad (batch, out, *output size), weight as the description shapes it.
    Biases are not an algorithm's matter.

    name: how `algorithm=` calls it.
    takes_borders: whether it reads padding other than zeros itself; where not, it is given the padded input.
    takes_tables: whether it reads connection tables itself; where not, it is given grouped convolutions.
    differentiable: whether its operations are made of what torch differentiates itself, and as well as it can be done.
    """

    name: ClassVar[str]
    takes_borders: ClassVar[bool] = False
    takes_tables: ClassVar[bool] = False
    differentiable: ClassVar[bool] = False

    def declines(self, problem: Problem) -> str | None:
        """Why this way is not open to the problem; None if it is."""
        return None

    @abstractmethod
    def output(self, conv: Convolution, x: Tensor, weight: Tensor) -> Tensor:
        """The map itself."""

    @abstractmethod
    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        """Its adjoint towards the input."""

    @abstractmethod
    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        """Its adjoint towards the weights."""
