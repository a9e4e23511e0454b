"""The three tensors of a convolution, and what is asked of tensors before a call: their types, memory, and observers.

Each operation is named by the tensor it gives, and takes the other two in order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.parameter import Parameter

from ..errors import SettingError

if TYPE_CHECKING:
    from ..network.operations import Operation

INPUT, WEIGHT, OUTPUT = "input", "weight", "output"
OPERANDS = {OUTPUT: (INPUT, WEIGHT), INPUT: (OUTPUT, WEIGHT), WEIGHT: (INPUT, OUTPUT)}


Function = TypeVar("Function", bound=Callable)


def compile_time_constant(function: Function) -> Function:
    """Mark a function whose result torch.compile may take for a constant, without following the call.

    torch.compiler.assume_constant_result sets the same mark, but imports all of the compiler for everybody: half of
    the time that `import torchconv` then took.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """In autocast's type where autocast is on, as torch does for its own convolutions."""
    wanted = dtype is not None and tensor.is_floating_point() and tensor.dtype != torch.float64
    return tensor.to(dtype) if wanted else tensor


def autocast_dtype(device: str) -> torch.dtype | None:
    """The type autocast wants on a device; None where it is off."""
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return None


def recording() -> bool:
    """Whether torch.compile or torch.jit.trace writes down what is called, so that sizes may be no integers."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[no-untyped-call]


class Observer(Protocol):
    """Who watches what a thread computes: told of operations that are not to be taken apart.

    Every convolution, pooling and layer that is one operation of a network asks once a call whether its thread is
    traced: a variable of the thread and no context variable, which torch's compiler cannot follow.
    """

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


def check_tensors(**named: Any) -> None:
    """Raises SettingError naming the first that is no tensor."""
    for name, value in named.items():
        if not isinstance(value, Tensor):
            fix = "Use torch.from_numpy." if type(value).__module__ == "numpy" else ""
            raise SettingError(name, got=type(value).__name__, expected="a torch.Tensor", fix=fix)


LARGE, LINE = 2**24, 64  # bytes
WORKSPACE = 4  # times the bytes of input, weights and output that an operation may take beside them, if none are given
FEW = 2**24  # bytes that it may take however small they are: the buffers of a few threads


def room(limit: int | None, arrays: int) -> int:
    """Bytes of workspace for an operation on arrays of so many bytes; limit: what the user allows.

    >>> room(None, 2**30) // 2**30, room(10, 2**30)
    (4, 10)
    """
    return max(WORKSPACE * arrays, FEW) if limit is None else limit


def large_like(shape: Sequence[int], like: Tensor) -> Tensor | None:
    """An uninitialised tensor of the type and device of `like`, or None where torch's own allocation is as good.

    NumPy asks the kernel for huge pages, torch does not: to touch 100 MB for the first time, page by page, takes
    several times as long as to fill them. It matters for the gradient of unshared weights, which is mostly that.
    """
    if like.device.type != "cpu" or not has_numbers(like):
        return None
    size = torch.Size(shape).numel() * like.element_size()
    if size < LARGE:
        return None
    memory = np.empty(size + LINE, np.uint8)
    start = -memory.ctypes.data % LINE  # as torch's own memory begins, for kernels that write whole lines
    return torch.from_numpy(memory[start : start + size]).view(like.dtype).view(tuple(shape))


def empty_like(shape: Sequence[int], like: Tensor) -> Tensor:
    """The same, or torch's own allocation, with its channels where those of `like` are in memory."""
    if (
        len(shape) == like.ndim == 4
        and not like.is_contiguous()
        and like.is_contiguous(memory_format=torch.channels_last)
    ):
        batch, channels, *size = shape
        shape = (batch, *size, channels)
        return _empty(shape, like).movedim(-1, 1)
    return _empty(shape, like)


def _empty(shape: Sequence[int], like: Tensor) -> Tensor:
    large = large_like(shape, like)
    return like.new_empty(tuple(shape)) if large is None else large


def has_numbers(tensor: Tensor) -> bool:
    """Whether there are numbers to look at: not while compiling, on the meta device, or inside vmap and the like."""
    if torch.compiler.is_compiling() or type(tensor) not in (Tensor, Parameter):
        return False
    try:
        return tensor.data_ptr() != 0
    except RuntimeError:
        return False


def all_finite(result: Tensor) -> bool:
    """Whether transforms may have been used: a NaN or an Inf spreads over its whole tile. A sum says so in one pass."""
    return not has_numbers(result) or isfinite(float(result.sum())) or bool(torch.isfinite(result).all())
