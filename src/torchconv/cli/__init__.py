"""The command line: one file for each command, and no torch before a command has begun its work.

`app.main` is what `torchconv` and `python -m torchconv` run; nothing else is public. It turns what goes wrong into one
message and an exit status.

`train` `evaluate` `predict` `inspect` `plan` `tune` `doctor`   a command each: its options, and what it prints

Here are the options that commands share, and how they print tables and JSON.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..text import printable

__all__: list[str] = []

DATA = "digits|FOLDER|FILE.parquet|hf:NAME"
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as train prints it.")]


def json_text(value: object) -> str:
    """JSON as standard output can hold it: names of files may have letters that its encoding lacks."""
    unicode = sys.stdout is not None and (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return json.dumps(value, indent=2, ensure_ascii=not unicode)


def show_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table; without heads, its first column names what stands in the others. Numbers stand at the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table() if heads else Table(show_header=False, box=None)
    for column, head in enumerate(heads):
        cell = rows[0][column] if rows else ""
        number = isinstance(cell, int) or re.fullmatch(r"\d+\.\d+", str(cell))
        table.add_column(head, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(part)) for part in row))
    # another program gets lines as wide as it takes, so that no path is broken in two
    (Console() if sys.stdout and sys.stdout.isatty() else Console(width=10_000)).print(table)
