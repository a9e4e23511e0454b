"""Samples put around and between those of the input, and the adjoint of doing so.

All of it is made of operations that torch differentiates any number of times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..description import shapes
from ..description.axis import Axis
from ..description.convolution import Convolution
from .tensors import recording


def follows_size(axes: Sequence[Axis]) -> bool:
    """Whether torch.compile or an exporter follows, and how much is padded depends on a size, which may be a symbol."""
    return recording() and any(axis.padding == "same" and axis.stride > 1 for axis in axes)


def pad(x: Tensor, pairs: Sequence[tuple[int, int]], always: bool = False) -> Tensor:
    """Zeros added (low, high) to the last axes, or samples cut off where negative; x itself if there are none.

    always: without looking whether there are any, since nothing may be decided by symbols.
    """
    if always:
        return F.pad(x, [side for pair in reversed(pairs) for side in pair])
    if any(low > 0 or high > 0 for low, high in pairs):
        x = F.pad(x, [max(side, 0) for pair in reversed(pairs) for side in pair])
    if any(low < 0 or high < 0 for low, high in pairs):  # after, because a cut may reach into what was added
        x = x[(..., *(slice(max(-low, 0), min(high, 0) or None) for low, high in pairs))]
    return x


def unpad(x: Tensor, pairs: Sequence[tuple[int, int]], always: bool = False) -> Tensor:
    """The adjoint of `pad`."""
    return pad(x, [(-low, -high) for low, high in pairs], always)


def spread(x: Tensor, steps: Sequence[int]) -> Tensor:
    """steps - 1 zeros put between the samples of each of the last axes."""
    for axis, step in enumerate(steps, x.ndim - len(steps)):
        if step > 1 and x.shape[axis] > 1:
            size = x.shape[axis]
            x = F.pad(x.unsqueeze(axis + 1), [0, 0] * (x.ndim - 1 - axis) + [0, step - 1])
            x = x.flatten(axis, axis + 1).narrow(axis, 0, (size - 1) * step + 1)
    return x


def unspread(x: Tensor, steps: Sequence[int]) -> Tensor:
    """The adjoint of `spread`."""
    return x if max(steps) == 1 else x[(..., *(slice(None, None, step) for step in steps))]


def extended(conv: Convolution) -> Convolution:
    """The convolution that is left once `extend` has put the samples of other boundaries than zeros in place."""
    bare = {"padding": (0, 0), "boundary": "zeros", "input_dilation": 1}  # an input that holds its border already
    axes = (axis if axis.boundary == "zeros" else replace(axis, **bare) for axis in conv.axes)
    return Convolution.of_parts(conv.channels, tuple(axes), conv.sharing)


def only_zeros(conv: Convolution) -> bool:
    """Whether there is nothing around the input but zeros, which algorithms put there themselves."""
    return all(axis.boundary == "zeros" for axis in conv.axes)


def extend(conv: Convolution, x: Tensor) -> Tensor:
    """The input with the border that reflect, replicate or circular padding reads, on the axes that have one."""
    return extender(conv, x.shape[-conv.ndim :])(x)


def extender(conv: Convolution, input_size: Sequence[int]) -> Callable[[Tensor], Tensor]:
    """`extend` for one input size, with all that depends on nothing else decided."""
    if only_zeros(conv):
        return lambda x: x
    pads = _torch_pads(conv.axes, input_size)
    if pads is None:
        return lambda x: _extended_by_index(conv, x)

    def padded(x: Tensor) -> Tensor:
        for mode, sides in pads:
            x = F.pad(x, sides, mode=mode).to(x.dtype)  # under autocast on a processor torch's is one in float32
        return x

    return padded


def _extended_by_index(conv: Convolution, x: Tensor) -> Tensor:
    for number, axis in enumerate(conv.axes, x.ndim - conv.ndim):
        if axis.boundary != "zeros":
            index = _border_index(axis, x.shape[number], x.device)
            steps = [axis.input_dilation if other == number else 1 for other in range(x.ndim)]
            x = spread(x, steps).index_select(number, index)
    return x


def _torch_pads(axes: Sequence[Axis], sizes: Sequence[int]) -> list[tuple[str, list[int]]] | None:
    """The modes and pads with which torch puts all borders in place, or None where it cannot.

    It pads 1 to 3 axes, not between the samples, and does not go around or reflect more than once.
    """
    pads = [shapes.padding(axis, size) for axis, size in zip(axes, sizes, strict=True)]
    for axis, pair, size in zip(axes, pads, sizes, strict=True):
        most = {"zeros": max(pair), "replicate": max(pair), "circular": size, "reflect": size - 1}[axis.boundary]
        bordered = axis.boundary != "zeros"
        if len(axes) > 3 or (bordered and (axis.input_dilation > 1 or min(pair) < 0 or max(pair) > most)):
            return None
    found = []
    for mode in dict.fromkeys(axis.boundary for axis in axes if axis.boundary != "zeros"):
        pairs = [pair if axis.boundary == mode else (0, 0) for axis, pair in zip(axes, pads, strict=True)]
        found.append((mode, [side for pair in reversed(pairs) for side in pair]))
    return found


def unextend(conv: Convolution, grad: Tensor, input_size: Sequence[int]) -> Tensor:
    """The adjoint of `extend`: what the copies in the border received is added to the samples they are copies of."""
    for number, (axis, size) in enumerate(zip(conv.axes, input_size, strict=True), grad.ndim - conv.ndim):
        if axis.boundary != "zeros":
            shape = list(grad.shape)
            shape[number] = shapes.dilated(axis, size)
            index = _border_index(axis, size, grad.device)
            total = grad.new_zeros(shape).index_add(number, index, grad)
            grad = total[(slice(None),) * number + (slice(None, None, axis.input_dilation),)]
    return grad


def _border_index(axis: Axis, size: int, device: torch.device) -> Tensor:
    low, high = shapes.padding(axis, size)
    length = shapes.dilated(axis, size)
    if not torch.compiler.is_compiling():
        return torch.from_numpy(shapes.bounded(np.arange(-low, length + high), length, axis.boundary)).to(device)
    # Plain numbers, because a compiler must know which samples are read.
    positions = [shapes.bounded(position, length, axis.boundary) for position in range(-low, length + high)]
    return torch.tensor(positions, device=device)
