"""The zoo: well-known networks as texts.

Each is a file of its own beside this one, with its source in the comments at its head; its name is what `parse`,
`build` and `inspect` take in place of a text.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

__all__ = ["names", "text"]

FOLDER = Path(__file__).parent
SUFFIX = ".net"


@cache
def names() -> tuple[str, ...]:
    """The names in the order of the alphabet.

    >>> "resnet18" in names()
    True
    """
    return tuple(sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}")))


def text(name: str) -> str:
    """The file of one of `names()`, comments included."""
    return (FOLDER / f"{name}{SUFFIX}").read_text(encoding="utf-8")
