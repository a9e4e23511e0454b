"""Layers that are noted as one operation, where torch, or we, would take them apart before they are seen.

Operators of our own stand for them while a model is watched; they make an output of the right shape, and that is all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ..compute.operator import Operator
from ..description.convolution import Convolution
from ..network import pooling
from ..network.operations import Volume
from ..network.reading import reading
from ..nn.pooling.channel_pool import ChannelPool
from ..nn.pooling.cluster_pool import ClusterPool
from ..nn.pooling.grid_pool import GlobalPool, GridPool1d
from ..nn.pooling.region_pool import RegionPool
from ..nn.pooling.window_pool import Pool
from .aten.call import Call, Step
from .aten.table import TABLE
from .aten.windows import convolved

_LIBRARY = torch.library.Library("torchconv_trace", "DEF")
_LIBRARY.define("seen(Tensor x, Tensor[] weights, str conv, int[] shape) -> Tensor")
_LIBRARY.define("described(Tensor[] inputs, int number, int[] shape) -> Tensor")
_LIBRARY.define("linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor")
_LIBRARY.define("circular_pad(Tensor input, int[] pad) -> Tensor")
_LIBRARY.define("einsum(str equation, Tensor[] operands) -> Tensor")
_LIBRARY.define("matmul(Tensor input, Tensor other) -> Tensor")


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.mm(input.reshape(-1, input.shape[-1]), weight.t()).view(*input.shape[:-1], len(weight))


def _matmul(input: Tensor, other: Tensor) -> Tensor:
    return input.new_empty(torch.matmul(input.to("meta"), other.to("meta")).shape)


def _circular_pad(input: Tensor, pad: list[int]) -> Tensor:
    more = [low + high for low, high in zip(pad[::2], pad[1::2], strict=True)][::-1]
    front = input.ndim - len(more)
    return input.new_empty([*input.shape[:front], *(n + m for n, m in zip(input.shape[front:], more, strict=True))])


def _pad(input: Tensor, pad: list[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """F.pad; torch pads around by writing into an empty tensor, part by part."""
    if mode == "circular" and min(pad) >= 0:
        return _OPERATORS.circular_pad(input, list(pad))
    return functional.pad(input, pad, mode, value)


def _einsum(equation: str, operands: list[Tensor]) -> Tensor:
    sizes = dict(
        zip(equation.partition("->")[0].replace(",", ""), [n for one in operands for n in one.shape], strict=True)
    )
    dtype = torch.promote_types(operands[0].dtype, operands[-1].dtype)
    return operands[0].new_empty([sizes[letter] for letter in equation.partition("->")[2]], dtype=dtype)


def _sum_of_products(equation: str, *operands: Any) -> Tensor:
    """torch.einsum; whole where every letter is written out, and none twice in one factor."""
    tensors = list(operands[0] if len(operands) == 1 and not isinstance(operands[0], Tensor) else operands)
    plain = equation.replace(" ", "") if isinstance(equation, str) else ""
    factors = plain.partition("->")[0].split(",")
    known = "->" in plain and "." not in plain and len(factors) == len(tensors) == 2
    if known and all(
        len({*letters}) == len(letters) == one.ndim for letters, one in zip(factors, tensors, strict=True)
    ):
        return _OPERATORS.einsum(plain, tensors)
    return torch.einsum(equation, *operands)


_SEEN: list[Any] = []  # operations, by the numbers that stand for them in calls
POOLS: tuple[Any, ...] = (Pool, GridPool1d.__base__, GlobalPool, ChannelPool, ClusterPool, RegionPool)
AXES: dict[type, Callable[[Any], int]] = {
    pooling.PoolWindows: lambda operation: operation.pooling.ndim,
    pooling.PoolGrid: lambda operation: len(operation.grids[0]),
    pooling.PoolClusters: lambda operation: len(operation.grid),
    pooling.PoolRegions: lambda operation: len(operation.grid),
}


def _described(self: Any, x: Tensor, codes: Tensor | None = None) -> Tensor:
    """In place of a layer's own way: what its description says of the output."""
    operation, inputs = self.operation, [x]
    if x.ndim == AXES.get(type(operation), lambda _: x.ndim)(operation) + 1:
        return _described(self, x.unsqueeze(0), None if codes is None else codes.unsqueeze(0)).squeeze(0)
    if codes is not None:
        operation, inputs = replace(operation, codes=True), [x, codes]
    volume = operation.output(*map(_volume, inputs))
    if operation not in _SEEN:
        _SEEN.append(operation)
    return _OPERATORS.described(inputs, _SEEN.index(operation), [x.shape[0], volume.channels, *volume.size])


def _volume(x: Tensor) -> Volume:
    return Volume(x.shape[1], tuple(x.shape[2:]))


def _step(call: Call) -> Step:
    operation, inputs = _SEEN[call["number"]], tuple(call["inputs"])
    volumes = [_volume(one) for one in inputs]
    axes = operation.pooling.axes if isinstance(operation, pooling.PoolWindows) else ()
    way, macs = reading(operation, volumes), operation.macs(*volumes)
    return Step(operation.title, way, inputs, macs, axes=axes, equivariant=operation.moves)


_KEY = "CompositeExplicitAutograd"
_LIBRARY.impl("seen", lambda x, weights, conv, shape: x.new_empty(shape), _KEY)
_LIBRARY.impl("described", lambda inputs, number, shape: inputs[-1].new_empty(shape), _KEY)
_LIBRARY.impl("linear", _linear, _KEY)
_LIBRARY.impl("einsum", _einsum, _KEY)
_LIBRARY.impl("circular_pad", _circular_pad, _KEY)
_LIBRARY.impl("matmul", _matmul, _KEY)
TABLE["seen"] = lambda call: convolved(Convolution.parse(call["conv"]), call.x)
TABLE["described"] = _step
_OPERATORS = torch.ops.torchconv_trace
INSTEAD: dict[Any, Any] = {
    functional.pad: _pad,
    torch.einsum: _sum_of_products,
    functional.linear: _OPERATORS.linear.default,
    torch.ops.aten.linear.default: _OPERATORS.linear.default,
    torch.matmul: _OPERATORS.matmul.default,
    Tensor.matmul: _OPERATORS.matmul.default,
    Tensor.__matmul__: _OPERATORS.matmul.default,
    torch.ops.aten.matmul.default: _OPERATORS.matmul.default,
}


class _Instead(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return INSTEAD.get(func, func)(*args, **(kwargs or {}))


@contextlib.contextmanager
def whole_layers() -> Iterator[None]:
    """While this lasts, fully connected layers, products of matrices and all our layers stay whole."""
    plain = Operator.__call__

    def noted(self: Operator, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        conv = self.convolution
        self.check_input(x)
        shape = [*x.shape[: -conv.ndim - 1], conv.out_channels, *conv.output_size(tuple(x.shape[-conv.ndim :]))]
        weights = [one for one in (weight, bias) if one is not None]
        return _OPERATORS.seen(x, weights, str(conv), shape)

    Operator.__call__ = noted  # type: ignore[method-assign]
    forwards = {kind: kind.forward for kind in POOLS}
    for kind in POOLS:
        kind.forward = _described
    try:
        with _Instead():
            yield
    finally:
        Operator.__call__ = plain  # type: ignore[method-assign]
        for kind, forward in forwards.items():
            kind.forward = forward
