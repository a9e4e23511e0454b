"""Tables of models, `tc.inspect`: a row for each layer, totals, warnings, and the ways of showing them."""

from __future__ import annotations

import csv
import html
import io
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch  # noqa: F401  (for the doctests)
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..errors import SettingError
from ..network.graph import Network
from ..text import megabytes
from .network_of import network_of
from .receptive_field import ReceptiveField, between, joined
from .rows import LayerRow, rows_of

COLUMNS = (
    *("name", "operation", "description", "volume", "parameters", "macs", "customary_macs", "bytes"),
    *("size", "stride", "padding", "sparsity", "unshared", "dense", "equivariant"),
)
HEADS = {"name": "layer", "macs": "MACs", "customary_macs": "nominal MACs", "size": "field", "equivariant": "moves"}
NUMBERS = ("parameters", "macs", "customary_macs", "bytes", "sparsity", "unshared", "dense")


@dataclass(frozen=True)
class Report:
    """The table of a model: a row for each layer in order, and totals that are the sums of the rows.

    network: what the rows were computed from, to its node `goal`; outputs: the rows that come out of the model.
    """

    model: str
    rows: tuple[LayerRow, ...]
    warnings: tuple[str, ...]
    network: Network = field(repr=False)
    outputs: tuple[str, ...] = ()
    goal: str | None = field(default=None, repr=False)

    @property
    def complete(self) -> bool:
        """Whether every operation is understood; if not, totals are lower bounds."""
        return all(row.known for row in self.rows)

    @property
    def total_parameters(self) -> int:
        """Number of learned values, each counted once, however often it is used."""
        return sum(row.parameters for row in self.rows)

    @property
    def total_macs(self) -> int:
        """Multiply-accumulates with real samples."""
        return sum(row.macs for row in self.rows)

    @property
    def total_customary_macs(self) -> int:
        """Nominal multiply-accumulates: with those on padding, as most programs count."""
        return sum(row.customary_macs for row in self.rows)

    @property
    def total_bytes(self) -> int:
        """Bytes of all outputs of layers, the input included."""
        return sum(row.bytes for row in self.rows)

    @cached_property
    def receptive_field(self) -> ReceptiveField | None:
        """Of the first output, with its `feature_map`; None where nothing comes out, or the input has no axes."""
        return between(self.network, goal=self.goal) if self.goal and self.rows[0].field else None

    def __getitem__(self, name: str) -> LayerRow:
        """The row of a layer, by its name."""
        for row in self.rows:
            if row.name == name:
                return row
        raise SettingError("a row", got=repr(name), expected=f"one of {', '.join(row.name for row in self.rows[:40])}")

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        numbers = ("complete", "total_parameters", "total_macs", "total_customary_macs", "total_bytes")
        return {
            "model": self.model,
            **{name: getattr(self, name) for name in numbers},
            "warnings": list(self.warnings),
            "outputs": list(self.outputs),
            "receptive_field": self.receptive_field.to_dict() if self.receptive_field else None,
            "rows": [row.to_dict() for row in self.rows],
        }

    def to_json(self) -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(), indent=1)

    def to_csv(self) -> str:
        """The rows as comma-separated values, with a line of names."""
        rows = [row.to_dict() for row in self.rows]
        written = io.StringIO()
        writer = csv.DictWriter(written, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: "x".join(map(str, v)) if isinstance(v, list) else v for k, v in row.items()} for row in rows
        )
        return written.getvalue()

    def table(self, columns: tuple[str, ...] | None = None) -> Table:
        """The rows for rich to print; columns: names out of `COLUMNS`, by default those that say something."""
        names = columns or [name for name in COLUMNS if any(_cell(row, name) not in ("", "0") for row in self.rows)]
        table = Table(title=self.model, title_justify="left", show_footer=True, pad_edge=False)
        for name in names:
            right = name in NUMBERS
            layout: Any = {"justify": "right" if right else "left", "overflow": "fold", "no_wrap": right}
            table.add_column(HEADS.get(name, name), self._total(name), **layout)
        for row in self.rows:
            table.add_row(*(_cell(row, name) for name in names), style=None if row.known else "yellow")
        return table

    def _total(self, name: str) -> str:
        if name == "name":
            return "total" if self.complete else "at least"
        total = getattr(self, f"total_{name}", None)
        return "" if total is None else f"{total:,}"

    def __rich_console__(self, console: Any, options: Any) -> Any:
        narrow = ("name", "operation", "volume", "parameters", "macs", "size", "stride", "padding")
        yield self.table(narrow if options.max_width < 140 else None)
        yield self.summary()
        if self.goal and self.receptive_field:
            yield f"receptive field of {escape(self.goal)}: {escape(str(self.receptive_field))}"
        for warning in self.warnings:
            yield f"[yellow]warning[/]: {escape(warning)}"

    def summary(self) -> str:
        """The totals in one line."""
        least = "" if self.complete else "at least "
        return (
            f"{least}{self.total_parameters:,} parameters, {least}{self.total_macs:,} MACs "
            f"({self.total_customary_macs:,} with padding), {megabytes(self.total_bytes)} of activations"
        )

    def __str__(self) -> str:
        written = io.StringIO()
        Console(file=written, width=200).print(self)
        return written.getvalue().rstrip()

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(HEADS.get(name, name))}</th>" for name in COLUMNS)
        lines = [f"<caption>{html.escape(self.model)}: {html.escape(self.summary())}</caption><tr>{head}</tr>"]
        for row in self.rows:
            cells = "".join(f"<td>{html.escape(_cell(row, name))}</td>" for name in COLUMNS)
            lines.append(f"<tr>{cells}</tr>")
        notes = "".join(f"<p>warning: {html.escape(warning)}</p>" for warning in self.warnings)
        return f"<table>{''.join(lines)}</table>{notes}"


