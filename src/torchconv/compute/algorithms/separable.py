"""Kernels of low rank as pairs of convolutions on one axis: a Gaussian of 31 x 31 is 62 products instead of 961.

The kernels that one input channel has for all outputs of its group, one above the other, are a matrix of
(outputs * height) x width. Its singular value decomposition gives the fewest rows whose multiples they are: the input
is correlated with `rank` rows for every channel, and what comes out with columns, for every output channel its own.

Source: Rigamonti, Sironi, Lepetit, Fua 2013, Learning separable filters, section 3; that no other matrix of the same
rank is nearer is Eckart and Young's (1936).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from ...description import shapes
from ...description.axis import Axis
from ...description.connections import Connections
from ...description.convolution import Convolution
from .. import layouts
from ..planning import cost_model, machine
from ..problem import Problem
from ..tensors import INPUT, OUTPUT, has_numbers
from ..weight_cache import CACHE
from .base import Algorithm
from .depthwise import Depthwise
from .torch_kernels import KERNELS, TorchChannelsLast

WAYS = (KERNELS, TorchChannelsLast(), Depthwise())  # of the convolutions on one axis
LEAST = 2e-15  # relative error of the decomposition itself
TYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)
ALONE = Axis(1)


@dataclass(frozen=True)
class Factors:
    """Rows (in * rank, 1, 1, width) and columns (out, in // groups * rank, height, 1) of a weight.

    They are empty where the rank is more than was asked for.
    """

    rank: int
    rows: Tensor
    columns: Tensor


class Separable(Algorithm):
    """Rows, then columns, as few as give the kernels to the precision of their type.

    most: the rank from which on it takes another way, `otherwise`; by default none.

    The gradient of the weight does not depend on the weight, and so not on its rank: torch's kernels compute it.
    """

    name: ClassVar[str] = "separable"
    error: ClassVar[float] = 2.0  # of as many factors as a weight of full rank needs

    def __init__(self, most: int | None = None, otherwise: Algorithm = KERNELS) -> None:
        self._most, self._otherwise = most, otherwise

    def declines(self, problem: Problem) -> str | None:
        conv = problem.convolution
        if not conv.sharing.is_full:
            return "its rows and columns serve all positions"
        if conv.ndim != 2:
            return "it splits kernels of 2 axes: one is not to be split, and of three no decomposition is exact"
        if problem.dtype not in TYPES:
            return f"products of two factors in {problem.dtype} are not as exact as its kernels"
        if problem.device == "meta" or torch.compiler.is_compiling():
            return "the rank is in the numbers, which are not there yet"
        return None

    def may_pay(self, convolution: Convolution, precision: str) -> bool:
        return convolution.ndim == 2 and min(convolution.kernel_size) >= machine.SEPARABLE_SHORTEST

    def workspace(self, problem: Problem, role: str) -> int:
        """What stands between rows and columns, for one factor at a time, and their sum."""
        return problem.numbers * problem.dtype.itemsize

    def instead_of(self, other: Algorithm, problem: Problem, role: str, seconds: float) -> Algorithm:
        """This way where the weight's rank lets it take less than so many seconds, else the other."""
        conv = problem.convolution
        plain = conv.channels.rows is None and not other.takes_borders and not other.takes_tables
        open_to = plain and problem.device == "cpu" and self.declines(problem) is None
        if role not in (OUTPUT, INPUT) or not open_to or not self.may_pay(conv, problem.precision):
            return other
        most = 0
        while most < min(machine.SEPARABLE_MOST, *conv.kernel_size) and _seconds(problem, most + 1, role) < seconds:
            most += 1
        if most == 0 or _decomposition(conv) > seconds - _seconds(problem, 1, role):
            return other
        return Separable(most, other).for_frozen_weights

    def output(self, conv: Convolution, x: Tensor, weight: Tensor) -> Tensor:
        factors = self._factors(conv, x, weight)
        if factors is None:
            return self._otherwise.output(conv, x, weight)
        rows, columns, sums = _pair(conv, factors.rank)
        y = _way(rows, x, x.shape[2:], OUTPUT).output(rows, x, factors.rows)
        z = _way(columns, y, y.shape[2:], OUTPUT).output(columns, y, _shaped(columns, factors.columns))
        return z if sums == 1 else z.unflatten(1, (-1, sums)).sum(2)

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        factors = self._factors(conv, grad, weight)
        if factors is None:
            return self._otherwise.input_grad(conv, grad, weight, input_size)
        rows, columns, sums = _pair(conv, factors.rank)
        size = shapes.output_sizes(rows.axes, input_size)
        grad = grad if sums == 1 else grad.repeat_interleave(sums, 1)
        between = _way(columns, grad, size, INPUT).input_grad(columns, grad, _shaped(columns, factors.columns), size)
        return _way(rows, between, input_size, INPUT).input_grad(rows, between, factors.rows, input_size)

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        return KERNELS.weight_grad(conv, x, grad)

    def _factors(self, conv: Convolution, x: Tensor, weight: Tensor) -> Factors | None:
        """None where the rank is too high, or where there are no numbers, or not only finite ones, to decompose."""
        if not has_numbers(weight) or not has_numbers(x):
            return None
        most = min(conv.kernel_size[0] * conv.out_channels // conv.groups, conv.kernel_size[1])
        most = most if self._most is None else min(most, self._most)
        size = weight.element_size() * most * (conv.in_channels * conv.kernel_size[1] + weight[..., 0].numel())
        found = None
        if self.keeps:
            found = CACHE.recall(weight, (self.name, conv.groups, most), size, lambda one: decomposed(conv, one, most))
        found = decomposed(conv, weight, most) if found is None else found
        return found if found is not None and found.rank <= most else None


def decomposed(conv: Convolution, weight: Tensor, most: int) -> Factors | None:
    """The factors of a weight, if they are at most so many, with a residue as small as the rounding of its numbers.

    None for a weight that is not finite, or whose factors are not.
    """
    if not bool(torch.isfinite(weight).all()):
        return None
    groups, outs, ins = conv.groups, conv.out_channels // conv.groups, conv.in_channels // conv.groups
    height, width = conv.kernel_size
    wide = weight.detach().to(torch.complex128 if weight.is_complex() else torch.float64)
    wide, scale = _of_norm_one(wide)
    matrices = (
        wide.reshape(groups, outs, ins, height, width).transpose(1, 2).reshape(groups * ins, outs * height, width)
    )
    left, singular, right = torch.linalg.svd(matrices, full_matrices=False)
    residues = singular.square().flip(-1).cumsum(-1).flip(-1)  # of the first 0, 1, ... factors
    allowed = max(torch.finfo(weight.dtype).eps, LEAST) ** 2 / ins
    rank = max(1, int((residues > allowed).sum(-1).amax()))
    if rank > most:
        return Factors(rank, weight.new_empty(0), weight.new_empty(0))
    root = singular[:, :rank].sqrt()
    rows = (root.unsqueeze(2) * right[:, :rank]).reshape(-1, 1, 1, width)
    columns = (left[..., :rank] * root.unsqueeze(1)).reshape(groups, ins, outs, height, rank)
    columns = columns.permute(0, 2, 1, 4, 3).reshape(conv.out_channels, ins * rank, height, 1) * scale
    factors = Factors(rank, rows.to(weight.dtype), columns.to(weight.dtype))
    return factors if bool(torch.isfinite(factors.columns).all()) else None


def _of_norm_one(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The kernels of every output divided by their norm, and the norms; the largest number first, against overflow."""
    axes = (1, 2, 3)
    largest = weight.abs().amax(axes, keepdim=True)
    weight = weight / torch.where(largest == 0, 1, largest)
    norm = torch.linalg.vector_norm(weight, dim=axes, keepdim=True)
    norm = torch.where(norm == 0, 1, norm)
    return weight / norm, largest * norm


@lru_cache(maxsize=1024)
def _pair(conv: Convolution, rank: int) -> tuple[Convolution, Convolution, int]:
    """The convolutions along rows and columns, and how many of the latter's outputs are summed to one.

    With one output for each group the columns are one channel each, for which there are better kernels, and then sums.
    """
    ins, planes = conv.in_channels // conv.groups, conv.in_channels * rank
    rows = Connections.of(conv.in_channels, planes, conv.in_channels)
    alone = conv.out_channels == conv.groups
    columns = (
        Connections.of(planes, planes, planes) if alone else Connections.of(planes, conv.out_channels, conv.groups)
    )
    down, along = conv.axes
    pair = Convolution.of_parts(rows, (ALONE, along)), Convolution.of_parts(columns, (down, ALONE))
    return *pair, ins * rank if alone else 1


def _shaped(conv: Convolution, columns: Tensor) -> Tensor:
    return columns.reshape(conv.weight_shape())


def _way(conv: Convolution, x: Tensor, size: Sequence[int], role: str) -> Algorithm:
    threads, last = torch.get_num_threads(), layouts.channels_last(x)
    return _best(Problem(conv, x.dtype, x.device.type, "auto", len(x), tuple(size), threads, last), role)[1]


@lru_cache(maxsize=1024)
def _best(problem: Problem, role: str) -> tuple[float, Algorithm]:
    """The seconds of the fastest way, and the way; one channel that is read by many takes as long as many alone."""
    conv, counted = problem.convolution, problem
    if conv.in_channels == 1:
        many = Connections.of(conv.out_channels, conv.out_channels, conv.out_channels)
        counted = replace(problem, convolution=Convolution.of_parts(many, conv.axes))
    opened = [one for one in WAYS if one.declines(problem) is None]
    return min(((one.seconds(counted, role), one) for one in opened), key=lambda pair: pair[0])


def _seconds(problem: Problem, rank: int, role: str) -> float:
    """What an operation takes with so many factors."""
    rows, columns, sums = _pair(problem.convolution, rank)
    first = replace(problem, convolution=rows)
    second = replace(problem, convolution=columns, input_size=shapes.output_sizes(rows.axes, problem.sizes))
    added = second.numbers / machine.TOUCH / cost_model.cores(problem.threads) if sums > 1 else 0
    return added + sum(_best(one, role)[0] for one in (first, second))


def _decomposition(conv: Convolution) -> float:
    """Seconds to find the factors of a weight, the first time that it is seen."""
    height, width = conv.kernel_size
    steps = conv.out_channels // conv.groups * height * width * width
    return conv.in_channels * (machine.SEPARABLE_DECOMPOSITION + machine.SEPARABLE_STEP * steps)
