"""The steps of a plan run for some blocks: backwards what is needed, then forwards each on just that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...tracing.program import FromInput, FromModel, FromNowhere, FromStep, Reference
from .blocks import Block
from .plan import BlockPlan
from .rules import Blocks, Given, Rule
from .statistics import State

Read = Callable[[Block], Tensor]


@dataclass(frozen=True)
class Needs:
    """Blocks of all values that some blocks follow from; last: for each rule the values that nothing reads after it."""

    blocks: Blocks
    rules: list[tuple[Rule, Blocks]]
    last: list[list[Reference]]


class Evaluator:
    """A plan with the values that are known: constants, and after every pass what follows from its statistics."""

    def __init__(self, plan: BlockPlan, device: torch.device) -> None:
        self.plan, self.device = plan, device
        self.known: dict[Reference, Tensor] = {}
        self.passes = 0  # that are finished
        self._constants()

    def _constants(self) -> None:
        """Compute what needs no image, and keep what is read with one."""
        plan = self.plan
        steps = plan.program.steps
        others = {*range(len(steps))} - {*plan.constants}
        wanted = {one for number in others for one in steps[number].references} | {*plan.program.outputs}
        with torch.no_grad():
            for one, value in plan.fills.items():
                assert isinstance(one, FromStep)
                step = steps[one.step]
                filled = torch.full((), value, dtype=step.dtypes[one.result], device=self.device)
                self.known[one] = filled.expand(step.shapes[one.result])
            self._run(plan.constants)
        self.known = {one: value for one, value in self.known.items() if one in wanted or one in plan.fills}

    def _run(self, numbers: list[int]) -> None:
        for number in numbers:
            results = self.plan.program.steps[number].run(self.whole, self.device)
            self.known |= {FromStep(number, at): one for at, one in enumerate(results)}

    def whole(self, one: Reference) -> Tensor:
        """A value that is there in full."""
        if isinstance(one, FromModel | FromNowhere):
            return self.plan.program.tensor(one, {}, None if isinstance(one, FromModel) else self.device)
        return self.known[one]

    def finish(self, states: dict[int, State]) -> None:
        """Take in the statistics of the next pass, by the numbers of their steps."""
        with torch.no_grad():
            for statistic in self.plan.statistics[self.passes]:
                found = statistic.results(states[statistic.number], self.whole)
                self.known |= {one: value.to(self.device) for one, value in found.items()}
            self._run(self.plan.known[self.passes])
        self.passes += 1

    def needs(self, wanted: Blocks) -> Needs:
        """What these blocks are computed from."""
        plan, blocks = self.plan, dict(wanted)
        seen: set[Reference] = {*wanted}
        rules: list[tuple[Rule, Blocks]] = []
        last: list[list[Reference]] = []
        for rule in reversed(plan.rules):
            mine = {one: blocks[one] for one in rule.axes if one in blocks}
            if not mine:
                continue
            read = {one: block for one, block in rule.reads(mine).items() if one in plan.tiled}
            for one, block in read.items():
                blocks[one] = self._own(one, block) | blocks.get(one)
            rules.append((rule, mine))
            last.append([one for one in read if one not in seen])
            seen |= {*read}
        return Needs(blocks, rules[::-1], last[::-1])

    def _own(self, one: Reference, block: Block) -> Block:
        """With the parts that a value has: all of an axis where others are asked for."""
        axes = self.plan.axes[one]
        triples = zip(axes, block.axes, block.spans, Block.whole(axes).spans, strict=True)
        return Block(axes, tuple(spans if own == asked else whole for own, asked, spans, whole in triples))

    def compute(self, wanted: Blocks, read: Read) -> dict[Reference, Tensor]:
        """The blocks that are wanted of values in blocks; `read` gives those of the image."""
        with torch.no_grad():
            needs = self.needs(wanted)
            values: dict[Reference, Tensor] = {}
            image = FromInput(0)
            if image in needs.blocks:
                values[image] = read(needs.blocks[image])
            for (rule, mine), last in zip(needs.rules, needs.last, strict=True):
                given = Given(self._cut(rule.reads(mine), values, needs.blocks), self.whole)
                values |= rule.compute(mine, given)
                del given
                for one in last:
                    del values[one]
            return {one: values[one] for one in wanted}

    def _cut(self, blocks: Blocks, values: dict[Reference, Tensor], have: Blocks) -> dict[Reference, Tensor]:
        return {
            one: block.of(values[one], have[one]) if one in values else block.of(self.whole(one))
            for one, block in blocks.items()
        }

    def memory(self, wanted: Blocks) -> int:
        """Bytes at the peak: results of steps while anything reads them, and copies; a quarter more for the rest."""
        needs = self.needs(wanted)
        sizes = {one: _numel(block) * self._width(one) for one, block in needs.blocks.items()}
        live = sizes.get(FromInput(0), 0)
        peak = live
        for (rule, mine), last in zip(needs.rules, needs.last, strict=True):
            made = sum(sizes[one] for one in mine)
            read = sum(sizes[one] for one in rule.reads(mine) if one in sizes)
            peak = max(peak, live + made + rule.scratch(read, made))
            live += made - sum(sizes[one] for one in last)
        return peak + peak // 4

    def _width(self, one: Reference) -> int:
        """Bytes of a number of a value."""
        kind = self.plan.program.steps[one.step].dtypes[one.result] if isinstance(one, FromStep) else torch.float32
        return kind.itemsize

    def macs(self, wanted: Blocks) -> float:
        """Multiply-accumulates, padding not counted: each step's share of those of the whole image."""
        total = 0.0
        for rule, mine in self.needs(wanted).rules:
            draft = rule.step.drafts[0] if rule.step.drafts else None
            one, block = next(iter(mine.items()))
            if draft is not None and draft.exact:
                total += draft.exact * _numel(block) / max(_numel(Block.whole(self.plan.axes[one])), 1)
        return total


def _numel(block: Block) -> int:
    return torch.Size(block.shape).numel()
