"""Inspecting any model: `tc.inspect` and `tc.receptive_field`."""

from __future__ import annotations

from typing import Any

import torch  # noqa: F401  (for the doctests)

from ..errors import SettingError
from .network_of import Seen, larger, seen
from .receptive_field import ReceptiveField, between
from .report import Report
from .rows import LayerRow, rows_of


def inspect(model: Any, input_shape: Any = None) -> Report:
    """Every layer of any model: volumes, parameters, multiply-accumulates, memory and exact receptive fields.

    model: a torch module, an exported program, an architecture, a text or a name in the zoo. It runs once without
        numbers, in evaluation mode, so that it takes no memory, and is left as it was.
    input_shape: (channels, *size) for one image, (batch, channels, *size), a tensor, or a tuple or a dict of these;
        left out, one that fits is looked for.
    Multiply-accumulates count products with real samples; bias, pooling and activations count none. What is not
    understood is a row that says so, makes the totals lower bounds, and is a warning.
    Raises ShapeError naming the layer that the shape does not fit, and a shape that would.
    Source: Araujo, Norris, Sim 2019, Computing receptive fields of convolutional neural networks (Distill).

    >>> report = inspect(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU()), (3, 8, 8))
    >>> report.total_parameters, report.total_macs, report.total_customary_macs, str(report.receptive_field)
    (224, 11616, 13824, 'size 3x3, stride 1x1, padding 1x1')
    """
    found = seen(model, input_shape)
    table = rows_of(found.network)
    outputs = [name for output in found.outputs for name in table.behind.get(output, (output,))]
    warnings = (*table.warnings, *found.notes)
    if not found.outputs:
        warnings += ("no output follows from the input, as far as torch can tell",)
    goal = found.outputs[0] if found.outputs else None
    rows = tuple(table.rows + _left_out(found))
    return Report(found.name, rows, warnings, found.network, tuple(outputs), goal)


def receptive_field(
    model: Any, input_shape: Any = None, layer: str | None = None, since: str | None = None
) -> ReceptiveField:
    """The receptive field of a layer, by default the output, in the input or in the output of the layer `since`.

    model, input_shape: as for `inspect`. The answer has .size, .stride and .padding per axis (the Distill article's),
        .of(unit) for the exact box of one unit, and .notes on branches that are not aligned.
    Without an input shape two sizes are compared; raises SettingError where the answer depends on it, or for a layer
    that is not there.
    Source: Araujo, Norris, Sim 2019, Computing receptive fields of convolutional neural networks (Distill).

    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.MaxPool2d(2))
    >>> receptive_field(model), receptive_field(model, (3, 32, 32)).of((1, 0)).first
    (ReceptiveField(size=(5, 5), stride=(4, 4), padding=(0, 0), notes=()), (4, 0))
    """
    found = seen(model, input_shape)
    if not found.outputs and layer is None:
        raise SettingError("the receptive field of a model", got="no output that follows from its input")
    answer = between(found.network, since, layer or found.outputs[0])
    other = larger(model, found) if input_shape is None else None
    if other is not None and between(other.network, since, layer or other.outputs[0]) != answer:
        raise SettingError(
            "a receptive field without an input shape", got="one that depends on the shape", fix="Give it."
        )
    return answer


def _left_out(found: Seen) -> list[LayerRow]:
    rows = []
    for name, count in found.unused.items():
        shape = (count,)
        rows.append(LayerRow(name, "not used", "", (), "", shape, count, 0, 0, 0, None))
    return rows
