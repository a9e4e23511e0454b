"""Answers that are kept on disk: one file for each question, found by a digest, believed for the whole question only.

Files are written under temporary names and then renamed, so that readers and parallel writers see whole ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from ...text import write_atomically
from .. import torch_bugs
from ..native import library

FOLDER_VARIABLE = "TORCHCONV_WISDOM"
UNREADABLE = (OSError, ValueError, RecursionError)  # the last for what is nested deeper than any answer


def folder() -> Path:
    """Where answers are kept: $TORCHCONV_WISDOM, or torchconv/wisdom in the user's cache folder; else nowhere."""
    if given := os.environ.get(FOLDER_VARIABLE):
        return Path(given)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torchconv" / "wisdom"
    except RuntimeError:  # a user without a home, as in many containers
        return Path(os.devnull)


def processor(device: str) -> str:
    """The name of what computes."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return torch_bugs.processor().get("model name") or platform.processor() or platform.machine()


def circumstances(device: str, threads: int) -> dict[str, Any]:
    """What every time depends on besides the problem."""
    return {
        "threads": threads,
        "processor": processor(device),
        "torch": torch.__version__,
        "kernels": f"{library.INTERFACE}, {library.instructions()}" if library.available() else "off",
    }


def read(question: dict[str, Any]) -> dict[str, Any] | None:
    """What is kept for just this question."""
    try:
        found = json.loads(_path(question).read_text(encoding="utf-8"))
    except UNREADABLE:
        return None
    return found if isinstance(found, dict) and found.get("question") == question else None


def write(question: dict[str, Any], **content: Any) -> None:
    """Keep the content for a question; where nothing can be written, nothing is."""
    path = _path(question)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({"question": question, **content}, indent=1))


def questions() -> Iterator[dict[str, Any]]:
    """All that something is kept for."""
    for path in folder().glob("*.json"):
        with suppress(*UNREADABLE, TypeError, KeyError):
            yield dict(json.loads(path.read_text(encoding="utf-8"))["question"])


def clear() -> int:
    """Remove everything that is kept; returns how many answers there were."""
    paths = list(folder().glob("*.json"))
    for path in paths:
        path.unlink(missing_ok=True)
    return len(paths)


def _path(question: dict[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:32]
    return folder() / f"{digest}.json"
