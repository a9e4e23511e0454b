"""What moves units without reading neighbours: views, permutations, parts, joining, shuffling."""

from __future__ import annotations

from math import prod

import torch

from ...description.axis import Axis
from ...receptive import access
from .call import POINTWISE, POSITIONAL, WINDOWED, Draft, Drafts, OperatorCall
from .windows import sliced


def same(call: OperatorCall) -> Draft:
    """The very tensor, or a copy of it."""
    return Draft("")


def reshape(call: OperatorCall) -> Draft:
    """Any view with the units in the same order."""
    if call.name.startswith("as_strided") and not (call.out.numel() == call.x.numel() and call.out.is_contiguous()):
        whole = access.Everything(tuple(call.out.shape))
        return Draft("as_strided", whole, (call.x,), known=False, note="which units it takes is not known")
    return Draft("reshape", access.Reshape(tuple(call.out.shape)), (call.x,), locality=POSITIONAL)


def permute(call: OperatorCall) -> Draft:
    """Any permutation of the axes."""
    ndim = call.x.ndim
    order = list(range(ndim))
    if "dims" in call.given:
        order = [int(dim) % ndim for dim in call["dims"]]
    elif ndim > 1:
        one, other = (int(call.given.get(name, at)) % ndim for name, at in (("dim0", 0), ("dim1", 1)))
        order[one], order[other] = order[other], order[one]
    return Draft("permute", access.Permute(tuple(order)))


def expand(call: OperatorCall) -> Draft:
    """Broadcast."""
    return Draft("expand", access.Expand(tuple(call.out.shape)))


def repeat(call: OperatorCall) -> Draft:
    """Copies side by side."""
    shape = (1,) * (len(call["repeats"]) - call.x.ndim) + tuple(call.x.shape)
    steps: list[access.AccessPattern] = [access.Reshape(shape)]
    for dim, (length, times) in enumerate(zip(shape, call["repeats"], strict=True)):
        if int(times) != 1:
            steps.append(picked(dim, [at % length for at in range(length * int(times))]))
    return Draft("repeat", access.Composed(tuple(steps)), locality=POSITIONAL)


def picked(dim: int, units: list[int]) -> access.Gather:
    """One unit for each output."""
    return access.Gather(dim, tuple((unit,) for unit in units))


def select(call: OperatorCall) -> Draft:
    """x[..., index, ...]."""
    dim, length = int(call["dim"]) % call.x.ndim, call.x.shape[int(call["dim"])]
    return Draft("select", _one(call.x, dim, int(call["index"]) % length))


def _one(x: torch.Tensor, dim: int, index: int) -> access.AccessPattern:
    shape = tuple(x.shape[:dim]) + tuple(x.shape[dim + 1 :])
    return access.Composed((sliced(dim, x.shape[dim], index, 1, 1), access.Reshape(shape)))


def unbind(call: OperatorCall) -> Drafts:
    """Each unit of an axis on its own."""
    dim = int(call["dim"]) % call.x.ndim
    return tuple(Draft("select", _one(call.x, dim, index)) for index in range(len(call.results)))


def split(call: OperatorCall) -> Drafts:
    """An axis in parts."""
    dim, start, found = int(call["dim"]) % call.x.ndim, 0, []
    for part in call.results:
        found.append(Draft("split", sliced(dim, call.x.shape[dim], start, 1, part.shape[dim])))
        start += part.shape[dim]
    return tuple(found)


def join(call: OperatorCall) -> Draft:
    """Tensors one after another; those that follow from no input take their place."""
    tensors = tuple(one for one in call["tensors"] if one.shape != (0,))
    dim = int(call["dim"]) % call.out.ndim
    if len(tensors) == len(call.inputs):
        local = POINTWISE if dim == 1 else POSITIONAL
        return Draft("concat", access.Join(dim, call.name == "stack"), tensors, locality=local)
    start, parts = 0, []
    for one in tensors:
        length = 1 if call.name == "stack" else one.shape[dim]
        if call.depends(one):
            steps: list[access.AccessPattern] = []
            if call.name == "stack":
                steps.append(access.Reshape((*one.shape[:dim], 1, *one.shape[dim:])))
            end = call.out.shape[dim] - start - length
            parts.append(access.Composed((*steps, access.Slice(dim, Axis(1, padding=(start, end))))))
        start += length
    return Draft("concat", access.Each(tuple(parts)), locality=POSITIONAL)


def copied(call: OperatorCall) -> Draft:
    """One tensor's values in another's place; only the second is read."""
    return Draft("", access.Expand(tuple(call.out.shape)), (call["src"],) if call.depends(call["src"]) else ())


