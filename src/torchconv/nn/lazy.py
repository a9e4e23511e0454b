"""Layers whose parameters wait for the size of the first input, or for saved ones."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.parameter import Parameter, UninitializedParameter, is_lazy

from ..compute import layouts
from ..compute.operator import Operator

_SETTLING = threading.RLock()  # for layers whose first calls come from several threads


def unfinished(**options: Any) -> Any:
    """A parameter without a shape yet; torch's class for it is no subclass of Parameter, but takes its place."""
    return UninitializedParameter(**options)


class Waiting(torch.nn.Module):
    """What a layer does while its parameters have no shape yet; subclasses make the parameters."""

    layout: ClassVar[str]
    convolution: Any
    weight: Parameter
    bias: Parameter | None
    input_size: tuple[int, ...] | None
    _operator: Operator
    _waiting: bool

    @abstractmethod
    def _weight_shape(self) -> tuple[int, ...]: ...

    @abstractmethod
    def _reset(self, names: Sequence[str]) -> None: ...

    def _settle(self, x: Tensor) -> None:
        """Make the parameters that waited for the input size, unless the input cannot be one."""
        with _SETTLING:
            if not self._waiting:
                return
            self._operator.check_input(x)
            self.input_size = tuple(x.shape[-self.convolution.ndim :])
            shapes_of = {"weight": self._weight_shape(), "bias": self.convolution.bias_shape(self.input_size)}
            waited = [name for name in shapes_of if isinstance(self._parameters[name], UninitializedParameter)]
            with torch.inference_mode(False):
                for name in waited:
                    self._parameters[name].materialize(shapes_of[name])  # type: ignore[union-attr]
                self._reset(waited)
            self._waiting = False

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        if self._waiting:  # an unfinished parameter cannot be detached, which is what the ordinary way does
            keep_vars = True
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *arguments: Any) -> None:
        """Saved parameters of an unshared layer say what this one waited for."""
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
        self._waiting = any(is_lazy(parameter) for parameter in self._parameters.values() if parameter is not None)
        super()._load_from_state_dict(state_dict, prefix, *arguments)
