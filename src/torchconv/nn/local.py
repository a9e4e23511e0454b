"""Layers that are an ordinary one with another weight sharing: locally connected and tiled convolutions."""

from __future__ import annotations

from typing import Any

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
    """Conv1d with sharing="none": parameters need input_size, or appear at the first call.

    >>> LocallyConnected1d(1, 2, 3, input_size=8).weight.shape
    torch.Size([6, 2, 1, 3])
    """


class LocallyConnected2d(_LocallyConnected, Conv2d):
    """Conv2d with sharing="none": parameters need input_size, or appear at the first call.

    >>> LocallyConnected2d(3, 8, 3, padding=1, input_size=(6, 4)).weight.shape
    torch.Size([6, 4, 8, 3, 3, 3])
    """


class LocallyConnected3d(_LocallyConnected, Conv3d):
    """Conv3d with sharing="none": parameters need input_size, or appear at the first call.

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
