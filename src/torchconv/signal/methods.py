"""The methods of convolving arrays: one table; "auto" is the one that is expected to take the least time."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np

from ..errors import UnsupportedError
from . import direct, fft, nonfinite, toeplitz
from .array_ops import converted, padded
from .request import Array, MethodPlan, Request, Spans, request_of

PLANNERS: dict[str, Callable[[Request], MethodPlan]] = {
    "direct": direct.plan,
    "matrix": toeplitz.plan,
    "fft": partial(fft.plan, tiled=False),
    "overlap": partial(fft.plan, tiled=True),
}


def declines(name: str, request: Request) -> str | None:
    """Why a method is not open to a request; None if it is."""
    if name == "direct":
        return None
    if request.kind not in direct.FLOATING:
        return f"numbers of type {request.kind} have neither fast transforms nor fast matrix products"
    if name == "matrix" and not request.one_kernel:
        return "each entry of the batch has a kernel, hence a matrix, of its own"
    return None


@lru_cache(maxsize=8192)
def plans(request: Request, method: str = "auto") -> tuple[MethodPlan, ...]:
    """The plans of all methods that are open to a request, or of the one asked for if it is."""
    names = PLANNERS if method == "auto" else (method,)
    return tuple(PLANNERS[name](request) for name in names if declines(name, request) is None)


@lru_cache(maxsize=8192)
def choose(request: Request, method: str) -> MethodPlan:
    """How to compute a request: by the method asked for, or by the one that takes least.

    Raises UnsupportedError with the reason where the method asked for is not open to the request.
    """
    if method == "direct":
        return direct.plan(request, as_is=True)
    reason = None if method == "auto" else declines(method, request)
    if reason is not None:
        raise UnsupportedError(f"method={method!r}: {reason}", fix='Use method="auto" or "direct".')
    return min(plans(request, method), key=lambda plan: plan.seconds)


def ranged(first: Array, second: Array, spans: Spans, method: str, tensors: bool = False) -> Array:
    """Outputs spans of the full convolution over the last axes; zeros where a span reaches beyond it."""
    request = request_of(tuple(first.shape), tuple(second.shape), spans, str(first.dtype), tensors)
    if request.swapped:
        first, second = second, first
    result = compute(first, second, request, choose(request, method))
    return result if request.pads is None else padded(result, request.pads)


def compute(first: Array, second: Array, request: Request, plan: MethodPlan) -> Array:
    """The numbers of a request, in its type; what is not finite stays in the windows that cover it."""
    inner = plan.request
    if inner is not request:
        first, second = converted(first, inner.kind), converted(second, inner.kind)
    if plan.name == "direct" and not inner.tensors:
        result = plan.run(first, second)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            result = plan.run(first, second)
            if not nonfinite.seems_finite(result):
                result = nonfinite.mended(first, second, inner, partial(_finite, plan.name))
    return result if inner is request else converted(result, request.kind)


def _finite(name: str, first: Array, second: Array, request: Request) -> Array:
    """A request of finite numbers by the method of a name."""
    plan = PLANNERS[name](request)
    if plan.request is request:
        return plan.run(first, second)
    kind = plan.request.kind
    return converted(plan.run(converted(first, kind), converted(second, kind)), request.kind)