def _cell(row: LayerRow, name: str) -> str:
    if name in ("size", "stride", "padding"):
        return joined(getattr(row.field, name)) if row.field else ""
    value = getattr(row, name)
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}" if value < 1000 else f"{round(value):,}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def inspect(model: Any, input_shape: Any = None, classes: int | None = None) -> Report:
    """Every layer of any model: volumes, parameters, multiply-accumulates, memory and exact receptive fields.

    model: a torch module, an exported program, an architecture, a text or a name in the zoo. It runs once without
        numbers, in evaluation mode, so that it takes no memory, and is left as it was.
    input_shape: (channels, *size) for one image, (batch, channels, *size), a tensor, or a tuple or a dict of these;
        left out, one that fits is looked for.
    classes: outputs of the last layer of a text or a name in the zoo, whatever it says.
    Multiply-accumulates count products with real samples; bias, pooling and activations count none. What is not
    understood is a row that says so, makes the totals lower bounds, and is a warning.
    Raises ShapeError naming the layer that the shape does not fit, and a shape that would.
    Source: Araujo, Norris, Sim 2019, Computing receptive fields of convolutional neural networks (Distill).

    >>> report = inspect(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU()), (3, 8, 8))
    >>> report.total_parameters, report.total_macs, report.total_customary_macs, str(report.receptive_field)
    (224, 11616, 13824, 'size 3x3, stride 1x1, padding 1x1')
    """
    found = network_of(model, input_shape, classes)
    rows, warnings, outputs = rows_of(found.network, found.outputs)
    rows += [
        LayerRow(name, "not used", "", (), "", (count,), count, 0, 0, 0, None) for name, count in found.unused.items()
    ]
    warnings += found.notes
    if not found.outputs:
        warnings.append("no output follows from the input, as far as torch can tell")
    goal = found.outputs[0] if found.outputs else None
    return Report(found.name, tuple(rows), tuple(warnings), found.network, tuple(outputs), goal)
