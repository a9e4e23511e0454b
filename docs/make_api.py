"""Write docs/api.md, the page of every public name: python docs/make_api.py."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "api.md"
FACES = [
    *("torchconv", "torchconv.nn", "torchconv.signal", "torchconv.inspection", "torchconv.training"),
    *("torchconv.description", "torchconv.network", "torchconv.language", "torchconv.convert", "torchconv.drawing"),
    *("torchconv.segmentation", "torchconv.errors"),
]
COMMAND = "python docs/make_api.py"
HEAD = f"""# Every public name

Written by `{COMMAND}` from the faces of the folders, as their `__all__` say; what is not here is internal.
Each name has its signature, its first sentence, and its module. What the words mean is in the [glossary](glossary.md).
"""


def names_of(face: str) -> list[str]:
    """The public names of a face: its `__all__`, or the classes and functions that it defines."""
    module = importlib.import_module(face)
    own = (name for name, value in vars(module).items() if getattr(value, "__module__", "") == face and name[0] != "_")
    return list(getattr(module, "__all__", None) or sorted(own))


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(line for face in FACES for line in _section(face))]) + "\n"


def _section(face: str) -> Iterator[str]:
    module = importlib.import_module(face)
    names = names_of(face)
    if not names:
        return
    yield f"## {face}\n\n{_first(module)}\n"
    yield from (f"- {_entry(face, name, getattr(module, name))}" for name in names)
    yield ""


def _entry(face: str, name: str, thing: Any) -> str:
    if isinstance(thing, ModuleType):
        return f"[`{name}`](#{thing.__name__.replace('.', '')}): {_first(thing)}"
    home = sys.modules[getattr(thing, "__module__", None) or face]
    path = Path(home.__file__ or "").resolve().relative_to(ROOT).as_posix()
    said = _first(thing) if callable(thing) else f"a {type(thing).__name__}"
    return (
        f"[`{name}`](../{path})`{_signature(thing)}`: {said}" if _signature(thing) else f"[`{name}`](../{path}): {said}"
    )


def _first(thing: Any) -> str:
    """The first paragraph of a docstring, as one line up to the end of its first sentence."""
    paragraph = " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".") + "." if paragraph else ""


def _signature(thing: Any) -> str:
    """Names of parameters and their defaults, without types; "" for what has no signature of its own."""
    if not callable(thing) or (inspect.isclass(thing) and issubclass(thing, BaseException)):
        return ""
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return ""
    bare = [one.replace(annotation=one.empty) for one in found.parameters.values()]
    return str(found.replace(parameters=bare, return_annotation=found.empty))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
