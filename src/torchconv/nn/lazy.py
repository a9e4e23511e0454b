"""Parameters of layers: torch.nn's initial distribution, and lazily initialised layers."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Sequence
from math import prod, sqrt
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.parameter import Parameter, UninitializedParameter, is_lazy

from ..compute import layouts
from ..compute.layouts import TRANSPOSED
from ..compute.operator import Operator
from ..description.convolution import Convolution


def initialise(convolution: Convolution, weight: Tensor | None, bias: Tensor | None, layout: str) -> None:
    """Fill those of weight and bias that are given with numbers between -bound and bound, bound = 1 / sqrt(fan in).

    The fan in is what one output reads, input channels times taps; with a connection table it differs from output to
    output. For a transposed layer torch takes the fan of its transposed weights, and so does this.

    Source: He et al. 2015, Delving deep into rectifiers, section 2.2; the gain is that of torch.nn.Conv2d.
    """
    taps = prod(convolution.kernel_size)
    channels = convolution.channels
    if channels.rows is None:
        width = (channels.out_channels if layout == TRANSPOSED else channels.in_channels) // channels.groups
        fan, reads = width * taps, None
    else:
        fan, reads = taps, channels.rows
    gain = torch.nn.init.calculate_gain("leaky_relu", sqrt(5))
    with torch.no_grad():
        if weight is not None:
            _uniform(weight, sqrt(3.0) * gain / sqrt(fan))
            if reads is not None:
                each = torch.tensor([len(row) for row in reads for _ in row], device=weight.device)
                weight.div_(each.sqrt().reshape(-1, *(1,) * convolution.ndim))
        if bias is not None:
            _uniform(bias, 1 / sqrt(fan))
            if reads is not None:
                bias.div_(torch.tensor([max(len(row), 1) for row in reads], device=bias.device).sqrt())


def _uniform(tensor: Tensor, bound: float) -> None:
    (torch.view_as_real(tensor) if tensor.is_complex() else tensor).uniform_(-bound, bound)


_INITIALISING = threading.RLock()  # for layers whose first calls come from several threads


class LazilyInitialised(torch.nn.Module):
    """A layer whose parameters take their shapes from the first input, or from saved parameters."""

    layout: ClassVar[str]
    convolution: Any
    weight: Parameter
    bias: Parameter | None
    input_size: tuple[int, ...] | None
    _operator: Operator
    _is_lazy: bool  # whether a parameter has no shape yet

    @abstractmethod
    def _weight_shape(self) -> tuple[int, ...]: ...

    @abstractmethod
    def _reset(self, names: Sequence[str]) -> None: ...

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
                self._reset(made)
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
