"""The model that slides: a list of calls on the parameters of the model that it was made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree as pytree


@dataclass(frozen=True)
class Aten:
    """An operator of ATen, by its name, so that it can be saved.

    >>> Aten("aten", "relu", "default")(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    namespace: str
    name: str
    overload: str

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        packet = getattr(getattr(torch.ops, self.namespace), self.name)
        return getattr(packet, self.overload)(*arguments, **named)


@dataclass(frozen=True)
class Value:
    """What a call has given: the image for 0, then one for each call."""

    number: int


@dataclass(frozen=True)
class Own:
    """A parameter or buffer of the model, by its name."""

    name: str


@dataclass(frozen=True)
class Training:
    """Whether a module of the model is being trained, by its path."""

    path: str


OPERANDS = (Value, Own, Training)


@dataclass(frozen=True)
class SlidingCall:
    """A function, or the path of a module of the model, with what it is called on; done: values not read again."""

    function: Callable[..., Any] | str
    arguments: tuple[Any, ...]
    named: dict[str, Any] = field(default_factory=dict)
    done: tuple[int, ...] = ()


class SlidingModel(nn.Module):
    """(batch, channels, *larger size) to (batch, scores, *positions); parameters have their names in the first model.

    original: a copy of it, whose parameters, buffers and layers become those of this. name: of its class.
    constants: other tensors that are read. calls: in order, the last gives the scores.
    """

    def __init__(self, original: nn.Module, constants: dict[str, Tensor], calls: Sequence[SlidingCall]) -> None:
        super().__init__()
        self.training = original.training
        for kind in ("_parameters", "_buffers", "_non_persistent_buffers_set", "_modules"):
            setattr(self, kind, getattr(original, kind))
        for name, one in constants.items():
            self.register_buffer(name, one, persistent=False)
        self._name, self._calls = type(original).__name__, tuple(calls)

    def forward(self, x: Tensor) -> Tensor:
        values: dict[int, Any] = {0: x}
        result: Any = x
        for number, call in enumerate(self._calls, 1):
            arguments, named = _filled(call.arguments, self, values), _filled(call.named, self, values)
            function = self.get_submodule(call.function) if isinstance(call.function, str) else call.function
            values[number] = result = function(*arguments, **named)
            for one in call.done:
                del values[one]
        return result

    def _get_name(self) -> str:
        return f"Sliding{self._name}"


def _filled(given: Any, model: nn.Module, values: dict[int, Any]) -> Any:
    """Arguments with tensors in the place of what stands for them."""
    if isinstance(given, Value):
        return values[given.number]
    if isinstance(given, Own):
        return attrgetter(given.name)(model)
    if isinstance(given, Training):
        return model.get_submodule(given.path).training
    if isinstance(given, tuple | list):
        return type(given)(_filled(one, model, values) for one in given)
    if isinstance(given, dict):
        return {name: _filled(one, model, values) for name, one in given.items()}
    return given


def numbers_of(given: Any) -> set[int]:
    """Of the values among arguments."""
    leaves = pytree.tree_leaves(given, is_leaf=lambda one: isinstance(one, OPERANDS))
    return {one.number for one in leaves if isinstance(one, Value)}


def reshaped(x: Tensor, leading: tuple[int, ...], count: int) -> Tensor:
    """Other dimensions in front of the last `count`, which are the places."""
    return x.reshape(*leading, *x.shape[x.dim() - count :])


def cut(x: Tensor, dim: int, low: int, high: int, step: int) -> Tensor:
    """Every step-th place but for so many at the ends."""
    return x[(slice(None),) * dim + (slice(low, x.shape[dim] - high, step),)]


def fitted(tensors: list[Tensor], count: int) -> list[Tensor]:
    """Tensors that meet, without the last places that not all of them have."""
    size = [min(one.shape[one.dim() + axis] for one in tensors) for axis in range(-count, 0)]
    cuts = (..., *(slice(length) for length in size))
    return [one[cuts] for one in tensors]


def over_planes(x: Tensor, layer: Callable[[Tensor], Tensor], count: int) -> Tensor:
    """A layer that takes (batch, channels, *places), of a tensor with any dimensions in front of its places."""
    front = x.shape[: x.dim() - count]
    found = layer(x.reshape(-1, front[-1], *x.shape[x.dim() - count :]))
    return found.reshape(*front[:-1], *found.shape[1:])


def multiplied(
    x: Tensor, layer: Any, weight: Tensor, bias: Tensor | None, count: int, order: Any, shape: Any
) -> Tensor:
    """A convolution by the weights of a fully connected layer: its inputs, in parts, in another order, as a kernel."""
    kernel = kernel_of(weight, order, shape)
    return over_planes(x, lambda part: layer(part, kernel, bias), count)


def kernel_of(weight: Tensor, order: Any, shape: tuple[int, ...]) -> Tensor:
    """The weights of a fully connected layer as a kernel (outputs, channels, *places).

    order: the parts that its inputs consist of, and in which order they make the shape.
    """
    parts, numbers = order
    return weight.reshape(-1, *parts).permute(0, *(at + 1 for at in numbers)).reshape(-1, *shape)


def normalised(x: Tensor, dim: int, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Groups along one dimension to mean 0 and variance 1, each place on its own."""
    last = x.movedim(dim, -1)
    if groups == 1:
        return F.layer_norm(last, last.shape[-1:], weight, bias, eps).movedim(-1, dim)
    found = F.group_norm(last.reshape(-1, last.shape[-1]), groups, weight, bias, eps)
    return found.reshape(last.shape).movedim(-1, dim)


def enlarged(x: Tensor, factors: tuple[int, ...], mode: str) -> Tensor:
    """Every axis so many times as long."""
    size = [length * factor for length, factor in zip(x.shape[2:], factors, strict=True)]
    return F.interpolate(x, size, mode=mode)


def around(x: Tensor, pad: tuple[int, ...]) -> Tensor:
    """Padding by the other end."""
    return F.pad(x, pad, "circular")


def broadcast(x: Tensor, leading: tuple[int, ...], count: int) -> Tensor:
    """Dimensions of one sample in front of the places made longer, or made."""
    front, places = x.shape[: x.dim() - count], x.shape[x.dim() - count :]
    x = x.reshape((1,) * (len(leading) - len(front)) + front + places)
    return x.expand(*leading, *places)
