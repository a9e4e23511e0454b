"""What goes wrong on the command line, as one message and an exit status."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from ..errors import TorchconvError
from ..text import install, printable


class Stopped(Exception):
    """Ctrl-C; the message says what was kept."""


class Unread(Exception):
    """Nobody reads what is printed, as in `torchconv train | head`."""


def status(app: Callable[..., Any], arguments: Sequence[str]) -> int:
    """Run the command line, and the exit status; what goes wrong is one message on standard error."""
    try:
        found = app(args=arguments, prog_name="torchconv", standalone_mode=False) or 0
        if sys.stdout:
            sys.stdout.flush()
        return found
    except (Unread, BrokenPipeError) as unread:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python itself would complain at its end
        return _complain(str(unread), 141) if isinstance(unread, Unread) and str(unread) else 141
    except Stopped as stop:
        return _complain(str(stop), 130)
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
