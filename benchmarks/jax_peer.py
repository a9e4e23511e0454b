"""JAX's convolutions, where it is installed, on tensors of torch: compiled, and waiting until the result is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.grid import Shape

try:
    import jax
except ImportError:
    jax: Any = None

FORWARD, INPUT, WEIGHT = ROLES = ("forward", "input gradient", "weight gradient")
NAMES = {1: ("NCH", "OIH", "NCH"), 2: ("NCHW", "OIHW", "NCHW")}


def calls(shape: Shape, x: Tensor, weight: Tensor, grad: Tensor) -> dict[str, Callable[[], Any]]:
    """The three operations of an ordinary or of an unshared convolution; weights as torchconv has them."""
    given, taps, slope = (jax.numpy.asarray(one.numpy()) for one in (x, _kernel(shape, weight), grad))
    function = _function(shape)
    forward = jax.jit(function)
    to_input = jax.jit(lambda w, g: jax.linear_transpose(lambda one: function(one, w), given)(g)[0])
    to_weight = jax.jit(lambda a, g: jax.linear_transpose(lambda one: function(a, one), taps)(g)[0])
    return {
        FORWARD: lambda: forward(given, taps).block_until_ready(),
        INPUT: lambda: to_input(taps, slope).block_until_ready(),
        WEIGHT: lambda: to_weight(given, slope).block_until_ready(),
    }


def as_tensor(shape: Shape, role: str, result: Any) -> Tensor:
    """The result as torchconv returns it."""
    found = torch.from_numpy(np.array(result))
    if role == WEIGHT and shape.sharing == "none":  # (out, in * kernel, *outputs) to (*outputs, out, in, *kernel)
        found = found.permute(*range(2, found.ndim), 0, 1)
        return found.reshape(*found.shape[:-1], shape.ins, *shape.kernel)
    return found


def _kernel(shape: Shape, weight: Tensor) -> Tensor:
    """Weights in JAX's order; `as_tensor` is the way back."""
    if shape.sharing != "none":
        return weight
    places = len(shape.size)
    flat = weight.flatten(places + 1)
    return flat.permute(places, places + 1, *range(places)).contiguous()


def _function(shape: Shape) -> Callable[[Any, Any], Any]:
    conv = shape.convolution
    settings = {"window_strides": conv.stride, "padding": conv.padding, "rhs_dilation": conv.dilation}
    settings["dimension_numbers"] = NAMES[conv.ndim]
    if shape.sharing == "none":
        return lambda x, w: jax.lax.conv_general_dilated_local(x, w, filter_shape=shape.kernel, **settings)
    return lambda x, w: jax.lax.conv_general_dilated(x, w, feature_group_count=shape.groups, **settings)
