"""What the commands print. No torch."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..text import duration, megabytes, printable

if TYPE_CHECKING:
    from rich.console import Console

    from ..training.api import Result
    from ..training.results.evaluate import Evaluation
    from ..training.results.predict import Prediction


def json_text(value: object) -> str:
    """JSON as standard output can hold it: names of files may have letters that its encoding lacks."""
    unicode = sys.stdout is not None and (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return json.dumps(value, indent=2, ensure_ascii=not unicode)


def _console() -> Console:
    """As wide as the terminal; as wide as it takes where another program reads, so that no path is broken in two."""
    from rich.console import Console

    return Console() if sys.stdout and sys.stdout.isatty() else Console(width=10_000)


def show_result(result: Result) -> None:
    """What a training came to, and what to do next."""
    from rich.table import Table

    table = Table(show_header=False, box=None)
    tested = "no test images" if result.test_accuracy is None else f"{result.test_accuracy:.4f}"
    for name, value in {
        "validation accuracy": f"{result.validation_accuracy:.4f} (epoch {result.best_epoch})",
        "test accuracy": tested,
        "parameters": f"{result.parameters:,}",
        "model": megabytes(result.model_bytes),
        "training": duration(result.seconds),
    }.items():
        table.add_row(name, value)
    _console().print(table)
    examples = sorted((result.path / "examples").glob("*.png"))
    image = examples[7 % len(examples)] if examples else "IMAGE"
    print(f"\nrun folder: {result.path}")
    if (report := result.path / "report.html").exists():
        print(f"report:     {report} (open it in a browser)")
    print("next:")
    run, image = shlex.quote(str(result.path)), shlex.quote(str(image))
    print(f"  torchconv evaluate {run}\n  torchconv predict {run} {image}")


def show_evaluation(found: Evaluation) -> None:
    """The accuracy, and a row for each class."""
    from rich.table import Column, Table
    from rich.text import Text

    print(f"accuracy {found.accuracy:.4f}: {found.correct} of {found.images} images ({found.split})")
    if found.top5 is not None:
        print(f"among the five likeliest {found.top5:.4f}")
    table = Table("class", *(Column(name, justify="right") for name in ("images", "correct", "recall", "precision")))
    table.add_column("mostly mistaken for")
    for row in found.rows:
        numbers = (str(row.images), str(row.correct), f"{row.recall:.3f}", f"{row.precision:.3f}")
        table.add_row(Text(printable(row.name)), *numbers, Text(printable(row.mistaken_for)))
    _console().print(table)


def show_predictions(found: Sequence[Prediction]) -> None:
    """The likeliest classes of each image."""
    from rich.table import Column, Table
    from rich.text import Text

    table = Table("image", "class", Column("probability", justify="right"))
    for one in found:
        for number, (name, probability) in enumerate(one.top):
            table.add_row(
                Text(printable(one.image) if number == 0 else "", overflow="fold"),
                Text(printable(name)),
                f"{probability:.4f}",
            )
    _console().print(table)


def show_findings(found: Sequence[tuple[str, str, str]]) -> None:
    """What there is on this machine, each with a note."""
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None)
    for one in found:
        table.add_row(*(Text(printable(part)) for part in one))
    _console().print(table)
