"""What measurements found fastest, remembered on disk: one file for each question, written whole or not at all.

The name of a file is a digest of the question, and the file holds the question itself: an answer counts only where the
two are equal, so that digests that collide, torn files and files of other versions are never believed. Many processes
may write at once: the last one wins.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from .algorithms import Problem
from .roles import INPUT, OUTPUT, WEIGHT

FOLDER_VARIABLE = "TORCHCONV_WISDOM"
FORMAT = 1


def folder() -> Path:
    """Where answers are kept: $TORCHCONV_WISDOM, or torchconv/wisdom in the user's cache folder."""
    if given := os.environ.get(FOLDER_VARIABLE):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torchconv" / "wisdom"


def question(problem: Problem) -> dict[str, Any]:
    """All that an answer depends on."""
    return {
        "format": FORMAT,
        "convolution": str(problem.convolution),
        "batch": problem.batch,
        "input_size": list(problem.sizes),
        "dtype": str(problem.dtype).removeprefix("torch."),
        "device": problem.device,
        "precision": problem.precision,
        "workspace": problem.workspace,
        "threads": problem.threads,
        "channels_last": problem.channels_last,
        "processor": processor(problem.device),
        "torch": torch.__version__,
    }


@lru_cache(maxsize=8)
def processor(device: str) -> str:
    """The name of what computes."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    with suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


_LEARNED: dict[str, dict[str, str]] = {}  # by this process: what cannot be written is remembered at least here


def recall(problem: Problem) -> dict[str, str]:
    """The names of the algorithms by role; empty where there is no answer to just this question."""
    asked = question(problem)
    if learned := _LEARNED.get(json.dumps(asked)):
        return learned
    try:
        found = json.loads(_path(asked).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict) or found.get("question") != asked or not isinstance(found.get("answer"), dict):
        return {}
    return {role: str(found["answer"].get(role)) for role in (OUTPUT, INPUT, WEIGHT)}


@lru_cache(maxsize=1)
def convolutions() -> frozenset[str]:
    """The texts of the convolutions of which anything is remembered; looked up once, and after `remember`."""
    found = {str(json.loads(asked)["convolution"]) for asked in _LEARNED}
    for path in folder().glob("*.json"):
        with suppress(OSError, ValueError, TypeError, KeyError):
            found.add(str(json.loads(path.read_text(encoding="utf-8"))["question"]["convolution"]))
    return frozenset(found)


def remember(problem: Problem, answer: dict[str, str], seconds: dict[str, dict[str, float]]) -> None:
    """Keep the names of the fastest by role, with what was measured; where nothing can be written, nothing is."""
    asked = question(problem)
    _LEARNED[json.dumps(asked)] = dict(answer)
    path = _path(asked)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"question": asked, "answer": answer, "seconds": seconds}, indent=1)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(name, path)
        except OSError:
            Path(name).unlink(missing_ok=True)
    convolutions.cache_clear()


def forget() -> int:
    """Remove all answers; returns how many there were on disk."""
    _LEARNED.clear()
    paths = list(folder().glob("*.json"))
    for path in paths:
        path.unlink(missing_ok=True)
    convolutions.cache_clear()
    return len(paths)


def _path(asked: dict[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]
    return folder() / f"{digest}.json"
