"""What results are held against, computed in ways of their own."""

from __future__ import annotations

import torch
from scipy.sparse import csr_array
from torch import Tensor

from torchconv.compute.algorithms.sparse_matrix import CompressedRows, SparseMatrix
from torchconv.compute.planning.measure import Bench
from torchconv.compute.tensors import INPUT, OUTPUT


class TermByTerm(SparseMatrix):
    """The sparse matrix by SciPy's product, which adds up each row's products one after another in the given type."""

    def product(self, rows: CompressedRows, values: Tensor, dense: Tensor) -> Tensor:
        matrix = csr_array((values.numpy(), rows.columns, rows.starts), shape=rows.shape)
        return torch.from_numpy(matrix @ dense.numpy())


def direct(bench: Bench, role: str, dtype: torch.dtype) -> Tensor:
    """An operation on the numbers of a bench by the direct algorithm: sums of products, term by term."""
    problem, oracle = bench.problem, TermByTerm()
    x, grad, weight = (tensor.detach().to(dtype) for tensor in (bench.x, bench.grad, bench.weight))
    if role == OUTPUT:
        return oracle.output(problem.convolution, x, weight)
    if role == INPUT:
        return oracle.input_grad(problem.convolution, grad, weight, problem.sizes)
    return oracle.weight_grad(problem.convolution, x, grad)
