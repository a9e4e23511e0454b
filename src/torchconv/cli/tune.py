"""The command `torchconv tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import SettingError

AnyRun = Annotated[Path | None, typer.Argument(metavar="[RUN]", help="A run folder, as train prints it.")]


def tune(
    run: AnyRun = None,
    batch: Annotated[int, typer.Option(min=1, help="Images at a time, as they will be used.")] = 64,
    machine: Annotated[
        bool, typer.Option("--machine", help="Measure every kind of convolution, for the choices of all that follow.")
    ] = False,
) -> None:
    """Measure the convolutions of a trained network on this machine, and remember what makes the whole network faster.

    evaluate, predict and every other use of such convolutions compute them so from then on.

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

    from ..convert.model_tuning import tune as measure
    from ..training import load

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
