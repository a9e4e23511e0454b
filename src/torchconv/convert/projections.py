"""Orthogonal projections from loosely tied weights to tightly tied ones, and the way back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import final

import numpy as np
import torch
from torch import Tensor

from ..description.axis import Axis
from ..description.convolution import Convolution
from ..description.matrix import Entries, alone, gram
from ..description.sharing import Sharing

BLOCK = 2**18  # values that are added up at once
Size = tuple[int, ...]


class Tie(ABC):
    """A rung of the ladder: which values it ties together, and how far other values are from that.

    Distances are Frobenius norms of differences of the layers' matrices, not of their weights.
    """

    @abstractmethod
    def tightened(self, loose: Tensor) -> Tensor:
        """The tied values whose matrix is nearest."""

    @abstractmethod
    def loosened(self, tied: Tensor) -> Tensor:
        """Tied values written as loose ones: the same matrix."""

    @abstractmethod
    def squared_norm(self, loose: Tensor) -> Tensor:
        """The sum of squares of the matrix of loose values."""

    @final
    def nearest(self, loose: Tensor) -> Tensor:
        """The tied values that are nearest, written as loose ones."""
        return self.loosened(self.tightened(loose))

    @final
    def squared_distance(self, loose: Tensor) -> Tensor:
        """Of loose values from the nearest tied ones, a scalar that can be differentiated."""
        return self.squared_norm(loose - self.nearest(loose))


@dataclass(frozen=True, eq=False)
class PhaseTie(Tie):
    """Values (*phases, *channels, *taps) of kernels that are chosen by the place of an output on each axis.

    grams: for each axis the inner products of the taps of its loose kernels, (phases, taps, taps).
    loose, tied: numbers of kernels along the axes, () for one kernel everywhere; along an axis kernel q becomes number
    q % tied. Values without taps, as biases, have grams of one tap.
    Taps that meet no sample are averaged, and all is done with differences from one kernel of each kind, so that tied
    values come back bit by bit.
    """

    grams: tuple[np.ndarray, ...]
    loose: tuple[int, ...]
    tied: tuple[int, ...]

    def tightened(self, loose: Tensor) -> Tensor:
        values = self._split(loose)
        for axis, (matrices, count) in enumerate(zip(self._turning, self._counts, strict=True)):
            values = values if count == len(matrices) else _folded(axis, values, matrices, count)
        return values.reshape(*self.tied, *loose.shape[len(self.loose) :]).to(loose.dtype)

    def loosened(self, tied: Tensor) -> Tensor:
        return placed(tied, self.tied, self.loose)

    def squared_norm(self, loose: Tensor) -> Tensor:
        values = self._split(loose)
        diagonal = all(map(_diagonal, self.grams))  # then the channels can be added up first
        seen = values.abs().square().sum(len(self.grams), keepdim=True) if diagonal else values
        for axis, one in enumerate(self.grams):
            seen = along(axis, seen, one)
        return seen.sum() if diagonal else (values.conj() * seen).real.sum()

    @property
    def _counts(self) -> tuple[int, ...]:
        return self.tied or (1,) * len(self.grams)

    @cached_property
    def _turning(self) -> list[np.ndarray]:
        """For each axis, what turns a loose kernel into its part of the tied one, which is their sum.

        H^-1 G, with H the sum of the G; what H does not tell, it being singular, is the plain mean.
        """
        found = []
        for one, count in zip(self.grams, self._counts, strict=True):
            of = np.arange(len(one)) % count
            whole = np.zeros((count, *one.shape[1:]))
            np.add.at(whole, of, one)
            inverse = np.linalg.pinv(whole, hermitian=True)
            untold = np.eye(one.shape[-1]) - inverse @ whole
            found.append(inverse[of] @ one + untold[of] / np.bincount(of)[of, None, None])
        return found

    def _split(self, values: Tensor) -> Tensor:
        """As (*phases of every axis, channels, *taps of every axis)."""
        taps = [one.shape[-1] for one in self.grams]
        return values.reshape(*(self.loose or (1,) * len(taps)), -1, *taps)


@dataclass(frozen=True, eq=False)
class ViewedTie(Tie):
    """A tie of values that are kept in another order; view: to the order of the tie, back: from it."""

    tie: Tie
    view: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]

    def tightened(self, loose: Tensor) -> Tensor:
        return self.tie.tightened(self.view(loose))

    def loosened(self, tied: Tensor) -> Tensor:
        return self.back(self.tie.loosened(tied))

    def squared_norm(self, loose: Tensor) -> Tensor:
        return self.tie.squared_norm(self.view(loose))


def phase_ties(loose: Convolution, tight: Convolution, size: Size | None, outputs: Size | None) -> tuple[Tie, Tie]:
    """Of the weights and of the biases, from a sharing to one that is a special case of it, on inputs of one size."""
    bias = _phase_tie(None, loose.bias_sharing, tight.bias_sharing, size, outputs)
    return _phase_tie(loose.axes, loose.sharing, tight.sharing, size, outputs), bias


def dense_ties(tight: Convolution, size: Size, outputs: Size) -> tuple[Tie, Tie]:
    """Of the matrix and of the flattened biases of a layer that reads and makes whole volumes, to a convolution's."""
    unshared, channels = Sharing((None,) * tight.ndim), tight.out_channels
    bias = ViewedTie(
        _phase_tie(None, unshared, tight.bias_sharing, size, outputs),
        lambda values: values.reshape(channels, *outputs).movedim(0, -1),
        lambda values: values.movedim(-1, 0).reshape(-1),
    )
    return MatrixTie(tight, size), bias


