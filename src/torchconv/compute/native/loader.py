"""The shared library of C++ kernels: whether it is there, and which instructions of the processor it uses.

Everything works without it, slower. TORCHCONV_INSTRUCTIONS=avx512, avx2 or portable asks for that level or the best
below it that the processor has; "none" leaves the library alone.
"""

from __future__ import annotations

import ctypes
import os
import struct
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import torch  # before the library, which then shares its OpenMP threads
from torch import Tensor, library as registry

from ..planning import machine
from ..tensors import compile_time_constant

INTERFACE = 6  # as in csrc/interface.h
NAME = "kernels.so"
LEVELS = ("portable", "avx2", "avx512")
VARIABLE = "TORCHCONV_INSTRUCTIONS"


class Library(NamedTuple):
    """The library as loaded, or None and the reason."""

    handle: ctypes.CDLL | None
    reason: str


@lru_cache(maxsize=1)
def library() -> Library:
    """Loaded once for the process; a file that is not what it should be is ignored with a warning."""
    wanted = os.environ.get(VARIABLE) or LEVELS[-1]
    if wanted == "none":
        return Library(None, f"{VARIABLE}=none leaves the kernels off")
    path = Path(str(files(__name__.rpartition(".")[0]).joinpath(NAME)))  # in an editable install not beside this file
    if not path.is_file():
        return Library(None, "this installation has no compiled kernels: there was no C++ compiler that works")
    try:
        handle = _opened(path)
    except (OSError, ValueError, AttributeError) as error:
        warnings.warn(f"{path} is ignored, and slower ways are used: {error}", RuntimeWarning, stacklevel=2)
        return Library(None, f"{path.name} cannot be used: {error}")
    if wanted not in LEVELS:
        warnings.warn(f"{VARIABLE}={wanted!r} is none of {', '.join(LEVELS)}, none", RuntimeWarning, stacklevel=2)
        wanted = LEVELS[-1]
    handle.torchconv_set_level(LEVELS.index(wanted))
    return Library(handle, "")


@compile_time_constant  # so that a compiler does not follow how the library is loaded
def off() -> str | None:
    """Why the kernels cannot be used; None if they can."""
    return library().reason or None


def available() -> bool:
    """Whether the kernels can be used."""
    return off() is None


def handle() -> ctypes.CDLL:
    """The library's functions; raises RuntimeError where there are none."""
    found = library()
    if found.handle is None:
        raise RuntimeError(f"the C++ kernels of torchconv are off: {found.reason}")
    return found.handle


def number(name: str) -> int:
    """A constant of the kernels or the size of one of their structs in bytes, by its name in csrc/numbers.cpp."""
    function = handle().torchconv_number
    function.restype = ctypes.c_int64
    value = function(name.encode())
    if value < 0:
        raise KeyError(f"the kernels have no number {name!r}")
    return value


def instructions() -> str:
    """The level in use: "portable", "avx2" or "avx512"."""
    return LEVELS[handle().torchconv_level()]


def best_instructions() -> str:
    """The highest level that the processor has."""
    return LEVELS[handle().torchconv_best_level()]


def use_instructions(level: str) -> str:
    """Ask for a level; the one in use then, which is lower where the processor lacks it."""
    return LEVELS[handle().torchconv_set_level(LEVELS.index(level))]


def _opened(path: Path) -> ctypes.CDLL:
    if not _is_whole(path):
        raise OSError("the file is torn")
    opened = ctypes.CDLL(str(path))
    opened.torchconv_interface.restype = ctypes.c_int64
    if opened.torchconv_interface() != INTERFACE:
        raise ValueError(f"it has interface {opened.torchconv_interface()}, and {INTERFACE} is needed: install anew")
    return opened


def _is_whole(path: Path) -> bool:
    """Whether a file in ELF format is as long as its header says: a process that loads a shorter one may be killed."""
    with path.open("rb") as file:
        header = file.read(64)
    if header[:5] != b"\x7fELF\x02":
        return len(header) == 64  # another system's format, or what its loader will refuse
    order = "<" if header[5:6] == b"\x01" else ">"
    (sections,) = struct.unpack_from(order + "Q", header, 40) if len(header) == 64 else (2**63,)
    size, count = struct.unpack_from(order + "HH", header, 58) if len(header) == 64 else (0, 0)
    return path.stat().st_size >= sections + size * count


TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2}  # as in csrc/interface.h, and so are the next
STATUS = {1: "there is not enough memory for the kernels' buffers", 2: "the kernels have no code for these numbers"}
AXES = 3  # of the kernels; fewer ones are the last of these
PER_AXIS = ctypes.c_int64 * AXES

library()  # now: what is loaded before a fork knows of it, and does not wait for its parent's threads
_OPERATIONS = registry.Library("torchconv", "FRAGMENT")


def register(
    schema: str, compute: Callable[..., Tensor], empty: Callable[..., Tensor], device: str = "CPU"
) -> Callable[..., Tensor]:
    """The operation of a schema such as "name(Tensor x) -> Tensor"; `empty` gives the result without its numbers.

    device: torch's dispatch key of those that `compute` computes on.
    """
    name = schema.partition("(")[0]
    _OPERATIONS.define(schema, tags=[torch.Tag.pt2_compliant_tag])
    _OPERATIONS.impl(name, compute, device)
    registry.register_fake(f"torchconv::{name}", empty, lib=_OPERATIONS)
    return getattr(torch.ops.torchconv, name).default


def fields(names: str, kind: Any = ctypes.c_int64) -> list[tuple[str, Any]]:
    """The fields of a struct that have one type."""
    return [(name, kind) for name in names.split()]


def per_axis(values: Sequence[int], least: int = 1) -> ctypes.Array:
    """A number for each axis of the kernels; `least` for those that are not there."""
    return PER_AXIS(*[least] * (AXES - len(values)), *values)


def call(name: str, arguments: Any, *tensors: Tensor | None) -> None:
    """One kernel, whose C function takes a pointer to the arguments and to each tensor; None is a null pointer."""
    function = getattr(handle(), name)
    pointers = (ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors)
    status = function(ctypes.byref(arguments), *pointers)
    if status:
        raise RuntimeError(f"{name}: {STATUS[status]}")


def threads(seconds: float) -> int:
    """How many threads to use for what takes one of them so long, about."""
    return 1 if seconds < machine.WAKING else torch.get_num_threads()


def reason_against(dtype: torch.dtype, device: str) -> str | None:
    """Why kernels cannot compute with such numbers here; None if they can."""
    if reason := off():
        return reason
    if device != "cpu":
        return "the kernels compute on the CPU"
    if torch.onnx.is_in_onnx_export():
        return "ONNX has no such operation"
    return None if dtype in TYPES else f"the kernels have no code for {dtype}"
