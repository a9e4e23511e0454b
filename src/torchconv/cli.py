"""The command line: `torchconv train`, `evaluate`, `predict`.

torch and all that needs it is imported inside the commands only, so that --help is quick.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from . import __version__
from .errors import TorchconvError
from .training.show import printable, show_evaluation, show_predictions, show_result


class Stopped(Exception):
    """Ctrl-C; the message says what was kept."""


class Unread(Exception):
    """Nobody reads what is printed, as in `torchconv train | head`."""


class Program(TyperGroup):
    """The commands; typer itself would end them at Ctrl-C without a word."""

    def invoke(self, ctx: typer.Context) -> object:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise Stopped(str(stop) or "interrupted") from None
        except BrokenPipeError:
            raise Unread from None


app = typer.Typer(
    cls=Program,
    name="torchconv",
    help="Every convolution and every ConvNet of the textbook, on PyTorch.",
    epilog='Start with "torchconv train": it learns to read handwritten digits in about ten seconds.',
    context_settings={"help_option_names": ["-h", "--help"]},
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
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Times to go through the images. [default: 30; more for few images in a folder]"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same weights.")] = 0,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Images in one step. [default: 64; fewer for few images in a folder]"),
    ] = None,
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
    show_result(run(data, text, out, seed=seed, **settings))


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

    show_evaluation(measure(run, data))


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
        show_predictions(found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors that torchconv raises on purpose become one message and exit status 2."""
    # Threads that wait for one another must not spin: where cores are shared, that makes torch ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names of files may hold what the terminal's encoding lacks
            stream.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(_status(given or ["--help"]))


def _status(arguments: Sequence[str]) -> int:
    try:
        status = app(args=arguments, prog_name="torchconv", standalone_mode=False) or 0
        if sys.stdout:
            sys.stdout.flush()
        return status
    except (Unread, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python itself would complain at its end
        return 141
    except Stopped as stop:
        return _complain(str(stop), 130)
    except TorchconvError as error:
        where = "" if error.where is None else f"\n{error.where}"
        return _complain(printable(str(error).removesuffix(where)) + where, 2)
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
        return _complain(_usage(error, arguments), 2)


def _usage(error: Any, arguments: Sequence[str]) -> str:
    """What typer says of options it cannot read, in the words of torchconv."""
    message, context = error.format_message().rstrip("."), getattr(error, "ctx", None)
    found = re.fullmatch(r"Invalid value for '(\S+)': (.*)", message)
    if found:
        name, reason = found.groups()
        expected = reason.partition(",")[0].removeprefix("Input should be a valid ").removeprefix("Input should be ")
        expected = {"integer": "an integer", "number": "a number"}.get(expected, expected)
        given = [after for word, after in pairwise(arguments) if word == name]
        given += [word.partition("=")[2] for word in arguments if word.startswith(f"{name}=")]
        message = f"{name}: " + (f"got {given[-1]!r}, " if given else "") + f"expected {expected}"
    return f"{printable(message)}. Try: {context.command_path if context else 'torchconv'} --help"


def _complain(message: str, status: int) -> int:
    print(f"torchconv: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    main()
