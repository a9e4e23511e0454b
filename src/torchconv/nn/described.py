"""The base class of layers that are one operation of a network, however they are computed."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from ..compute.observer import THREAD
from ..network.operations import Operation


class DescribedLayer(torch.nn.Module):
    """A layer that says which operation of a network it is; whoever traces a model sees this operation, and no part.

    ndim: the number of axes, for layers whose input may come without a batch.
    """

    ndim: ClassVar[int | None] = None

    @property
    @abstractmethod
    def operation(self) -> Operation:
        """Its description as an operation of a network."""

    @abstractmethod
    def _compute(self, x: Tensor) -> Tensor:
        """The output."""

    def forward(self, x: Tensor) -> Tensor:
        observer = THREAD.observer
        if observer is None or torch.compiler.is_compiling():
            return self._compute(x)
        if x.ndim == (self.ndim or x.ndim) + 1:
            return self.forward(x.unsqueeze(0)).squeeze(0)
        return observer.whole(self.operation, [x], self._compute)
