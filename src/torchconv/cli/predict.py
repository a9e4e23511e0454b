"""The command `torchconv predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import AsJson, RunFolder, json_text, show_table


def predict(
    run: RunFolder,
    image: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="One image file or more.")],
    top: Annotated[int, typer.Option(min=1, help="How many classes to print for each image.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Print the likeliest classes of images.

    torchconv predict runs/digits-1 runs/digits-1/examples/7.png

    torchconv predict runs/pets-1 photo.jpg other.jpg --json --top 1
    """
    from ..training import predict as classify

    found = classify(run, image, top)
    if as_json:
        typer.echo(json_text([one.to_dict() for one in found]))
    else:
        show_table(found[0].table[0], [row for one in found for row in one.table[1]])
