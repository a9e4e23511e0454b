"""Steps that move places without computing: reshaping, pixel shuffles, joining along an axis of the image."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor

from ...description.shapes import repeats
from ...receptive import access
from ...tracing.program import Reference, Step
from .blocks import Atom, Block, NotLocal, Part, Span, atoms, is_tiled, length_of, merged
from .rules import Blocks, Given, Known, Rule

Groups = list[list[Atom]]  # the atoms of each part, in order


class Reshaped(Rule):
    """The same numbers in the same order, in another shape."""

    def __init__(self, step: Step, number: int, known: Known) -> None:
        super().__init__(step, number)
        (self._one,) = {*step.reads[0]}
        self._known = known[self._one]
        found = atoms(self._known, step.shapes[0])
        self._sources = [
            [[atom for atom in found if atom.source == (dim, at)] for at in range(len(axis))]
            for dim, axis in enumerate(self._known)
        ]
        self._targets: list[Groups] = [[] for _ in step.shapes[0]]
        for atom in found:
            groups = self._targets[atom.target]
            if atom.tiled or not groups:
                groups.append([])
            groups[-1].append(atom)
        parts = [[Part(prod(a.length for a in group), group[0].tiled) for group in groups] for groups in self._targets]
        self.axes[self.result()] = tuple(map(merged, parts))

    def reads(self, wanted: Blocks) -> Blocks:
        found = self._atoms(wanted[self.result()])
        spans = tuple(tuple(_span(group, found) for group in groups) for groups in self._sources)
        return {self._one: Block(self._known, spans)}

    def compute(self, wanted: Blocks, given: Given) -> dict[Reference, Tensor]:
        block = wanted[self.result()]
        found = self._atoms(block)
        spans = tuple(tuple(_span(group, found) for group in groups) or ((0, 1),) for groups in self._targets)
        have = Block(block.axes, spans)
        return {self.result(): block.of(given[self._one].reshape(have.shape), have)}

    def _atoms(self, block: Block) -> dict[Atom, Span]:
        """Which places of every atom hold the block."""
        found = {}
        for groups, spans in zip(self._targets, block.spans, strict=True):
            for (first, *rest), (start, stop) in zip(groups, spans, strict=False):
                inner = prod(atom.length for atom in rest)
                found[first] = start // inner, repeats(stop, inner)
                found |= {atom: (0, atom.length) for atom in rest}
        return found


def _span(group: list[Atom], found: Mapping[Atom, Span]) -> Span:
    """The places of a part that these places of its atoms are."""
    if not group:
        return 0, 1
    inner = prod(atom.length for atom in group[1:])
    start, stop = found[group[0]]
    return start * inner, stop * inner


class Shuffled(Rule):
    """Channels to places, `factor` of them along each of the last two axes, or the other way round."""

    def __init__(self, step: Step, number: int, known: Known, factor: int, up: bool) -> None:
        super().__init__(step, number)
        (self._one,) = step.reads[0]
        self._known, self._factor, self._up = known[self._one], factor, up
        *front, channels, rows, columns = self._known
        if is_tiled(channels) or len(rows) > 1 or len(columns) > 1:
            raise NotLocal("it mixes places with channels")
        last = [
            (Part(length, is_tiled(axis)),) for axis, length in zip((rows, columns), step.shapes[0][-2:], strict=True)
        ]
        self.axes[self.result()] = (*front, (Part(step.shapes[0][-3]),), *last)

    def reads(self, wanted: Blocks) -> Blocks:
        *front, _, rows, columns = wanted[self.result()].spans
        r, channels = self._factor, ((0, length_of(self._known[-3])),)
        if self._up:
            last = [((span[0] // r, repeats(span[1], r)),) for (span,) in (rows, columns)]
        else:
            last = [((span[0] * r, span[1] * r),) for (span,) in (rows, columns)]
        return {self._one: Block(self._known, (*front, channels, *last))}

    def compute(self, wanted: Blocks, given: Given) -> dict[Reference, Tensor]:
        block, (result,) = wanted[self.result()], self.call(given)
        if not self._up:
            return {self.result(): result}
        r, read = self._factor, self.reads(wanted)[self._one].spans[-2:]
        last = tuple(((start * r, stop * r),) for ((start, stop),) in read)
        return {self.result(): block.of(result, Block(block.axes, (*block.spans[:-2], *last)))}


class JoinedPlaces(Rule):
    """Tensors one after another along an axis of the image."""

    def __init__(self, step: Step, number: int, known: Known) -> None:
        super().__init__(step, number)
        self._dim = dim = int(step.arguments["dim"]) % len(step.shapes[0])
        self._inputs = [one for one in step.arguments["tensors"] if len(known[one]) == len(step.shapes[0])]
        self._known = {one: known[one] for one in self._inputs}
        lengths = [length_of(known[one][dim]) for one in self._inputs]
        self._starts = [sum(lengths[:at]) for at in range(len(lengths))]
        tiled = next(known[one] for one in self._inputs if is_tiled(known[one][dim]))
        for axes in self._known.values():
            others = [(a, b) for at, (a, b) in enumerate(zip(axes, tiled, strict=True)) if at != dim and is_tiled(a)]
            if len(axes[dim]) > 1 or any(a != b for a, b in others):
                raise NotLocal("it joins places of the image and others along one axis")
        self.axes[self.result()] = (*tiled[:dim], (Part(sum(lengths), True),), *tiled[dim + 1 :])

    def reads(self, wanted: Blocks) -> Blocks:
        found: Blocks = {}
        for one, start in zip(self._inputs, self._starts, strict=True):
            block = self._cut(one, start, wanted[self.result()], least=1)
            found[one] = block | found.get(one)
        return found

    def compute(self, wanted: Blocks, given: Given) -> dict[Reference, Tensor]:
        block, have = wanted[self.result()], self.reads(wanted)
        pairs = zip(self._inputs, self._starts, strict=True)
        parts = [self._cut(one, start, block, 0).of(given[one], have[one]) for one, start in pairs]
        return {self.result(): torch.cat(parts, self._dim)}

    def _cut(self, one: Reference, start: int, block: Block, least: int) -> Block:
        """What of an input stands in a block; so many places at least, as none cannot be computed."""
        axes, dim = self._known[one], self._dim
        length, ((first, stop),) = length_of(axes[dim]), block.spans[dim]
        low = min(max(first - start, 0), length - least)
        high = max(min(stop - start, length), low + least)
        axes = (*block.axes[:dim], ((Part(length, True)),), *block.axes[dim + 1 :])
        return Block(axes, (*block.spans[:dim], ((low, high),), *block.spans[dim + 1 :]))


def moves(step: Step, number: int, known: Known) -> Rule | None:
    """The rule of a step that moves places; None for another one."""
    pattern = step.drafts[0].pattern
    if isinstance(pattern, access.Reshape):
        return Reshaped(step, number, known)
    if isinstance(pattern, access.Shuffle | access.Unshuffle):
        return Shuffled(step, number, known, pattern.factor, isinstance(pattern, access.Shuffle))
    if step.name == "cat":
        dim = int(step.arguments["dim"]) % len(step.shapes[0])
        if any(is_tiled(known[one][dim]) for one in step.references if len(known[one]) == len(step.shapes[0])):
            return JoinedPlaces(step, number, known)
    return None
