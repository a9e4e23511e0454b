"""Layers with looser weight sharing than a convolution: tiled, locally connected, and fully connected."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from ..description.axis import plain, positive
from ..description.convolution import Convolution
from ..errors import ShapeError
from .conv import Conv1d, Conv2d, Conv3d, _Convolution


class _LocallyConnected(_Convolution):
    """A kernel of its own at every position (LeCun 1989; Taigman et al. 2014, DeepFace, section 3.1)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: Any = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        bias_sharing: Any = None,
        connections: Any = None,
        input_size: Any = None,
        algorithm: str = "auto",
        precision: str = "auto",
        workspace: int | None = None,
    ) -> None:
        places = stride, padding, dilation, groups, bias, padding_mode, device, dtype
        shared = {"sharing": "none", "bias_sharing": bias_sharing, "connections": connections}
        how: dict[str, Any] = {"input_size": input_size, "algorithm": algorithm, "precision": precision}
        super().__init__(in_channels, out_channels, kernel_size, *places, **shared, **how, workspace=workspace)


class _Tiled(_Convolution):
    """Kernels that repeat with a period (Le et al. 2010, Tiled convolutional neural networks, section 3)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: Any = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        period: Any,
        bias_sharing: Any = None,
        connections: Any = None,
        input_size: Any = None,
        algorithm: str = "auto",
        precision: str = "auto",
        workspace: int | None = None,
    ) -> None:
        places = stride, padding, dilation, groups, bias, padding_mode, device, dtype
        shared = {"sharing": period, "bias_sharing": bias_sharing, "connections": connections}
        how: dict[str, Any] = {"input_size": input_size, "algorithm": algorithm, "precision": precision}
        super().__init__(in_channels, out_channels, kernel_size, *places, **shared, **how, workspace=workspace)


class LocallyConnected1d(_LocallyConnected, Conv1d):
    """Conv1d with a kernel of its own at every position; parameters need input_size, or appear at the first call.

    >>> LocallyConnected1d(1, 2, 3, input_size=8).weight.shape
    torch.Size([6, 2, 1, 3])
    """


class LocallyConnected2d(_LocallyConnected, Conv2d):
    """Conv2d with a kernel of its own at every position; parameters need input_size, or appear at the first call.

    >>> LocallyConnected2d(3, 8, 3, padding=1, input_size=(6, 4)).weight.shape
    torch.Size([6, 4, 8, 3, 3, 3])
    """


class LocallyConnected3d(_LocallyConnected, Conv3d):
    """Conv3d with a kernel of its own at every position; parameters need input_size, or appear at the first call.

    >>> LocallyConnected3d(1, 2, 2, input_size=(3, 3, 3)).bias.shape
    torch.Size([2, 2, 2, 2])
    """


class TiledConv1d(_Tiled, Conv1d):
    """Conv1d whose kernel is number `position % period`.

    >>> TiledConv1d(1, 2, 3, period=2).weight.shape
    torch.Size([2, 2, 1, 3])
    """


class TiledConv2d(_Tiled, Conv2d):
    """Conv2d whose kernel is number `position % period` on each axis; period is an int or one per axis.

    >>> TiledConv2d(3, 8, 3, period=(2, 1)).weight.shape
    torch.Size([2, 1, 8, 3, 3, 3])
    """


class TiledConv3d(_Tiled, Conv3d):
    """Conv3d whose kernel is number `position % period` on each axis.

    >>> TiledConv3d(1, 2, 3, period=2).weight.shape
    torch.Size([2, 2, 2, 2, 1, 3, 3, 3])
    """


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
