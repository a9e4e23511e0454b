"""What moves units without reading neighbours: views, permutations, parts, joining, shuffling."""

from __future__ import annotations

from itertools import accumulate
from math import prod

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
        whole = access.Everything(call.shape)
        return Draft("as_strided", whole, (call.x,), known=False, note="which units it takes is not known")
    return Draft("reshape", access.Reshape(call.shape), (call.x,), locality=POSITIONAL)


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
    return Draft("expand", access.Expand(call.shape))


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
    return _one(call, int(call["index"]) % call.x.shape[call.dim])


def _one(call: OperatorCall, index: int) -> Draft:
    steps = (sliced(call.dim, call.x.shape[call.dim], index, 1, 1), access.Reshape(call.shape))
    return Draft("select", access.Composed(steps))


def unbind(call: OperatorCall) -> Drafts:
    """Each unit of an axis on its own."""
    return tuple(_one(call, index) for index in range(len(call.results)))


def split(call: OperatorCall) -> Drafts:
    """An axis in parts."""
    lengths = [part.shape[call.dim] for part in call.results]
    pairs = zip(accumulate([0, *lengths]), lengths, strict=False)
    return tuple(Draft("split", sliced(call.dim, call.x.shape[call.dim], start, 1, length)) for start, length in pairs)


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
            own = (*one.shape[:dim], length, *one.shape[dim + (call.name != "stack") :])
            ends = (start, call.out.shape[dim] - start - length)
            parts.append(access.Composed((access.Reshape(own), access.Slice(dim, Axis(1, padding=ends)))))
        start += length
    return Draft("concat", access.Each(tuple(parts)), locality=POSITIONAL)


def copied(call: OperatorCall) -> Draft:
    """One tensor's values in another's place; only the second is read."""
    return Draft("", access.Expand(call.shape), (call["src"],) if call.depends(call["src"]) else ())


def constant(call: OperatorCall) -> Draft:
    """What has the shape of a tensor and none of its numbers."""
    return Draft("", inputs=())


def flip(call: OperatorCall) -> Draft:
    """Axes the other way round."""
    return Draft("flip", access.Composed(tuple(_backward(call, dim) for dim in call["dims"])), locality=POSITIONAL)


def _backward(call: OperatorCall, dim: int) -> access.Gather:
    return picked(dim % call.x.ndim, [*range(call.x.shape[dim])][::-1])


def roll(call: OperatorCall) -> Draft:
    """Units moved along axes, and around."""
    flat = not call["dims"]
    shape = (call.x.numel(),) if flat else call.shape
    steps: list[access.AccessPattern] = [access.Reshape(shape)] * flat
    for dim, shift in zip([0] if flat else call["dims"], call["shifts"], strict=True):
        steps.append(picked(int(dim) % len(shape), [(at - int(shift)) % shape[dim] for at in range(shape[dim])]))
    steps += [access.Reshape(call.shape)] * flat
    return Draft("roll", access.Composed(tuple(steps)), locality=POSITIONAL if flat else WINDOWED)


def shuffle(call: OperatorCall) -> Draft:
    """Pixel shuffle and its inverse."""
    up = call.name == "pixel_shuffle"
    way = access.Shuffle(int(call["upscale_factor"])) if up else access.Unshuffle(int(call["downscale_factor"]))
    return Draft(call.name.replace("_", ""), way, locality=WINDOWED)


def channel_shuffle(call: OperatorCall) -> Draft:
    """Channels of groups taken in turns (Zhang et al. 2018, section 3.1)."""
    batch, channels, *size = call.x.shape
    groups, middle = int(call["groups"]), prod(size)
    split_ = access.Reshape((batch, groups, channels // groups, middle))
    steps = (split_, access.Permute((0, 2, 1, 3)), access.Reshape(call.shape))
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
    return Draft("embedding", _repeated(call), (call["indices"],) if call.depends(call["indices"]) else None)


def _repeated(call: OperatorCall) -> access.Composed:
    """Each number all along a new last axis."""
    return access.Composed((access.Reshape((*call.shape[:-1], 1)), access.Expand(call.shape)))


def complex_view(call: OperatorCall) -> Draft:
    """Pairs of numbers as one, or the other way round."""
    return Draft("complex", access.Reduce((-1,))) if call.name == "view_as_complex" else Draft("real", _repeated(call))


def rotate(call: OperatorCall) -> Draft:
    """Quarter turns in a plane."""
    turns, (one, other) = int(call["k"]) % 4, (int(dim) % call.x.ndim for dim in call["dims"])
    order = list(range(call.x.ndim))
    order[one], order[other] = other, one
    turned, first, second = access.Permute(tuple(order)), _backward(call, one), _backward(call, other)
    ways = ((), (second, turned), (first, second), (first, turned))
    return Draft("rotate", access.Composed(ways[turns]), locality=POSITIONAL)
