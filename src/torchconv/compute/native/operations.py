"""Kernels as torch's own operations: torch.compile and torch.export keep each as one node.

An operation has no derivative of its own; trilinear.py gives it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import library

TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2}  # as in csrc/interface.h
STATUS = {1: "there is not enough memory for the kernels' buffers", 2: "the kernels have no code for these numbers"}

WAKING = 60_000  # nanoseconds of one core, below which to wake the others takes longer than they save

library.library()  # now: what is loaded before a fork knows of it, and does not wait for its parent's threads
_OPERATIONS = torch.library.Library("torchconv", "FRAGMENT")


def register(schema: str, compute: Callable[..., Tensor], empty: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The operation of a schema such as "name(Tensor x) -> Tensor"; `empty` gives the result without its numbers."""
    name = schema.partition("(")[0]
    _OPERATIONS.define(schema, tags=[torch.Tag.pt2_compliant_tag])
    _OPERATIONS.impl(name, compute, "CPU")
    torch.library.register_fake(f"torchconv::{name}", empty, lib=_OPERATIONS)
    return getattr(torch.ops.torchconv, name).default


def call(name: str, problem: Any, *tensors: Tensor) -> None:
    """One kernel on contiguous tensors, whose C function takes a pointer to the problem and to each tensor."""
    function = getattr(library.handle(), name)
    status = function(ctypes.byref(problem), *(ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors))
    if status:
        raise RuntimeError(f"{name}: {STATUS[status]}")


def threads(nanoseconds: float) -> int:
    """How many threads to use for what takes one of them so long, about."""
    return 1 if nanoseconds < WAKING else torch.get_num_threads()


def reason_against(dtype: torch.dtype, device: str) -> str | None:
    """Why kernels cannot compute with such numbers here; None if they can."""
    off = _reason_off()
    if off:
        return off
    if device != "cpu":
        return "the kernels compute on the CPU"
    if torch.onnx.is_in_onnx_export():
        return "ONNX has no such operation"
    return None if dtype in TYPES else f"the kernels have no code for {dtype}"


@torch.compiler.assume_constant_result  # so that a compiler does not follow how the library is loaded
def _reason_off() -> str:
    return library.library().reason
