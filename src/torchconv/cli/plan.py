"""The commands about how convolutions are computed: `torchconv plan`, `tune` and `doctor`. No torch outside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import SettingError
from .output import json_text, show_findings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
AnyRun = Annotated[Path | None, typer.Argument(metavar="[RUN]", help="A run folder, as train prints it.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as train prints it.")]


def plan(
    text: Annotated[str, typer.Argument(metavar="CONVOLUTION", help='As in "64->64, 31x31, padding=15, groups=64".')],
    input: Annotated[str, typer.Option(metavar="BxCxHxW", help="The shape of the input: batch, channels and size.")],
    dtype: Annotated[str, typer.Option(metavar="float32|float64|bfloat16", help="Type of the numbers.")] = "float32",
    precision: Annotated[str, typer.Option(metavar="auto|fast|bf16", help="How exact it must be.")] = "auto",
    workspace: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="BYTES", help="Memory beside the arrays. [default: 4 times theirs, at least 16 MiB]"
        ),
    ] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Run the promising ways, and remember the best.")] = False,
) -> None:
    """Print how a convolution will be computed: every algorithm with what it takes, or why it declines.

    torchconv plan "64->64, 31x31, padding=15, groups=64" --input 8x64x56x56

    torchconv plan "1->1, 1024" --input 8x1x96000 --measure
    """
    from ..compute.planning.plan import plan_of_texts

    typer.echo(plan_of_texts(text, input, dtype, precision, measure, workspace).explain())


def tune(
    run: AnyRun = None,
    batch: Annotated[int, typer.Option(min=1, help="Images at a time, as they will be used.")] = 64,
    machine: Annotated[
        bool, typer.Option("--machine", help="Measure every kind of convolution, for the choices of all that follow.")
    ] = False,
) -> None:
    """Measure the convolutions of a trained network on this machine, and remember the fastest way of each.

    evaluate, predict and every other use of such convolutions go the measured way from then on.

    torchconv tune runs/digits-1 --batch 256

    torchconv tune --machine
    """
    if machine == (run is not None):
        got = "both" if machine else "neither"
        raise SettingError("tune", got=got, expected="a run folder or --machine", fix="Try: torchconv tune --machine")
    if machine:
        return _tune_machine()
    assert run is not None
    import torch

    from ..convert.tune import tune as measure
    from ..training.run.run_folder import load

    found = load(run)
    volume = found.config.volume
    typer.echo(str(measure(found.module, torch.randn(batch, volume.channels, *volume.size))))
    return None


def _tune_machine() -> None:
    """Measure, with a bar, and print how far the estimates that were shipped are from this machine."""
    from rich.progress import track

    from ..compute.planning.measure import calibrate, summary

    found = calibrate(lambda problems: iter(track(problems, "measuring this machine", transient=True)))
    typer.echo(f"{'algorithm':22}{'kinds':>6}{'median':>9}{'least':>9}{'most':>9}   measured in parts of the estimate")
    for name, count, middle, least, most in summary(found):
        typer.echo(f"{name:22}{count:6}{middle:9.2f}{least:9.2f}{most:9.2f}")
    typer.echo("Plans follow these measurements from now on.")


def doctor(as_json: AsJson = False) -> None:
    """Print what decides how fast torchconv is on this machine: versions, processor, what is off and what it costs.

    torchconv doctor
    """
    from .doctor import findings

    found = findings()
    if as_json:
        typer.echo(json_text([one._asdict() for one in found]))
    else:
        show_findings(found)
