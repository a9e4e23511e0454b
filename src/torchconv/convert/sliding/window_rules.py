"""Operations that read several places: windows, poolings, products with the weights of fully connected layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch

from ...compute.operator import Operator
from ...description.axis import Axis
from ...description.convolution import Convolution
from ...description.pooling import Pooling
from ...description.shapes import padding as padding_of
from ...network.base import Locality
from ...network.operations import Convolve
from ...network.pooling import PoolAll, PoolChannels, PoolGrid, PoolWindows, Summary
from ...nn.conv import Conv
from ...nn.pooling.learned_pool import LearnedPool
from ...nn.pooling.window_pool import ChannelPool, Pool
from ...receptive.access import Reduce
from ...tracing.program import FromStep, Reference, Step
from . import sliding_model as calls
from .places import PART, SIZES, CannotSlide, Factor, PlaceAxis, WindowLayout, channels_of
from .rewriting import REASONS, Rewriting, holding

STATISTICS = {"mean": Summary("mean"), "sum": Summary("mean"), "amax": Summary("max"), "max": Summary("max")}


def natural(made: Rewriting, one: Reference, ndim: int) -> WindowLayout:
    """Of a tensor whose last axes windows slide over: raises CannotSlide where the places are elsewhere."""
    layout = made.of(one)
    if not layout.natural:
        for dim in range(len(layout.dims) - ndim, len(layout.dims)):
            layout.refuse_places(dim)
        raise CannotSlide("it reads windows of something else than the places, in their order", PART)
    return layout


def slid(layout: WindowLayout, axes: Sequence[Axis], shape: tuple[int, ...]) -> WindowLayout:
    """Behind windows over the last axes of a tensor that has its places last."""
    places, first = len(shape) - len(layout.places), len(axes) - len(layout.places)

    def moved(axis: int, place: PlaceAxis) -> PlaceAxis:
        return place if first + axis < 0 else place.through(axes[first + axis], shape[places + axis])

    found = layout.moved(moved)
    for dim in range(places):
        if found.shape[dim] != shape[dim]:
            found = found.with_dim(dim, shape[dim])
    return found


def windowed(made: Rewriting, step: Step, **instead: Any) -> WindowLayout:
    """Windows over the last axes, which stay as they are."""
    x, *others = step.reads[0]
    axes = step.drafts[0].axes or getattr(step.drafts[0].pattern, "axes", ())
    if others:
        raise CannotSlide("its weights are computed from the image", PART)
    layout, whole = natural(made, x, len(axes)), not instead and not step.arguments.get("transposed")
    layer = made.layer_of(step) if whole else None  # a transposed layer may be called with a size besides
    if layer is not None:
        made.gives(made.add(layer, made.value(x)))
    elif step.name == "circular_pad":
        made.gives(made.add(calls.around, made.value(x), tuple(step.arguments["pad"])))
    else:
        made.call(step, made.value, **instead)
    return slid(layout, axes, step.shapes[0])


def pooling(made: Rewriting, step: Step) -> WindowLayout:
    """Pools: where the last window may end outside, one that does as at the size of one window."""
    if not step.arguments.get("ceil_mode"):
        return windowed(made, step)
    axes, mean = step.drafts[0].axes, step.name.startswith("avg")
    if all(axis.padding[0] == axis.padding[1] for axis in axes):
        return windowed(made, step, ceil_mode=False)
    counted = step.arguments.get("count_include_pad") and any(axis.padding[0] for axis in axes)
    if mean and (counted or step.arguments.get("divisor_override")):
        raise CannotSlide("with ceil_mode its last window counts less padding than others", "Leave either out.")
    return _pooled(made, step, step.reads[0][0], Pooling(*_of_axes(axes), statistic="mean" if mean else "max"))


def _of_axes(axes: Sequence[Axis]) -> tuple[list[Any], ...]:
    return tuple([getattr(axis, name) for axis in axes] for name in ("kernel", "stride", "padding", "dilation"))


def _by_layer(made: Rewriting, step: Step, layout: WindowLayout, value: Any, pooling: Pooling) -> Any:
    """The call of a pooling, as the layer that the step is where it is one."""
    layer = made.layer_of(step, Pool(pooling)) if len(layout.leading) == 2 else None
    if layer is not None:
        return made.add(layer, value)
    return made.add(calls.over_planes, value, Pool(pooling), pooling.ndim)


def _pooled(made: Rewriting, step: Step, x: Reference, pool: Pooling) -> WindowLayout:
    layout = natural(made, x, pool.ndim)
    made.gives(_by_layer(made, step, layout, made.value(x), pool))
    return slid(layout, pool.axes, step.shapes[0])


def described(made: Rewriting, step: Step) -> WindowLayout:
    """A layer of this package, by the operation that it is; its padding is that of the size of one window."""
    operation, x = step.operation, step.arguments["tensors"][0]
    size = made.shape(x)[2:]
    if isinstance(operation, Convolve):
        return _convolution(made, step, operation.convolution)
    if isinstance(operation, PoolWindows):
        return _pool_layer(made, step, operation.pooling, x)
    if isinstance(operation, PoolChannels):
        layout = made.of(x)
        if (layout.lead(0), layout.lead(1), len(layout.leading)) != (0, 1, 2):
            raise CannotSlide("it pools over something else than channels")
        made.gives(made.add(ChannelPool.of(operation.pooling), made.value(x)))
        return layout.with_dim(1, step.shapes[0][1])
    if isinstance(operation, PoolAll):
        return _cells(made, step, x, (1,) * len(size), operation)
    if isinstance(operation, PoolGrid):
        if len(operation.grids) != 1:
            raise CannotSlide("a pyramid puts the cells of several grids one after another", "Pool to one grid.")
        (grid,) = operation.grids
        return _cells(made, step, x, grid, operation.summary)
    return made.pointwise(step)


def _pool_layer(made: Rewriting, step: Step, pooling: Pooling, x: Reference) -> WindowLayout:
    axes = fixed(pooling.axes, made.shape(x)[-pooling.ndim :])
    if pooling.count_include_pad and any(axis.ceil for axis in pooling.axes):
        raise CannotSlide("with ceil_mode its last window counts less padding than others", "Leave either out.")
    module = made.model.get_submodule(step.module)
    if isinstance(module, LearnedPool):
        pool = LearnedPool(Pooling(*_of_axes(axes), statistic="mean"), module.channels, "meta")
        layer = made.layer_of(step, holding(pool, logits=module.logits))
        if layer is None:
            raise CannotSlide(SIZES)
        made.gives(made.add(layer, made.value(x)))
        return slid(natural(made, x, pooling.ndim), axes, step.shapes[0])
    weight = None if pooling.weights is None else pooling.full_weight()
    settings = {"count_include_pad": pooling.count_include_pad, "weight": weight, "p": pooling.p}
    return _pooled(made, step, x, Pooling(*_of_axes(axes), statistic=pooling.kind, **settings))


def fixed(axes: Iterable[Axis], size: Sequence[int]) -> list[Axis]:
    """With the padding in numbers that they have at a size."""
    pairs = zip(axes, size, strict=True)
    return [replace(axis, padding=padding_of(axis, length), ceil=False) for axis, length in pairs]


def _convolution(made: Rewriting, step: Step, conv: Convolution) -> WindowLayout:
    same = "same" in conv.padding
    if {str(conv.sharing), str(conv.bias_sharing)} != {"full"}:
        raise CannotSlide(*unshared(conv))
    x = step.arguments["tensors"][0]
    if len(step.reads[0]) > 1:
        raise CannotSlide("its weights are computed from the image")
    layout, instead = natural(made, x, conv.ndim), None
    axes = fixed(conv.axes, made.shape(x)[-conv.ndim :])
    if same:
        conv = Convolution.of_parts(conv.channels, axes, conv.sharing, conv.bias, conv.bias_sharing)
        module: Any = made.model.get_submodule(step.module)
        if isinstance(module, Conv):
            instead = holding(Conv.of(conv, device="meta"), weight=module.weight, bias=module.bias)
    layer = made.layer_of(step, instead) if instead or not same else None
    if layer is not None:
        made.gives(made.add(layer, made.value(x)))
    else:
        made.gives(made.add(Operator(conv), *map(made.value, step.arguments["tensors"])))
    return slid(layout, axes, step.shapes[0])


def unshared(conv: Convolution) -> tuple[str, str]:
    """Why a layer whose weights depend on the place cannot slide, and what can."""
    reason = f"its kernel or its bias differs from place to place of the image ({conv})"
    return reason, 'Only layers with sharing="full" slide.'


def _cells(made: Rewriting, step: Step, x: Reference, counts: Sequence[int], summary: Summary) -> WindowLayout:
    """Pooling of a window to a grid of equal cells, of every window."""
    layout = natural(made, x, len(counts))
    first = len(layout.places) - len(counts)
    sizes = layout.sizes[first:] if first >= 0 else ()
    if len(sizes) < len(counts):
        raise CannotSlide("it pools places and channels together")
    if any(size % count for size, count in zip(sizes, counts, strict=True)):
        grid, shown = ("x".join(map(str, each)) for each in (counts, sizes))
        reason = f"the cells of a grid {grid} on {shown} places differ in size"
        raise CannotSlide(reason, "Pool to a grid that divides the places, or to 1.")
    found = _summarised(made, step, x, {first + at: count for at, count in enumerate(counts)}, summary)
    return found.without(range(len(step.shapes[0]), len(found.dims)))


def _summarised(
    made: Rewriting, step: Step, x: Reference, counts: dict[int, int], summary: Summary, times: int = 1
) -> WindowLayout:
    """One number for each cell of the places along some axes, of every window; times: by which it is multiplied."""
    layout = made.of(x)
    kernel, strides = [1] * len(layout.places), [1] * len(layout.places)
    for axis, count in counts.items():
        kernel[axis] = layout.places[axis].size // count
        strides[axis] = 1 if kernel[axis] == 1 else layout.places[axis].step if count == 1 else kernel[axis]
    value = made.value(x)
    if prod(kernel) > 1 or summary.power is not None:
        pool = Pooling(tuple(kernel), tuple(strides), statistic=summary.statistic, p=summary.p)
        value = _by_layer(made, step, layout, value, pool)
    if times > 1:
        value = made.add(torch.mul, value, times)
    made.gives(value)
    name = made.where(step)

    def moved(axis: int, place: PlaceAxis) -> PlaceAxis:
        found = place.through(Axis(kernel[axis], strides[axis]), counts.get(axis, place.size))
        return replace(found, pooled=name) if found.size < place.size else found

    return layout.moved(moved)


def adaptive(made: Rewriting, step: Step) -> WindowLayout:
    """torch's pooling to a grid."""
    ndim = int(step.name.partition("pool")[2][0])
    summary = Summary("max" if "max" in step.name else "mean")
    return _cells(made, step, step.reads[0][0], step.shapes[0][-ndim:], summary)


