"""Convolution as products with a Toeplitz matrix: the outputs in blocks, one small matrix for all of them.

A block of T outputs reads T + k - 1 samples through one matrix of that shape, the same for every block. There are
(T + k - 1) / k times more multiplications than needed, but a matrix product does them many times faster than a loop.
"""

from __future__ import annotations

from functools import partial
from math import prod

import numpy as np
from torch import Tensor

from ..compute.planning import machine
from ..description import shapes
from .array_ops import AxisWindows, flipped, permuted, windows, zeros
from .request import Array, MethodPlan, Request

BLOCK = 2**17  # numbers that are lined up at once


def plan(request: Request) -> MethodPlan:
    """Products in double precision: single precision would lose up to 15 times as much as scalar products do."""
    request = request.in_double or request
    wide = min(request.outputs[-1], 16 if request.taps[-1] <= 10 else 32 if request.taps[-1] <= 64 else 64)
    return MethodPlan("matrix", request, _seconds(request, wide), partial(_run, request, wide))


def _run(request: Request, wide: int, first: Array, second: Array) -> Array:
    """Blocks of `wide` outputs; the second operand must be the same for all of the batch."""
    cuts = [
        AxisWindows(start - taps + 1, stop - start, 1, taps)
        for taps, (start, stop) in zip(request.taps[:-1], request.spans[:-1], strict=True)
    ]
    taps, (start, stop) = request.taps[-1], request.spans[-1]
    cuts.append(AxisWindows(start - taps + 1, shapes.repeats(stop - start, wide), wide, wide + taps - 1))
    lined_up = windows(first, cuts)  # (*batch, *leading outputs, blocks, *leading taps, T + k - 1)
    matrix = _matrix(second.reshape(request.taps), wide)
    result = zeros(first, (*lined_up.shape[: lined_up.ndim - request.ndim], wide))
    each = max(1, BLOCK // max(1, prod(lined_up.shape[1:])))
    for begin in range(0, len(lined_up), each):
        part = result[begin : begin + each]
        _multiply(lined_up[begin : begin + each].reshape(-1, len(matrix)), matrix, part.reshape(-1, wide))
    result = result.reshape(*request.batch, *request.outputs[:-1], -1)
    return result[..., : stop - start]


def _multiply(rows: Array, matrix: Array, into: Array) -> None:
    """rows @ matrix, so many rows at a time that the library stays on one core."""
    if isinstance(rows, Tensor):
        into.copy_(rows @ matrix)
        return
    each = max(1, machine.TOEPLITZ_UNTHREADED // matrix.size)
    even = len(rows) // each * each
    if even:
        np.matmul(rows[:even].reshape(-1, each, len(matrix)), matrix, into[:even].reshape(-1, each, matrix.shape[1]))
    if even < len(rows):
        np.matmul(rows[even:], matrix, into[even:])


def _matrix(kernel: Array, wide: int) -> Array:
    """(*leading taps, k) to (leading taps * (T + k - 1), T): the entry at row i and column t is tap t - i + k - 1."""
    taps = kernel.shape[-1]
    bands = windows(
        kernel, [*(AxisWindows(0, 1, 1, n) for n in kernel.shape[:-1]), AxisWindows(1 - wide, wide + taps - 1, 1, wide)]
    )
    places = kernel.ndim - 1  # (*ones, rows, *leading taps, T)
    bands = permuted(bands, [*range(places), *range(places + 1, 2 * places + 1), places, 2 * places + 1])
    return flipped(bands, range(bands.ndim - 1)).reshape(-1, wide)


def _seconds(request: Request, wide: int) -> float:
    """About; blocks are about as wide as the kernel, but not so wide that most products are with zeros."""
    rows = prod(request.batch) * prod(request.outputs[:-1]) * shapes.repeats(request.outputs[-1], wide)
    inner = prod(request.taps[:-1]) * (wide + request.taps[-1] - 1)
    speed = 4 if request.is_complex else 1
    numbers = rows * (inner + 2 * wide) + inner * wide
    # products of few rows read the matrix again and again
    few = 1 + 8 / max(1, machine.TOEPLITZ_UNTHREADED // (inner * wide))
    products = rows * inner * wide * machine.TOEPLITZ_PRODUCT * few
    return (machine.TOEPLITZ_CALL + (numbers * machine.TOEPLITZ_NUMBER + products) * speed) * 1e-9
