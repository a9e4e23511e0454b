"""What measurements found fastest, remembered on disk: an answer counts only for just the question that it answered."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from ..algorithms import Problem
from ..tensors import INPUT, OUTPUT, WEIGHT
from . import store

FORMAT = 3


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
        **store.circumstances(problem.device, problem.threads),
    }


_LEARNED: dict[str, dict[str, str]] = {}  # by this process: what cannot be written is remembered at least here


def recall(problem: Problem) -> dict[str, str]:
    """The names of the algorithms by role; empty where there is no answer to just this question."""
    asked = question(problem)
    if learned := _LEARNED.get(json.dumps(asked)):
        return learned
    answer = (store.read(asked) or {}).get("answer")
    return {role: str(answer.get(role)) for role in (OUTPUT, INPUT, WEIGHT)} if isinstance(answer, dict) else {}


@lru_cache(maxsize=1)
def convolutions() -> frozenset[str]:
    """The texts of the convolutions of which anything is remembered; looked up once, and after `remember`."""
    asked = [*map(json.loads, list(_LEARNED)), *store.questions()]
    return frozenset(str(one["convolution"]) for one in asked if "convolution" in one)


def remember(problem: Problem, answer: dict[str, str], seconds: dict[str, dict[str, float]]) -> None:
    """Keep the names of the fastest by role, with what was measured; where nothing can be written, nothing is."""
    asked = question(problem)
    _LEARNED[json.dumps(asked)] = dict(answer)
    store.write(asked, answer=answer, seconds=seconds)
    convolutions.cache_clear()


def forget() -> int:
    """Remove all answers; returns how many there were on disk."""
    _LEARNED.clear()
    convolutions.cache_clear()
    return store.clear()
