"""What is noted as one operation, where torch would take it apart before it is seen.

Operators of our own stand for functions of torch while a model is traced; and one, `layer`, for all that this package
computes itself, from the operation of a network that it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_LIBRARY = torch.library.Library("torchconv_trace", "DEF")
_KEY = "CompositeExplicitAutograd"


def _operator(schema: str, compute: Callable[..., Any]) -> Any:
    name = schema.partition("(")[0]
    _LIBRARY.define(schema)
    _LIBRARY.impl(name, compute, _KEY)
    return getattr(torch.ops.torchconv_trace, name).default


def _new(compute: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """An operator must not give a view of what it was given."""

    def computed(*given: Any) -> Tensor:
        return compute(*given).clone()

    return computed


def _uncalled(tensors: Sequence[Tensor]) -> Tensor:
    raise NotImplementedError("an operation outside of a trace")


LAYER = _operator("layer(Tensor[] tensors) -> Tensor", _uncalled)
LINEAR = _operator("linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor", functional.linear)
MATMUL = _operator("matmul(Tensor input, Tensor other) -> Tensor", torch.matmul)
EINSUM = _operator("einsum(str equation, Tensor[] operands) -> Tensor", _new(torch.einsum))
CIRCULAR = _operator(
    "circular_pad(Tensor input, int[] pad) -> Tensor", lambda input, pad: functional.pad(input, pad, "circular")
)


RECURRENT = _operator(
    "recurrent(Tensor input, Tensor[] hidden, Tensor[] weights, str kind, bool biases, int layers, bool both, "
    "bool batch_first) -> Tensor[]",
    lambda x, hidden, weights, kind, biases, layers, both, batch_first: list(
        getattr(torch, kind)(
            x, hidden if kind == "lstm" else hidden[0], weights, biases, layers, 0.0, False, both, batch_first
        )
    ),
)


def _recurrent(kind: str) -> Callable[..., Any]:
    """A recurrent layer of torch in evaluation; of packed sequences in parts."""

    def called(x: Tensor, hidden: Any, weights: Any, *rest: Any) -> Any:
        if not isinstance(weights, list):
            return getattr(torch, kind)(x, hidden, weights, *rest)
        biases, layers, _, _, both, batch_first = rest
        states = [hidden] if isinstance(hidden, Tensor) else list(hidden)
        return tuple(RECURRENT(x, states, weights, kind, biases, layers, both, batch_first))

    return called


def _pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """F.pad; torch pads around by writing into an empty tensor, part by part."""
    if mode == "circular" and min(pad) >= 0:
        return CIRCULAR(input, list(pad))
    return functional.pad(input, pad, mode, value)  # type: ignore[arg-type]


def _sum_of_products(equation: str, *operands: Any) -> Tensor:
    """torch.einsum; whole where every letter is written out, and none twice in one factor."""
    tensors = list(operands[0] if len(operands) == 1 and not isinstance(operands[0], Tensor) else operands)
    plain = equation.replace(" ", "") if isinstance(equation, str) else ""
    factors = plain.partition("->")[0].split(",")
    known = "->" in plain and "." not in plain and len(factors) == len(tensors) == 2
    if known and all(
        len({*letters}) == len(letters) == one.ndim for letters, one in zip(factors, tensors, strict=True)
    ):
        return EINSUM(plain, tensors)
    return torch.einsum(equation, *operands)


def _numbers(method: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
    """A method that reads the memory of a tensor, which the wrappers of `functionalize` do not have."""

    def read(x: Tensor) -> Any:
        functions: Any = torch
        while functions._is_functional_tensor(x):
            functions._sync(x)
            x = functions._from_functional_tensor(x)
        return method(x)

    return read


INSTEAD: dict[Any, Any] = {
    functional.pad: _pad,
    torch.einsum: _sum_of_products,
    functional.linear: LINEAR,
    torch.ops.aten.linear.default: LINEAR,
    torch.matmul: MATMUL,
    Tensor.matmul: MATMUL,
    Tensor.__matmul__: MATMUL,
    torch.ops.aten.matmul.default: MATMUL,
    **{getattr(torch, kind): _recurrent(kind) for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu")},
    Tensor.tolist: _numbers(Tensor.tolist),
    Tensor.numpy: _numbers(Tensor.numpy),
}


class WholeFunctions(TorchFunctionMode):
    """While this lasts, this thread calls our operators in place of some of torch's functions."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return INSTEAD.get(func, func)(*args, **(kwargs or {}))
