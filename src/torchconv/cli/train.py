"""The command `torchconv train`."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import SettingError
from ..text import duration, megabytes, printable
from . import DATA, show_table

if TYPE_CHECKING:
    from ..training import Result


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
        str, typer.Option(metavar=DATA, help="The embedded digits, or images and their classes, or their masks.")
    ] = "digits",
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Times to go through the images. [default: 30; more for few images in a folder]"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same weights.")] = 0,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images in one step. [default: 64; fewer for few images in a folder]")
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
        str | None,
        typer.Option(
            metavar="32-true|bf16-mixed|auto", help="Numbers to compute with. [default: 32-true; auto for masks]"
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(metavar="LOSS", help="Of masks: cross-entropy, focal, dice, lovasz, or some with + between."),
    ] = None,
    class_weights: Annotated[
        str | None,
        typer.Option(metavar="none|balanced|median-frequency|log[:POWER]", help="Of masks: what rare classes count."),
    ] = None,
    resolution: Annotated[
        float | None, typer.Option(help="Of masks: share of the sides of images at which the network sees them.")
    ] = None,
    crop: Annotated[
        str | None, typer.Option(metavar="HxW", help="Of masks: parts to learn from, at that resolution.")
    ] = None,
    ignore: Annotated[
        str | None,
        typer.Option(metavar="LABELS", help="Of masks: labels of no class, by name or value. [default: found]"),
    ] = None,
    augmentation: Annotated[
        str | None,
        typer.Option(metavar="STEPS", help="Changes of training images, as in scale:2-flip-colour, or none."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="HxW", help="Size of images for the network. [default: what INPUT says, or the data]"),
    ] = None,
    devices: Annotated[int, typer.Option(min=1, help="GPUs to use, or processes on CPU cores.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines, where torchrun or SLURM starts the processes.")] = 1,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with an interrupted run, with its own settings.")
    ] = None,
) -> None:
    """Train a network and keep it, with its accuracy, in a run folder.

    torchconv train

    torchconv train "INPUT - (CONV[16] - NORM - RELU)*2 - POOL - FC" --epochs 10

    torchconv train resnet18 --data pets    (images in pets/cat/*.jpg, pets/dog/*.jpg, ...)

    torchconv train --data cifar10/train.parquet --recipe fast --precision bf16-mixed

    torchconv train unet --data camvid    (images in camvid/images/*.png, masks in camvid/masks/*.png)

    torchconv train --resume runs/digits-1
    """
    if resume is not None:
        return _resume(resume, context)
    from ..training import train as run

    optional = ("epochs", "batch_size", "learning_rate", "patience", "precision")
    optional += ("loss", "class_weights", "resolution", "crop", "ignore", "augmentation", "size")
    settings = {name: context.params[name] for name in optional if context.params[name] is not None}
    return _show(run(data, text, out, recipe=recipe, devices=devices, nodes=nodes, seed=seed, **settings))


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
    """Print what a training came to and what to do next, in the first of its processes."""
    if any(os.environ.get(name, "0") != "0" for name in ("RANK", "SLURM_PROCID")):
        return
    tested = "no test images" if result.test_score is None else f"{result.test_score:.4f}"
    name = {"mean_iou": "mean IoU"}.get(result.score, result.score)
    rows = [
        (f"validation {name}", f"{result.validation_score:.4f} (epoch {result.best_epoch})"),
        (f"test {name}", tested),
        ("parameters", f"{result.parameters:,}"),
        ("model", megabytes(result.model_bytes)),
        ("training", duration(result.seconds)),
    ]
    show_table((), rows)
    examples = sorted((result.path / "examples").glob("*.png"))
    image = examples[7 % len(examples)] if examples else "IMAGE"
    print(f"\nrun folder: {result.path}")
    if (report := result.path / "report.html").exists():
        print(f"report:     {report} (open it in a browser)")
    run, image = shlex.quote(str(result.path)), shlex.quote(str(image))
    print(f"next:\n  torchconv evaluate {run}\n  torchconv predict {run} {image}")
