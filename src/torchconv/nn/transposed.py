"""Transposed convolutions: the adjoint of a convolution as a layer, with torch.nn.ConvTranspose's arguments."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar

from torch import Tensor

from ..compute import layouts
from ..compute.operator import Operator
from ..description import notation, shapes
from ..description.axis import plain
from ..description.connections import Connections
from ..description.convolution import Convolution
from ..description.sharing import Sharing
from ..errors import SettingError, ShapeError
from .conv import Conv, FixedSetting, shown_padding


@lru_cache(maxsize=256)
def _operator(convolution: Convolution, *settings: Any) -> Operator:
    return Operator(convolution, *settings)


class _Transposed(Conv):
    """Layers with torch.nn.ConvTranspose's arguments: the adjoint of the convolution that the settings describe.

    The weights are as torch writes them, (*phases, in, out // groups, *kernel).
    """

    ndim: ClassVar[int]
    layout: ClassVar[str] = layouts.TRANSPOSED
    transposed: ClassVar[bool] = True
    stride: tuple[int, ...] = FixedSetting.of_part("_forward", "stride", "Samples of the output between windows.")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        sharing: Any = "full",
        bias_sharing: Any = None,
        connections: Any = None,
        input_size: Any = None,
        algorithm: str = "auto",
        precision: str = "auto",
        workspace: int | None = None,
    ) -> None:
        if padding_mode != "zeros":
            raise SettingError("padding_mode of a transposed convolution", got=repr(padding_mode), expected="zeros")
        forward = Convolution(1, 1, kernel_size, stride, padding, dilation, bias=False, ndim=self.ndim)
        extras = shapes.paddings_of(output_padding, self.ndim)
        if any(extra >= max(axis.stride, axis.dilation) for extra, axis in zip(extras, forward.axes, strict=True)):
            expected = f"less than stride {forward.stride} or dilation {forward.dilation}"
            raise SettingError("output_padding", got=extras, expected=expected)
        axes = shapes.transposed_axes(forward.axes, extras, same=padding == "same")
        channels = Connections.of(in_channels, out_channels, groups, connections)
        shared = Sharing.of(sharing, self.ndim)
        biases = Sharing.of(shared if bias_sharing is None else bias_sharing, self.ndim)
        convolution = Convolution.of_parts(channels, axes, shared, bias, biases)
        super().__init__(convolution, input_size, algorithm, device, dtype, precision, workspace)
        self._forward = forward  # whose adjoint this is: torch's settings are those of it
        self.output_padding = extras

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """output_size: the size wanted among those that the stride leaves open; it takes output_padding's place."""
        if output_size is None:
            return super().forward(x)
        if self._is_lazy:
            self._initialise(x)
        given = plain(output_size)
        number = len(given) if isinstance(given, list) else self.ndim
        wanted = shapes.sizes_of(given, number, "output_size")
        if len(wanted) not in (self.ndim, self.ndim + 1, self.ndim + 2):
            raise ShapeError("output_size", got=wanted, expected=f"{self.ndim} sizes, or a whole shape")
        convolution = self._reaching(tuple(x.shape[-self.ndim :]), wanted[-self.ndim :])
        settings = self.algorithm, self.layout, self.precision, self.workspace
        return _operator(convolution, *settings)(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        conv = self.convolution
        shown = Convolution.of_parts(conv.channels, self._forward.axes, conv.sharing, conv.bias, conv.bias_sharing)
        extra = notation.per_axis(self.output_padding)
        return f"{shown}" if extra == "0" else f"{shown}, output_padding={extra}"

    @property
    def padding(self) -> Any:
        return shown_padding(self._forward)

    @FixedSetting
    def padding_mode(self) -> str:
        """Always zeros."""
        return "zeros"

    def _reaching(self, input_size: tuple[int, ...], wanted: tuple[int, ...]) -> Convolution:
        """The convolution with the high padding that gives the wanted output size."""
        conv = self.convolution
        present = conv.output_size(input_size)
        if wanted != present and (conv.sharing.needs_size or conv.bias_sharing.needs_size):
            fix = "Its weights are made for one size: give output_padding, and leave output_size out."
            raise ShapeError("output_size of an unshared layer", got=wanted, expected=present, fix=fix)
        least = tuple(size - extra for size, extra in zip(present, self.output_padding, strict=True))
        most = tuple(size + axis.input_dilation - 1 for size, axis in zip(least, conv.axes, strict=True))
        if not all(low <= size <= high for low, size, high in zip(least, wanted, most, strict=True)):
            raise ShapeError(
                f"output_size for an input of {input_size}", got=wanted, expected=f"from {least} to {most}"
            )
        more = (size - now for size, now in zip(wanted, present, strict=True))
        axes = tuple(shapes.longer(axis, extra) for axis, extra in zip(conv.axes, more, strict=True))
        return Convolution.of_parts(conv.channels, axes, conv.sharing, conv.bias, conv.bias_sharing)


class ConvTranspose1d(_Transposed):
    """A transposed convolution along one axis: torch.nn.ConvTranspose1d's arguments, then those of Conv1d.

    >>> import torch
    >>> ConvTranspose1d(2, 4, 4, stride=2, padding=1)(torch.zeros(1, 2, 8)).shape
    torch.Size([1, 4, 16])
    """

    ndim = 1


class ConvTranspose2d(_Transposed):
    """A transposed convolution along two axes: torch.nn.ConvTranspose2d's arguments, then those of Conv2d.

    >>> import torch
    >>> ConvTranspose2d(2, 4, 3, stride=2, padding="same")(torch.zeros(1, 2, 5, 5)).shape
    torch.Size([1, 4, 10, 10])
    """

    ndim = 2


class ConvTranspose3d(_Transposed):
    """A transposed convolution along three axes: torch.nn.ConvTranspose3d's arguments, then those of Conv3d.

    >>> import torch
    >>> ConvTranspose3d(2, 4, 2, stride=2)(torch.zeros(1, 2, 3, 3, 3)).shape
    torch.Size([1, 4, 6, 6, 6])
    """

    ndim = 3
