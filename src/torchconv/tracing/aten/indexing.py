"""What is chosen, or written, at places that numbers say.

Where the numbers are constants, exactly these are read. Where they follow from the input, each output may read any
element along the axes that it is chosen from: what can be said of all inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ...receptive import access
from .call import POSITIONAL, Draft, OperatorCall, table
from .rearranging import picked
from .windows import sliced

MOST_PLACES = 2**18  # of which each is written down
Parts = list[tuple[Tensor, access.AccessPattern]]


@dataclass(frozen=True)
class ChosenPlaces:
    """Neighbouring axes of a tensor as one, from `first` on, and which places of it are chosen, in which shape.

    places: their numbers; None where these follow from the input, or are too many.
    """

    first: int
    count: int
    shape: tuple[int, ...]
    places: list[int] | None

    def merged(self, shape: Sequence[int]) -> tuple[int, ...]:
        """A shape with these axes as one."""
        end = self.first + self.count
        return (*shape[: self.first], prod(shape[self.first : end]), *shape[end:])


def _chosen(call: OperatorCall, x: Tensor, indices: Sequence[Tensor | None]) -> ChosenPlaces | None:
    """What indices choose, one for each axis, marks for several; None where the axes are no neighbours."""
    dims: list[int] = []
    numbers: list[Tensor] = []
    at = 0
    for one in indices:
        marks = one is not None and one.dtype in (torch.bool, torch.uint8)
        width = one.ndim if one is not None and marks else 1
        if one is not None:
            dims += range(at, at + width)
            known = call.numbers(one)
            if known is not None:
                numbers += known.nonzero(as_tuple=True) if marks else [known % x.shape[at]]
        at += width
    if dims != [*range(dims[0], dims[-1] + 1)]:
        return None
    if len(numbers) < len(dims):
        return ChosenPlaces(dims[0], len(dims), (), None)
    places = torch.zeros((), dtype=torch.int64)
    for dim, one in zip(dims, numbers, strict=True):
        places = places * x.shape[dim] + one
    listed = places.flatten().tolist() if places.numel() <= MOST_PLACES else None
    return ChosenPlaces(dims[0], len(dims), tuple(places.shape), listed)


def _draft(word: str, call: OperatorCall, parts: Parts) -> Draft:
    parts = [part for part in parts if call.depends(part[0])]
    return Draft(word, access.Each(tuple(way for _, way in parts)), tuple(one for one, _ in parts), locality=POSITIONAL)


def _indices(call: OperatorCall) -> Sequence[Tensor | None]:
    return call["indices"] if "indices" in call.given else [*[None] * call.dim, call["index"]]


def index(call: OperatorCall) -> Draft:
    """x[..., index, ...] and x[mask]."""
    x, shape, indices = call.x, call.shape, _indices(call)
    found = _chosen(call, x, indices)
    everything = access.Everything(shape)
    if found is None or not call.out.numel():
        return Draft("index", everything, locality=POSITIONAL)
    rest = x.ndim - found.first - found.count
    if found.places is not None:
        steps = (access.Reshape(found.merged(x.shape)), picked(found.first, found.places), access.Reshape(shape))
    else:
        alone = (*shape[: found.first], *(1,) * (len(shape) - found.first - rest), *shape[len(shape) - rest :])
        dims = tuple(range(found.first, found.first + found.count))
        steps = (access.Reduce(dims), access.Reshape(alone), access.Expand(shape))
    parts: Parts = [(x, access.Composed(steps))]
    lengths = shape[found.first : len(shape) - rest]
    beside = (*(1,) * found.first, *lengths, *(1,) * rest)
    way = access.Composed((access.Expand(lengths), access.Reshape(beside), access.Expand(shape)))
    parts += [(one, everything if one.dtype == torch.bool else way) for one in indices if one is not None]
    return _draft("index", call, parts)


def gather(call: OperatorCall) -> Draft:
    """Along one axis, each output at a place of its own; of the other axes the first elements."""
    x, at, shape, dim = call.x, call["index"], call.shape, call.dim
    known = call.numbers(at)
    cut = _cut(x.shape, shape, dim)
    line = None if known is None or not known.numel() else known.movedim(dim, 0).flatten(1)
    if line is not None and bool((line == line[:, :1]).all()):
        chosen = picked(dim, line[:, 0].tolist())
        return Draft("gather", access.Composed((*cut, chosen)), (x,), locality=POSITIONAL)
    anywhere = access.Composed((access.Reduce((dim,), keep=True), *cut, access.Expand(shape)))
    return _draft("gather", call, [(x, anywhere), (at, access.Pointwise())])


def _cut(old: Sequence[int], new: Sequence[int], but: int) -> list[access.AccessPattern]:
    """Axes cut, or continued with nothing, to other lengths, all but one."""
    pairs = enumerate(zip(old, new, strict=True))
    return [sliced(dim, length, 0, 1, wanted) for dim, (length, wanted) in pairs if dim != but and length != wanted]


def scattered(call: OperatorCall) -> Draft:
    """Values written, or added, along one axis at places that a tensor says, which may be any of it."""
    x, at = call["self"], call["index"]
    shape, dim = tuple(x.shape), int(call["dim"]) % x.ndim
    parts: Parts = [(x, access.Pointwise())]
    for one in (at, call.given.get("src", call.given.get("value"))):
        if isinstance(one, Tensor):
            steps = (access.Reduce((dim,), keep=True), *_cut(one.shape, shape, dim), access.Expand(shape))
            parts.append((one, access.Composed(steps)))
    return _draft("scatter", call, parts)


def assigned(call: OperatorCall) -> Draft:
    """x[..., index, ...] = values, and the same with a sum."""
    x, shape = call["self"], tuple(call["self"].shape)
    given = call.given
    indices = _indices(call)
    source = next((given[name] for name in ("values", "source", "value") if name in given), None)
    adds = bool(given.get("accumulate", call.name == "index_add"))
    found = _chosen(call, x, indices)
    rows = None if found is None else _rows(found, shape)
    everything = access.Everything(shape)
    if found is None or rows is None:
        others = [one for one in (*indices, source) if isinstance(one, Tensor)]
        aligned = [one for one in others if one.dtype == torch.bool and one.shape == x.shape]
        ways = [(one, access.Pointwise() if any(one is other for other in aligned) else everything) for one in others]
        return _draft("assign", call, [(x, access.Pointwise()), *ways])
    merged, first = found.merged(shape), found.first
    kept = picked(first, [at if adds or row[0] < 0 else -1 for at, row in enumerate(rows)])
    parts: Parts = [(x, access.Composed((access.Reshape(merged), kept, access.Reshape(shape))))]
    if isinstance(source, Tensor):
        taken = (*merged[:first], *found.shape, *merged[first + 1 :])
        flat = (*merged[:first], prod(found.shape), *merged[first + 1 :])
        steps = (access.Expand(taken), access.Reshape(flat), access.Gather(first, rows), access.Reshape(shape))
        parts.append((source, access.Composed(steps)))
    return _draft("assign", call, parts)


def _rows(found: ChosenPlaces, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...] | None:
    """For each place which of the values are written there, -1 for none; None: too many, or not known."""
    if found.places is None:
        return None
    length = found.merged(shape)[found.first]
    rows: list[list[int]] = [[] for _ in range(length)]
    for number, place in enumerate(found.places):
        rows[place].append(number)
    return table(rows) if max([1, *map(len, rows)]) * length <= MOST_PLACES else None


def part_written(call: OperatorCall) -> Draft:
    """A part of a tensor written anew: x[..., start:end:step] = src."""
    x, source, dim = call["self"], call["src"], call.dim
    length = x.shape[dim]
    if call.name == "select_scatter":
        written, shape = [int(call["index"]) % length], (*x.shape[:dim], 1, *x.shape[dim + 1 :])
    else:
        written, shape = [*range(*slice(call["start"], call["end"], call["step"]).indices(length))], tuple(source.shape)
    kept = picked(dim, [-1 if at in written else at for at in range(length)])
    places = {at: number for number, at in enumerate(written)}
    into = picked(dim, [places.get(at, -1) for at in range(length)])
    parts: Parts = [(x, kept), (source, access.Composed((access.Reshape(tuple(shape)), into)))]
    return _draft("assign", call, parts[1:] if len(written) == length and call.depends(source) else parts)


def taken(call: OperatorCall) -> Draft:
    """x.take(index): of a tensor as one axis."""
    known, count = call.numbers(call["index"]), call.x.numel()
    if known is None or known.numel() > MOST_PLACES:
        return Draft("index", access.Everything(call.shape), locality=POSITIONAL)
    chosen = picked(0, (known.flatten() % count).tolist())
    steps = (access.Reshape((count,)), chosen, access.Reshape(call.shape))
    return Draft("index", access.Composed(steps), locality=POSITIONAL)


def anywhere_in_plane(call: OperatorCall) -> Draft:
    """Places of the same channel that numbers say: un-pooling by places, pooling of windows by chance."""
    ndim = int(call.name.partition("pool")[2][0])
    dims = tuple(range(call.x.ndim - ndim, call.x.ndim))
    way = access.Composed((access.Reduce(dims, keep=True), access.Expand(call.shape)))
    return _draft(call.name, call, [(one, way) for one in call.inputs])


def anywhere(call: OperatorCall) -> Draft:
    """Places read that the numbers themselves say."""
    return Draft(call.name.strip("_"), access.Everything(call.shape), locality=POSITIONAL)
