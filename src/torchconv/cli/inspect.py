"""The command `torchconv inspect`: any model as a table. No torch outside it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import SettingError
from . import AsJson

MODEL = "TEXT|ZOO NAME|RUN|FILE.pt2|PACKAGE.MODULE:FACTORY"


def inspect(
    model: Annotated[str, typer.Argument(metavar=MODEL, help="What to look at.")],
    input: Annotated[
        str | None,
        typer.Option(metavar="CxHxW", help="Channels and size of one image, as in 3x224x224. [default: one that fits]"),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=1, help="Outputs of the last layer of a text. [default: what it says, or 10]")
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values instead of a table.")] = False,
) -> None:
    """Print every layer of a model: volume, parameters, multiply-accumulates, memory and exact receptive field.

    torchconv inspect resnet18 --input 3x224x224 --classes 5

    torchconv inspect "INPUT[32x32x3] - CONV[12, 5x5, same] - RELU - POOL[2x2, max] - FC[10] - SOFTMAX"

    torchconv inspect mypackage.models:make_net --input 1x28x28 --json
    """
    if as_json and as_csv:
        raise SettingError("inspect", got="--json and --csv", expected="one of them")
    from ..inspection.report import inspect as look

    found = look(_model(model), None if input is None else _shape(input), classes)
    if as_json:
        typer.echo(found.to_json())
    elif as_csv:
        typer.echo(found.to_csv(), nl=False)
    else:
        from rich.console import Console

        console = Console()
        console.print(found if sys.stdout.isatty() else str(found), markup=False, soft_wrap=True)


def _shape(text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in text.lower().split("x"))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise SettingError("input", got=text, expected="channels and sizes joined by x, as in 3x224x224")
    return found


def _model(text: str) -> Any:
    """A run folder, a file, a factory, or else a text or a name in the zoo."""
    path = Path(text)
    if path.is_dir():
        from ..training import load

        return load(path).module
    if path.suffix == ".pt2":
        return _exported(path)
    package, colon, name = text.partition(":")
    if colon and all(part.isidentifier() for part in [*package.split("."), name]):
        return _made(package, name)
    return text


def _exported(path: Path) -> Any:
    import logging

    import torch

    if not path.exists():
        raise SettingError("an exported program", got=f"no file {path}")
    logging.getLogger("torch.export").setLevel(logging.CRITICAL)  # what it says is said below, in one line
    try:
        return torch.export.load(path)
    except Exception as error:
        said = str(error).partition("\n")[0]
        raise SettingError(f"exported program {path}", got=f"a file that torch cannot read: {said}") from error


def _made(package: str, name: str) -> Any:
    import torch

    sys.path.insert(0, "")
    try:
        made = getattr(__import__(package, fromlist=[name]), name)
        with torch.device("meta"):
            found = made if isinstance(made, torch.nn.Module) else made()
        if isinstance(found, torch.nn.Module):
            return found
        got, expected = f"a {type(found).__name__}", "a torch module"
    except (ImportError, AttributeError) as error:
        got, expected = str(error), "a function that makes a module"
    finally:
        sys.path.remove("")
    raise SettingError(f"factory {package}:{name}", got=got, expected=expected)
