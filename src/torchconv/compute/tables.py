"""A connection table as grouped convolutions: outputs that read equally many inputs are computed together.

The channels are gathered first. So there are no products with zeros: the work is exactly the table's, and a NaN in one
channel cannot reach an output that does not read it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ..description.connections import Connections
from ..description.convolution import Convolution
from ..description.sharing import Sharing


@dataclass(frozen=True)
class Part:
    """Some outputs of a table: a grouped convolution of gathered channels.

    outputs, inputs, weights: numbers of the output channels, of the input channels and of the connections, in order.
    """

    convolution: Convolution
    outputs: tuple[int, ...]
    inputs: tuple[int, ...]
    weights: tuple[int, ...]


@lru_cache(maxsize=1024)
def parts(conv: Convolution) -> tuple[Part, ...]:
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
        found.append(Part(sub, outputs, tuple(source for row in rows for source in row), weights))
    return tuple(found)


def gather(x: Tensor, axis: int, index: tuple[int, ...]) -> Tensor:
    """Chosen channels, weights or outputs, in order."""
    return x.index_select(axis, torch.tensor(index, device=x.device))


def scatter(pieces: list[Tensor], axis: int, indices: list[tuple[int, ...]], size: int) -> Tensor:
    """The adjoint of several `gather`: pieces added at their places on an axis of `size`."""
    whole = torch.cat(pieces, axis)
    shape = list(whole.shape)
    shape[axis] = size
    index = torch.tensor([number for one in indices for number in one], device=whole.device)
    return whole.new_zeros(shape).index_add(axis, index, whole)


def part_weight(part: Part, weight: Tensor, sharing: Sharing) -> Tensor:
    """The weights of one part, from those of the table (*phases, connections, *kernel)."""
    axis = 0 if sharing.is_full else len(sharing.periods)
    chosen = gather(weight, axis, part.weights)
    return chosen.unflatten(axis, part.convolution.channels.weight_shape)
