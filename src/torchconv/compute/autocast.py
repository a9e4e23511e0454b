"""The type that torch.autocast asks for, and tensors in it."""

from __future__ import annotations

import torch
from torch import Tensor


def cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """In autocast's type where autocast is on, as torch does for its own convolutions."""
    wanted = dtype is not None and tensor.is_floating_point() and tensor.dtype != torch.float64
    return tensor.to(dtype) if wanted else tensor


def dtype_on(device: str) -> torch.dtype | None:
    """The type autocast wants on a device; None where it is off."""
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return None
