"""The command `torchconv evaluate`."""

from __future__ import annotations

from typing import Annotated

import typer

from . import DATA, AsJson, RunFolder, json_text, show_table


def evaluate(
    run: RunFolder,
    data: Annotated[
        str | None, typer.Option(metavar=DATA, help="Other data than the held-out part of what the run was trained on.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print how good a run is on images it has not learned from, in all and for every class.

    torchconv evaluate runs/digits-1

    torchconv evaluate runs/pets-1 --data more_pets
    """
    from ..training import evaluate as measure

    found = measure(run, data, progress=not as_json)
    if as_json:
        typer.echo(json_text(found.to_dict()))
    else:
        print(found.headline)
        show_table(*found.table)
