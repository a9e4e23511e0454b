"""How much each weight of a kernel counts in the map: inner products of the matrices of single weights, axis by axis.

The matrix of a layer is a sum of its weights times matrices of ones, one for each weight. Weights on padding count for
nothing, and where a boundary repeats samples two taps may read the same one, so that their matrices overlap. The inner
products of these matrices are products over the axes of what is listed here.
"""

from __future__ import annotations

from math import lcm

import numpy as np

from ..errors import SettingError
from .axis import Axis
from .shapes import sources
from .sharing import Sharing


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
