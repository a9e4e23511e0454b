"""A fully connected layer that knows the volumes it reads and makes."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from ..description.axis import plain, positive
from ..description.convolution import Convolution
from ..errors import ShapeError


class Dense(torch.nn.Linear):
    """Every output reads every input: (batch, channels, *size) to (batch, channels, *size) of two given volumes.

    volume, outputs: (channels, *size) read and made; an int is so many channels without axes. A flattened input
    (batch, values) gives a flattened output. convolution: the description it was made from, if it was.
    State: `weight` (outputs, inputs) and `bias` (outputs,), as of torch.nn.Linear, of the flattened volumes.
    Raises ShapeError for an input of another shape, and for a convolution between other volumes.
    Source: Goodfellow, Bengio, Courville 2016, Deep learning, section 9.4: a convolution is one under a strong prior.

    >>> Dense((3, 8, 8), (4, 6, 6))(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 4, 6, 6])
    """

    def __init__(
        self,
        volume: Any,
        outputs: Any,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        convolution: Convolution | None = None,
    ) -> None:
        self.volume, self.outputs = _volume("volume", volume), _volume("outputs", outputs)
        super().__init__(prod(self.volume), prod(self.outputs), bias, device, dtype)
        self.convolution = convolution
        if convolution is not None:
            _check_volumes(convolution, self.volume, self.outputs)

    def forward(self, input: Tensor) -> Tensor:
        rank = len(self.volume)
        if input.shape[-rank:] == self.volume and input.ndim in (rank, rank + 1):
            batch = input.shape[:-rank]
            return super().forward(input.reshape(*batch, self.in_features)).reshape(*batch, *self.outputs)
        if input.ndim in (1, 2) and input.shape[-1] == self.in_features:
            return super().forward(input)
        expected = f"(batch, {', '.join(map(str, self.volume))}) or flattened (batch, {self.in_features})"
        raise ShapeError("input of a fully connected layer", got=f"shape {tuple(input.shape)}", expected=expected)

    def extra_repr(self) -> str:
        volumes = ("x".join(map(str, one)) for one in (self.volume, self.outputs))
        return f"{' -> '.join(volumes)}, bias={self.bias is not None}"


def _volume(what: str, given: Any) -> tuple[int, ...]:
    values = plain(given)
    return tuple(positive(what, one) for one in (values if isinstance(values, list) else [values]))


def _check_volumes(conv: Convolution, volume: tuple[int, ...], outputs: tuple[int, ...]) -> None:
    if len(volume) == conv.ndim + 1 and volume[0] == conv.in_channels:
        made = (conv.out_channels, *conv.output_size(volume[1:]))
        if made == outputs:
            return
        raise ShapeError(f"outputs of a fully connected layer from {conv}", got=outputs, expected=str(made))
    expected = f"{conv.in_channels} channels and {conv.ndim} sizes"
    raise ShapeError(f"volume of a fully connected layer from {conv}", got=volume, expected=expected)
