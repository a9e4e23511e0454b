"""Statistics of all places, gathered block by block: exact whatever the blocks, for all is added in float64.

Means and variances are merged as by Chan, Golub and LeVeque 1979, Updating formulae and a pairwise algorithm for
computing sample variances. A statistic is small: it has none of the axes of the image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from ...tracing.program import FromStep, Reference, Step
from .blocks import Axes, Block, NotLocal, Part, Span, is_tiled, length_of
from .rules import Given, Known, Letter

State = tuple[Tensor, ...]  # of float64
AT_ONCE = 2**22  # numbers that are made wide at a time


class Statistic(ABC):
    """What one step needs of all places. own: the letters of what it reads, which hold the image at the same places."""

    def __init__(self, step: Step, number: int, known: Known, own: Mapping[Reference, Sequence[Letter]]) -> None:
        self.step, self.number, self.own = step, number, own
        self._known = {one: known[one] for one in own}
        self._parts: dict[Letter, tuple[Part, ...]] = {}
        for one, letters in own.items():
            for letter, axis in zip(letters, known[one], strict=True):
                if is_tiled(axis) and self._parts.setdefault(letter, axis) != axis:
                    raise NotLocal("it meets the image along two of its axes")

    def blocks(self, tile: Sequence[int], counts: Sequence[int]) -> dict[Reference, Block] | None:
        """What is read for tile number `tile` of `counts` along each axis of the image; None: nothing.

        All tiles together are all places, each once, whatever the lengths here.
        """
        places = [(letter, at) for letter, axis in self._parts.items() for at, part in enumerate(axis) if part.tiled]
        spans = {letter: [(0, part.length) for part in axis] for letter, axis in self._parts.items()}
        for number, (index, count) in enumerate(zip(tile, counts, strict=True)):
            if number >= len(places):
                if index:
                    return None
                continue
            letter, at = places[number]
            length = self._parts[letter][at].length
            span: Span = (index * length // count, (index + 1) * length // count)
            if span[0] == span[1]:
                return None
            spans[letter][at] = span
        found = {}
        for one, letters in self.own.items():
            axes = tuple(self._parts.get(letter, axis) for letter, axis in zip(letters, self._known[one], strict=True))
            whole = Block.whole(axes).spans
            own = (
                tuple(spans[letter]) if letter in spans else full for letter, full in zip(letters, whole, strict=True)
            )
            found[one] = Block(axes, tuple(own))
        return found

    def _check_kept(self, axes: Axes, dims: Sequence[int]) -> None:
        """Raises NotLocal unless the axes of the image that are left each have their own places."""
        if any(is_tiled(axis) and len(axis) > 1 for dim, axis in enumerate(axes) if dim not in dims):
            raise NotLocal("every place reads all places along another axis")

    def _placed(self, x: Tensor, block: Block, dims: Sequence[int], empty: float) -> Tensor:
        """Numbers of a block for its axes but `dims` (or those with length 1), where they lie in the whole."""
        left = [dim for dim in range(len(block.axes)) if x.ndim == len(block.axes) or dim not in dims]
        for at, dim in enumerate(left):
            if is_tiled(block.axes[dim]) and dim not in dims:
                ((start, stop),) = block.spans[dim]
                rest = length_of(block.axes[dim]) - stop
                x = functional.pad(x, [0, 0] * (x.ndim - 1 - at) + [start, rest], value=empty)
        return x

    @abstractmethod
    def measure(self, given: Given, blocks: Mapping[Reference, Block]) -> State:
        """Of blocks."""

    @abstractmethod
    def merge(self, one: State, other: State) -> State:
        """Of both together."""

    @abstractmethod
    def results(self, state: State, whole: Callable[[Reference], Tensor]) -> dict[Reference, Tensor]:
        """What is known from then on."""


def moments(x: Tensor, dims: Sequence[int]) -> State:
    """How many numbers along some axes, their mean, and the sum of squared distances from it: (), kept, kept."""
    dims = sorted(dim % x.ndim for dim in dims)
    kept = [x.shape[dim] for dim in range(x.ndim) if dim not in dims]
    rows = x.movedim(dims, [*range(x.ndim - len(dims), x.ndim)]).reshape(prod(kept), -1)
    count, found = rows.shape[1], []
    for part in rows.split(max(AT_ONCE // max(count, 1), 1)):
        found.append(torch.var_mean(part.double(), 1, correction=0))
    variance, mean = (torch.cat(each).view(kept).cpu() for each in zip(*found, strict=True))
    return torch.tensor(float(count), dtype=torch.float64), mean, variance * count


class Moments(Statistic):
    """Means, sums and variances. dims: the axes they are taken along; finish: what the step gives, of the moments.

    groups: of how many groups of channels, where not of all.
    """

    def __init__(
        self,
        step: Step,
        number: int,
        known: Known,
        one: Reference,
        dims: Sequence[int],
        finish: Callable[[State, Callable[[Reference], Tensor]], dict[int, Tensor]],
        groups: int | None = None,
    ) -> None:
        super().__init__(step, number, known, {one: [*range(len(known[one]))]})
        self._check_kept(known[one], dims)
        self._one, self._dims, self._finish, self._groups = one, dims, finish, groups

    def measure(self, given: Given, blocks: Mapping[Reference, Block]) -> State:
        x = given[self._one]
        if self._groups is not None:
            return moments(x.unflatten(1, (self._groups, -1)), range(2, x.ndim + 1))
        count, mean, squares = moments(x, self._dims)
        many = (count.expand(mean.shape), mean, squares)
        return tuple(self._placed(one, blocks[self._one], self._dims, 0) for one in many)

    def merge(self, one: State, other: State) -> State:
        (n, mean, squares), (m, other_mean, other_squares) = one, other
        apart, total = other_mean - mean, n + m
        share = m / total.clamp(min=1)
        return total, mean + apart * share, squares + other_squares + apart**2 * (n * share)

    def results(self, state: State, whole: Callable[[Reference], Tensor]) -> dict[Reference, Tensor]:
        return {FromStep(self.number, at): one for at, one in self._finish(state, whole).items()}


class Extremes(Statistic):
    """The largest, or the smallest, of all places."""

    def __init__(self, step: Step, number: int, known: Known, dims: Sequence[int], keep: bool, largest: bool) -> None:
        (one,) = step.reads[0]
        super().__init__(step, number, known, {one: [*range(len(known[one]))]})
        self._check_kept(known[one], dims)
        self._one, self._dims, self._keep, self._largest = one, tuple(dims), keep, largest

    def measure(self, given: Given, blocks: Mapping[Reference, Block]) -> State:
        x = given[self._one]
        x = x.to(torch.uint8) if x.dtype == torch.bool else x
        found = x.amax(self._dims, self._keep) if self._largest else x.amin(self._dims, self._keep)
        empty = -float("inf") if self._largest else float("inf")
        return (self._placed(found.double().cpu(), blocks[self._one], self._dims, empty),)

    def merge(self, one: State, other: State) -> State:
        return ((torch.maximum if self._largest else torch.minimum)(one[0], other[0]),)

    def results(self, state: State, whole: Callable[[Reference], Tensor]) -> dict[Reference, Tensor]:
        return {FromStep(self.number): state[0].to(self.step.dtypes[0])}


class Cells(Statistic):
    """A statistic of every cell of a grid laid over the image. tables: for each axis the (first, end) of its cells.

    finish: what the step gives, of the sums, or the largest, and the numbers of places in each cell; power: of which
    power of the distance from 0 the sums are, None: of the numbers.
    """

    def __init__(
        self,
        step: Step,
        number: int,
        known: Known,
        tables: Sequence[Sequence[Span]],
        largest: bool,
        finish: Callable[[Tensor, Tensor], Tensor],
        power: float | None = None,
    ) -> None:
        (one,) = step.reads[0]
        super().__init__(step, number, known, {one: [*range(len(known[one]))]})
        self._one, self._tables, self._finish, self._power = one, tables, finish, power
        self._first, self._largest = len(known[one]) - len(tables), largest
        if any(is_tiled(axis) for axis in known[one][: self._first]) or any(len(axis) > 1 for axis in known[one]):
            raise NotLocal("its cells go over ends of rows")

    def measure(self, given: Given, blocks: Mapping[Reference, Block]) -> State:
        x, block = given[self._one], blocks[self._one]
        x = x if self._power is None else x.abs() ** self._power
        for dim, table in enumerate(self._tables, self._first):
            ((start, stop),) = block.spans[dim]
            cells = []
            for first, end in table:
                low, high = max(first - start, 0), min(end, stop) - start
                part = x.narrow(dim, min(low, stop - start - 1), max(high - low, 0))
                cells.append(self._reduced(part, dim))
            x = torch.stack(cells, dim)
        return (x.cpu(),)

    def _reduced(self, x: Tensor, dim: int) -> Tensor:
        if not self._largest:
            return x.sum(dim, dtype=torch.float64)
        if not x.shape[dim]:
            shape = [*x.shape[:dim], *x.shape[dim + 1 :]]
            return x.new_full(shape, -float("inf"), dtype=torch.float64)
        return x.amax(dim).double()

    def merge(self, one: State, other: State) -> State:
        return (torch.maximum(one[0], other[0]) if self._largest else one[0] + other[0],)

    def results(self, state: State, whole: Callable[[Reference], Tensor]) -> dict[Reference, Tensor]:
        counts = torch.ones((), dtype=torch.float64)
        for table in self._tables:
            counts = counts[..., None] * torch.tensor([end - first for first, end in table], dtype=torch.float64)
        found = self._finish(state[0], counts)
        return {FromStep(self.number): found.to(self.step.dtypes[0]).reshape(self.step.shapes[0])}


class Exponentials(Statistic):
    """The largest number along one axis, and the sum of exponentials of the distances from it: -1 and -2."""

    def __init__(self, step: Step, number: int, known: Known, one: Reference, dim: int) -> None:
        super().__init__(step, number, known, {one: [*range(len(known[one]))]})
        self._check_kept(known[one], [dim])
        self._one, self._dim = one, dim

    def measure(self, given: Given, blocks: Mapping[Reference, Block]) -> State:
        x = given[self._one].double()
        largest = x.amax(self._dim, keepdim=True)
        found = (largest, -float("inf")), ((x - largest).exp().sum(self._dim, keepdim=True), 0.0)
        return tuple(self._placed(each.cpu(), blocks[self._one], [self._dim], empty) for each, empty in found)

    def merge(self, one: State, other: State) -> State:
        largest = torch.maximum(one[0], other[0])
        less = [(each - largest).nan_to_num(-float("inf")).exp() for each in (one[0], other[0])]  # where none was seen
        return largest, one[1] * less[0] + other[1] * less[1]

    def results(self, state: State, whole: Callable[[Reference], Tensor]) -> dict[Reference, Tensor]:
        return {FromStep(self.number, -1): state[0], FromStep(self.number, -2): state[1]}


class Gathered(Statistic):
    """Values at all places, in full, such as the keys and values that every query reads: -1, -2 and so on.

    What is gathered is as large as these values are; each tile gives its part, and zeros elsewhere.
    """

    def measure(self, given: Given, blocks: Mapping[Reference, Block]) -> State:
        return tuple(self._spread(given[one], blocks[one]).double().cpu() for one in self.own)

    @staticmethod
    def _spread(x: Tensor, block: Block) -> Tensor:
        for dim, (axis, spans) in enumerate(zip(block.axes, block.spans, strict=True)):
            parts = x.unflatten(dim, [stop - start for start, stop in spans])
            sides = [[start, part.length - stop] for part, (start, stop) in zip(axis, spans, strict=True)]
            behind = [[0, 0]] * (x.ndim - 1 - dim)
            flat = [side for pair in [*behind, *reversed(sides)] for side in pair]
            x = functional.pad(parts, flat).flatten(dim, dim + len(axis) - 1)
        return x

    def merge(self, one: State, other: State) -> State:
        return tuple(a + b for a, b in zip(one, other, strict=True))

    def results(self, state: State, whole: Callable[[Reference], Tensor]) -> dict[Reference, Tensor]:
        kind = self.step.dtypes[0]
        return {FromStep(self.number, -1 - at): one.to(kind) for at, one in enumerate(state)}


class Products(Statistic):
    """Products that are summed over all places, such as those of keys and values in linear attention."""

    def measure(self, given: Given, blocks: Mapping[Reference, Block]) -> State:
        return (self.step.run(lambda one: given[one].double())[0].cpu(),)

    def merge(self, one: State, other: State) -> State:
        return (one[0] + other[0],)

    def results(self, state: State, whole: Callable[[Reference], Tensor]) -> dict[Reference, Tensor]:
        return {FromStep(self.number): state[0].to(self.step.dtypes[0])}
