"""Memory for large results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LARGE = 2**24  # bytes


def large_like(shape: Sequence[int], like: Tensor) -> Tensor | None:
    """An uninitialised tensor of the type and device of `like`, or None where torch's own allocation is as good.

    NumPy asks the kernel for huge pages, torch does not: to touch 100 MB for the first time, page by page, takes
    several times as long as to fill them. It matters for the gradient of unshared weights, which is mostly that.
    """
    plain = type(like) is Tensor and like.device.type == "cpu" and not torch.compiler.is_compiling()
    if not plain or torch.Size(shape).numel() * like.element_size() < LARGE or not _has_memory(like):
        return None
    return (
        torch.from_numpy(np.empty(torch.Size(shape).numel() * like.element_size(), np.uint8))
        .view(like.dtype)
        .view(tuple(shape))
    )


def _has_memory(tensor: Tensor) -> bool:
    """Whether there are numbers behind it; those inside vmap and the like are only names for others."""
    try:
        return tensor.data_ptr() != 0
    except RuntimeError:
        return False
