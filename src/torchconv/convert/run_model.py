"""Running somebody's model to measure something of it, so that nothing of it changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ..inspection.network_of import seen
from .timing import evaluating


@contextmanager
def running(model: Any) -> Iterator[None]:
    """A module in evaluation mode, and as it was afterwards; of a function nothing is known."""
    if isinstance(model, nn.Module):
        with evaluating(model):
            yield
    else:
        yield


def output(model: Any, x: Tensor) -> Any:
    """What a model makes of x.

    Raises ShapeError naming the layer of a module that the shape does not fit, and a shape that would.
    """
    try:
        return model(x)
    except RuntimeError:
        if isinstance(model, nn.Module):
            seen(model, tuple(x.shape))  # says it better, unless it is about something else than shapes
        raise
