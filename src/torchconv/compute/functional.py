"""A convolution and its two gradients as functions of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..description.axis import flag
from ..description.connections import Connections, table_of
from ..description.convolution import Convolution
from ..description.sharing import Sharing
from ..errors import SettingError, ShapeError
from . import layouts
from .operator import Operator
from .tensors import check_tensors, compile_time_constant


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    padding_mode: Any = "zeros",
    input_dilation: Any = 1,
    connections: Any = None,
    sharing: Any = "full",
    bias_sharing: Any = None,
    flip: bool = False,
    algorithm: str = "auto",
    precision: str = "auto",
    workspace: int | None = None,
) -> Tensor:
    """Convolve x (batch, in, *size) with any convolution of the family, to (batch, out, *output size).

    weight: (*phases, out, in // groups, *kernel); phases is () for sharing="full", the period for tiled, the output
        size for "none"; with a connection table (*phases, connections, *kernel).
    bias: (*bias phases, out) or None.
    The settings are those of `Convolution`. flip=True reverses the kernel, which is convolution as mathematics has it.
    algorithm: "auto", or the name of one ("torch", "patches", ...) that is to be used whatever it costs.
    precision: "auto"; "fast" and "bf16" allow less exact algorithms where there are any.
    workspace: bytes that an operation may take beside input, weights and output; by default 4 times those of these
        arrays, and at least 16 MiB. Torch's own kernels are used where nothing else keeps to it.

    Differentiable any number of times. Raises ShapeError or SettingError, restating the request.
    Source: Goodfellow, Bengio, Courville 2016, Deep learning, sections 9.1 and 9.5.

    >>> x, weight = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3)
    >>> conv(x, weight, padding="same").sum().item()
    100.0
    """
    if not (isinstance(x, Tensor) and isinstance(weight, Tensor)):
        check_tensors(input=x, weight=weight)
    windows = stride, padding, dilation, groups, padding_mode, input_dilation
    how = sharing, bias_sharing, flip, algorithm, precision, workspace
    return _operator(x.ndim, weight.shape, connections, *windows, *how)(x, weight, bias)


def conv_input_grad(input_size: Sequence[int], weight: Tensor, grad_output: Tensor, **settings: Any) -> Tensor:
    """The gradient of `conv` with respect to its input, which is its adjoint: grad_output (batch, out, *output size).

    input_size: shape of the input, (batch, in, *size) as for torch.nn.grad, or only (*size).
    settings: those of `conv`. For complex weights their conjugate is taken: <conv(x), y> == <x, conv_input_grad(y)>.

    >>> conv_input_grad((1, 1, 3), torch.tensor([[[1.0, 2.0]]]), torch.ones(1, 1, 2))
    tensor([[[1., 3., 2.]]])
    """
    check_tensors(weight=weight, grad_output=grad_output)
    operator = _operator_of(grad_output.ndim, weight.shape, settings)
    conv = operator.convolution
    given = tuple(_size("input_size", input_size))
    sizes = given[-conv.ndim :]
    whole = (*grad_output.shape[: -conv.ndim - 1], conv.in_channels, *sizes)
    if given not in (sizes, whole):
        raise ShapeError("input_size of conv_input_grad", got=given, expected=f"{whole} or {sizes}")
    return operator.input_grad(grad_output, weight, sizes)


def conv_weight_grad(input: Tensor, weight_size: Sequence[int], grad_output: Tensor, **settings: Any) -> Tensor:
    """The gradient of `conv` with respect to its weights.

    input: (batch, in, *size). grad_output: (batch, out, *output size).

    weight_size: shape of the weights, as for torch.nn.grad. settings: those of `conv`.

    >>> conv_weight_grad(torch.tensor([[[1.0, 2.0, 4.0]]]), (1, 1, 2), torch.ones(1, 1, 2))
    tensor([[[3., 6.]]])
    """
    check_tensors(input=input, grad_output=grad_output)
    size = _size("weight_size", weight_size)
    operator = _operator_of(input.ndim, size, settings)
    grad = operator.weight_grad(input, grad_output)
    expected = tuple(grad.shape)
    if size != expected and grad.numel() != size.numel():
        raise ShapeError("weight_size of conv_weight_grad", got=tuple(size), expected=expected)
    return grad.reshape(size)


def _operator_of(ndim: int, weight_shape: torch.Size, settings: dict[str, Any]) -> Operator:
    unknown = settings.keys() - set(_SETTINGS)
    if unknown:
        raise TypeError(f"unknown settings {sorted(unknown)}: expected some of {', '.join(_SETTINGS)}")
    asked = _SETTINGS | settings
    return _operator(ndim, weight_shape, asked.pop("connections"), *asked.values())


_SETTINGS: dict[str, Any] = dict(conv.__kwdefaults__ or {})


def _operator(ndim: int, weight_shape: torch.Size, connections: Any, *settings: Any) -> Operator:
    """The operator for one way of asking, made once."""
    request = ndim, weight_shape, connections, *settings
    if torch.compiler.is_compiling():
        return getattr(_HELD, _held(*map(_hashable, request)))
    try:
        if type(connections) is not Tensor:  # which is a key, but by its identity, not its numbers
            return _made(*request)
    except TypeError:  # lists and arrays are no keys
        pass
    return _made(*map(_hashable, request))


def _size(name: str, value: Any) -> torch.Size:
    """A shape; a tensor given in its place is a slip worth naming."""
    if isinstance(value, Tensor) or not isinstance(value, list | tuple):
        raise ShapeError(name, got=type(value).__name__, expected="a shape such as x.shape")
    return torch.Size(value)


# Operators that compiled code uses. The compiler takes the name for a constant, and guards only what is under it.
_HELD = SimpleNamespace()


@compile_time_constant
def _held(*request: Any) -> str:
    operator = _made(*request)
    name = f"{operator.layout} {operator.algorithm} {operator.precision} {operator.workspace} {operator.convolution!s}"
    setattr(_HELD, name, operator)
    return name


def _hashable(value: Any) -> Any:
    if isinstance(value, np.ndarray | Tensor):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return tuple(_hashable(one) for one in value)
    if isinstance(value, set | dict):
        raise SettingError("a setting", got=repr(value), expected="a number, a word, a tuple, a list or an array")
    return value


@lru_cache(maxsize=1024, typed=True)
def _made(input_ndim: int, weight_shape: Sequence[int], connections: Any, *settings: Any) -> Operator:
    named = dict(zip((name for name in _SETTINGS if name != "connections"), settings, strict=True))
    flip, algorithm, precision, workspace = map(named.pop, ("flip", "algorithm", "precision", "workspace"))
    table = None if connections is None else table_of(connections)
    sharing = named["sharing"]
    ndim = _rank(input_ndim, weight_shape, sharing, table)
    phases = 0 if Sharing.of(sharing, ndim).is_full else ndim
    outs, ins = (weight_shape[phases], weight_shape[phases + 1] * named["groups"]) if table is None else table.shape
    description = Convolution(int(ins), int(outs), tuple(weight_shape[-ndim:]), connections=table, **named)
    layout = layouts.FLIPPED if flag("flip", flip) else layouts.PLAIN
    return Operator(description, algorithm, layout, precision, workspace)


def _rank(input_ndim: int, weight_shape: Sequence[int], sharing: Any, table: np.ndarray | None) -> int:
    """The number of axes, from the weights and the input, which may come without a batch."""
    if not isinstance(sharing, list | tuple):
        Sharing.of(sharing, 1)  # an unknown word is an error of its own
    for ndim in (input_ndim - 2, input_ndim - 1):
        if ndim < 1 or (isinstance(sharing, list | tuple) and len(sharing) != ndim):
            continue
        phases = 0 if Sharing.of(sharing, ndim).is_full else ndim
        channels = tuple(weight_shape[phases : len(weight_shape) - ndim])
        if (len(channels) == 2 and table is None) or (table is not None and _fits(channels, table)):
            return ndim
    channels = "connections" if table is not None else "out, in // groups"
    raise ShapeError(
        f"weight of a convolution with sharing={sharing!r} on an input with {input_ndim} axes",
        got=f"shape {tuple(weight_shape)}",
        expected=f"(*phases, {channels}, *kernel) for {max(input_ndim - 2, 1)} axes beside batch and channels",
    )


def _fits(channels: tuple[int, ...], table: np.ndarray) -> bool:
    """Whether weights with these channel axes can be those of a table: listed, or in the shape of its groups."""
    known = Connections.of(table.shape[1], table.shape[0], table=table)
    return channels in ((known.count,), known.weight_shape)