def _phase_tie(
    axes: Sequence[Axis] | None, loose: Sharing, tied: Sharing, input_size: Size | None, outputs: Size | None
) -> PhaseTie:
    """From one sharing to a special case of it; axes None: of values without taps. Without a size every tap counts."""
    phases = loose.phases(outputs) or (1,) * len(loose.periods)
    grams = []
    for number, count in enumerate(phases):
        taps = 1 if axes is None else axes[number].kernel
        if input_size is None or outputs is None:
            grams.append(np.tile(np.eye(taps), (count, 1, 1)))
        elif axes is None:
            grams.append(alone(outputs[number], count))
        else:
            grams.append(gram(axes[number], input_size[number], count))
    return PhaseTie(tuple(grams), loose.phases(outputs), tied.phases(outputs))


def placed(values: Tensor, present: tuple[int, ...], wanted: tuple[int, ...]) -> Tensor:
    """Values (*present phases, ...) as (*wanted phases, ...): along each axis number q is number q % present.

    >>> placed(torch.tensor([[1.0], [2.0]]), (2,), (4,)).flatten().tolist()
    [1.0, 2.0, 1.0, 2.0]
    """
    if present == wanted:
        return values
    if not present:
        return values.expand(*wanted, *values.shape).contiguous()
    for axis, (now, then) in enumerate(zip(present, wanted, strict=True)):
        if now != then:
            values = values.index_select(axis, torch.arange(then, device=values.device) % now)
    return values


def _folded(axis: int, values: Tensor, matrices: np.ndarray, count: int) -> Tensor:
    """Each kernel along an axis times its matrix, added up to so many tied ones, in blocks that stay in the cache."""
    there = len(matrices)
    nearest = torch.arange(count, device=values.device).clamp(max=there - 1)  # a kernel that none becomes is a copy
    first = values.detach().index_select(axis, nearest).to(widest(values.dtype))  # derivatives do not feel it
    total, step = torch.zeros_like(first), max(1, BLOCK * there // values.numel())
    for start in range(0, there, step):
        index = torch.arange(start, min(start + step, there), device=values.device) % count
        away = values.narrow(axis, start, len(index)) - (first if count == 1 else first.index_select(axis, index))
        total = total.index_add(axis, index, along(axis, away, matrices[start : start + step]))
    return first + total


def widest(dtype: torch.dtype) -> torch.dtype:
    """The type in which sums over many places are taken."""
    return torch.complex128 if dtype.is_complex else torch.float64


def _diagonal(matrices: np.ndarray) -> bool:
    """Whether no two taps of a kernel meet in one sample."""
    return np.count_nonzero(matrices) == np.count_nonzero(matrices.diagonal(axis1=1, axis2=2))


def along(axis: int, values: Tensor, matrices: np.ndarray) -> Tensor:
    """The taps of one axis times the matrix of their kernel; values (*phases, channels, *taps)."""
    rank = (values.ndim - 1) // 2
    if _diagonal(matrices):
        diagonal = matrices.diagonal(axis1=1, axis2=2)
        shape = [1] * values.ndim
        shape[axis], shape[rank + 1 + axis] = diagonal.shape
        return values * torch.as_tensor(diagonal.copy(), dtype=values.dtype, device=values.device).view(shape)
    moved = values.movedim((axis, rank + 1 + axis), (0, -1))
    shape = moved.shape
    by = torch.as_tensor(matrices, dtype=values.dtype, device=values.device)
    found = moved.reshape(shape[0], -1, shape[-1]) @ by.mT
    return found.reshape(shape).movedim((0, -1), (axis, rank + 1 + axis))


@dataclass(frozen=True, eq=False)
class MatrixTie(Tie):
    """Matrices of layers that read a whole volume, tied to those of a convolution on inputs of one size."""

    convolution: Convolution
    input_size: tuple[int, ...]

    def tightened(self, loose: Tensor) -> Tensor:
        conv, shape = self.convolution, self.convolution.weight_shape(self.input_size)
        places, numbers = self._entries
        places, numbers = places.to(loose.device), numbers.to(loose.device)
        each = loose.to(widest(loose.dtype)).reshape(-1)[places]
        first = each.new_zeros(prod(shape))
        if all(axis.boundary == "zeros" for axis in conv.axes):  # each place holds one weight: differences from one of
            first[numbers] = each.detach()  # its places, so that tied values come back bit by bit
            each = each - first[numbers]
        sums = torch.zeros_like(first).index_add(0, numbers, each)
        phases = (1,) * conv.ndim if conv.sharing.is_full else shape[: conv.ndim]
        values = sums.reshape(*phases, -1, *conv.kernel_size)
        for number, (axis, size) in enumerate(zip(conv.axes, self.input_size, strict=True)):
            values = along(number, values, np.linalg.pinv(gram(axis, size, phases[number]), hermitian=True))
        return (first + values.reshape(-1)).reshape(shape).to(loose.dtype)

    def loosened(self, tied: Tensor) -> Tensor:
        places, numbers = (one.to(tied.device) for one in self._entries)
        values = tied.reshape(-1)[numbers]
        shape = self._listed.shape
        return values.new_zeros(prod(shape)).index_add(0, places, values).reshape(shape)

    def squared_norm(self, loose: Tensor) -> Tensor:
        return loose.abs().square().sum()

    @cached_property
    def _listed(self) -> Entries:
        return self.convolution.entries(self.input_size)

    @cached_property
    def _entries(self) -> tuple[Tensor, Tensor]:
        """Of every product, its place in the flattened matrix and the number of its weight."""
        found = self._listed
        return torch.from_numpy(found.rows * found.shape[1] + found.columns), torch.from_numpy(found.weights)
