"""Words and numbers as people read them, and files that are never half written. No torch."""

from __future__ import annotations

import difflib
import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path


def printable(text: object) -> str:
    """Without control characters, which names of files may hold and terminals obey.

    >>> printable("a\\tb")
    'a\ufffdb'
    """
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in str(text))


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """A question that names the closest of the known words, whatever the case; "" where none is close.

    >>> did_you_mean("conv", ["CONV", "POOL"]), did_you_mean("strid", ["stride"]), did_you_mean("xyz", ["CONV"])
    ('Did you mean CONV?', 'Did you mean stride?', '')
    """
    by_case = {name.lower(): name for name in known}
    found = difflib.get_close_matches(str(word).lower(), by_case, n=1)
    return f"Did you mean {by_case[found[0]]}?" if found else ""


def some(names: Sequence[str], most: int = 10) -> str:
    """The first names of many.

    >>> some(["ant", "bee", "cat"], 2)
    'ant, bee, ...'
    """
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def short_count(number: int) -> str:
    """A count with three digits and a prefix.

    >>> short_count(11_689_512), short_count(950), short_count(1_814_073_344)
    ('11.7 M', '950', '1.81 G')
    """
    for power, prefix in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if number >= 10**power:
            return f"{number / 10**power:.3g} {prefix}"
    return str(number)


def megabytes(count: float) -> str:
    """Bytes in megabytes of 10**6, so that sizes can be compared at a glance; few of them in kilobytes.

    >>> megabytes(98_560), megabytes(283_000), megabytes(1_500_000), megabytes(1_234_567_890), megabytes(0)
    ('98.6 kB', '0.28 MB', '1.5 MB', '1,235 MB', '0 MB')
    """
    size = count / 1e6
    if 0 < size < 0.1:
        return f"{count / 1e3:.1f} kB"
    return f"{size:,.0f} MB" if size == 0 or size >= 10 else f"{size:.1f} MB" if size >= 1 else f"{size:.2f} MB"


def percent(share: float) -> str:
    """A share in percent, with as many digits as tell it from 100 %.

    >>> percent(0.9), percent(0.9961), percent(1)
    ('90.0%', '99.61%', '100.0%')
    """
    return f"{share:.1%}" if share < 0.995 or share == 1 else f"{share:.2%}"


def duration(seconds: float) -> str:
    """Seconds, or minutes where there are many.

    >>> duration(5.25), duration(600)
    ('5.2 s', '10 min')
    """
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def milliseconds(seconds: float) -> str:
    """A short time in milliseconds.

    >>> milliseconds(0.0044201), milliseconds(12.5)
    ('4.420 ms', '12,500.000 ms')
    """
    return f"{1e3 * seconds:,.3f} ms"


def install(group: str) -> str:
    """How to install an optional group: from a checkout, as torchconv is on no package index.

    >>> install("train")
    'In a checkout of torchconv: pip install ".[train]"'
    """
    return f'In a checkout of torchconv: pip install ".[{group}]"'


def write_atomically(path: str | os.PathLike[str], content: bytes | memoryview | str) -> None:
    """Write a file in one step: what was there before stays until all of the new one is on the disk.

    Raises OSError where that is not possible, and leaves nothing behind.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode(errors="replace") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
