"""Convolutional layers: torch.nn's arguments, and the layer of any described convolution."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from math import prod, sqrt
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.parameter import Parameter, UninitializedParameter, is_lazy

from ..compute import layouts
from ..compute.operator import Operator
from ..description import shapes
from ..description.convolution import Convolution

_INITIALISING = threading.RLock()  # for layers whose first calls come from several threads


class FixedSetting(property):
    """A setting of a layer: it can be read, and setting it raises an AttributeError that says why."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __set__(self, instance: Any, value: Any) -> None:
        what = f"{self._name} of {type(instance).__name__} cannot be changed, because its computation is prepared"
        raise AttributeError(f"{what}. Make a new layer, and load the weights of this one.")

    @classmethod
    def of_part(cls, part: str, name: str, doc: str) -> Any:
        """A setting that one part of the layer holds."""

        def read(layer: Any) -> Any:
            return getattr(getattr(layer, part), name)

        read.__doc__ = doc
        return cls(read)


def shown_padding(convolution: Convolution) -> tuple[Any, ...]:
    """Padding as torch.nn's layers show it: per axis an int, or (low, high) where they differ, or "same"."""
    return tuple(pad[0] if pad != "same" and pad[0] == pad[1] else pad for pad in convolution.padding)


class Conv(torch.nn.Module):
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
    weight: Parameter
    bias: Parameter | None
    _is_lazy: bool  # whether a parameter has no shape yet, and takes it from the first input or from saved parameters

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
            without_shape: Any = UninitializedParameter  # which to type checkers is no subclass of Parameter
            self.register_parameter("weight", without_shape(**options))
            self.register_parameter("bias", without_shape(**options) if convolution.bias else None)
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
        shaped = {name: one for name, one in self._parameters.items() if one is not None and not is_lazy(one)}
        self._fill([name for name in ("weight", "bias") if name in shaped])

    def _fill(self, names: Sequence[str]) -> None:
        """Fill these parameters with numbers between -bound and bound, bound = 1 / sqrt(fan in).

        The fan in is what one output reads, input channels times taps; with a connection table it differs from output
        to output. For a transposed layer torch takes the fan of its transposed weights, and so does this.

        Source: He et al. 2015, Delving deep into rectifiers, section 2.2; the gain is that of torch.nn.Conv2d.
        """
        channels, rows, fan = self.convolution.channels, self.convolution.channels.rows, prod(self.kernel_size)
        if rows is None:
            width = channels.out_channels if self.layout == layouts.TRANSPOSED else channels.in_channels
            fan *= width // channels.groups
        gain = sqrt(3.0) * torch.nn.init.calculate_gain("leaky_relu", sqrt(5))
        for name in names:
            parameter, bound = getattr(self, name), (gain if name == "weight" else 1) / sqrt(fan)
            with torch.no_grad():
                (torch.view_as_real(parameter) if parameter.is_complex() else parameter).uniform_(-bound, bound)
                if rows is not None:
                    reads = [len(row) for row in rows for _ in row] if name == "weight" else [*map(len, rows)]
                    each = torch.tensor(reads, device=parameter.device).clamp(min=1).sqrt()
                    parameter.div_(each.reshape(-1, *(1,) * self.convolution.ndim) if name == "weight" else each)

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

    algorithm: str = FixedSetting.of_part("_operator", "algorithm", "How it is computed.")
    precision: str = FixedSetting.of_part("_operator", "precision", "How exact it has to be.")
    workspace: int | None = FixedSetting.of_part(
        "_operator", "workspace", "Bytes that an operation may take beside its tensors; None: the default."
    )
    in_channels: int = FixedSetting.of_part("convolution", "in_channels", "Channels of the input.")
    out_channels: int = FixedSetting.of_part("convolution", "out_channels", "Channels of the output.")
    groups: int = FixedSetting.of_part("convolution", "groups", "Channel groups.")
    kernel_size: tuple[int, ...] = FixedSetting.of_part("convolution", "kernel_size", "Taps per axis.")
    stride: tuple[int, ...] = FixedSetting.of_part("convolution", "stride", "Samples between windows, per axis.")
    dilation: tuple[int, ...] = FixedSetting.of_part("convolution", "dilation", "Samples between taps, per axis.")

    @property
    def padding(self) -> Any:
        """Per axis an int, or (low, high) where they differ, or "same"."""
        return shown_padding(self.convolution)

    def _weight_shape(self) -> tuple[int, ...]:
        conv = self.convolution
        outputs = None if self.input_size is None else conv.output_size(self.input_size)
        return layouts.shape(conv, conv.sharing.phases(outputs), self.layout)

    def _initialise(self, x: Tensor) -> None:
        """Make the parameters whose shapes depend on the input size, unless the input cannot be one."""
        with _INITIALISING:
            if not self._is_lazy:
                return
            self._operator.check_input(x)
            self.input_size = tuple(x.shape[-self.convolution.ndim :])
            shapes_of = {"weight": self._weight_shape(), "bias": self.convolution.bias_shape(self.input_size)}
            made = [name for name in shapes_of if isinstance(self._parameters[name], UninitializedParameter)]
            with torch.inference_mode(False):
                for name in made:
                    self._parameters[name].materialize(shapes_of[name])  # type: ignore[union-attr]
                self._fill(made)
            self._is_lazy = False

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        if self._is_lazy:  # an uninitialised parameter cannot be detached, which is what the ordinary way does
            keep_vars = True
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *arguments: Any) -> None:
        """Saved parameters of an unshared layer give the shapes."""
        ndim = self.convolution.ndim
        wanted = layouts.shape(self.convolution, (), self.layout)
        for name, tail in (("weight", wanted), ("bias", (self.convolution.out_channels,))):
            parameter, saved = self._parameters[name], state_dict.get(prefix + name)
            if not isinstance(parameter, UninitializedParameter) or saved is None or is_lazy(saved):
                continue
            shape = tuple(saved.shape)
            if shape[ndim:] == tail:
                parameter.materialize(shape)
            else:
                expected = ", ".join(["*output size", *map(str, tail)])
                arguments[-1].append(f"size mismatch for {prefix + name}: got {shape}, expected ({expected})")
                return
        self._is_lazy = any(is_lazy(parameter) for parameter in self._parameters.values() if parameter is not None)
        super()._load_from_state_dict(state_dict, prefix, *arguments)


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
        return self._given["padding"] if isinstance(self._given["padding"], str) else shown_padding(self.convolution)

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
