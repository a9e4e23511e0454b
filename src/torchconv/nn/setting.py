"""Settings of a layer, which can be read and not changed."""

from __future__ import annotations

from typing import Any

from ..description.convolution import Convolution


class Setting(property):
    """What a layer was made with: it can be read, and setting it says why it cannot be set."""

    def __set__(self, instance: Any, value: Any) -> None:
        name = getattr(self.fget, "__name__", "a setting")
        what = f"{name} of {type(instance).__name__} cannot be changed, because its computation is prepared"
        raise AttributeError(f"{what}. Make a new layer, and load the weights of this one.")


def shown_padding(convolution: Convolution) -> tuple[Any, ...]:
    """Padding as torch.nn's layers show it: per axis an int, or (low, high) where they differ, or "same"."""
    return tuple(pad[0] if pad != "same" and pad[0] == pad[1] else pad for pad in convolution.padding)