def constant(call: OperatorCall) -> Draft:
    """What has the shape of a tensor and none of its numbers."""
    return Draft("", inputs=())


def flip(call: OperatorCall) -> Draft:
    """Axes the other way round."""
    steps = tuple(picked(int(dim) % call.x.ndim, [*range(call.x.shape[dim])][::-1]) for dim in call["dims"])
    return Draft("flip", access.Composed(steps), locality=POSITIONAL)


def roll(call: OperatorCall) -> Draft:
    """Units moved along axes, and around."""
    dims, shifts = list(call["dims"]), list(call["shifts"])
    if not dims:
        flat = (access.Reshape((call.x.numel(),)), picked(0, _rolled(call.x.numel(), shifts[0])))
        return Draft("roll", access.Composed((*flat, access.Reshape(tuple(call.out.shape)))), locality=POSITIONAL)
    moves = zip(dims, shifts, strict=True)
    steps = tuple(picked(int(d) % call.x.ndim, _rolled(call.x.shape[d], int(shift))) for d, shift in moves)
    return Draft("roll", access.Composed(steps), locality=WINDOWED)


def _rolled(length: int, shift: int) -> list[int]:
    return [(at - shift) % length for at in range(length)]


def shuffle(call: OperatorCall) -> Draft:
    """Pixel shuffle and its inverse."""
    if call.name == "pixel_shuffle":
        return Draft("pixelshuffle", access.Shuffle(int(call["upscale_factor"])), locality=WINDOWED)
    way = access.Unshuffle(int(call["downscale_factor"]))
    return Draft("pixelunshuffle", way, locality=WINDOWED)


def channel_shuffle(call: OperatorCall) -> Draft:
    """Channels of groups taken in turns (Zhang et al. 2018, section 3.1)."""
    batch, channels, *size = call.x.shape
    groups, middle = int(call["groups"]), prod(size)
    split_ = access.Reshape((batch, groups, channels // groups, middle))
    steps = (split_, access.Permute((0, 2, 1, 3)), access.Reshape(tuple(call.out.shape)))
    return Draft("channelshuffle", access.Composed(steps))


def diagonal(call: OperatorCall) -> Draft:
    """The diagonal of two axes, as the last axis."""
    x, offset = call.x, int(call["offset"])
    one, other = int(call["dim1"]) % x.ndim, int(call["dim2"]) % x.ndim
    left = [dim for dim in range(x.ndim) if dim not in (one, other)]
    flat = (*(x.shape[dim] for dim in left), x.shape[one] * x.shape[other])
    first, step = max(-offset, 0) * x.shape[other] + max(offset, 0), x.shape[other] + 1
    chosen = picked(len(left), [first + at * step for at in range(call.out.shape[-1])])
    steps = (access.Permute((*left, one, other)), access.Reshape(flat), chosen)
    return Draft("diagonal", access.Composed(steps), locality=POSITIONAL)


def pointwise(call: OperatorCall) -> Draft:
    """A function of every number on its own; of constants that it needs besides, none is looked at."""
    word = call.name.partition("_with")[0].removesuffix("_forward").replace("_", "")
    return Draft(word, inputs=call.inputs)


def same_places(call: OperatorCall) -> Draft:
    """Some units kept where they are, the others set to zero."""
    return Draft(call.name, locality=POSITIONAL)


def looked_up(call: OperatorCall) -> Draft:
    """A vector for each number."""
    shape = tuple(call.out.shape)
    way = access.Composed((access.Reshape((*shape[:-1], 1)), access.Expand(shape)))
    return Draft("embedding", way, (call["indices"],) if call.depends(call["indices"]) else None)


def complex_view(call: OperatorCall) -> Draft:
    """Pairs of numbers as one, or the other way round."""
    shape = tuple(call.out.shape)
    if call.name == "view_as_complex":
        return Draft("complex", access.Reduce((-1,)))
    return Draft("real", access.Composed((access.Reshape((*shape[:-1], 1)), access.Expand(shape))))


def rotate(call: OperatorCall) -> Draft:
    """Quarter turns in a plane."""
    turns, (one, other) = int(call["k"]) % 4, (int(dim) % call.x.ndim for dim in call["dims"])
    order = list(range(call.x.ndim))
    order[one], order[other] = other, one
    backward = {dim: picked(dim, [*range(call.x.shape[dim])][::-1]) for dim in (one, other)}
    ways = {
        0: (),
        1: (backward[other], access.Permute(tuple(order))),
        2: (backward[one], backward[other]),
        3: (backward[one], access.Permute(tuple(order))),
    }
    return Draft("rotate", access.Composed(ways[turns]), locality=POSITIONAL)
