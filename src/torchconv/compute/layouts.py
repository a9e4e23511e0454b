"""How weights, images and biases are written down: in which order of taps, of channels, of positions."""

from __future__ import annotations

import torch
from torch import Tensor

from ..description.connections import Connections
from ..description.convolution import Convolution
from ..description.sharing import Sharing
from .tensors import has_numbers

PLAIN = "plain"  # (*phases, out, in // groups, *kernel)
FLIPPED = "flipped"  # the same with the taps in reverse order: true convolution
TRANSPOSED = "transposed"  # (*phases, in, out // groups, *kernel), flipped: torch.nn.ConvTranspose
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}  # by the number of axes


def plain(weight: Tensor, layout: str, conv: Convolution) -> Tensor:
    """Weights in some layout, as the description has them. It is its own inverse but for the channels' order."""
    if layout == TRANSPOSED and conv.channels.rows is None:
        weight = swapped(weight, conv.groups, conv.ndim)
    return weight if layout == PLAIN else flipped(weight, conv.ndim)


def shape(conv: Convolution, phases: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """The shape of weights in some layout, with these numbers of kernels."""
    channels = conv.channels
    if layout == TRANSPOSED and channels.rows is None:
        channels = Connections.of(channels.out_channels, channels.in_channels, channels.groups)
    return (*phases, *channels.weight_shape, *conv.kernel_size)


def swapped(weight: Tensor, groups: int, ndim: int) -> Tensor:
    """(..., out, in // groups, *kernel) to (..., in, out // groups, *kernel) and back."""
    axis = weight.ndim - ndim - 2
    if groups == 1:
        return weight.transpose(axis, axis + 1)
    return weight.unflatten(axis, (groups, -1)).transpose(axis + 1, axis + 2).flatten(axis, axis + 1)


def flipped(weight: Tensor, ndim: int) -> Tensor:
    """The taps in reverse order on every axis."""
    return weight.flip(tuple(range(-ndim, 0)))


def channels_last(x: Tensor) -> bool:
    """Whether the channels of (batch, channels, *size) are side by side in memory, as torch.channels_last has them."""
    return x.stride(1) == 1 and x.shape[1] > 1


def ordered_as(result: Tensor, given: Tensor) -> Tensor:
    """A result in the order in memory of what was given: torch's rule, on which x.view and later layers rely."""
    if not (has_numbers(given) or torch.compiler.is_compiling()):  # inside vmap torch knows no such orders
        return result
    last = CHANNELS_LAST.get(given.ndim - 2) if channels_last(given) else None
    return result.contiguous(memory_format=last or torch.contiguous_format)


def ordered_as_torch(result: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """An output in the order in which torch's convolutions answer: channels last if input or weights have them last."""
    last = CHANNELS_LAST.get(result.ndim - 2)
    if last is None or not has_numbers(result) or torch.compiler.is_compiling():
        return result
    wanted = any(
        one.ndim == result.ndim and not one.is_contiguous() and one.is_contiguous(memory_format=last)
        for one in (x, weight)
    )
    return result.contiguous(memory_format=last if wanted else torch.contiguous_format)


def spread_bias(bias: Tensor, sharing: Sharing, output_size: tuple[int, ...]) -> Tensor:
    """(*bias phases, out) to (out, *output size), or to what broadcasts to it."""
    if sharing.is_full:
        return bias.reshape(-1, *(1,) * len(output_size))
    bias = bias.movedim(-1, 0)
    for axis, (period, size) in enumerate(zip(sharing.periods, output_size, strict=True), 1):
        if period is not None:
            bias = bias.index_select(axis, torch.arange(size, device=bias.device) % period)
    return bias
