"""How many times longer each way takes on this machine than where the estimates were made, as `calibration` found it.

Estimates hold for one kind of processor. What differs elsewhere differs by kind of convolution: there is a factor for
each algorithm, kind, type, order in memory and operation; 1 where nothing was measured.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from ...description.convolution import Convolution
from . import cost_model, store

FORMAT = 1
LEAST, MOST = 0.05, 20.0  # a factor beyond them says that something else was measured


def group(convolution: Convolution) -> str:
    """The kind of convolution in so far as the times of algorithms differ by it."""
    if convolution.sharing.is_full:
        return cost_model.kind(convolution)
    return "unshared" if convolution.sharing.periods == (None,) * convolution.ndim else "tiled"


def key(algorithm: str, convolution: Convolution, dtype: torch.dtype, channels_last: bool, role: str) -> str:
    """The name of a factor."""
    kind, layout = str(dtype).removeprefix("torch."), "channels last" if channels_last else "contiguous"
    return f"{algorithm}, {group(convolution)}, {kind}, {layout}, {role}"


def question(threads: int) -> dict[str, Any]:
    """What the factors are kept for."""
    return {"format": FORMAT, "machine": "factors of estimates", **store.circumstances("cpu", threads)}


@lru_cache(maxsize=8)
def factors(threads: int) -> dict[str, float]:
    """All that were measured with so many threads; looked up once, and after `keep`."""
    found = (store.read(question(threads)) or {}).get("factors")
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, float) and LEAST <= value <= MOST}


def keep(threads: int, found: dict[str, float]) -> None:
    """Keep the factors for later; where nothing can be written, nothing is."""
    store.write(question(threads), factors=found)
    factors.cache_clear()