def reduce(made: Rewriting, step: Step) -> tuple[WindowLayout, ...]:
    """One number of all along some dimensions: of channels as it is, of the places as pooling of every window."""
    x, pattern = step.reads[0][0], step.drafts[0].pattern
    assert isinstance(pattern, Reduce)
    layout, gone = made.of(x), () if pattern.keep else pattern.dims
    channels = [dim for dim in pattern.dims if dim in layout.leading]
    axes = {axis for dim in pattern.dims if dim not in channels for axis in layout.axes_of(dim)}
    if channels and all(layout.places[axis].size == 1 for axis in axes):
        leads = [layout.lead(dim) for dim in channels]
        made.call(step, made.value, dim=leads[0] if isinstance(step.arguments["dim"], int) else leads)
        for dim in channels:
            layout = layout.with_dim(dim)
        return (layout.without(gone),) * len(step.shapes)
    norm = step.arguments.get("ord", step.arguments.get("p")) if "norm" in step.name else None
    summary = Summary("lp", float(norm)) if norm else STATISTICS.get(step.name)
    if summary is None or any(layout.shape[dim] > 1 for dim in channels):
        raise CannotSlide(REASONS[Locality.GLOBAL], PART)
    times = prod(layout.places[axis].size for axis in axes) if step.name == "sum" else 1
    layout = _summarised(made, step, x, dict.fromkeys(sorted(axes), 1), summary, times)
    return (made.regrouped(FromStep(made.number), layout, layout.without(gone)),)


