"""Convolutional layers: torch.nn's arguments, and the layer of any described convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.parameter import Parameter, UninitializedParameter, is_lazy

from ..compute import layouts
from ..compute.operator import Operator
from ..description import shapes
from ..description.convolution import Convolution
from .lazy import LazilyInitialised, initialise


class FixedSetting(property):
    """A setting of a layer: it can be read, and setting it raises an AttributeError that says why."""

    def __set__(self, instance: Any, value: Any) -> None:
        name = getattr(self.fget, "__name__", "a setting")
        what = f"{name} of {type(instance).__name__} cannot be changed, because its computation is prepared"
        raise AttributeError(f"{what}. Make a new layer, and load the weights of this one.")


def _without_shape(**options: Any) -> Any:
    return UninitializedParameter(**options)  # no subclass of Parameter, but it takes its place


def shown_padding(convolution: Convolution) -> tuple[Any, ...]:
    """Padding as torch.nn's layers show it: per axis an int, or (low, high) where they differ, or "same"."""
    return tuple(pad[0] if pad != "same" and pad[0] == pad[1] else pad for pad in convolution.padding)


class Conv(LazilyInitialised):
    """The layer of a described convolution: (batch, in, *size) to (batch, out, *output size); the batch may be missing.

    convolution: the description. input_size: samples per axis; unshared layers need it to know their parameters, and
    find it at their first call if it is left out. algorithm, precision, workspace: as for `conv`.

    State: `weight` and `bias` in the shapes of the description, for an ordinary layer those of torch.nn.
    Raises ShapeError for an input that does not fit.

    >>> layer = Conv.of(Convolution(1, 6, (5, 5), sharing="none"), input_size=(32, 32))
    >>> sum(parameter.numel() for parameter in layer.parameters())
    122304
    """

    layout: ClassVar[str] = layouts.PLAIN
    transposed: ClassVar[bool] = False

    def __init__(
        self,
        convolution: Convolution,
        input_size: Any = None,
        algorithm: str = "auto",
        device: Any = None,
        dtype: Any = None,
        precision: str = "auto",
        workspace: int | None = None,
    ) -> None:
        super().__init__()
        self._describe(convolution, input_size, algorithm, precision, workspace)
        options = {"device": device, "dtype": dtype}
        needs_size = convolution.sharing.needs_size or convolution.bias_sharing.needs_size
        self._is_lazy = needs_size and input_size is None
        if self._is_lazy:
            self.register_parameter("weight", _without_shape(**options))
            self.register_parameter("bias", _without_shape(**options) if convolution.bias else None)
        else:
            self.weight = Parameter(torch.empty(self._weight_shape(), **options))
            shape = convolution.bias_shape(self.input_size)
            self.register_parameter("bias", Parameter(torch.empty(shape, **options)) if convolution.bias else None)
            self.reset_parameters()

    @classmethod
    def of(cls, convolution: Convolution, input_size: Any = None, **options: Any) -> Conv:
        """The layer of a description; options: algorithm, device, dtype, precision, workspace."""
        return Conv(convolution, input_size, **options)

    @classmethod
    def holding(
        cls, convolution: Convolution, input_size: Any, weight: Parameter, bias: Parameter | None, **options: Any
    ) -> Conv:
        """The layer of a description with these very parameters; options: algorithm, precision, workspace."""
        layer = Conv.__new__(Conv)
        super(Conv, layer).__init__()
        layer._describe(convolution, input_size, **options)
        layer._is_lazy = False
        layer.weight = weight
        layer.register_parameter("bias", bias)
        return layer

    def _describe(
        self,
        convolution: Convolution,
        input_size: Any,
        algorithm: str = "auto",
        precision: str = "auto",
        workspace: int | None = None,
    ) -> None:
        self._operator = Operator(convolution, algorithm, self.layout, precision, workspace)
        self.input_size = None if input_size is None else shapes.sizes_of(input_size, convolution.ndim)

    def reset_parameters(self) -> None:
        """Fill weight and bias anew, by torch.nn's distribution."""
        self._reset([name for name, tensor in self._parameters.items() if tensor is not None and not is_lazy(tensor)])

    def _reset(self, names: Sequence[str]) -> None:
        weight, bias = (self._parameters[name] if name in names else None for name in ("weight", "bias"))
        initialise(self.convolution, weight, bias, self.layout)

    def forward(self, x: Tensor) -> Tensor:
        if self._is_lazy:
            self._initialise(x)
        return self._operator(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return str(self.convolution)

    @FixedSetting
    def convolution(self) -> Convolution:
        """The description."""
        return self._operator.convolution

    @FixedSetting
    def algorithm(self) -> str:
        """How it is computed."""
        return self._operator.algorithm

    @FixedSetting
    def precision(self) -> str:
        """How exact it has to be."""
        return self._operator.precision

    @FixedSetting
    def workspace(self) -> int | None:
        """Bytes that an operation may take beside input, weights and output; None: the default."""
        return self._operator.workspace

    @property
    def in_channels(self) -> int:
        """Channels of the input."""
        return self.convolution.in_channels

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return self.convolution.out_channels

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Taps per axis."""
        return self.convolution.kernel_size

    @property
    def stride(self) -> tuple[int, ...]:
        """Samples from one window to the next, per axis."""
        return self.convolution.stride

    @property
    def dilation(self) -> tuple[int, ...]:
        """Samples from one tap to the next, per axis."""
        return self.convolution.dilation

    @property
    def padding(self) -> Any:
        """Per axis an int, or (low, high) where they differ, or "same"."""
        return shown_padding(self.convolution)

    @property
    def groups(self) -> int:
        """Channel groups."""
        return self.convolution.groups

    def _weight_shape(self) -> tuple[int, ...]:
        conv = self.convolution
        outputs = None if self.input_size is None else conv.output_size(self.input_size)
        return layouts.shape(conv, conv.sharing.phases(outputs), self.layout)


class _Convolution(Conv):
    """Layers with torch.nn.Conv's arguments; `ndim` is all in which the ranks differ."""

    ndim: ClassVar[int]

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
        sharing: Any = "full",
        bias_sharing: Any = None,
        connections: Any = None,
        input_size: Any = None,
        algorithm: str = "auto",
        precision: str = "auto",
        workspace: int | None = None,
    ) -> None:
        places = stride, padding, dilation, groups, bias, padding_mode
        shared = {"connections": connections, "sharing": sharing, "bias_sharing": bias_sharing}
        convolution = Convolution(in_channels, out_channels, kernel_size, *places, **shared, ndim=self.ndim)
        super().__init__(convolution, input_size, algorithm, device, dtype, precision, workspace)
        self._given = {"padding": padding, "padding_mode": padding_mode}

    @FixedSetting
    def padding(self) -> Any:
        """A word as it was given, or per axis an int, or (low, high) where they differ."""
        return self._given["padding"] if isinstance(self._given["padding"], str) else super().padding

    @FixedSetting
    def padding_mode(self) -> Any:
        """What padding holds, as it was given."""
        return self._given["padding_mode"]


class Conv1d(_Convolution):
    """A convolution along one axis: torch.nn.Conv1d's arguments, then sharing, connections, input_size, algorithm.

    >>> Conv1d(2, 4, 3, padding="same")(torch.zeros(1, 2, 8)).shape
    torch.Size([1, 4, 8])
    """

    ndim = 1


class Conv2d(_Convolution):
    """A convolution along two axes: torch.nn.Conv2d's arguments, then sharing, connections, input_size, algorithm.

    >>> table = [[1, 1, 0], [0, 1, 1]]
    >>> Conv2d(3, 2, 5, connections=table).weight.shape
    torch.Size([4, 5, 5])
    """

    ndim = 2


class Conv3d(_Convolution):
    """A convolution along three axes: torch.nn.Conv3d's arguments, then sharing, connections, input_size, algorithm.

    >>> Conv3d(1, 2, 3, stride=2, padding="same")(torch.zeros(1, 1, 5, 5, 5)).shape
    torch.Size([1, 2, 3, 3, 3])
    """

    ndim = 3
