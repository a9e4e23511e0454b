"""Projections of the whole matrix of a fully connected layer on those of a convolution."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import torch
from torch import Tensor

from ..description.convolution import Convolution
from ..description.gram import gram
from ..description.matrix import Entries
from .projections import Tie, along, widest


@dataclass(frozen=True, eq=False)
class MatrixTie(Tie):
    """Matrices of layers that read a whole volume, tied to those of a convolution on inputs of one size."""

    convolution: Convolution
    input_size: tuple[int, ...]

    def tightened(self, loose: Tensor) -> Tensor:
        conv = self.convolution
        places, numbers = self._entries
        places, numbers = places.to(loose.device), numbers.to(loose.device)
        each = loose.to(widest(loose.dtype)).reshape(-1)[places]
        first = each.new_zeros(prod(conv.weight_shape(self.input_size)))
        if all(axis.boundary == "zeros" for axis in conv.axes):  # each place holds one weight: differences from one of
            first[numbers] = each.detach()  # its places, so that tied values come back bit by bit
            each = each - first[numbers]
        sums = torch.zeros_like(first).index_add(0, numbers, each)
        phases = conv.sharing.phases(conv.output_size(self.input_size)) or (1,) * conv.ndim
        values = sums.reshape(*phases, -1, *conv.kernel_size)
        for number, (axis, size) in enumerate(zip(conv.axes, self.input_size, strict=True)):
            values = along(number, values, np.linalg.pinv(gram(axis, size, phases[number]), hermitian=True))
        return (first + values.reshape(-1)).reshape(conv.weight_shape(self.input_size)).to(loose.dtype)

    def loosened(self, tied: Tensor) -> Tensor:
        places, numbers = (one.to(tied.device) for one in self._entries)
        values = tied.reshape(-1)[numbers]
        rows, columns = self._shape
        return values.new_zeros(rows * columns).index_add(0, places, values).reshape(rows, columns)

    def squared_norm(self, loose: Tensor) -> Tensor:
        return loose.abs().square().sum()

    @cached_property
    def _listed(self) -> Entries:
        return self.convolution.entries(self.input_size)

    @property
    def _shape(self) -> tuple[int, int]:
        return self._listed.shape

    @cached_property
    def _entries(self) -> tuple[Tensor, Tensor]:
        """Of every product, its place in the flattened matrix and the number of its weight."""
        found = self._listed
        return torch.from_numpy(found.rows * found.shape[1] + found.columns), torch.from_numpy(found.weights)
