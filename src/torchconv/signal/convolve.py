"""Convolution of tensors, differentiable any number of times: the gradient of a range is another range."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import SettingError, ShapeError
from . import direct, exact
from .array_ops import flipped
from .methods import check_method, job_of, ranged
from .request import Spans, spans_of


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
        result = ranged(one.numpy(), other.numpy(), spans, method)
        return torch.from_numpy(result)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:  # type: ignore[override]
        first, second = ctx.saved_tensors
        needs = ctx.needs_input_grad
        return (
            _towards(first, second, grad, ctx) if needs[0] else None,
            _towards(second, first, grad, ctx) if needs[1] else None,
            None,
            None,
        )


def _towards(one: Tensor, other: Tensor, grad: Tensor, ctx: Any) -> Tensor:
    """Number i of `one` meets number j of `other` in output i + j: grad is correlated with `other`."""
    ndim = len(ctx.spans)
    turned = flipped(other, range(-ndim, 0)).conj()
    spans = tuple(
        (taps - 1 - start, taps - 1 - start + size)
        for taps, size, (start, _) in zip(other.shape[-ndim:], one.shape[-ndim:], ctx.spans, strict=True)
    )
    return convolution(grad, turned, spans, ctx.method).sum_to_size(one.shape)


MODES = ("full", "same", "valid")
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


class Request(NamedTuple):
    """What was asked for, read once for its shapes: where the convolved axes go, and which range is wanted.

    to, back: orders of the axes that put the convolved ones last, and back again; None where they are last.
    empty: the shape of the result if it has no numbers.
    """

    spans: Spans
    to: tuple[int, ...] | None
    back: tuple[int, ...] | None
    empty: tuple[int, ...] | None


def _asked(a: Any, b: Any, mode: str, method: str, axes: Any, reverse: bool) -> Any:
    tensors = isinstance(a, Tensor), isinstance(b, Tensor)
    if any(tensors) and not all(tensors):
        names = f"{type(a).__name__} and {type(b).__name__}"
        raise SettingError("operands", got=names, expected="two arrays or two tensors", fix="Convert one of them.")
    if not any(tensors):
        a, b = np.asarray(a), np.asarray(b)
    try:
        request = _request(tuple(a.shape), tuple(b.shape), mode, axes)
    except TypeError:  # a list is no key
        request = _request(tuple(a.shape), tuple(b.shape), mode, tuple(axes))
    check_method(method)
    if reverse:
        b = _reversed(b, axes)
    if a.ndim == 0:
        a, b = a.reshape(1), b.reshape(1)
        return _computed(a, b, request, method)[0]
    if request.to is not None:
        a, b = (x.permute(request.to) if any(tensors) else x.transpose(request.to) for x in (a, b))
    result = _computed(a, b, request, method)
    if request.back is None:
        return result
    return result.permute(request.back) if any(tensors) else result.transpose(request.back)


def _reversed(b: Any, axes: Any) -> Any:
    """Backwards and conjugate: convolution with it is correlation."""
    places = tuple(range(b.ndim)) if axes is None else axes
    if isinstance(b, Tensor):
        return b.flip(places).conj() if b.ndim else b.conj()
    return np.flip(b, places).conj() if b.dtype.kind == "c" else np.flip(b, places)


@lru_cache(maxsize=4096, typed=True)
def _request(first: tuple[int, ...], second: tuple[int, ...], mode: str, axes: Any) -> Request:
    if mode not in MODES:
        raise SettingError("mode", got=repr(mode), expected=f"one of {', '.join(MODES)}")
    if len(first) != len(second):
        raise ShapeError("operands", got=f"shapes {first} and {second}", expected="the same number of axes")
    if not first:
        return Request(((0, 1),), None, None, None)
    rank = len(first)
    places = _places(axes, rank)
    rest = [place for place in range(rank) if place not in places]
    sizes, taps = (tuple(shape[place] for place in places) for shape in (first, second))
    _check_sizes(first, second, places, rest, mode)
    spans = spans_of(mode, sizes, taps)
    batch = [second[place] if first[place] == 1 else first[place] for place in rest]
    empty = (*batch, *(stop - start for start, stop in spans)) if 0 in batch else None
    order = (*rest, *places)
    if order == tuple(range(rank)):
        return Request(spans, None, None, empty)
    return Request(spans, order, tuple(order.index(place) for place in range(rank)), empty)


def _places(axes: Any, rank: int) -> tuple[int, ...]:
    if axes is None:
        return tuple(range(rank))
    listed = axes if isinstance(axes, Sequence) else (axes,)
    good = all(isinstance(axis, int | np.integer) and -rank <= axis < rank for axis in listed)
    places = tuple(sorted(int(axis) % rank for axis in listed)) if good else ()
    if not places or len(set(places)) < len(places):
        raise SettingError("axes", got=axes, expected=f"different numbers from {-rank} to {rank - 1}, or None for all")
    return places


def _check_sizes(first: tuple, second: tuple, places: tuple, rest: list[int], mode: str) -> None:
    shapes = f"shapes {first} and {second}"
    if any(first[place] != second[place] and 1 not in (first[place], second[place]) for place in rest):
        raise ShapeError("operands", got=shapes, expected="equal sizes, or 1, along the axes that are not convolved")
    if any(min(first[place], second[place]) == 0 for place in places):
        raise ShapeError("operands", got=shapes, expected="at least one number along every convolved axis")
    ahead = {first[place] > second[place] for place in places if first[place] != second[place]}
    if mode == "valid" and len(ahead) == 2:
        expected = "one operand at least as large as the other along every convolved axis"
        raise ShapeError('operands of mode="valid"', got=shapes, expected=expected, fix='Use mode="same" or "full".')


def _computed(a: Any, b: Any, request: Request, method: str) -> Any:
    """The range by the kind of the numbers."""
    if isinstance(a, Tensor):
        return _of_tensors(a, b, request, method)
    kind = a.dtype if a.dtype is b.dtype else np.result_type(a.dtype, b.dtype)
    if not kind.isnative:
        kind = kind.newbyteorder("=")
    if kind.kind not in "biufcO":
        raise SettingError("operands", got=f"{a.dtype} and {b.dtype}", expected="numbers, or Python objects that are")
    if request.empty is not None:
        return np.zeros(request.empty, kind)
    if kind.kind in "fc":
        inner = np.dtype(np.float32) if kind == np.float16 else kind
        result = ranged(_as(a, inner), _as(b, inner), request.spans, method)
        return _as(result, kind)
    job, swapped, _ = job_of(a.shape, b.shape, request.spans, kind.name)
    a, b = (b, a) if swapped else (a, b)
    if kind.kind == "O":
        return exact.convolved_python_objects(_as(a, kind), _as(b, kind), job, method)
    if kind.kind == "b":
        return exact.convolved(a.view(np.int8), b.view(np.int8), job, method, np.dtype(np.int64)) > 0
    return exact.convolved(a, b, job, method, kind)


def _as(x: np.ndarray, kind: np.dtype) -> np.ndarray:
    return x if x.dtype is kind else x.astype(kind)


def _of_tensors(a: Tensor, b: Tensor, request: Request, method: str) -> Tensor:
    kind = torch.promote_types(a.dtype, b.dtype)
    if a.device != b.device:
        raise SettingError("operands", got=f"devices {a.device} and {b.device}", expected="one device")
    if request.empty is not None:
        return torch.zeros(request.empty, dtype=kind, device=a.device)
    if kind.is_floating_point or kind.is_complex:
        return convolution(a.to(kind), b.to(kind), request.spans, method)
    result = _computed(a.cpu().numpy(), b.cpu().numpy(), request, method)
    return torch.from_numpy(np.ascontiguousarray(result)).to(a.device, kind)
