"""The command line as a whole: `torchconv` and its commands, each of which imports torch when it begins its work."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .. import __version__
from ..errors import TorchconvError
from ..text import install, printable
from . import doctor, evaluate, inspect, plan, predict, train, tune


class Stopped(Exception):
    """Ctrl-C, or nobody reads what is printed, as in `torchconv train | head`: the exit status, and what was kept."""


class Program(TyperGroup):
    """The commands; typer itself would end them at Ctrl-C without a word."""

    def invoke(self, ctx: typer.Context) -> object:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise Stopped(130, str(stop) or "interrupted") from None
        except BrokenPipeError as unread:
            kept = unread.strerror or ""
            raise Stopped(141, kept if kept.startswith("interrupted") else "") from None


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


for command in (train.train, evaluate.evaluate, predict.predict, plan.plan, tune.tune, doctor.doctor, inspect.inspect):
    app.command()(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors that torchconv raises on purpose become one message and exit status 2."""
    # Threads that wait for one another must not spin: where cores are shared, that makes torch ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names of files may hold what the terminal's encoding lacks
            stream.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(status(app, given or ["--help"]))


def status(app: Callable[..., Any], arguments: Sequence[str]) -> int:
    """Run the command line, and the exit status; what goes wrong is one message on standard error."""
    try:
        found = app(args=arguments, prog_name="torchconv", standalone_mode=False) or 0
        if sys.stdout:
            sys.stdout.flush()
        return found
    except (Stopped, BrokenPipeError) as stop:
        code, kept = stop.args if isinstance(stop, Stopped) else (141, "")
        if code == 141:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python itself would complain at its end
        return _complain(kept, code) if kept else code
    except TorchconvError as error:
        where = "" if error.where is None else f"\n{error.where}"
        lines = where.split("\n")
        return _complain(printable(str(error).removesuffix(where)) + "\n".join(map(printable, lines)), 2)
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] in ("torchconv", "torch"):
            raise
        return _complain(f"this needs the package {error.name}. {install('train')}", 2)
    except MemoryError:
        return _complain("the memory of this machine is not enough. Make the network or the images smaller.", 2)
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
    end = "" if message.endswith("?") else "."
    return f"{printable(message)}{end} Try: {context.command_path if context else 'torchconv'} --help"


def _complain(message: str, status: int) -> int:
    print(f"torchconv: {message}", file=sys.stderr)
    return status
