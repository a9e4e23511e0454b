"""Where a model's outputs lie in its input, and which of them a border cannot have touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import TorchconvError
from .motions import lattice
from .network_of import seen
from .receptive_field import ReceptiveField, between


@dataclass(frozen=True)
class Line:
    """One axis of an output: unit p lies at first + p * stride, and reads as far as `reach` samples to both sides."""

    first: float
    stride: int | Fraction
    reach: tuple[float, float]


@dataclass(frozen=True)
class Grid:
    """The outputs of a model, in samples of its input of `size`; `note` says where that had to be guessed."""

    size: tuple[int, ...]
    outputs: tuple[int, ...]
    lines: tuple[Line, ...]
    note: str = ""

    @property
    def strides(self) -> tuple[int | Fraction, ...]:
        """Samples of the input from one output to the next, on each axis."""
        return tuple(line.stride for line in self.lines)

    def places(self) -> Tensor:
        """The place of each output in the input, (*outputs, axes)."""
        return self._first() + lattice(self.outputs) * self._strides()

    def units(self, places: Tensor) -> Tensor:
        """The inverse: places in the input as numbers of outputs, which may lie between two."""
        return (places - self._first()) / self._strides()

    def undisturbed(self, good: Tensor) -> Tensor:
        """Outputs, (*outputs), of which all that they read is inside and good; good: (*size) booleans."""
        bad = (~good).long()
        for axis, line in enumerate(self.lines):
            bounds = [self._reads(line, unit) for unit in range(self.outputs[axis])]
            length = bad.shape[axis]
            counted = torch.cat([torch.zeros_like(bad.narrow(axis, 0, 1)), bad.cumsum(axis)], axis)
            start = torch.tensor([min(max(low, 0), length) for low, _ in bounds])
            stop = torch.tensor([min(max(high + 1, 0), length) for _, high in bounds])
            outside = torch.tensor([low < 0 or high >= length for low, high in bounds])
            shape = [-1 if other == axis else 1 for other in range(bad.ndim)]
            found = counted.index_select(axis, stop) - counted.index_select(axis, start) > 0
            bad = (found | outside.view(shape)).long()
        return bad == 0

    @staticmethod
    def _reads(line: Line, unit: int) -> tuple[int, int]:
        at = line.first + unit * float(line.stride)
        return floor(at - line.reach[0]), ceil(at + line.reach[1])

    def _first(self) -> Tensor:
        return torch.tensor([line.first for line in self.lines], dtype=torch.float64)

    def _strides(self) -> Tensor:
        return torch.tensor([float(line.stride) for line in self.lines], dtype=torch.float64)


class _Called(nn.Module):
    """A function as a module, for the tracer."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def grid_of(model: Any, x: Tensor, outputs: Sequence[int], margin: int | None) -> Grid:
    """Where outputs of these sizes lie: by the model's exact receptive field, or else in the middle of the input.

    margin: samples at each border that are taken to matter; None for as many as the receptive field says, or a quarter
    of the size where that is not known or is the whole input.
    """
    size = tuple(x.shape[2:])
    field = _field(model, x)
    lines, guessed = [], False
    for axis, (length, count) in enumerate(zip(size, outputs, strict=True)):
        stride = field.stride[axis] if field else None
        padding = field.padding[axis] if field else None
        if field and stride and padding is not None and field.size[axis]:
            # Between samples of the input the fields begin late or early by less than one of them.
            slack = 0 if Fraction(stride).denominator == 1 else 1
            last = field.size[axis] - 1 - padding
            first = _middle(length, count, stride) if slack else (last - padding) / 2
            line = Line(first, stride, (first + padding + slack, last + slack - first))
        else:
            guessed = True
            stride = _ratio(length, count)
            line = Line(_middle(length, count, stride), stride, (length / 4, length / 4))
        lines.append(line if margin is None else Line(line.first, line.stride, (margin, margin)))
    note = "the receptive field is not known, or is the whole input: a quarter of the size is left out at each border"
    return Grid(size, tuple(outputs), tuple(lines), note if guessed and margin is None else "")


def _field(model: Any, x: Tensor) -> ReceptiveField | None:
    module = model if isinstance(model, nn.Module) else _Called(model)
    try:
        found = seen(module, torch.empty(x.shape, dtype=x.dtype, device="meta"))
        if not found.outputs:
            return None
        field = between(found.network, goal=found.outputs[0])
    except TorchconvError:
        return None
    return field if len(field.size) == x.ndim - 2 else None


def _ratio(length: int, count: int) -> int | Fraction:
    """The stride that sizes suggest: rounded to a whole number, or to one part of one."""
    return round(length / count) if length >= count else Fraction(1, round(count / length))


def _middle(length: int, count: int, stride: int | Fraction) -> float:
    """The first place of outputs whose middle is the middle of the input."""
    return (length - 1) / 2 - (count - 1) / 2 * float(stride)
