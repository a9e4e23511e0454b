"""convolve and correlate: arrays and tensors of any type, differentiable; the gradient of a range is another range."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import SettingError
from . import direct, exact
from .array_ops import flipped, permuted
from .methods import ranged
from .request import MODES, Arrangement, Spans, arrangement_of, request_of


def convolution(first: Tensor, second: Tensor, spans: Spans, method: str) -> Tensor:
    """`ranged` for tensors on any device; bfloat16 and float16 are computed in float32."""
    kind = first.dtype
    if kind in (torch.float16, torch.bfloat16):
        return Ranged.apply(first.float(), second.float(), spans, method).to(kind)  # type: ignore[union-attr]
    return Ranged.apply(first, second, spans, method)  # type: ignore[return-value]


class Ranged(torch.autograd.Function):
    """A range of the full convolution over the last axes, and its two gradients by the same function."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, spans: Spans, method: str) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(first, second)
        ctx.spans, ctx.method = spans, method
        one, other = (x.detach().resolve_conj().resolve_neg() for x in (first, second))
        if first.device.type != "cpu":
            return ranged(one.contiguous(), other.contiguous(), spans, method, tensors=True)
        return torch.from_numpy(ranged(one.numpy(), other.numpy(), spans, method))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:  # type: ignore[override]
        first, second = ctx.saved_tensors
        needs = ctx.needs_input_grad
        pairs = zip(needs, ((first, second), (second, first)), strict=False)
        return *(_towards(*pair, grad, ctx) if need else None for need, pair in pairs), None, None


def _towards(one: Tensor, other: Tensor, grad: Tensor, ctx: Any) -> Tensor:
    """Number i of `one` meets number j of `other` in output i + j: grad is correlated with `other`."""
    ndim = len(ctx.spans)
    turned = flipped(other, range(-ndim, 0)).conj()
    spans = tuple(
        (taps - 1 - start, taps - 1 - start + size)
        for taps, size, (start, _) in zip(other.shape[-ndim:], one.shape[-ndim:], ctx.spans, strict=True)
    )
    return convolution(grad, turned, spans, ctx.method).sum_to_size(one.shape)


SHORT = 2**12  # products up to which NumPy's loop over one axis is not worth a thought
SIMPLE = frozenset(np.dtype(kind) for kind in ("float32", "float64", "complex64", "complex128"))


def convolve(a: Any, b: Any, mode: str = "full", method: str = "auto", axes: Any = None) -> Any:
    """Convolve two arrays or two tensors of one rank: out[n] = sum over i of a[i] b[n - i].

    a, b: NumPy arrays (or what becomes one) or torch tensors, of any type of numbers, Python integers and fractions in
        arrays of objects included. Integers give the exact result; floating tensors are differentiable.
    mode: "full", size a + b - 1; "same", the middle of it, of the size of `a`; "valid", where one covers the other.
    method: "auto", the one that takes least time of "direct" (sums of products), "matrix" (products with a Toeplitz
        matrix), "fft" (one transform) and "overlap" (transforms of tiles).
    axes: the axes to convolve over, all of them by default; over the others the operands are broadcast.

    Raises IntegerOverflowError where the type of the integers cannot hold the result, ShapeError, SettingError,
    UnsupportedError. Source: scipy.signal.convolve for the words; Stockham 1966 for "overlap".

    >>> convolve([1, 2, 3], [0, 1, 10])
    array([ 0,  1, 12, 23, 30])
    >>> convolve(np.array([10**30, 1], dtype=object), np.array([10**30, 1], dtype=object))[1] == 2 * 10**30
    True
    """
    if _is_simple(a, b, mode, method, axes):
        return np.convolve(a, b, mode)  # type: ignore[call-overload]
    return _asked(a, b, mode, method, axes, False)


def correlate(a: Any, b: Any, mode: str = "full", method: str = "auto", axes: Any = None) -> Any:
    """Correlate two arrays or two tensors of one rank: out[n] = sum over i of a[i + n - (size of b - 1)] conj(b[i]).

    The arguments and the errors are those of `convolve`; output n has the lag n - (size of b - 1) in mode "full".

    >>> correlate([1, 2, 3], [0, 1, 10])
    array([10, 21, 32,  3,  0])
    """
    if _is_simple(a, b, mode, method, axes):
        return np.correlate(a, b, mode)  # type: ignore[call-overload]
    return _asked(a, b, mode, method, axes, True)


