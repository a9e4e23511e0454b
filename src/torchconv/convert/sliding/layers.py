"""How each layer of a classifier slides: what takes its place on images larger than the window it was made for.

A rule takes a module and what one window of the image is where the module reads it (`Seen`), and gives the module that
takes its place and what one window is behind it. In place of flattened features the sliding model keeps channels and
places, so that a fully connected layer is a convolution whose kernel is as large as those places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ...description.convolution import Convolution
from ...description.pooling import Pooling
from ...description.shapes import padding as padding_of
from ...errors import ShapeError
from ...network.operations import Volume
from ...network.pooling import Summary
from ...nn.conv import Conv
from ...nn.pooling.learned_pool import LearnedPool
from ...nn.pooling.window_pool import Pool

PART = "Give the part of the model in front of it."
FAR = 5040  # samples by which an axis is made longer to see a stride: far beyond the square of usual ones


class CannotSlide(Exception):
    """Why a layer cannot slide, and what can be done."""

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(reason)
        self.reason, self.fix = reason, fix


@dataclass(frozen=True)
class WindowVolume:
    """One window of the image at a place in the model: channels on places, and whether the model has flattened them.

    stride: samples of the image from one of these places to the next, per axis.
    """

    volume: Volume
    stride: tuple[int, ...]
    flat: bool = False

    @property
    def alone(self) -> bool:
        """Whether there is one place only, so that features are channels."""
        return prod(self.volume.size) == 1

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.volume.size)


Slid = tuple[nn.Module, WindowVolume]


def after(call: Callable[..., Tensor], *seen: WindowVolume, state: nn.Module | None = None) -> WindowVolume:
    """What a window becomes by a call that works alike at every place, found by running it without numbers."""
    first = seen[0]
    sizes = [one.volume.size for one in seen]
    kind = next((one.dtype for one in state.parameters()), None) if state is not None else None

    def shape(*longer: tuple[int, ...]) -> tuple[int, ...]:
        inputs = zip(seen, longer, strict=True)
        return tuple(call(*(torch.empty(2, s.volume.channels, *n, device="meta", dtype=kind) for s, n in inputs)).shape)

    _, channels, *size = shape(*sizes)
    strides = []
    for axis, stride in enumerate(first.stride):
        longer = [(*n[:axis], n[axis] + FAR, *n[axis + 1 :]) for n in sizes]
        more = shape(*longer)[axis + 2] - size[axis]
        if not 0 < more <= FAR:
            reason = "its output has places between those of its input" if more else "its output has a fixed size"
            raise CannotSlide(f"{reason}, so that windows of the image are no windows of it", PART)
        strides.append(stride * round(FAR / more))
    return WindowVolume(Volume(channels, tuple(size)), tuple(strides), first.flat)


def keep_windows(module: nn.Module, *seen: WindowVolume) -> Slid:
    """Layers that work alike at every place, whatever they read."""
    unflattened(*seen)
    if len({one.stride for one in seen}) > 1:
        strides = " and ".join(str(one.stride) for one in seen)
        raise CannotSlide(f"its inputs have places {strides} samples apart, which meet at one size of the image only")
    meta = {name: tensor.to("meta") for name, tensor in [*module.named_parameters(), *module.named_buffers()]}
    return module, after(lambda *inputs: functional_call(module, meta, inputs), *seen, state=module)


def windows(module: nn.Module, seen: WindowVolume) -> Slid:
    """Layers of windows, which read channels on places, and would take (batch, features) for one image."""
    if seen.flat:
        raise CannotSlide("it reads windows of features that have no places any more")
    return keep_windows(module, seen)


def unflattened(*seen: WindowVolume) -> None:
    """Raises CannotSlide where places were flattened into features."""
    for one in seen:
        if one.flat and not one.alone:
            reason = f"it reads {one.volume.numel} features that were flattened from places ({one.volume})"
            raise CannotSlide(reason, "Put it before the flattening, or behind the first Linear.")


def keep(module: nn.Module, seen: WindowVolume) -> Slid:
    """Functions of every value on its own."""
    return module, seen


def keep_channels(module: nn.Module, seen: WindowVolume) -> Slid:
    """Layers that treat every channel in its own way, and every place alike."""
    unflattened(seen)
    return module, seen


def convolution(module: Any, seen: WindowVolume) -> Slid:
    """One kernel everywhere; with padding that does not depend on the size of the image."""
    conv = module.convolution
    if {str(conv.sharing), str(conv.bias_sharing)} != {"full"}:
        reason = f"its kernel or its bias differs from place to place of the image ({conv})"
        raise CannotSlide(reason, 'Only layers with sharing="full" slide.')
    if "same" in conv.padding and conv.ndim == seen.ndim:
        axes = [replace(axis, padding=padding_of(axis, n)) for axis, n in zip(conv.axes, seen.volume.size, strict=True)]
        fixed = Convolution.of_parts(conv.channels, axes, conv.sharing, conv.bias, conv.bias_sharing)
        module = holding(Conv.of(fixed, device="meta"), weight=module.weight, bias=module.bias)
    return windows(module, seen)


def holding(module: nn.Module, **tensors: Tensor | None) -> Any:
    """A module that holds copies of these parameters and buffers in place of its own."""
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        own = tensor.detach().clone()
        if name in module._buffers:
            module._buffers[name] = own
        else:
            module._parameters[name] = nn.Parameter(own, requires_grad=tensor.requires_grad)
    return module


def pool(module: Any, seen: WindowVolume) -> Slid:
    """Pooling of windows, with padding that does not depend on the size of the image."""
    pooling = module.pooling
    axes, cut = pooling.axes, any(axis.ceil for axis in pooling.axes)
    if (cut or any(axis.padding == "same" for axis in axes)) and seen.ndim == pooling.ndim:
        if cut and pooling.count_include_pad:
            raise CannotSlide("with ceil_mode its last window counts less padding than others", "Leave either out.")
        pads = [padding_of(axis, n) for axis, n in zip(axes, seen.volume.size, strict=True)]
        strides, dilations = ([getattr(axis, name) for axis in axes] for name in ("stride", "dilation"))
        weight = None if pooling.weights is None else pooling.full_weight()
        given = (pooling.kernel_size, strides, pads, dilations, pooling.kind, pooling.p, weight)
        fixed = Pooling(*given, count_include_pad=pooling.count_include_pad)
        learned = isinstance(module, LearnedPool)
        new = LearnedPool(fixed, module.channels, "meta") if learned else Pool(fixed)
        module = holding(new, logits=module.logits) if learned else new
    return windows(module, seen)


def cells(seen: WindowVolume, counts: Any, summary: Summary) -> Slid:
    """Pooling of a window to a grid of equal cells: the same pooling of every window of that size."""
    unflattened(seen)
    size = seen.volume.size
    asked = tuple(counts) if isinstance(counts, tuple | list) else (counts,) * seen.ndim
    counts = tuple(n if count is None else count for n, count in zip(size, asked, strict=True))
    if any(n % count for n, count in zip(size, counts, strict=True)):
        reason = f"the cells of a grid {'x'.join(map(str, counts))} on {'x'.join(map(str, size))} places differ in size"
        raise CannotSlide(reason, "Pool to a grid that divides the places, or to 1.")
    kernel = tuple(n // count for n, count in zip(size, counts, strict=True))
    if prod(kernel) == 1 and summary.power is None:
        return nn.Identity(), seen
    strides = tuple(1 if count == 1 else step for step, count in zip(kernel, counts, strict=True))
    return keep_windows(Pool(Pooling(kernel, strides, statistic=summary.statistic, p=summary.p)), seen)


def overall(seen: WindowVolume, summary: Summary) -> Slid:
    """Pooling of a window to one number for each channel, (batch, channels) in the model."""
    module, found = cells(seen, 1, summary)
    return module, replace(found, flat=True)


def grid(module: Any, seen: WindowVolume) -> Slid:
    """Pooling to one grid of equal cells."""
    if len(module.grids) > 1:
        raise CannotSlide("a pyramid puts the cells of several grids one after another", "Pool to one grid.")
    return cells(seen, module.grids[0], module.summary)


def flatten(module: Any, seen: WindowVolume) -> Slid:
    """Nothing: the layers behind it know that it was there."""
    return nn.Identity(), flattened(seen, module.start_dim, module.end_dim)


def flattened(seen: WindowVolume, start: int, end: int) -> WindowVolume:
    """Behind a flattening of the axes from start to end; raises CannotSlide unless these are all but the batch."""
    last = 1 if seen.flat else seen.ndim + 1
    if start % (last + 1) != 1 or end % (last + 1) != last:
        raise CannotSlide(f"it flattens the axes {start} to {end}", "Flatten all axes but the batch, with start_dim=1.")
    return replace(seen, flat=True)


def linear(module: Any, seen: WindowVolume) -> Slid:
    """A convolution whose kernel is as large as the places that the layer reads."""
    volume = seen.volume
    if volume.numel != module.in_features:
        got = f"in_features={module.in_features}"
        expected = f"{volume.numel}, the values of a volume {(volume.channels, *volume.size)}"
        fix = "Give the volume that it reads, (channels, *size)."
        raise ShapeError(f"as_convolution of {module}", got=got, expected=expected, fix=fix)
    outputs, bias = module.out_features, module.bias
    conv = Conv.of(Convolution(volume.channels, outputs, volume.size, bias=bias is not None), device="meta")
    conv = holding(conv, weight=module.weight, bias=bias)
    conv.weight.data = conv.weight.data.reshape(outputs, volume.channels, *volume.size)
    return conv, WindowVolume(Volume(outputs, (1,) * seen.ndim), seen.stride, True)
