"""Cache of what is computed from frozen weights: their spectra, or their factors.

A weight is compared with a copy, bit by bit, before each use. torch's own count of changes would not do:
`weight.data.add_(1)`, a NumPy array that shares the memory, another process, and whatever happens in inference mode
change the numbers and no counter. To read both costs much less than a transform. A change that another thread makes
during the call may be noticed or not, as without a cache.

Weights that are made anew for each call are not cached: flipped ones, those of transposed layers, the parts of a
connection table, and autocast's.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from .tensors import has_numbers

MOST_BYTES = 2**30  # of this process
MOST_ENTRIES = 4096
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # of so many bytes, for the bits of numbers


@dataclass(frozen=True)
class CachedWeight:
    """One weight and one use of it; without a copy it was only seen once."""

    weight: weakref.ref
    changes: int
    copy: Tensor | None = None
    value: Any = None
    bytes: int = 0


class WeightCache:
    """Values computed from weights; the least recently used are dropped where they are more than `most` bytes.

    A weight is known by its identity, and its values are dropped when it goes away. They are made when a weight is seen
    for the second time without a change, so that weights that are new at every call, or change, cost next to nothing.

    Threads may share it without a lock: entries never change, and each step on the dictionary is atomic. That is true
    of a plain one only: an OrderedDict whose keys are compared by Python's own code is torn, and the process dies.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.most = most
        self._entries: dict[tuple[int, Hashable], CachedWeight] = {}  # the last used last

    @property
    def bytes(self) -> int:
        """Of all values, and of the copies of their weights."""
        return sum(entry.bytes for entry in list(self._entries.values()))

    def recall(self, weight: Tensor, use: Hashable, size: int, make: Callable[[Tensor], Any]) -> Any | None:
        """make(weight) from the cache; None where it is not cached, so that the caller does without.

        use: all that the value depends on besides the weight. size: its bytes.
        """
        size += weight.numel() * weight.element_size()
        if size > self.most or not _comparable(weight):
            return None
        key = (id(weight), use)
        entry = self._entries.get(key)
        if entry is None or entry.weight() is not weight:
            return self._note(key, weight)
        if entry.copy is None:
            if entry.changes != _changes(weight):
                return self._note(key, weight)
            copy = weight.detach().clone()
            entry = CachedWeight(entry.weight, entry.changes, copy, make(copy), size)
            self._put(key, entry)
            return entry.value
        if not same_bits(weight, entry.copy):
            return self._note(key, weight)
        self._entries.pop(key, None)
        self._entries[key] = entry
        return entry.value

    def forget(self) -> None:
        """Drop everything."""
        self._entries.clear()

    def _note(self, key: tuple[int, Hashable], weight: Tensor) -> None:
        entries = self._entries
        gone = weakref.ref(weight, lambda _: entries.pop(key, None))  # before another may get its identity
        self._put(key, CachedWeight(gone, _changes(weight)))

    def _put(self, key: tuple[int, Hashable], entry: CachedWeight) -> None:
        self._entries.pop(key, None)
        self._entries[key] = entry
        with suppress(RuntimeError, StopIteration):  # another thread may have changed or emptied it meanwhile
            while len(self._entries) > MOST_ENTRIES or (entry.bytes and self.bytes > self.most):
                self._entries.pop(next(iter(self._entries)), None)


CACHE = WeightCache()


class Kernels(NamedTuple):
    """Kernels (out, in // groups, *kernel) of a shape, made from a weight where they are needed.

    how: all that `made` depends on besides the weight, so that what follows from them may be kept; None: it may not.
    """

    weight: Tensor
    shape: Sequence[int]
    made: Callable[[Tensor], Tensor] = Tensor.contiguous
    how: Hashable = None

    def make(self) -> Tensor:
        """The kernels themselves."""
        return self.made(self.weight)

    def recall(self, use: Hashable, size: int, make: Callable[[Tensor], Any]) -> Any | None:
        """`WeightCache.recall` of what `make` makes of the kernels."""
        if self.how is None:
            return None
        return CACHE.recall(self.weight, (self.how, use), size, lambda weight: make(self.made(weight)))


def is_frozen(weight: Tensor) -> bool:
    """Whether no gradient of the weight is wanted, and there are numbers to look at."""
    return not (weight.requires_grad and torch.is_grad_enabled()) and has_numbers(weight)


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors on the CPU, of the same shape and type or not, hold the same numbers to the last bit.

    >>> same_bits(torch.tensor([0.0, torch.nan]), torch.tensor([0.0, torch.nan]))
    True
    >>> same_bits(torch.tensor(0.0), torch.tensor(-0.0))
    False
    """
    return one.dtype == other.dtype and np.array_equal(_bits(one), _bits(other))


def _bits(tensor: Tensor) -> np.ndarray:
    tensor = torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor.detach()
    return tensor.view(INTEGERS[tensor.element_size()]).numpy()


def _comparable(weight: Tensor) -> bool:
    plain = has_numbers(weight) and weight.device.type == "cpu" and not (weight.is_conj() or weight.is_neg())
    return plain and not is_in_torch_dispatch_mode()  # such as that of fake tensors


def _changes(weight: Tensor) -> int:
    return 0 if weight.is_inference() else weight._version
