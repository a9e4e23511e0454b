"""The command `torchconv predict`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from ..errors import SettingError
from . import AsJson, RunFolder, json_text, show_table


def predict(
    run: RunFolder,
    image: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="One image file or more.")],
    top: Annotated[
        int | None, typer.Option(min=1, help="How many classes to print for each image. [default: 3]")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where labels of pixels are written to. [default: predictions]"),
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write those of each pixel and class, as .npy.")
    ] = False,
    tile: Annotated[
        str | None,
        typer.Option(metavar="PIXELS", help="Go through images in tiles, 1024 or 1024x768. [large images: by memory]"),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="BYTES", help="What a tile may need. [large images: 2GB]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the likeliest classes of images, or write the classes of their pixels.

    torchconv predict runs/digits-1 runs/digits-1/examples/7.png

    torchconv predict runs/pets-1 photo.jpg other.jpg --json --top 1

    torchconv predict runs/camvid-1 street.png --out labelled --probabilities

    torchconv predict runs/camvid-1 huge.tif --tile 1024
    """
    from ..training import predict as ask
    from ..training.run.run_folder import Description

    folder = out
    if out is None and Description.read(run).config.labels is not None:
        folder = Path("predictions")
    found = ask(run, image, top, folder, probabilities, tile=_tile(tile), memory=memory)
    if as_json:
        typer.echo(json_text([one.to_dict() for one in found]))
    else:
        show_table(found[0].table[0], [row for one in found for row in one.table[1]])


def _tile(text: str | None) -> tuple[int, ...] | int | None:
    """Pixels along each axis, as in 1024 or 1024x768."""
    found = None if text is None else re.fullmatch(r"(\d{1,6})(?:x(\d{1,6}))?", text)
    if text is not None and (found is None or "0" in (found[1].lstrip("0") or "0", found[2])):
        raise SettingError("--tile", got=repr(text), expected="pixels, as in 1024 or 1024x768")
    if found is None:
        return None
    return (int(found[1]), int(found[2])) if found[2] else int(found[1])
