"""The definition as plain loops, slow on purpose: what every algorithm is held against.

    Z[o, p] = sum over (connection i -> o, tap t) of V[i, source(p, t)] * K[phase(p), o, i, t]

It knows no trick: every product is one step of a loop, in the order of the formula, in the widest precision there is.
The three operations are the three ways to read the one sum: by output, by input, by weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...description import shapes
from ...description.convolution import Convolution
from ..problem import Problem
from .base import Algorithm


def products(conv: Convolution, input_size: Sequence[int]) -> Iterator[tuple[tuple, tuple, tuple]]:
    """Every product with a real sample, as the places (output, input, weight) in arrays without a batch.

    >>> next(products(Convolution(1, 1, (3,), padding=1), (4,)))
    ((0, 0), (0, 0), (0, 1))
    """
    sources = [shapes.sources(axis, size) for axis, size in zip(conv.axes, input_size, strict=True)]
    outputs = conv.output_size(input_size)
    for number, (target, channel) in enumerate(conv.channels.pairs()):
        for place in product(*(range(size) for size in outputs)):
            phase = () if conv.sharing.is_full else _phase(conv, place)
            for tap in product(*(range(size) for size in conv.kernel_size)):
                samples = tuple(int(table[p, t]) for table, p, t in zip(sources, place, tap, strict=True))
                if min(samples) >= 0:
                    yield (target, *place), (channel, *samples), (*phase, number, *tap)


def output(conv: Convolution, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The map itself: x (batch, in, *size) and weights to (batch, out, *output size)."""
    input_size = x.shape[2:]
    result = np.zeros((len(x), conv.out_channels, *conv.output_size(input_size)), _widest(x, weight))
    kernel = _listed(conv, weight)
    for target, source, entry in products(conv, input_size):
        result[(slice(None), *target)] += x[(slice(None), *source)] * kernel[entry]
    return result


def input_grad(conv: Convolution, grad: np.ndarray, weight: np.ndarray, input_size: Sequence[int]) -> np.ndarray:
    """The transposed map: grad (batch, out, *output size) to (batch, in, *size)."""
    result = np.zeros((len(grad), conv.in_channels, *input_size), _widest(grad, weight))
    kernel = _listed(conv, weight)
    for target, source, entry in products(conv, input_size):
        result[(slice(None), *source)] += grad[(slice(None), *target)] * kernel[entry]
    return result


def weight_grad(conv: Convolution, x: np.ndarray, grad: np.ndarray) -> np.ndarray:
    """What each weight is multiplied with, summed over the batch: the shape of the weights."""
    input_size = x.shape[2:]
    shape = conv.weight_shape(input_size)
    result = _listed(conv, np.zeros(shape, _widest(x, grad)))
    for target, source, entry in products(conv, input_size):
        result[entry] += (x[(slice(None), *source)] * grad[(slice(None), *target)]).sum()
    return result.reshape(shape)


def _phase(conv: Convolution, place: Sequence[int]) -> tuple[int, ...]:
    return tuple(
        position if period is None else position % period
        for position, period in zip(place, conv.sharing.periods, strict=True)
    )


def _listed(conv: Convolution, weight: np.ndarray) -> np.ndarray:
    """Weights as (*phases, connections, *kernel), so that groups and tables are read the same way."""
    phases = weight.shape[: 0 if conv.sharing.is_full else conv.ndim]
    return np.asarray(weight).reshape(*phases, conv.channels.count, *conv.kernel_size)


def _widest(*arrays: np.ndarray) -> np.dtype:
    return np.dtype(np.complex128 if any(np.iscomplexobj(array) for array in arrays) else np.float64)


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
        return _tensor(output(conv, _array(x), _array(weight)), x)

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        return _tensor(input_grad(conv, _array(grad), _array(weight), input_size), grad)

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        return _tensor(weight_grad(conv, _array(x), _array(grad)), x)


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    wide = torch.complex128 if tensor.is_complex() else torch.float64
    return tensor.detach().to(wide).resolve_conj().numpy()


def _tensor(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(array).to(like.dtype)
