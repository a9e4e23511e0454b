"""Steps that read all places, but only to take statistics of them: which statistics, and what is done with them.

What a statistic gives beside results of its step is numbered from -1 downwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from ...network.pooling import PoolAll, PoolGrid, Summary
from ...receptive import access
from ...tracing.program import FromStep, Reference, Step
from .blocks import Block, Part, is_tiled, length_of
from .letters import ATTENTION, letters, letters_of
from .rules import Blocks, Given, Known, Rule
from .statistics import Cells, Exponentials, Extremes, Gathered, Moments, Products, State, Statistic

Whole = Callable[[Reference], Tensor]
MOST_CELLS = 4096


@dataclass(frozen=True)
class Measured:
    """A statistic, and the rule of what follows from it place by place; None: nothing does."""

    statistic: Statistic
    rule: Rule | None = None


class Rescaled(Rule):
    """x * scale + shift, which a statistic gives, then times weights and plus a bias that lie like x."""

    def __init__(self, step: Step, number: int, known: Known, one: Reference, weights: Sequence[Any] = ()) -> None:
        super().__init__(step, number)
        self._one, self._weights = one, [weight for weight in weights if weight is not None]
        self.axes[self.result()] = known[one]

    def reads(self, wanted: Blocks) -> Blocks:
        block = wanted[self.result()]
        return {self._one: block} | {one: self._aligned(block, one) for one in self._weights}

    def _aligned(self, block: Block, one: Reference) -> Block:
        rank = len(self.step.arguments["normalized_shape"])
        return Block(block.axes[-rank:], block.spans[-rank:])

    def compute(self, wanted: Blocks, given: Given) -> dict[Reference, Tensor]:
        scale, shift = (lying(given.whole(self.result(at)), wanted[self.result()]) for at in (-1, -2))
        x = given[self._one]
        y = torch.addcmul(shift.to(x), x, scale.to(x))
        arguments = self.step.arguments
        if self._weights and arguments["weight"] is not None:
            y = y * given[arguments["weight"]]
        return {self.result(): y + given[arguments["bias"]] if self._weights and arguments["bias"] is not None else y}


class Normalised(Rule):
    """Softmax over the image."""

    def __init__(self, step: Step, number: int, known: Known, one: Reference) -> None:
        super().__init__(step, number)
        self._one = one
        self.axes[self.result()] = known[one]

    def reads(self, wanted: Blocks) -> Blocks:
        return {self._one: wanted[self.result()]}

    def compute(self, wanted: Blocks, given: Given) -> dict[Reference, Tensor]:
        largest, total = (lying(given.whole(self.result(at)), wanted[self.result()]) for at in (-1, -2))
        x = given[self._one]
        if "log" in self.step.name:
            return {self.result(): x - (largest + total.log()).to(x)}
        return {self.result(): (x - largest.to(x)).exp() / total.to(x)}


def lying(x: Tensor, block: Block) -> Tensor:
    """What of a tensor with axes of length 1 meets a block."""
    triples = [*zip(x.shape, block.axes, block.spans, strict=True)]
    axes = tuple(axis if length > 1 else (Part(1),) for length, axis, _ in triples)
    return Block(axes, tuple(spans if length > 1 else ((0, 1),) for length, _, spans in triples)).of(x)


def measured(step: Step, number: int, known: Known) -> Measured | None:
    """The statistics of a step; None where it takes none, or others than these; raises NotLocal likewise."""
    if isinstance(step.operation, PoolAll | PoolGrid):
        return _pooled(step, number, known, step.operation)
    builder = next((build for names, build in BUILDERS.items() if step.name in names.split()), None)
    return None if builder is None else builder(step, number, known)


def _reduced(step: Step, number: int, known: Known) -> Measured | None:
    """Means, variances and extremes along axes."""
    pattern = step.drafts[0].pattern
    if not isinstance(pattern, access.Reduce):
        return None
    (one,) = step.reads[0]
    word = step.name
    if word in EXTREMES and len(step.shapes) == 1:
        return Measured(Extremes(step, number, known, pattern.dims, pattern.keep, EXTREMES[word]))
    finish = MOMENTS.get(word)
    if finish is None or (word == "linalg_vector_norm" and float(step.arguments["ord"]) != 2):
        return None

    def finished(state: State, whole: Whole) -> dict[int, Tensor]:
        unbiased = step.arguments.get("unbiased", True)
        correction = step.arguments.get("correction", float(unbiased))
        count, mean, squares = state
        values = finish(count, mean, squares, 1.0 if correction is None else float(correction))
        shaped = zip(values, step.shapes, step.dtypes, strict=True)
        return {at: one.reshape(shape).to(dtype) for at, (one, shape, dtype) in enumerate(shaped)}

    return Measured(Moments(step, number, known, one, pattern.dims, finished))


Values = Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, ...]]
MOMENTS: dict[str, Values] = {  # of the count, the mean, the sum of squares around it, and the correction
    "mean": lambda n, mean, squares, less: (mean,),
    "sum": lambda n, mean, squares, less: (mean * n,),
    "var": lambda n, mean, squares, less: (squares / (n - less),),
    "std": lambda n, mean, squares, less: ((squares / (n - less)).sqrt(),),
    "var_mean": lambda n, mean, squares, less: (squares / (n - less), mean),
    "std_mean": lambda n, mean, squares, less: ((squares / (n - less)).sqrt(), mean),
    "linalg_vector_norm": lambda n, mean, squares, less: ((squares + n * mean**2).sqrt(),),
}
EXTREMES = {"amax": True, "max": True, "any": True, "amin": False, "min": False, "all": False}


def _scaling(step: Step, wide: Callable[[Tensor, int], Tensor], shape: Sequence[int]) -> Any:
    """Scale and shift of a normalisation; wide: statistics as one number for each channel."""

    def finished(state: State, whole: Whole) -> dict[int, Tensor]:
        count, mean, squares = state
        weight, bias = (step.arguments.get(name) for name in ("weight", "bias"))
        scale = (squares / count + step.arguments["eps"]).rsqrt()
        scale, mean = (wide(one, shape[1]) for one in (scale, mean))
        scale = scale if weight is None else scale * whole(weight).double().cpu()
        shift = -mean * scale if bias is None else whole(bias).double().cpu() - mean * scale
        ones = (1,) * (len(shape) - 2)
        return {-1: scale.view(*scale.shape, *ones), -2: shift.view(*shift.shape, *ones)}

    return finished


def _group_norm(step: Step, number: int, known: Known) -> Measured:
    one, shape, groups = step.arguments["input"], step.shapes[0], int(step.arguments["group"])
    finish = _scaling(step, lambda x, channels: x.repeat_interleave(channels // x.shape[1], 1), shape)
    statistic = Moments(step, number, known, one, range(1, len(shape)), finish, groups)
    return Measured(statistic, Rescaled(step, number, known, one))


def _batch_norm(step: Step, number: int, known: Known) -> Measured | None:
    one, shape = step.arguments["input"], step.shapes[0]
    finish = _scaling(step, lambda x, channels: x[None], shape)
    statistic = Moments(step, number, known, one, [0, *range(2, len(shape))], finish)
    return Measured(statistic, Rescaled(step, number, known, one))


def _layer_norm(step: Step, number: int, known: Known) -> Measured:
    one, rank = step.arguments["input"], len(step.arguments["normalized_shape"])
    weights = [step.arguments.get(name) for name in ("weight", "bias")]

    def finished(state: State, whole: Whole) -> dict[int, Tensor]:
        count, mean, squares = state
        scale = (squares / count + step.arguments["eps"]).rsqrt()
        return {-1: scale.view(*scale.shape, *(1,) * rank), -2: (-mean * scale).view(*scale.shape, *(1,) * rank)}

    dims = range(len(step.shapes[0]) - rank, len(step.shapes[0]))
    statistic = Moments(step, number, known, one, dims, finished)
    return Measured(statistic, Rescaled(step, number, known, one, weights))


def _softmax(step: Step, number: int, known: Known) -> Measured:
    (one,) = step.reads[0]
    dim = int(step.arguments["dim"]) % len(step.shapes[0])
    return Measured(Exponentials(step, number, known, one, dim), Normalised(step, number, known, one))


def _cells(step: Step, number: int, known: Known) -> Measured | None:
    """Adaptive pooling."""
    pattern = step.drafts[0].pattern
    if not isinstance(pattern, access.Resize) or prod(axis.outputs for axis in pattern.axes) > MOST_CELLS:
        return None
    largest = "max" in step.name
    return Measured(Cells(step, number, known, _tables(pattern), largest, (lambda x, n: x) if largest else torch.div))


def _tables(pattern: access.Resize) -> list[list[tuple[int, int]]]:
    reads = ([axis.read(cell) for cell in range(axis.outputs)] for axis in pattern.axes)
    return [[(one[0], one[-1] + 1) for one in each] for each in reads]


def _pooled(step: Step, number: int, known: Known, operation: PoolAll | PoolGrid) -> Measured | None:
    """Layers of this package that pool everything, or to one grid."""
    (one,) = step.reads[0]
    summary: Summary = operation if isinstance(operation, PoolAll) else operation.summary
    if isinstance(operation, PoolGrid):
        pattern = step.drafts[0].pattern
        if not isinstance(pattern, access.Resize):
            return None
        tables = _tables(pattern)
    else:
        tables = [[(0, length_of(axis))] for axis in known[one][2:]]
    power = summary.power
    finishes: dict[str, Any] = {"max": lambda x, n: x, "mean": torch.div}
    finish = finishes.get(summary.statistic, lambda x, n: x ** (1 / (power or 1)))
    return Measured(Cells(step, number, known, tables, summary.statistic == "max", finish, power))


def _attended(step: Step, number: int, known: Known) -> Measured | None:
    """Attention of queries, block by block, to the keys and values of all places."""
    key, value = (step.arguments[name] for name in ("key", "value"))
    if step.arguments.get("is_causal"):
        return None
    seen = {key: [0, 1, 2, None], value: [0, 1, 2, None]}
    kept = {one: FromStep(number, -1 - at) for at, one in enumerate(seen)}
    axes = dict(known) | {one: tuple((Part(length_of(axis)),) for axis in known[old]) for old, one in kept.items()}
    changed = {name: kept[one] for name, one in (("key", key), ("value", value))}
    rule = letters(replace(step, arguments=step.arguments | changed), number, axes)
    return Measured(Gathered(step, number, known, seen), rule)


def _products(step: Step, number: int, known: Known) -> Measured | None:
    own, _, used = letters_of(step, known)
    pairs = [pair for one, row in own.items() for pair in zip(row, known[one], strict=True)]
    summed = {letter for letter, axis in pairs if is_tiled(axis)} <= {*used}
    return Measured(Products(step, number, known, own)) if summed else None


BUILDERS: dict[str, Callable[[Step, int, Known], Measured | None]] = {
    " ".join([*MOMENTS, *EXTREMES]): _reduced,
    "native_group_norm": _group_norm,
    "native_layer_norm": _layer_norm,
    "native_batch_norm _native_batch_norm_legit cudnn_batch_norm _batch_norm_with_update": _batch_norm,
    "_softmax _log_softmax softmax log_softmax": _softmax,
    "_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool1d adaptive_max_pool1d adaptive_max_pool2d "
    "adaptive_max_pool3d": _cells,
    "mm bmm matmul einsum": _products,
    " ".join(ATTENTION): _attended,
}
