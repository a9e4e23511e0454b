"""What arrives at a call: whether it is tensors, and the type that torch.autocast asks for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import SettingError


def cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """In autocast's type where autocast is on, as torch does for its own convolutions."""
    wanted = dtype is not None and tensor.is_floating_point() and tensor.dtype != torch.float64
    return tensor.to(dtype) if wanted else tensor


def autocast_dtype(device: str) -> torch.dtype | None:
    """The type autocast wants on a device; None where it is off."""
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return None


def check_tensors(**named: Any) -> None:
    """Raises SettingError naming the first that is no tensor."""
    for name, value in named.items():
        if not isinstance(value, Tensor):
            fix = "Use torch.from_numpy." if type(value).__module__ == "numpy" else ""
            raise SettingError(name, got=type(value).__name__, expected="a torch.Tensor", fix=fix)
