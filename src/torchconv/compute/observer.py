"""Who watches what this thread computes.

Every convolution, every pooling and every layer that is one operation of a network asks here, once a call, whether its
thread is being traced. It is a variable of the thread and not a context variable, because torch's compiler can follow
the first only; where nobody watches, asking takes some hundredths of a microsecond.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from ..network.operations import Operation


class Observer(Protocol):
    """What is told of operations that are not to be taken apart."""

    def whole(self, operation: Operation, tensors: Sequence[Tensor], compute: Callable[..., Tensor]) -> Tensor:
        """The output of an operation on tensors, the first of which has a batch; `compute` computes it from them."""
        ...


class _Thread(threading.local):
    observer: Observer | None = None


THREAD = _Thread()


@contextmanager
def observed(observer: Observer | None) -> Iterator[None]:
    """While this lasts, `observer` watches this thread, and no other; None: nobody does."""
    before, THREAD.observer = THREAD.observer, observer
    try:
        yield
    finally:
        THREAD.observer = before
