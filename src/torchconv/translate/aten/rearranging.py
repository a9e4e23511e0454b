"""What moves units without reading neighbours: views, permutations, parts, joining, shuffling."""

from __future__ import annotations

from math import prod

import torch

from ...description.axis import Axis
from ...network import arrangements, readings
from .call import Call, Step
from .windows import sliced


def same(call: Call) -> Step:
    """The very tensor, or a copy of it."""
    return Step("")


def reshape(call: Call) -> Step:
    """Any view with the units in the same order."""
    if call.name.startswith("as_strided") and not (call.out.numel() == call.x.numel() and call.out.is_contiguous()):
        whole = readings.Everything(tuple(call.out.shape))
        return Step("as_strided", whole, (call.x,), known=False, note="which units it takes is not known")
    return Step("reshape", arrangements.Reshape(tuple(call.out.shape)), (call.x,), equivariant="no")


def permute(call: Call) -> Step:
    """Any permutation of the axes."""
    ndim = call.x.ndim
    order = list(range(ndim))
    if "dims" in call.given:
        order = [int(dim) % ndim for dim in call["dims"]]
    elif ndim > 1:
        one, other = (int(call.given.get(name, at)) % ndim for name, at in (("dim0", 0), ("dim1", 1)))
        order[one], order[other] = order[other], order[one]
    return Step("permute", arrangements.Permute(tuple(order)))


def expand(call: Call) -> Step:
    """Broadcast."""
    return Step("expand", arrangements.Expand(tuple(call.out.shape)))


def repeat(call: Call) -> Step:
    """Copies side by side."""
    shape = (1,) * (len(call["repeats"]) - call.x.ndim) + tuple(call.x.shape)
    steps: list[readings.Reading] = [arrangements.Reshape(shape)]
    for dim, (length, times) in enumerate(zip(shape, call["repeats"], strict=True)):
        if int(times) != 1:
            steps.append(picked(dim, [at % length for at in range(length * int(times))]))
    return Step("repeat", readings.Steps(tuple(steps)), equivariant="no")


def picked(dim: int, units: list[int]) -> arrangements.Pick:
    """One unit for each output."""
    return arrangements.Pick(dim, tuple((unit,) for unit in units))


def select(call: Call) -> Step:
    """x[..., index, ...]."""
    dim, length = int(call["dim"]) % call.x.ndim, call.x.shape[int(call["dim"])]
    return Step("select", _one(call.x, dim, int(call["index"]) % length))


def _one(x: torch.Tensor, dim: int, index: int) -> readings.Reading:
    shape = tuple(x.shape[:dim]) + tuple(x.shape[dim + 1 :])
    return readings.Steps((sliced(dim, x.shape[dim], index, 1, 1), arrangements.Reshape(shape)))


def unbind(call: Call) -> tuple[Step, ...]:
    """Each unit of an axis on its own."""
    dim = int(call["dim"]) % call.x.ndim
    return tuple(Step("select", _one(call.x, dim, index)) for index in range(len(call.results)))


def split(call: Call) -> tuple[Step, ...]:
    """An axis in parts."""
    dim, start, found = int(call["dim"]) % call.x.ndim, 0, []
    for part in call.results:
        found.append(Step("split", sliced(dim, call.x.shape[dim], start, 1, part.shape[dim])))
        start += part.shape[dim]
    return tuple(found)


def join(call: Call) -> Step:
    """Tensors one after another; those that follow from no input take their place."""
    tensors = tuple(one for one in call["tensors"] if one.shape != (0,))
    dim = int(call["dim"]) % call.out.ndim
    if len(tensors) == len(call.inputs):
        spatial = "yes" if dim == 1 else "no"
        return Step("concat", arrangements.Join(dim, call.name == "stack"), tensors, equivariant=spatial)
    start, parts = 0, []
    for one in tensors:
        length = 1 if call.name == "stack" else one.shape[dim]
        if call.depends(one):
            steps: list[readings.Reading] = []
            if call.name == "stack":
                steps.append(arrangements.Reshape((*one.shape[:dim], 1, *one.shape[dim:])))
            end = call.out.shape[dim] - start - length
            parts.append(readings.Steps((*steps, arrangements.Slice(dim, Axis(1, padding=(start, end))))))
        start += length
    return Step("concat", arrangements.Each(tuple(parts)), equivariant="no")


