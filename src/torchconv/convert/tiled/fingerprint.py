"""What tells functions apart, so that a job that ended is gone on with by the same ones."""

from __future__ import annotations

import functools
import hashlib
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PLAIN = (bool, int, float, complex, str, bytes, torch.dtype, type(None))


def fingerprint(value: Any) -> str:
    """Of a function: its code, and the numbers, texts, tensors and functions that it reads.

    Lists, dicts and other objects that a call may change tell by their class alone.

    >>> double, triple = (lambda y: y * 2), (lambda y: y * 3)
    >>> fingerprint(double) == fingerprint(lambda y: y * 2), fingerprint(double) == fingerprint(triple)
    (True, False)
    """
    digest = hashlib.blake2b(digest_size=16)
    for word in _words(value, set()):
        digest.update(word + b"\0")
    return digest.hexdigest()


def _words(value: Any, seen: set[int]) -> Iterator[bytes]:
    if isinstance(value, PLAIN):
        yield repr(value).encode()
    elif isinstance(value, Tensor | np.ndarray):
        array = value.detach().cpu().resolve_conj().contiguous() if isinstance(value, Tensor) else value
        yield f"{value.dtype} {tuple(value.shape)}".encode()
        yield array.flatten().view(torch.uint8).numpy().tobytes() if isinstance(array, Tensor) else array.tobytes()
    elif isinstance(value, tuple | frozenset):
        ordered = sorted(value, key=repr) if isinstance(value, frozenset) else value
        for one in ordered:
            yield from _words(one, seen)
    elif id(value) not in seen:  # functions may read themselves
        seen.add(id(value))
        for one in _parts(value):
            yield from _words(one, seen)


def _parts(value: Any) -> Iterator[Any]:
    """What else tells: pieces of functions, of modules, of objects that are called."""
    if isinstance(value, types.CodeType):
        yield from (value.co_code, value.co_names, value.co_consts)
    elif isinstance(value, types.FunctionType):
        named = (value.__globals__.get(name) for name in value.__code__.co_names)
        cells = (cell.cell_contents for cell in value.__closure__ or () if cell != types.CellType())
        kept = (types.FunctionType, functools.partial, Tensor, np.ndarray, tuple, *PLAIN)
        yield value.__code__
        yield from (one for one in (*(value.__defaults__ or ()), *cells, *named) if isinstance(one, kept))
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, tuple(sorted(value.keywords.items())))
    elif isinstance(value, types.MethodType):
        yield from (value.__func__, type(value.__self__).__qualname__)
    elif isinstance(value, nn.Module):
        yield from (str(value), tuple(value.state_dict().items()))
    else:
        yield getattr(value, "__qualname__", type(value).__qualname__)
        yield vars(type(value)).get("__call__")
