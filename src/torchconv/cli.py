"""The command line: `torchconv train`, `evaluate`, `predict`.

torch and all that needs it is imported inside the commands only, so that --help is quick.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from . import __version__
from .errors import TorchconvError

if TYPE_CHECKING:
    from rich.console import Console

    from .training.evaluate import Evaluation
    from .training.predict import Prediction
    from .training.train import Result


class Stopped(Exception):
    """Ctrl-C; the message says what was kept."""


class Program(TyperGroup):
    """The commands; typer itself would end them at Ctrl-C without a word."""

    def invoke(self, ctx: typer.Context) -> object:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise Stopped(str(stop) or "interrupted") from None


app = typer.Typer(
    cls=Program,
    name="torchconv",
    help="Every convolution and every ConvNet of the textbook, on PyTorch.",
    epilog='Start with "torchconv train": it learns to read handwritten digits in half a minute.',
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as train prints it.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"torchconv {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Every convolution and every ConvNet of the textbook, on PyTorch."""


@app.command()
def train(
    text: Annotated[
        str | None, typer.Argument(metavar="[TEXT]", help="The architecture; a good one for the data if left out.")
    ] = None,
    data: Annotated[
        str, typer.Option(metavar="digits|FOLDER", help="The embedded digits, or a folder of images per class.")
    ] = "digits",
    epochs: Annotated[int | None, typer.Option(min=1, help="Times to go through the images. [default: 30]")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same weights.")] = 0,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images in one step. [default: 64]")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The highest of the schedule. [default: 0.01]")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="RUN", help="A new folder for the run. [default: runs/digits-1, -2, ...]")
    ] = None,
) -> None:
    """Train a network and keep it, with its accuracy, in a run folder.

    torchconv train

    torchconv train "INPUT - (CONV[16] - NORM - RELU)*2 - POOL - FC" --epochs 10

    torchconv train --data pets    (images in pets/cat/*.jpg, pets/dog/*.jpg, ...)
    """
    from .training.train import train as run

    given = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    settings = {name: value for name, value in given.items() if value is not None}
    _show_result(run(data, text, out, seed=seed, **settings))


@app.command()
def evaluate(
    run: RunFolder,
    data: Annotated[
        str | None,
        typer.Option(metavar="digits|FOLDER", help="Other data than the held-out part of what the run was trained on."),
    ] = None,
) -> None:
    """Print the accuracy of a run on images it has not learned from, in all and for every class.

    torchconv evaluate runs/digits-1

    torchconv evaluate runs/folder-1 --data more_pets
    """
    from .training.evaluate import evaluate as measure

    _show_evaluation(measure(run, data))


@app.command()
def predict(
    run: RunFolder,
    image: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="One image file or more.")],
    top: Annotated[int, typer.Option(min=1, help="How many classes to print for each image.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Print the likeliest classes of images.

    torchconv predict runs/digits-1 runs/digits-1/examples/7.png

    torchconv predict runs/folder-1 photo.jpg other.jpg --json --top 1
    """
    from .training.predict import predict as classify

    found = classify(run, image, top)
    if as_json:
        typer.echo(json.dumps([one.to_dict() for one in found], indent=2, ensure_ascii=False))
    else:
        _show_predictions(found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors that torchconv raises on purpose become one message and exit status 2."""
    # Threads that wait for one another must not spin: where cores are shared, that makes torch ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    sys.exit(_status(arguments))


def _status(arguments: Sequence[str] | None) -> int:
    try:
        return app(args=arguments, prog_name="torchconv", standalone_mode=False) or 0
    except Stopped as stop:
        return _complain(str(stop), 130)
    except TorchconvError as error:
        return _complain(str(error), 2)
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] in ("torchconv", "torch"):
            raise
        return _complain(f'this needs the package {error.name}. Install it: pip install "torchconv[train]"', 2)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        return _complain(f"{error.strerror or error}{where}", 2)
    except Exception as error:
        if not hasattr(error, "format_message"):  # what typer raises for options it cannot read
            raise
        return _complain(f"{error.format_message()} Try: torchconv --help", 2)  # pyright: ignore[reportAttributeAccessIssue]


def _complain(message: str, status: int) -> int:
    print(f"torchconv: {message}", file=sys.stderr)
    return status


def _console() -> Console:
    """As wide as the terminal; as wide as it takes where another program reads, so that no path is broken in two."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=10_000)


def _show_result(result: Result) -> None:
    from rich.table import Table

    table = Table(show_header=False, box=None)
    tested = "no test images" if result.test_accuracy is None else f"{result.test_accuracy:.4f}"
    for name, value in {
        "validation accuracy": f"{result.validation_accuracy:.4f} (epoch {result.best_epoch})",
        "test accuracy": tested,
        "parameters": f"{result.parameters:,}",
        "model": f"{result.model_bytes / 1e6:.2f} MB",
        "training": f"{result.seconds:.1f} s",
    }.items():
        table.add_row(name, value)
    _console().print(table)
    examples = sorted((result.path / "examples").glob("*.png"))
    image = examples[7 % len(examples)] if examples else "IMAGE"
    print(f"\nrun folder: {result.path}\nnext:")
    print(f"  torchconv evaluate {result.path}\n  torchconv predict {result.path} {image}")


def _show_evaluation(found: Evaluation) -> None:
    from rich.table import Table

    print(f"accuracy {found.accuracy:.4f}: {found.correct} of {found.images} images ({found.split})")
    table = Table("class", "images", "correct", "recall", "precision", "mostly mistaken for")
    for row in found.rows:
        numbers = (str(row.images), str(row.correct), f"{row.recall:.3f}", f"{row.precision:.3f}")
        table.add_row(row.name, *numbers, row.mistaken_for)
    _console().print(table)


def _show_predictions(found: Sequence[Prediction]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("image", "class", "probability")
    for one in found:
        for number, (name, probability) in enumerate(one.top):
            table.add_row(Text(one.image if number == 0 else "", overflow="fold"), Text(name), f"{probability:.4f}")
    _console().print(table)


if __name__ == "__main__":
    main()
