"""How weights, images and biases are written down: in which order of taps, of channels, of positions.

A connection table is written as grouped convolutions: outputs that read equally many inputs are computed together, from
channels that are gathered first. So there are no products with zeros: the work is exactly the table's, and a NaN in one
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
from ..description.sharing import Sharing
from .tensors import INPUT, OPERANDS, OUTPUT, WEIGHT, has_numbers

PLAIN = "plain"  # (*phases, out, in // groups, *kernel)
FLIPPED = "flipped"  # the same with the taps in reverse order: true convolution
TRANSPOSED = "transposed"  # (*phases, in, out // groups, *kernel), flipped: torch.nn.ConvTranspose
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}  # by the number of axes


def plain(weight: Tensor, layout: str, conv: Convolution) -> Tensor:
    """Weights in some layout, as the description has them. It is its own inverse but for the channels' order."""
    if layout == TRANSPOSED and conv.channels.rows is None:
        weight = swapped(weight, conv.groups, conv.ndim)
    return weight if layout == PLAIN else flipped(weight, conv.ndim)


def shape(conv: Convolution, phases: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """The shape of weights in some layout, with these numbers of kernels."""
    channels = conv.channels
    if layout == TRANSPOSED and channels.rows is None:
        channels = Connections.of(channels.out_channels, channels.in_channels, channels.groups)
    return (*phases, *channels.weight_shape, *conv.kernel_size)


def swapped(weight: Tensor, groups: int, ndim: int) -> Tensor:
    """(..., out, in // groups, *kernel) to (..., in, out // groups, *kernel) and back."""
    axis = weight.ndim - ndim - 2
    if groups == 1:
        return weight.transpose(axis, axis + 1)
    return weight.unflatten(axis, (groups, -1)).transpose(axis + 1, axis + 2).flatten(axis, axis + 1)


def flipped(weight: Tensor, ndim: int) -> Tensor:
    """The taps in reverse order on every axis."""
    return weight.flip(tuple(range(-ndim, 0)))


def channels_last(x: Tensor) -> bool:
    """Whether the channels of (batch, channels, *size) are side by side in memory, as torch.channels_last has them."""
    return x.stride(1) == 1 and x.shape[1] > 1


def ordered_as(result: Tensor, given: Tensor) -> Tensor:
    """A result in the order in memory of what was given: torch's rule, on which x.view and later layers rely."""
    if not (has_numbers(given) or torch.compiler.is_compiling()):  # inside vmap torch knows no such orders
        return result
    last = CHANNELS_LAST.get(given.ndim - 2) if channels_last(given) else None
    return result.contiguous(memory_format=last or torch.contiguous_format)


def ordered_as_torch(result: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """An output in the order in which torch's convolutions answer: channels last if input or weights have them last."""
    last = CHANNELS_LAST.get(result.ndim - 2)
    if last is None or not has_numbers(result) or torch.compiler.is_compiling():
        return result
    wanted = any(
        one.ndim == result.ndim and not one.is_contiguous() and one.is_contiguous(memory_format=last)
        for one in (x, weight)
    )
    return result.contiguous(memory_format=last if wanted else torch.contiguous_format)


def spread_bias(bias: Tensor, sharing: Sharing, output_size: tuple[int, ...]) -> Tensor:
    """(*bias phases, out) to (out, *output size), or to what broadcasts to it."""
    if sharing.is_full:
        return bias.reshape(-1, *(1,) * len(output_size))
    bias = bias.movedim(-1, 0)
    for axis, (period, size) in enumerate(zip(sharing.periods, output_size, strict=True), 1):
        if period is not None:
            bias = bias.index_select(axis, torch.arange(size, device=bias.device) % period)
    return bias


@dataclass(frozen=True)
class TablePart:
    """Some outputs of a table: a grouped convolution of gathered channels.

    places: numbers of the output channels, of the input channels and of the connections, in order, by role.
    """

    convolution: Convolution
    places: dict[str, tuple[int, ...]]


@lru_cache(maxsize=1024)
def table_parts(conv: Convolution) -> tuple[TablePart, ...]:
    """The table's grouped convolutions; outputs that read nothing are in none of them."""
    place = {pair: number for number, pair in enumerate(conv.channels.pairs())}
    sharers: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for output in range(conv.out_channels):
        sharers[tuple(conv.channels.inputs_of(output))].append(output)
    alike: dict[tuple[int, int], list[tuple[int, ...]]] = defaultdict(list)
    for row, outputs in sharers.items():
        if row:
            alike[len(row), len(outputs)].append(row)
    parts = []
    for (width, height), rows in alike.items():
        outputs = tuple(output for row in rows for output in sharers[row])
        weights = tuple(place[output, source] for row in rows for output in sharers[row] for source in row)
        channels = Connections.of(width * len(rows), height * len(rows), len(rows))
        sub = Convolution.of_parts(channels, conv.axes, conv.sharing)
        inputs = tuple(source for row in rows for source in row)
        parts.append(TablePart(sub, {OUTPUT: outputs, INPUT: inputs, WEIGHT: weights}))
    return tuple(parts)


def by_table_parts(
    role: str,
    compute: Callable[..., Tensor],
    parts: Sequence[TablePart],
    conv: Convolution,
    first: Tensor,
    second: Tensor,
) -> Tensor:
    """An operation of the table, from the same operation, compute(convolution, first, second), of every part."""
    axes = {INPUT: 1, OUTPUT: 1, WEIGHT: 0 if conv.sharing.is_full else conv.ndim}
    axis, pieces = axes[role], []
    for part in parts:
        operands = []
        for name, tensor in zip(OPERANDS[role], (first, second), strict=True):
            taken = tensor.index_select(axes[name], torch.tensor(part.places[name], device=tensor.device))
            shape = part.convolution.channels.weight_shape
            operands.append(taken.unflatten(axes[name], shape) if name == WEIGHT else taken)
        piece = compute(part.convolution, *operands)
        pieces.append(piece.flatten(axis, axis + 1) if role == WEIGHT else piece)
    whole = torch.cat(pieces, axis)
    shape = list(whole.shape)
    shape[axis] = {INPUT: conv.in_channels, OUTPUT: conv.out_channels, WEIGHT: conv.channels.count}[role]
    index = torch.tensor([number for part in parts for number in part.places[role]], device=whole.device)
    return whole.new_zeros(shape).index_add(axis, index, whole)


def split_phases(x: Tensor, steps: Sequence[int], into: int) -> Tensor:
    """(n, c, *(size * steps)) to (n * steps, c, *size), or into 1: (n, c * steps, *size): every steps-th sample."""
    if max(steps) == 1:
        return x
    ndim = len(steps)
    sizes = (part for n, step in zip(x.shape[2:], steps, strict=True) for part in (n // step, step))
    x = x.reshape(*x.shape[:2], *sizes)
    lead, phases = [0, 1], range(3, 3 + 2 * ndim, 2)
    x = x.permute(*lead[: into + 1], *phases, *lead[into + 1 :], *range(2, 2 + 2 * ndim, 2))
    return x.flatten(into, into + ndim)


def join_phases(x: Tensor, steps: Sequence[int], out_of: int) -> Tensor:
    """The inverse of `split_phases`."""
    if max(steps) == 1:
        return x
    ndim, size = len(steps), x.shape[2:]
    x = x.unflatten(out_of, (-1, *steps))
    places = (place for axis in range(ndim) for place in (2 + ndim + axis, 1 + out_of + axis))
    x = x.permute(0, 1 if out_of else 1 + ndim, *places)
    return x.reshape(*x.shape[:2], *(n * step for n, step in zip(size, steps, strict=True)))
