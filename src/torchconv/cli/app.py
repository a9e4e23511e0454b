"""The command line: `torchconv train`, `evaluate`, `predict`, `plan`, `tune`, `doctor`, `inspect`.

torch and all that needs it is imported inside the commands only, so that --help is quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from .. import __version__
from ..errors import SettingError
from ..text import printable
from . import inspect, plan
from .errors import Stopped, Unread, status
from .output import json_text, show_evaluation, show_predictions, show_result
from .plan import AsJson, RunFolder

if TYPE_CHECKING:
    from ..training.api import Result


class Program(TyperGroup):
    """The commands; typer itself would end them at Ctrl-C without a word."""

    def invoke(self, ctx: typer.Context) -> object:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise Stopped(str(stop) or "interrupted") from None
        except BrokenPipeError as unread:
            kept = unread.strerror or ""
            raise Unread(kept if kept.startswith("interrupted") else "") from None


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

DATA = "digits|FOLDER|FILE.parquet|hf:NAME"


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
    context: typer.Context,
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="TEXT",
            help="The architecture, a name in the zoo such as resnet18, or a FILE.net; the recipe has one.",
        ),
    ] = None,
    data: Annotated[
        str, typer.Option(metavar=DATA, help="The embedded digits, or images and their classes.")
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
    recipe: Annotated[str, typer.Option(metavar="default|fast", help="All settings that are not given.")] = "default",
    patience: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many epochs without a better validation. [default: never]")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="32-true|bf16-mixed", help="Numbers to compute with. [default: 32-true]")
    ] = None,
    devices: Annotated[int, typer.Option(min=1, help="GPUs to use, or processes on CPU cores.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines; each needs MASTER_ADDR and NODE_RANK.")] = 1,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with an interrupted run, with its own settings.")
    ] = None,
) -> None:
    """Train a network and keep it, with its accuracy, in a run folder.

    torchconv train

    torchconv train "INPUT - (CONV[16] - NORM - RELU)*2 - POOL - FC" --epochs 10

    torchconv train resnet18 --data pets    (images in pets/cat/*.jpg, pets/dog/*.jpg, ...)

    torchconv train --data cifar10/train.parquet --recipe fast --precision bf16-mixed

    torchconv train --resume runs/digits-1
    """
    if resume is not None:
        return _resume(resume, context)
    from ..training.api import train as run

    given = {
        "epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "patience": patience,
        "precision": precision,
    }  # fmt: skip
    settings = {name: value for name, value in given.items() if value is not None}
    _show(run(data, text, out, recipe=recipe, devices=devices, nodes=nodes, seed=seed, **settings))
    return None


def _resume(path: Path, context: typer.Context) -> None:
    """Go on with a run; its folder has all settings, so that others are refused."""
    given = {name: context.get_parameter_source(name) for name in context.params if name != "resume"}
    names = [name for name, source in given.items() if source is not None and source.name == "COMMANDLINE"]
    if names:
        got = ", ".join("TEXT" if name == "text" else f"--{name.replace('_', '-')}" for name in names)
        raise SettingError("--resume", got=f"{got} beside it", expected="nothing else", fix="The run has its settings.")
    from ..training.api import resume
    from ..training.run.run_folder import Description

    complete = Description.read(path).final() is not None
    result = resume(path)
    if complete:
        typer.echo(f"{printable(path)} is complete: there is nothing to go on with.\n")
    _show(result)


def _show(result: Result) -> None:
    """Print what a training came to, in the first of its processes."""
    if os.environ.get("RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0":
        show_result(result)


@app.command()
def evaluate(
    run: RunFolder,
    data: Annotated[
        str | None,
        typer.Option(metavar=DATA, help="Other data than the held-out part of what the run was trained on."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the accuracy of a run on images it has not learned from, in all and for every class.

    torchconv evaluate runs/digits-1

    torchconv evaluate runs/folder-1 --data more_pets
    """
    from ..training.results.evaluate import evaluate as measure

    found = measure(run, data, progress=not as_json)
    if as_json:
        typer.echo(json_text(found.to_dict()))
    else:
        show_evaluation(found)


@app.command()
def predict(
    run: RunFolder,
    image: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="One image file or more.")],
    top: Annotated[int, typer.Option(min=1, help="How many classes to print for each image.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Print the likeliest classes of images.

    torchconv predict runs/digits-1 runs/digits-1/examples/7.png

    torchconv predict runs/folder-1 photo.jpg other.jpg --json --top 1
    """
    from ..training.results.predict import predict as classify

    found = classify(run, image, top)
    if as_json:
        typer.echo(json_text([one.to_dict() for one in found]))
    else:
        show_predictions(found)


app.command()(plan.plan)
app.command()(plan.tune)
app.command()(plan.doctor)
app.command()(inspect.inspect)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors that torchconv raises on purpose become one message and exit status 2."""
    # Threads that wait for one another must not spin: where cores are shared, that makes torch ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names of files may hold what the terminal's encoding lacks
            stream.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(status(app, given or ["--help"]))


if __name__ == "__main__":
    main()