def resize(made: Rewriting, step: Step) -> WindowLayout:
    """Interpolation by whole factors."""
    x = step.reads[0][0]
    layout, axes = made.of(x), step.drafts[0].pattern.axes  # type: ignore[attr-defined]
    if step.drafts[0].locality is not Locality.WINDOWED or not natural(made, x, len(axes)):
        raise CannotSlide("it interpolates to a size that is no multiple of its input, or by the corners", PART)
    factors = tuple(axis.outputs // axis.size for axis in axes)
    mode = next(word for word in ("nearest-exact", "nearest", "bicubic", "linear") if word.split("-")[-1] in step.name)
    if mode == "linear":
        mode = ("linear", "bilinear", "trilinear")[len(axes) - 1]
    made.gives(made.add(calls.enlarged, made.value(x), factors, mode))
    enlarged = [Axis(1, input_dilation=factor) for factor in factors]
    return slid(layout, enlarged, step.shapes[0])


def shuffled(made: Rewriting, step: Step) -> WindowLayout:
    """Channels to places, and back."""
    x = step.reads[0][0]
    layout = natural(made, x, 2)
    made.call(step, made.value)
    up = step.name == "pixel_shuffle"
    factor = int(step.arguments["upscale_factor" if up else "downscale_factor"])
    axis = Axis(1, input_dilation=factor) if up else Axis(factor, factor)
    return slid(layout, [axis, axis], step.shapes[0])


def linear(made: Rewriting, step: Step) -> WindowLayout:
    """A convolution whose kernel is as large as the places that are read."""
    given = step.arguments
    if given["input"] not in made.layouts or len([one for one in step.references if one in made.layouts]) > 1:
        raise CannotSlide("its weights are computed from the image", PART)
    return _product(made, step, given["input"], given["weight"], given["bias"])


def product(made: Rewriting, step: Step) -> WindowLayout:
    """A product with a matrix of weights."""
    names = {"addmm": ("mat1", "mat2", "self"), "matmul": ("input", "other", ""), "mm": ("self", "mat2", "")}
    first, second, added = names.get(step.name, ("", "", ""))
    x, weight, bias = (step.arguments.get(name) for name in (first, second, added))
    plain = all(step.arguments.get(name, 1) == 1 for name in ("alpha", "beta"))
    constant = weight is not None and weight not in made.layouts and len(made.shape(weight)) == 2
    if x not in made.layouts or not constant or not plain:
        raise CannotSlide("it multiplies places by places, or by other numbers for each of them: attention", PART)
    return _product(made, step, x, weight, bias, True)


def _product(
    made: Rewriting, step: Step, x: Reference, weight: Any, bias: Any, transposed: bool = False
) -> WindowLayout:
    layout = made.of(x)
    last, outputs = layout.dims[-1], step.shapes[0][-1]
    parts = [one for one in last if one.axis is None or one.size > 1]
    axes = {one.axis: at for at, one in enumerate(parts) if one.axis is not None}
    order = (*(at for at, one in enumerate(parts) if one.axis is None), *(axes[axis] for axis in sorted(axes)))
    kernel = tuple(place.size if axis in axes else 1 for axis, place in enumerate(layout.places))
    strides = tuple(place.step if axis in axes else 1 for axis, place in enumerate(layout.places))
    channels = channels_of(last)
    conv = Convolution(channels, outputs, kernel, strides, bias=bias is not None)
    value = made.value(x)
    whole = replace(layout, dims=(*layout.dims[:-1], (Factor(channels), *last)))
    if len(whole.leading) > len(layout.leading):
        value = made.add(calls.reshaped, value, (*layout.lead_sizes, 1), len(kernel))
    rearranged = (tuple(one.size for one in parts), order), (channels, *kernel)
    plain = len(whole.leading) == 2
    layer = made.linear_of(step, weight, conv, *rearranged) if plain else None
    if layer is not None:
        made.gives(made.add(layer, value))
    else:
        matrix, added = (None if one is None else made.value(one) for one in (weight, bias))
        matrix = made.add(torch.t, matrix) if transposed else matrix
        made.gives(made.add(calls.multiplied, value, Operator(conv), matrix, added, len(kernel), *rearranged))
    name = made.where(step)

    def moved(axis: int, place: PlaceAxis) -> PlaceAxis:
        return replace(place.through(Axis(kernel[axis], strides[axis]), 1), pooled=name) if axis in axes else place

    found = whole.moved(moved)
    return found.with_dim(len(found.dims) - 1, outputs)
