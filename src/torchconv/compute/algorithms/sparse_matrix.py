"""The sparse matrix of a convolution, times the input: its entries are listed once, then filled with each weight.

The description lists every product (output, input, weight); sorted by output they are the matrix, sorted by input its
transpose, sorted by nothing the gradient of the weights. Borders, tables, sharing and dilation are all in the list.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ...description.convolution import Convolution
from ..problem import Problem
from .base import Algorithm

LISTED = 104  # bytes of an entry of the list


@dataclass(frozen=True, eq=False)
class CompressedRows:
    """Entries sorted by row, compressed: those of row r are at starts[r] to starts[r + 1]."""

    starts: np.ndarray
    columns: np.ndarray
    weights: np.ndarray
    shape: tuple[int, int]


@lru_cache(maxsize=8)
def _rows(conv: Convolution, input_size: tuple[int, ...], transposed: bool) -> CompressedRows:
    listed = conv.entries(input_size)
    rows, columns = (listed.columns, listed.rows) if transposed else (listed.rows, listed.columns)
    height, width = reversed(listed.shape) if transposed else listed.shape
    order = np.lexsort((columns, rows))
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=height))])
    return CompressedRows(starts, columns[order], listed.weights[order], (height, width))


class SparseMatrix(Algorithm):
    """The three operations by torch's product of a sparse matrix in compressed rows with a dense one, on any device."""

    name: ClassVar[str] = "matrix"
    error: ClassVar[float] = 2.0  # MKL adds up a row's products in the lanes of a vector, as many as the processor has
    takes_borders: ClassVar[bool] = True
    takes_tables: ClassVar[bool] = True

    def declines(self, problem: Problem) -> str | None:
        allowed = (torch.float32, torch.float64, torch.complex64, torch.complex128)
        if problem.device == "meta":
            return "torch's sparse matrices need numbers"
        return None if problem.dtype in allowed else f"torch has no sparse product for {problem.dtype}"

    def workspace(self, problem: Problem, role: str) -> int:
        """The list of all products of one image while it is sorted, their values, and the arrays turned."""
        size = problem.dtype.itemsize
        products = problem.convolution.macs_ignoring_borders(problem.sizes)
        return products * (LISTED + 2 * size) + problem.numbers * size

    def output(self, conv: Convolution, x: Tensor, weight: Tensor) -> Tensor:
        size = tuple(x.shape[2:])
        y = self._apply(_rows(conv, size, False), x, weight)
        return y.reshape(len(x), conv.out_channels, *conv.output_size(size))

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        rows = _rows(conv, tuple(input_size), True)
        return self._apply(rows, grad, weight).reshape(len(grad), conv.in_channels, *input_size)

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        size = tuple(x.shape[2:])
        listed = conv.entries(size)
        index = [torch.from_numpy(part).to(x.device) for part in (listed.columns, listed.rows, listed.weights)]
        shape = conv.weight_shape(size)
        products = x.new_zeros(len(index[0]))
        for image, outputs in zip(x.flatten(1), grad.flatten(1), strict=True):  # image by image: the list is long
            products = products + image[index[0]] * outputs[index[1]]
        return x.new_zeros(prod(shape)).index_add(0, index[2], products).reshape(shape)

    @staticmethod
    def _apply(rows: CompressedRows, x: Tensor, weight: Tensor) -> Tensor:
        """The matrix filled with the weights, times the images (batch, columns), to (batch, rows)."""
        listed = rows.starts, rows.columns, rows.weights
        starts, columns, entries = (torch.from_numpy(part).to(x.device) for part in listed)
        values = weight.reshape(-1)[entries]
        with warnings.catch_warnings():  # torch says once a process that CSR is in beta
            warnings.filterwarnings("ignore", "Sparse", UserWarning)
            matrix = torch.sparse_csr_tensor(starts, columns, values, rows.shape, check_invariants=False)
        return (matrix @ x.flatten(1).T.contiguous()).T