def _is_simple(a: Any, b: Any, mode: str, method: str, axes: Any) -> bool:
    """Whether NumPy's own loop is right and best: short, along one axis, of one type with nothing to look after."""
    return (
        type(a) is type(b) is np.ndarray
        and a.dtype is b.dtype
        and a.ndim == b.ndim == 1
        and 0 < b.size <= a.size
        and (b.size <= direct.FEW or a.size * b.size <= SHORT)
        and a.dtype in SIMPLE
        and method == "auto"
        and axes is None
        and mode in MODES
    )


def _asked(a: Any, b: Any, mode: str, method: str, axes: Any, reverse: bool) -> Any:
    tensors = isinstance(a, Tensor), isinstance(b, Tensor)
    if any(tensors) and not all(tensors):
        names = f"{type(a).__name__} and {type(b).__name__}"
        raise SettingError("operands", got=names, expected="two arrays or two tensors", fix="Convert one of them.")
    if not any(tensors):
        a, b = np.asarray(a), np.asarray(b)
    try:
        asked = arrangement_of(tuple(a.shape), tuple(b.shape), mode, axes, method)
    except TypeError:  # a list is no key
        asked = arrangement_of(tuple(a.shape), tuple(b.shape), mode, tuple(axes), method)
    if reverse:
        b = _reversed(b, axes)
    if a.ndim == 0:
        a, b = a.reshape(1), b.reshape(1)
        return _computed(a, b, asked, method)[0]
    if asked.to is None or asked.back is None:
        return _computed(a, b, asked, method)
    return permuted(_computed(permuted(a, asked.to), permuted(b, asked.to), asked, method), asked.back)


def _reversed(b: Any, axes: Any) -> Any:
    """Backwards and conjugate: convolution with it is correlation."""
    turned = flipped(b, range(b.ndim)) if axes is None else b.flip(axes) if isinstance(b, Tensor) else np.flip(b, axes)
    return turned.conj() if isinstance(b, Tensor) or b.dtype.kind == "c" else turned


def _computed(a: Any, b: Any, asked: Arrangement, method: str) -> Any:
    """The range by the kind of the numbers."""
    if isinstance(a, Tensor):
        return _of_tensors(a, b, asked, method)
    kind = a.dtype if a.dtype is b.dtype else np.result_type(a.dtype, b.dtype)
    if not kind.isnative:
        kind = kind.newbyteorder("=")
    if kind.kind not in "biufcO":
        raise SettingError("operands", got=f"{a.dtype} and {b.dtype}", expected="numbers, or Python objects that are")
    if asked.empty is not None:
        return np.zeros(asked.empty, kind)
    if kind.kind in "fc":
        inner = np.dtype(np.float32) if kind == np.float16 else kind
        return _as(ranged(_as(a, inner), _as(b, inner), asked.spans, method), kind)
    request = request_of(a.shape, b.shape, asked.spans, kind.name)
    a, b = (b, a) if request.swapped else (a, b)
    if kind.kind == "O":
        return exact.convolved_python_objects(_as(a, kind), _as(b, kind), request, method)
    if kind.kind == "b":
        return exact.convolved(a.view(np.int8), b.view(np.int8), request, method, np.dtype(np.int64)) > 0
    return exact.convolved(a, b, request, method, kind)


def _as(x: np.ndarray, kind: np.dtype) -> np.ndarray:
    return x if x.dtype is kind else x.astype(kind)


def _of_tensors(a: Tensor, b: Tensor, asked: Arrangement, method: str) -> Tensor:
    kind = torch.promote_types(a.dtype, b.dtype)
    if a.device != b.device:
        raise SettingError("operands", got=f"devices {a.device} and {b.device}", expected="one device")
    if asked.empty is not None:
        return torch.zeros(asked.empty, dtype=kind, device=a.device)
    if kind.is_floating_point or kind.is_complex:
        return convolution(a.to(kind), b.to(kind), asked.spans, method)
    result = _computed(a.cpu().numpy(), b.cpu().numpy(), asked, method)
    return torch.from_numpy(np.ascontiguousarray(result)).to(a.device, kind)
