"""How one step of a program is computed for a block of its result: what it reads, and the call on just that.

`Rule` is the base; `Letters` does all that treats every place alike. What slides over places, moves or resizes them has
rules of its own beside this file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...tracing.program import FromStep, Reference, Step
from .blocks import Axes, Block, NotLocal, Part, Span, is_tiled

Blocks = dict[Reference, Block]
Known = Mapping[Reference, Axes]  # the axes of every value so far
Letter = int | None


@dataclass(frozen=True)
class Given:
    """Tensors that a rule is computed from: blocks by reference, and whole ones on demand."""

    blocks: Mapping[Reference, Tensor]
    whole: Callable[[Reference], Tensor]

    def __getitem__(self, one: Reference) -> Tensor:
        return self.blocks[one] if one in self.blocks else self.whole(one)


class Rule(ABC):
    """One step in blocks; axes: of its results, by their references."""

    def __init__(self, step: Step, number: int) -> None:
        self.step, self.number = step, number
        self.axes: dict[Reference, Axes] = {}

    @abstractmethod
    def reads(self, wanted: Blocks) -> Blocks:
        """The blocks of other values that these blocks of its results are computed from; what is not said, whole."""

    @abstractmethod
    def compute(self, wanted: Blocks, given: Given) -> dict[Reference, Tensor]:
        """The blocks that are wanted, from those that `reads` says."""

    def scratch(self, read: int, made: int) -> int:
        """Bytes that it takes beside so many that go in and come out."""
        return 0

    def result(self, at: int = 0) -> Reference:
        """The reference to a result."""
        return FromStep(self.number, at)

    def call(self, given: Given, /, **instead: Any) -> tuple[Tensor, ...]:
        """The step on these tensors, with other arguments by name in place of its own."""
        device = next((one.device for one in given.blocks.values()), None)
        return self.step.run(given.__getitem__, device, **instead)


class Letters(Rule):
    """A step that treats all places alike: axes have letters, those of the same letter the same places.

    own: the letters of what it reads in blocks; outputs: those of each result. used: letters along which every output
    reads all, so that they must not be of the image.
    """

    def __init__(
        self,
        step: Step,
        number: int,
        known: Known,
        own: Mapping[Reference, Sequence[Letter]],
        outputs: Sequence[Sequence[Letter]],
        used: frozenset[Letter] = frozenset(),
    ) -> None:
        super().__init__(step, number)
        self._own, self._outputs = own, outputs
        self._lengths = {one: known[one] for one in own}
        self._parts: dict[Letter, tuple[Part, ...]] = {}
        for one, letters in own.items():
            for letter, axis in zip(letters, known[one], strict=True):
                if not is_tiled(axis):
                    continue
                if letter is None or letter in used:
                    raise NotLocal("every output reads all places")
                if self._parts.setdefault(letter, axis) != axis:
                    raise NotLocal("it meets the image along two of its axes")
        for at, letters in enumerate(outputs):
            pairs = zip(letters, step.shapes[at], strict=True)
            self.axes[self.result(at)] = tuple(self._parts.get(letter, (Part(length),)) for letter, length in pairs)

    def reads(self, wanted: Blocks) -> Blocks:
        spans = self._spans(wanted)
        found = {}
        for one, letters in self._own.items():
            axes = tuple(
                self._parts.get(letter, axis) for letter, axis in zip(letters, self._lengths[one], strict=True)
            )
            whole = Block.whole(axes)
            pairs = zip(letters, whole.spans, strict=True)
            found[one] = Block(axes, tuple(spans.get(letter, full) for letter, full in pairs))
        return found

    def compute(self, wanted: Blocks, given: Given) -> dict[Reference, Tensor]:
        spans, found = self._spans(wanted), {}
        results = self.call(given, **self._instead(wanted))
        for at, letters in enumerate(self._outputs):
            one = self.result(at)
            if one in wanted:
                whole = Block.whole(self.axes[one])
                have = tuple(spans.get(letter, full) for letter, full in zip(letters, whole.spans, strict=True))
                found[one] = wanted[one].of(results[at], Block(whole.axes, have))
        return found

    def _instead(self, wanted: Blocks) -> dict[str, Any]:
        """Arguments that say the shape of the result."""
        if self.step.name not in ("expand", "expand_copy", "broadcast_to"):
            return {}
        return {"size": list(next(iter(wanted.values())).shape)}

    def _spans(self, wanted: Blocks) -> dict[Letter, tuple[Span, ...]]:
        """The places along every letter of the image that any result wants."""
        found: dict[Letter, tuple[Span, ...]] = {}
        for at, letters in enumerate(self._outputs):
            block = wanted.get(self.result(at))
            for letter, spans in zip(letters, block.spans if block else (), strict=False):
                if letter in self._parts:
                    pairs = zip(found.get(letter, spans), spans, strict=True)
                    found[letter] = tuple((min(a, c), max(b, d)) for (a, b), (c, d) in pairs)
        whole = {letter: tuple((0, part.length) for part in axis) for letter, axis in self._parts.items()}
        return whole | found