def scatter(call: Call) -> Step:
    """A part of a tensor written anew: x[..., start:end:step] = src."""
    x, source = call["self"], call["src"]
    dim, length = int(call["dim"]) % x.ndim, x.shape[int(call["dim"])]
    if call.name == "select_scatter":
        written, shape = [int(call["index"]) % length], (*x.shape[:dim], 1, *x.shape[dim + 1 :])
    else:
        written, shape = [*range(*slice(call["start"], call["end"], call["step"]).indices(length))], tuple(source.shape)
    kept = picked(dim, [-1 if at in written else at for at in range(length)])
    places = {at: number for number, at in enumerate(written)}
    into = picked(dim, [places.get(at, -1) for at in range(length)])
    parts: list[tuple[torch.Tensor, readings.Reading]] = [(x, kept)]
    parts.append((source, readings.Steps((arrangements.Reshape(tuple(shape)), into))))
    used = [(tensor, way) for tensor, way in parts if call.depends(tensor)]
    if len(written) == length:
        used = [one for one in used if one[0] is source] or used
    return Step(
        "assign", arrangements.Each(tuple(way for _, way in used)), tuple(one for one, _ in used), equivariant="no"
    )


def copied(call: Call) -> Step:
    """One tensor's values in another's place; only the second is read."""
    return Step("", arrangements.Expand(tuple(call.out.shape)), (call["src"],) if call.depends(call["src"]) else ())


def constant(call: Call) -> tuple[Step, ...]:
    """What has the shape of a tensor and none of its numbers."""
    return (Step("", inputs=()),) * len(call.results)


def flip(call: Call) -> Step:
    """Axes the other way round."""
    steps = tuple(picked(int(dim) % call.x.ndim, [*range(call.x.shape[dim])][::-1]) for dim in call["dims"])
    return Step("flip", readings.Steps(steps), equivariant="no")


def roll(call: Call) -> Step:
    """Units moved along axes, and around."""
    dims, shifts = list(call["dims"]), list(call["shifts"])
    if not dims:
        flat = (arrangements.Reshape((call.x.numel(),)), picked(0, _rolled(call.x.numel(), shifts[0])))
        return Step("roll", readings.Steps((*flat, arrangements.Reshape(tuple(call.out.shape)))), equivariant="no")
    moves = zip(dims, shifts, strict=True)
    steps = tuple(picked(int(d) % call.x.ndim, _rolled(call.x.shape[d], int(shift))) for d, shift in moves)
    return Step("roll", readings.Steps(steps))


def _rolled(length: int, shift: int) -> list[int]:
    return [(at - shift) % length for at in range(length)]


def shuffle(call: Call) -> Step:
    """Pixel shuffle and its inverse."""
    if call.name == "pixel_shuffle":
        return Step("pixelshuffle", arrangements.Shuffle(int(call["upscale_factor"])))
    return Step("pixelunshuffle", arrangements.Unshuffle(int(call["downscale_factor"])))


def channel_shuffle(call: Call) -> Step:
    """Channels of groups taken in turns (Zhang et al. 2018, section 3.1)."""
    batch, channels, *size = call.x.shape
    groups, middle = int(call["groups"]), prod(size)
    split_ = arrangements.Reshape((batch, groups, channels // groups, middle))
    steps = (split_, arrangements.Permute((0, 2, 1, 3)), arrangements.Reshape(tuple(call.out.shape)))
    return Step("channelshuffle", readings.Steps(steps))


def index(call: Call) -> Step:
    """Units chosen by numbers that are not looked at: each output may read any of the axis."""
    chosen = call.given.get("indices") or call.given.get("index")
    if isinstance(chosen, torch.Tensor):  # index_select, gather
        dim = int(call["dim"]) % call.x.ndim
        way = readings.Steps((readings.Reduce((dim,), keep=True), arrangements.Expand(tuple(call.out.shape))))
        return Step("index", way, (call.x,), known=False, note="which units it takes is not known", equivariant="no")
    return Step(
        "index",
        readings.Everything(tuple(call.out.shape)),
        known=False,
        note="which units it takes is not known",
        equivariant="no",
    )
