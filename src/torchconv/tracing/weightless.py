"""Parameters and buffers that stand for a model's own, without their numbers: they take no memory."""

from __future__ import annotations

import contextlib
import itertools

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode


def weightless(model: torch.nn.Module, fake: FakeTensorMode | None) -> dict[str, Tensor]:
    """Parameters and buffers, without their numbers where that will do; those with several names once."""
    made: dict[int, Tensor] = {}
    found = {}
    named = (model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False))
    for name, one in itertools.chain(*named):
        if id(one) not in made:
            with fake or contextlib.nullcontext():
                made[id(one)] = one.detach() if fake is None else torch.empty(one.shape, dtype=one.dtype)
        found[name] = made[id(one)]
    return found
