"""What an algorithm is: one way to compute the three operations of a convolution, or the reason it declines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from math import inf
from typing import Any, ClassVar

from torch import Tensor

from ...description.convolution import Convolution
from ..planning import cost_model
from ..problem import Problem

# How many times the error of the direct algorithm, which adds up products term by term in the same type, each precision
# allows; "bf16" as many times as bfloat16 rounds coarser than float32.
PRECISIONS = {"auto": 4.0, "fast": 32.0, "bf16": 2.0**16}


class Algorithm(ABC):
    """One way to compute. The three operations are the three derivatives of <grad, conv(x, weight)>, not conjugated.

    Arrays: x (batch, in, *size), grad (batch, out, *output size), weight as the description shapes it.
    Biases are not an algorithm's matter.

    name: how `algorithm=` calls it.
    takes_borders: whether it reads padding other than zeros itself; where not, it is given the padded input.
    takes_tables: whether it reads connection tables itself; where not, it is given grouped convolutions.
    differentiable: whether its operations are made of what torch differentiates itself, and as well as it can be done.
    error: the largest in float32 to be expected, in parts of the direct algorithm's; tests/test_errors.py measures it.
    keeps: whether weights are frozen, so that it may cache what it computes from them.
    limit: bytes of workspace to keep to where it can trade them for time; None: as `tensors.room` says.
    """

    name: ClassVar[str]
    takes_borders: ClassVar[bool] = False
    takes_tables: ClassVar[bool] = False
    differentiable: ClassVar[bool] = False
    error: ClassVar[float] = 1.0
    limit: int | None = None
    keeps: bool = False

    def declines(self, problem: Problem) -> str | None:
        """Reason this algorithm cannot run `problem`, or None."""
        return None

    def may_pay(self, convolution: Convolution, precision: str) -> bool:
        """Whether "auto" should weigh this way against torch's own for some input, at some microseconds a call."""
        return False

    def seconds(self, problem: Problem, role: str) -> float:
        """What one operation takes on a processor like the one in `cost`, about; inf: never worth it."""
        return inf

    def expected(self, problem: Problem, role: str) -> float:
        """The same on this machine, where `torchconv tune --machine` has measured it."""
        found = cost_model.factors(problem.threads) if problem.device == "cpu" else {}
        asked = problem.convolution, problem.dtype, problem.channels_last, role
        return self.seconds(problem, role) * (found.get(cost_model.key(self.name, *asked), 1.0) if found else 1.0)

    def workspace(self, problem: Problem, role: str) -> int:
        """Bytes that one operation takes beside input, weights and output, about; without borders and tables."""
        return 0

    def within(self, limit: int | None) -> Algorithm:
        """The same way, keeping to a limit."""
        return self if limit == self.limit else self._with(limit=limit)

    @property
    def for_frozen_weights(self) -> Algorithm:
        """The same algorithm for frozen weights, with the same results."""
        return self._with(keeps=True)

    def _with(self, **settings: Any) -> Algorithm:
        other = copy(self)
        vars(other).update(settings)
        return other

    @abstractmethod
    def output(self, conv: Convolution, x: Tensor, weight: Tensor) -> Tensor:
        """The map itself."""

    @abstractmethod
    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        """Its adjoint towards the input."""

    @abstractmethod
    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        """Its adjoint towards the weights."""
