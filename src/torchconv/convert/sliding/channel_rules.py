"""Operations on the channels of each place: views, parts, concatenation, normalisation."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn import functional

from ...description.axis import Axis
from ...network.base import Locality
from ...receptive.access import Slice
from ...tracing.program import Step
from . import sliding_model as calls
from .places import PART, CannotSlide, WindowLayout, by, channels_of, core, together
from .rewriting import REASONS, Rewriting
from .window_rules import natural

OVER_PLACES = "its mean and variance are taken over places, which are others in a larger image"
BATCH = "Use batch normalisation, whose statistics are settled by training."


def same(made: Rewriting, step: Step) -> WindowLayout:
    """The very tensor, or in another type."""
    x = step.reads[0][0]
    layout = made.of(x)
    if step.name == "dropout":
        layer, given = made.layer_of(step), step.arguments
        function = layer or getattr(functional, given["kind"])
        made.gives(made.add(function, made.value(x), *([] if layer else [given["p"], calls.Training(step.module)])))
    elif step.name == "_to_copy":
        made.call(step, made.value, memory_format=None, device=None)
    else:
        made.same(x)
    return layout


def reshape(made: Rewriting, step: Step) -> WindowLayout:
    """The same elements in another shape: of the channels only, since places stay what they are."""
    x = step.reads[0][0]
    layout = made.of(x)
    if not step.drafts[0].known:
        raise CannotSlide("which elements it takes is not known")
    return made.regrouped(x, layout, layout.reshaped(step.shapes[0]))


def permute(made: Rewriting, step: Step) -> WindowLayout:
    """The dimensions in another order."""
    x = step.reads[0][0]
    layout = made.of(x)
    order = step.drafts[0].pattern.order  # type: ignore[attr-defined]
    leads = [layout.leading.index(dim) for dim in order if dim in layout.leading]
    if leads == sorted(leads):
        made.same(x)
    else:
        places = range(len(leads), len(leads) + len(layout.places))
        made.gives(made.add(torch.permute, made.value(x), (*leads, *places)))
    return layout.permuted(order)


def expand(made: Rewriting, step: Step) -> WindowLayout:
    """Broadcast, along channels."""
    x = step.reads[0][0]
    layout, shape = made.of(x), step.shapes[0]
    more = replace(layout, dims=((),) * (len(shape) - len(layout.dims)) + layout.dims)
    for dim, (old, new) in enumerate(zip(more.shape, shape, strict=True)):
        if old != new:
            if dim not in more.leading:
                pooled = next((place.pooled for place in more.places if place.pooled), "")
                raise CannotSlide(f"every place gets a number that is taken over all places of a window{by(pooled)}")
            more = more.with_dim(dim, new)
    made.gives(made.add(calls.broadcast, made.value(x), more.lead_sizes, len(more.places)))
    return more


def along(made: Rewriting, step: Step) -> WindowLayout:
    """What works along one dimension, of channels: the same along the one that it is in the sliding model."""
    x = step.reads[0][0]
    layout, dim = made.of(x), int(step.arguments["dim"]) % max(len(made.shape(x)), 1)
    made.call(step, made.value, dim=layout.lead(dim))
    return layout if step.shapes[0][dim] == layout.shape[dim] else layout.with_dim(dim, step.shapes[0][dim])


def channel_shuffle(made: Rewriting, step: Step) -> WindowLayout:
    """Of the channels in front of their places."""
    layout = natural(made, step.reads[0][0], 0)
    made.call(step, made.value)
    return layout


def cut(made: Rewriting, step: Step) -> WindowLayout:
    """A part of an axis: of the places, as much less at either end."""
    x = step.reads[0][0]
    layout, pattern = made.of(x), step.drafts[0].pattern
    assert isinstance(pattern, Slice)
    if step.shapes[0] == layout.shape:
        made.same(x)
        return layout
    axes = layout.axes_of(pattern.dim)
    if pattern.dim in layout.leading:
        return along(made, step)
    (low, _), step_ = pattern.axis.padding, pattern.axis.stride
    if len(axes) != 1:
        raise CannotSlide("it takes parts of places by their number")
    length, outputs = layout.shape[pattern.dim], step.shapes[0][pattern.dim]
    start = -int(low)
    end = length - start - (outputs - 1) * step_ - 1
    window = Axis(1, step_, padding=(-start, -end))
    made.gives(made.add(calls.cut, made.value(x), len(layout.leading) + axes[0], start, end, step_))
    return layout.moved(lambda axis, place: place.through(window, outputs) if axis == axes[0] else place)


def parts(made: Rewriting, step: Step) -> tuple[WindowLayout, ...]:
    """An axis of channels in parts, or without it one of each."""
    x = step.reads[0][0]
    layout, dim = made.of(x), int(step.arguments["dim"]) % len(made.shape(x))
    if dim not in layout.leading and layout.shape[dim] == 1 and step.name == "select":
        made.same(x)
        return (layout.without([dim]),)
    made.call(step, made.value, dim=layout.lead(dim))
    removed = step.name in ("select", "unbind")
    return tuple(layout.without([dim]) if removed else layout.with_dim(dim, shape[dim]) for shape in step.shapes)


def join(made: Rewriting, step: Step) -> WindowLayout:
    """Channels of several tensors one after another."""
    tensors = [one for one in step.arguments["tensors"] if made.shape(one) != (0,)]
    dim, stack = int(step.arguments["dim"]) % len(step.shapes[0]), step.name == "stack"
    if any(one not in made.layouts for one in tensors):
        reason = "it puts a tensor that does not follow from the image, such as a class token, beside those that do"
        raise CannotSlide(reason, PART)
    layouts = [made.of(one) for one in tensors]
    if stack:
        layouts = [replace(one, dims=(*one.dims[:dim], (), *one.dims[dim:])) for one in layouts]
    kinds = [core(one.dims[dim]) for one in layouts]
    if any(dim not in one.leading for one in layouts):
        raise CannotSlide("it puts places one after another", PART)
    if any((axis is None) is not (at == 0) for kind in kinds for at, (_, axis) in enumerate(kind)):
        raise CannotSlide("it puts features that were flattened from places in another order one after another", PART)
    total = sum(channels_of(one.dims[dim]) for one in layouts)
    whole = together([one.with_dim(dim, total) for one in layouts])
    function = torch.stack if stack else torch.cat
    made.gives(made.add(function, made.fitted(tensors), whole.leading.index(dim)))
    return whole


def batch_norm(made: Rewriting, step: Step) -> WindowLayout:
    """By running statistics, which are those of all places while the model is being trained."""
    x = step.reads[0][0]
    layout = made.of(x)
    if step.drafts[0].locality is not Locality.POINTWISE:
        raise CannotSlide(f"without running statistics, {OVER_PLACES}", BATCH)
    if (layout.lead(0), layout.lead(1)) != (0, 1):
        raise CannotSlide("its channels are not the first dimension behind the batch")
    layer = made.layer_of(step) if layout.natural else None
    if layer is not None:
        made.gives(made.add(layer, made.value(x)))
        return layout
    given = step.arguments
    weights = [None if given[name] is None else made.value(given[name]) for name in ("weight", "bias")]
    statistics = [made.value(given[name]) for name in ("running_mean", "running_var")]
    arguments = (*statistics, *weights, calls.Training(step.module), given["momentum"], given["eps"])
    made.gives(made.add(functional.batch_norm, made.value(x), *arguments))
    return layout


def layer_norm(made: Rewriting, step: Step) -> WindowLayout:
    """Over the channels of each place on its own, wherever the model has them."""
    if len(step.arguments["normalized_shape"]) > 1:
        raise CannotSlide(OVER_PLACES, BATCH)
    return _normalised(made, step, -1, 1)


def group_norm(made: Rewriting, step: Step) -> WindowLayout:
    """Of one place only."""
    if not made.of(step.reads[0][0]).alone:
        raise CannotSlide(OVER_PLACES, BATCH)
    return _normalised(made, step, 1, int(step.arguments["group"]))


def _normalised(made: Rewriting, step: Step, dim: int, groups: int) -> WindowLayout:
    x = step.reads[0][0]
    layout = made.of(x)
    if any(factor.size > 1 and factor.axis is not None for factor in layout.dims[dim]):
        raise CannotSlide(OVER_PLACES, BATCH)
    weights = [step.arguments[name] and made.value(step.arguments[name]) for name in ("weight", "bias")]
    lead = layout.lead(dim % len(layout.dims))
    made.gives(made.add(calls.normalised, made.value(x), lead, groups, *weights, step.arguments["eps"]))
    return layout


def chosen(made: Rewriting, step: Step) -> WindowLayout:
    """Channels in another order, by constant numbers."""
    if step.name == "index_select":
        return along(made, step)
    x, indices = step.arguments["self"], step.arguments["indices"]
    layout, given = made.of(x), [at for at, one in enumerate(indices) if one is not None]
    if len(given) != 1 or indices[given[0]] in made.layouts or len(made.shape(indices[given[0]])) != 1:
        raise CannotSlide(REASONS[Locality.POSITIONAL], PART)
    (dim,) = given
    made.gives(made.add(torch.index_select, made.value(x), layout.lead(dim), made.value(indices[dim])))
    return layout.with_dim(dim, step.shapes[0][dim])


def mixed(made: Rewriting, step: Step) -> tuple[WindowLayout, ...]:
    """Softmax, sorting, the largest, over channels."""
    return (along(made, step),) * len(step.shapes)


def prelu(made: Rewriting, step: Step) -> WindowLayout:
    """A slope for each channel; what keeps some places of a matrix is refused."""
    if step.name != "_prelu_kernel":
        raise CannotSlide(REASONS[Locality.POSITIONAL], PART)
    draft = replace(step.drafts[0], locality=Locality.POINTWISE)
    return made.pointwise(replace(step, drafts=(draft,)))
