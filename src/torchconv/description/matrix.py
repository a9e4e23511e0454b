"""The linear map itself: the sparse matrix of a convolution, the ground truth of everything else.

With one axis, one channel and one kernel it is a Toeplitz matrix, with a circular boundary a circulant one; with two
axes a doubly block Toeplitz or circulant one (Goodfellow, Bengio, Courville 2016, Deep learning, section 9.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm, prod
from typing import Any

import numpy as np

from ..errors import SettingError, ShapeError
from .axis import Axis
from .connections import Connections
from .shapes import output_sizes, sources
from .sharing import Sharing


@dataclass(frozen=True)
class Entries:
    """The products of a convolution: output `rows[n]` reads input `columns[n]` times weight `weights[n]`.

    All three index flattened arrays: (out, *output size), (in, *input size) and the weights.
    """

    shape: tuple[int, int]
    rows: np.ndarray
    columns: np.ndarray
    weights: np.ndarray


def entries(axes: Sequence[Axis], connections: Connections, sharing: Sharing, input_size: Sequence[int]) -> Entries:
    """Every product with a real sample; two taps that read one sample through the boundary are two entries."""
    outputs = output_sizes(axes, input_size)
    rows, columns, phases, taps = _places(axes, sharing, input_size, outputs)
    pairs = np.array(list(connections.pairs()), dtype=np.int64).reshape(-1, 2)
    pair = np.arange(len(pairs))[:, None]
    return Entries(
        (connections.out_channels * prod(outputs), connections.in_channels * prod(input_size)),
        (pairs[:, :1] * prod(outputs) + rows).reshape(-1),
        (pairs[:, 1:] * prod(input_size) + columns).reshape(-1),
        ((phases * len(pairs) + pair) * prod(axis.kernel for axis in axes) + taps).reshape(-1),
    )


def array_of(weight: Any, *shapes: tuple[int, ...]) -> np.ndarray:
    """Weights as a NumPy array; tensors without their history, and bfloat16, which NumPy does not have, as float32.

    Raises ShapeError unless they have one of the shapes, axes of size 1 apart.
    """
    if hasattr(weight, "detach"):
        weight = weight.detach().cpu()
        weight = weight.float() if "bfloat16" in str(weight.dtype) else weight
    array = np.asarray(weight)
    given, *wanted = ([size for size in shape if size != 1] for shape in (array.shape, *shapes))
    if given not in wanted:
        raise ShapeError("weight", got=array.shape, expected=shapes[0])
    return array


def matrix(entries: Entries, weight: np.ndarray):
    """The products as a scipy.sparse CSR array; entries of the same place are added."""
    from scipy.sparse import csr_array  # here, because SciPy takes longer to import than all of the description

    values = weight.reshape(-1)[entries.weights]
    return csr_array((values, (entries.rows, entries.columns)), shape=entries.shape)


def _places(
    axes: Sequence[Axis], sharing: Sharing, input_size: Sequence[int], outputs: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Flattened output positions, input positions, phases and taps of all products of one channel pair."""
    rows = columns = phases = taps = np.zeros(1, dtype=np.int64)
    for axis, period, size, output in zip(axes, sharing.periods, input_size, outputs, strict=True):
        table = sources(axis, size)
        position, tap = np.nonzero(table >= 0)
        step = output if period is None else period
        rows = np.add.outer(rows * output, position).reshape(-1)
        columns = np.add.outer(columns * size, table[position, tap]).reshape(-1)
        phases = np.add.outer(phases * step, position % step).reshape(-1)
        taps = np.add.outer(taps * axis.kernel, tap).reshape(-1)
    return rows, columns, phases, taps


def gram(axis: Axis, size: int, phases: int) -> np.ndarray:
    """Inner products of the taps of every kernel along an axis, (phases, kernel, kernel) float64: positions p with
    p % phases the same share a kernel, and two taps meet where they read the same sample.

    >>> gram(Axis(3, padding=1), 4, 1)[0].diagonal().tolist()
    [3.0, 4.0, 3.0]
    """
    table = sources(axis, size)
    phase = np.arange(len(table)) % phases
    found = np.zeros((phases, axis.kernel, axis.kernel))
    position, tap = np.nonzero(table >= 0)
    np.add.at(found, (phase[position], tap, tap), 1.0)
    ranked = np.sort(table, axis=1)
    twice = ((ranked[:, 1:] == ranked[:, :-1]) & (ranked[:, 1:] >= 0)).any(1)  # near a boundary that repeats samples
    for row, number in zip(table[twice], phase[twice], strict=True):
        found[number] += (row[:, None] == row) & (row[:, None] >= 0) & ~np.eye(axis.kernel, dtype=bool)
    return found


def alone(outputs: int, phases: int) -> np.ndarray:
    """The same for a single weight without an axis of taps, as of a bias: how many positions use each one.

    >>> alone(5, 2).ravel().tolist()
    [3.0, 2.0]
    """
    return np.bincount(np.arange(outputs) % phases, minlength=phases).astype(float)[:, None, None]


def joined(one: Sharing, other: Sharing) -> Sharing:
    """The loosest need of two: a sharing of which both are special cases.

    >>> str(joined(Sharing.of(2, 1), Sharing.of(3, 1)))
    '6'
    """
    pairs = zip(one.periods, other.periods, strict=True)
    return Sharing(tuple(None if None in pair else lcm(*pair) for pair in pairs))  # type: ignore[arg-type]


def checked_looser(present: Sharing, wanted: Sharing) -> None:
    """Raises SettingError unless weights of the present sharing can be written with the wanted one."""
    if joined(present, wanted) != wanted:
        fix = "Name a multiple of the present period, or use narrow(), which projects."
        expected = f'"none", "dense" or a multiple of the present period ({present})'
        raise SettingError("sharing to widen to", got=str(wanted), expected=expected, fix=fix)
