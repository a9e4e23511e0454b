"""A model run so that nothing of it changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree


def step(model: nn.Module, arguments: tuple) -> None:
    """Forward and backward; gradients that were there stay as they were."""
    found = [one for one in pytree.tree_leaves(model(*arguments)) if isinstance(one, Tensor) and one.requires_grad]
    if found:
        wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
        torch.autograd.grad([one.sum() for one in found], wanted, allow_unused=True)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """In evaluation mode; modes and the state of the random numbers are restored, running statistics do not change."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.random.fork_rng(devices=()):
            yield
    finally:
        for module in {*modes, *model.modules()}:  # some may be new
            module.training = modes.get(module, modes[model])
