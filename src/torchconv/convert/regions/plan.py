"""Which steps of a program are computed in blocks, which once, and which after a pass of statistics."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import UnsupportedError
from ...text import some
from ...tracing.program import FromInput, FromModel, FromNowhere, FromStep, ModelProgram, Reference, Step
from .blocks import Axes, NotLocal, length_of, untiled
from .columns import columns
from .letters import letters
from .moves import moves
from .reducing import Measured, measured
from .resizing import resizing
from .rules import Rule
from .statistics import Statistic
from .windows import windows

FILLED = {"zeros_like": 0, "new_zeros": 0, "zero": 0, "ones_like": 1, "new_ones": 1, "empty_like": 0, "new_empty": 0}
FILLED |= {"new_empty_strided": 0, "zeros": 0, "ones": 1, "empty": 0}
VALUES = {"full": "fill_value", "full_like": "fill_value", "new_full": "fill_value", "fill": "value"}


class BlockPlan:
    """A program sorted, for an image of which the axes `axes` can be had in part.

    axes: of every value. rules: the steps in blocks, in order. constants: steps that need no image. statistics: of each
    pass, in order; known: the steps that follow from the statistics of each pass, and from no place. level: of a value,
    after how many passes it can be computed. fills: values that are one number everywhere.
    """

    def __init__(self, program: ModelProgram, axes: Axes, wanted: Reference) -> None:
        self.program = program
        self.axes: dict[Reference, Axes] = {FromInput(0): axes}
        self.rules: list[Rule] = []
        self.constants: list[int] = []
        self.statistics: list[list[Statistic]] = []
        self.known: list[list[int]] = []
        self.fills: dict[Reference, float] = {}
        self.level: dict[Reference, int] = {FromInput(0): 0}
        self.tiled: set[Reference] = {FromInput(0)}
        self.refused: list[tuple[Step, str]] = []
        self._level: dict[Reference, int] = {}
        used = self._used(wanted)
        for number, step in enumerate(program.steps):
            if number in used:
                self._sort(number, step)

    def _used(self, wanted: Reference) -> set[int]:
        """The steps that a result follows from."""
        used = {wanted.step} if isinstance(wanted, FromStep) else set()
        for number in reversed(range(len(self.program.steps))):
            if number in used:
                used |= {one.step for one in self.program.steps[number].references if isinstance(one, FromStep)}
        return used

    def _sort(self, number: int, step: Step) -> None:
        for one in step.references:
            if one not in self.axes:
                self._constant(one, step)
        results = [FromStep(number, at) for at in range(len(step.shapes))]
        filled = self._filled(step)
        level = max([self.level[one] for one in step.references if one in self.level], default=-1)
        if step.drawn:
            self._refuse(step, "it draws numbers by chance")
        if filled is not None and not any(step.depends):
            self.fills[results[0]] = filled
        elif level < 0:
            self.constants.append(number)
        elif not any(one in self.tiled for one in step.references) and "upsample" not in step.name:
            if level:  # else it follows from a step that is refused
                self.known[level - 1].append(number)
            self.level |= dict.fromkeys(results, level)
        else:
            self._tile(number, step, level)
            return
        self.axes |= {one: untiled(shape) for one, shape in zip(results, step.shapes, strict=True)}

    def _constant(self, one: Reference, step: Step) -> None:
        """The axes of a tensor of the model, or of none."""
        if isinstance(one, FromModel):
            self.axes[one] = untiled(self.program.tensors[one.name].shape)
        elif isinstance(one, FromNowhere):
            self.axes[one] = untiled(one.tensor.shape)
        else:
            self._refuse(step, "it asks at which place the largest number stands")
            shape = self.program.steps[one.step].shapes[one.result] if isinstance(one, FromStep) else ()
            self.axes[one] = untiled(shape)
            self.level[one] = 0

    def _filled(self, step: Step) -> float | None:
        """The one number that the result of a step holds everywhere, whatever it is made like."""
        if step.name in FILLED:
            return FILLED[step.name]
        value = step.arguments.get(VALUES.get(step.name, ""))
        return float(value) if isinstance(value, int | float) else None

    def _tile(self, number: int, step: Step, level: int) -> None:
        found: Measured | None = None
        why = ""
        try:
            rule: Rule | None = rule_of(step, number, self.axes)
        except NotLocal as problem:
            rule, why = None, str(problem)
            try:
                found = measured(step, number, self.axes)
            except NotLocal as other:
                why = str(other)
        if found is not None:
            while len(self.statistics) <= level:
                self.statistics.append([])
                self.known.append([])
            self.statistics[level].append(found.statistic)
            self.level |= {FromStep(number, at): level + 1 for at in range(-2, len(step.shapes))}
            rule = found.rule
            level += 1
        elif rule is None:
            self._refuse(step, why)
        if rule is not None:
            self.rules.append(rule)
            self.axes |= rule.axes
            self.tiled |= rule.axes.keys()
            self.level |= dict.fromkeys(rule.axes, level)
        else:
            self._after(number, step, level, refused=found is None)

    def _after(self, number: int, step: Step, level: int, refused: bool) -> None:
        """The axes of what comes out of a statistic; of a step that is refused, as the others can be looked at."""
        for at, shape in enumerate(step.shapes):
            one = FromStep(number, at)
            self.axes[one], self.level[one] = untiled(shape), level
            tiled = [self.axes[x] for x in step.references if x in self.tiled]
            like = next((axes for axes in tiled if tuple(map(length_of, axes)) == shape), None)
            if refused and like is not None:
                self.axes[one] = like
                self.tiled.add(one)

    def _refuse(self, step: Step, why: str) -> None:
        self.refused.append((step, why))

    def check(self, name: str, two_pass: bool) -> None:
        """Raises UnsupportedError naming the layers that need the whole image."""
        measures = [] if two_pass else [one.step for each in self.statistics for one in each]
        if not self.refused and not measures:
            return
        shown = [f"{_where(step)}: {why}" for step, why in self.refused]
        if measures:
            shown.append(f"statistics of all places in {some(unique([_where(step) for step in measures]), 6)}")
        fix = "Run it on the whole image, or on parts whose borders may differ."
        if not self.refused:
            turns = "one pass" if len(self.statistics) == 1 else f"{len(self.statistics)} passes"
            fix = f'Give statistics="two-pass", which takes them in {turns} over the image first, exactly.'
        expected = "layers of which every output reads a bounded part of the image, by one function everywhere"
        raise UnsupportedError(f"{name} in tiles", got="; ".join(unique(shown)[:6]), expected=expected, fix=fix)


def rule_of(step: Step, number: int, axes: dict[Reference, Axes]) -> Rule:
    """How a step is computed in blocks; raises NotLocal where it cannot be."""
    if step.operation is None and not step.drafts:
        raise NotLocal("what it reads is not known")
    for builder in (resizing, windows, moves, columns):
        rule = builder(step, number, axes)
        if rule is not None:
            return rule
    return letters(step, number, axes)


def _where(step: Step) -> str:
    """The layer that a step stands in."""
    word = step.name.strip("_").removeprefix("native_")
    return f"{step.module} ({word})" if step.module else word


def unique(values: Sequence[str]) -> list[str]:
    """Each once, in order."""
    return [*dict.fromkeys(values)]
