"""Wisdom: what measurements found fastest, remembered on disk. An answer counts only for just the question it answered.

One file for each question, found by a digest and believed for the whole question only; written under a temporary name
and then renamed, so that readers and parallel writers see whole ones. A file that is none of ours is ignored with a
warning. Factors of estimates (cost_model.py) are kept in the same way.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import warnings
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ...text import write_atomically
from .. import torch_bugs
from ..native import loader
from ..problem import Problem
from ..tensors import INPUT, OUTPUT, WEIGHT

FOLDER_VARIABLE = "TORCHCONV_WISDOM"
FORMAT = 3


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
        "kernels": f"{loader.INTERFACE}, {loader.instructions()}" if loader.available() else "off",
    }


def read(question: dict[str, Any]) -> dict[str, Any] | None:
    """What is kept for just this question."""
    return _content(_path(question), question)


def _content(path: Path, question: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """What a file holds, for this question or any; None where there is none, with a warning where it is spoilt."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found["question"], dict) and question in (None, found["question"]):
            return found
        reason = "it answers another question"
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError, TypeError, KeyError) as error:
        reason = f"{type(error).__name__}: {error}"
    warnings.warn(f"{path} is ignored: {reason}. Remove it and measure anew.", RuntimeWarning, stacklevel=2)
    return None


def write(question: dict[str, Any], **content: Any) -> None:
    """Keep the content for a question; where nothing can be written, nothing is."""
    path = _path(question)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({"question": question, **content}, indent=1))


def questions() -> Iterator[dict[str, Any]]:
    """All that something is kept for."""
    yield from (found["question"] for path in folder().glob("*.json") if (found := _content(path)) is not None)


def _path(question: dict[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:32]
    return folder() / f"{digest}.json"


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
        "channels_last": problem.channels_last,
        **circumstances(problem.device, problem.threads),
    }


_LEARNED: dict[str, dict[str, str]] = {}  # by this process: what cannot be written is remembered at least here


def recall(problem: Problem) -> dict[str, str]:
    """The names of the algorithms by role; empty where there is no answer to just this question."""
    asked = question(problem)
    if learned := _LEARNED.get(json.dumps(asked)):
        return learned
    answer = (read(asked) or {}).get("answer")
    return {role: str(answer.get(role)) for role in (OUTPUT, INPUT, WEIGHT)} if isinstance(answer, dict) else {}


@lru_cache(maxsize=1)
def convolutions() -> frozenset[str]:
    """The texts of the convolutions of which anything is remembered; looked up once, and after `remember`."""
    asked = [*map(json.loads, list(_LEARNED)), *questions()]
    return frozenset(str(one["convolution"]) for one in asked if "convolution" in one)


def remember(problem: Problem, answer: dict[str, str], seconds: dict[str, dict[str, float]]) -> None:
    """Keep the names of the fastest by role, with what was measured; where nothing can be written, nothing is."""
    asked = question(problem)
    _LEARNED[json.dumps(asked)] = dict(answer)
    write(asked, answer=answer, seconds=seconds)
    convolutions.cache_clear()


def forget() -> int:
    """Remove all answers; returns how many there were on disk."""
    _LEARNED.clear()
    convolutions.cache_clear()
    paths = list(folder().glob("*.json"))
    for path in paths:
        path.unlink(missing_ok=True)
    return len(paths)
