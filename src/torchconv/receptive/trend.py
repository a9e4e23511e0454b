"""Along which axis of a tensor the fields of its units move, and how arrays of marks are kept small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from .periodic import Progression

NOTHING = -(2**40)  # the mark of a unit that reads no sample, in arrays of (-first, last)


@dataclass(frozen=True)
class Trend:
    """The axis of the tensor along which fields move, and how they do where nothing ends it."""

    dim: int
    progression: Progression


def joint(trends: Sequence[tuple[Trend | None, ...]], joined: int | None = None) -> tuple[Trend | None, ...]:
    """The trends of what reads several tensors; None where they go along other axes, or drift apart."""
    found: list[Trend | None] = []
    for ways in zip(*trends, strict=True):
        known = [way for way in ways if way is not None]
        dims = {way.dim for way in known}
        both = known[0].progression if len(known) == len(ways) and len(dims - {joined}) == len(dims) == 1 else None
        for way in known[1:]:
            both = both and (both | way.progression)
        found.append(Trend(dims.pop(), both) if both else None)
    return tuple(found)


def folded(array: np.ndarray) -> np.ndarray:
    """1 long along the axes that nothing depends on."""
    for dim in range(array.ndim - 1):
        if array.shape[dim] > 1:
            first = array.take([0], dim)
            if array.strides[dim] == 0 or (array == first).all():
                array = first
    return array


def factors(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """The smallest runs of old and new axes that hold as many units."""
    found, one, other = [], 0, 0
    while one < len(old) or other < len(new):
        alone = (one < len(old) and old[one] == 1, other < len(new) and new[other] == 1)
        if alone[0] != alone[1]:  # an axis of one unit that comes or goes
            found.append(([one], []) if alone[0] else ([], [other]))
            one, other = one + alone[0], other + alone[1]
            continue
        start, begin = one, other
        one, other = min(one + 1, len(old)), min(other + 1, len(new))
        while prod(old[start:one]) != prod(new[begin:other]):
            if prod(old[start:one]) < prod(new[begin:other]) or other == len(new):
                one += 1
            else:
                other += 1
        found.append(([*range(start, one)], [*range(begin, other)]))
    return found
