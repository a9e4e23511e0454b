"""A connection table as grouped convolutions: outputs that read equally many inputs are computed together.

The channels are gathered first. So there are no products with zeros: the work is exactly the table's, and a NaN in one
channel cannot reach an output that does not read it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ..description.connections import Connections
from ..description.convolution import Convolution
from .tensors import INPUT, OPERANDS, WEIGHT


@dataclass(frozen=True)
class TablePart:
    """Some outputs of a table: a grouped convolution of gathered channels.

    outputs, inputs, weights: numbers of the output channels, of the input channels and of the connections, in order.
    """

    convolution: Convolution
    outputs: tuple[int, ...]
    inputs: tuple[int, ...]
    weights: tuple[int, ...]


@lru_cache(maxsize=1024)
def parts(conv: Convolution) -> tuple[TablePart, ...]:
    """The table's grouped convolutions; outputs that read nothing are in none of them."""
    place = {pair: number for number, pair in enumerate(conv.channels.pairs())}
    sharers: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for output in range(conv.out_channels):
        sharers[tuple(conv.channels.inputs_of(output))].append(output)
    alike: dict[tuple[int, int], list[tuple[int, ...]]] = defaultdict(list)
    for row, outputs in sharers.items():
        if row:
            alike[len(row), len(outputs)].append(row)
    found = []
    for (width, height), rows in alike.items():
        outputs = tuple(output for row in rows for output in sharers[row])
        weights = tuple(place[output, source] for row in rows for output in sharers[row] for source in row)
        channels = Connections.of(width * len(rows), height * len(rows), len(rows))
        sub = Convolution.of_parts(channels, conv.axes, conv.sharing)
        found.append(TablePart(sub, outputs, tuple(source for row in rows for source in row), weights))
    return tuple(found)


def by_parts(
    role: str,
    compute: Callable[..., Tensor],
    parts: Sequence[TablePart],
    conv: Convolution,
    first: Tensor,
    second: Tensor,
) -> Tensor:
    """An operation of the table, from the same operation, compute(convolution, first, second), of every part."""
    names, pieces = OPERANDS[role], []
    for part in parts:
        pieces.append(compute(part.convolution, take(names[0], first, part), take(names[1], second, part)))
    return put(role, pieces, parts, conv)


def take(name: str, tensor: Tensor, part: TablePart) -> Tensor:
    """What one part reads of an input, an output or weights (*phases, connections, *kernel)."""
    if name != WEIGHT:
        return _gather(tensor, 1, part.inputs if name == INPUT else part.outputs)
    axis = _weight_axis(part.convolution)
    return _gather(tensor, axis, part.weights).unflatten(axis, part.convolution.channels.weight_shape)


def put(name: str, pieces: Sequence[Tensor], parts: Sequence[TablePart], conv: Convolution) -> Tensor:
    """The adjoint of `take` over all parts: pieces added up at their places in an input, an output or weights."""
    if name != WEIGHT:
        places = [part.inputs if name == INPUT else part.outputs for part in parts]
        return _scatter(pieces, 1, places, conv.in_channels if name == INPUT else conv.out_channels)
    axis = _weight_axis(conv)
    listed = [piece.flatten(axis, axis + 1) for piece in pieces]
    return _scatter(listed, axis, [part.weights for part in parts], conv.channels.count)


def _weight_axis(conv: Convolution) -> int:
    return 0 if conv.sharing.is_full else conv.ndim


def _gather(x: Tensor, axis: int, index: tuple[int, ...]) -> Tensor:
    return x.index_select(axis, torch.tensor(index, device=x.device))


def _scatter(pieces: Sequence[Tensor], axis: int, indices: Sequence[tuple[int, ...]], size: int) -> Tensor:
    whole = torch.cat(tuple(pieces), axis)
    shape = list(whole.shape)
    shape[axis] = size
    index = torch.tensor([number for one in indices for number in one], device=whole.device)
    return whole.new_zeros(shape).index_add(axis, index, whole)
