"""A classifier over every window of a larger image at once: its fully connected layers as convolutions."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ...description.axis import plain, positive
from ...errors import SettingError, ShapeError, UnsupportedError
from ...network.operations import Volume
from ...nn.conv import Conv
from ...tracing.model_copy import ModelFailed
from ...tracing.program import capture
from ...tracing.trace import NeedsAnotherRun, Unrepeatable
from .places import SIZES, CannotSlide, WindowLayout, channels_of
from .rewriting import Rewriting
from .rules import RULES
from .sliding_model import SlidingModel
from .window_rules import unshared

BATCH = 3  # images while the model is followed: a number that few dimensions have
HEAD = "Give the layers of the classifier as a torch.nn.Sequential, and the volume that it reads."


def as_convolution(module: nn.Module, volume: Any, *, ndim: int | None = None) -> nn.Module:
    """A classifier that slides over images of any size, and scores every window as the given one scores that crop.

    module: a Linear, the head of a classifier, or all of it: any module, which is run once without numbers and followed
    by its operators. volume: what it reads, (channels, *size), of which Linear gets the values flattened; (channels,)
    or an int: one place, on ndim axes (2 unless it is given). Parameters are copies, under their names.

    Returns a module from (batch, channels, *larger size) to (batch, classes, *positions); at the size of `volume`,
    one position. Linear becomes a convolution of the size that it reads, global pooling a pooling of that size with
    stride 1. Window i of an axis begins at sample i * stride of the image, with the stride that `tc.receptive_field`
    tells: the product of all strides. Scores are those of the crops where nothing pads; else layers see neighbours
    where a crop has padding (also "same", which pads as it does at the size of `volume`, and windows of ceil_mode that
    end outside). Batch normalisation agrees in eval mode.

    Raises ShapeError where a layer does not read what comes, UnsupportedError with the layer and the reason for what
    cannot slide: what takes statistics of all places, or depends on which place is which, and what is not known.
    Source: CS231n, Convolutional neural networks, Converting FC layers to CONV layers; Sermanet et al. 2014, OverFeat,
    section 3.5.

    >>> import torch
    >>> head = nn.Sequential(nn.Flatten(), nn.Linear(512 * 7 * 7, 8), nn.ReLU(), nn.Linear(8, 10))
    >>> sliding = as_convolution(head, (512, 7, 7))
    >>> sliding(torch.zeros(1, 512, 12, 12)).shape, sliding[1].weight.shape
    (torch.Size([1, 10, 6, 6]), torch.Size([8, 512, 7, 7]))
    """
    if not isinstance(module, nn.Module):
        raise SettingError("module", got=repr(module), expected="a torch.nn.Module, as in nn.Linear(512 * 7 * 7, 10)")
    read = _volume(volume, ndim)
    layout = WindowLayout.of_image(read.channels, read.size, BATCH, isinstance(_first(module), nn.Linear))
    found, behind = _Conversion().module(module, layout, "")
    for dim in behind.dims:
        if channels_of(dim) > 1 and any(factor.axis is not None and factor.size > 1 for factor in dim):
            places = Volume(channels_of(dim), behind.sizes)
            got = f"{places.numel} flattened features, from places ({places})"
            what = f"as_convolution of {type(module).__name__}"
            raise UnsupportedError(what, got=got, expected="scores at the end", fix=HEAD)
    return found


def _first(module: nn.Module) -> nn.Module:
    """The layer that reads the image, where layers are in a sequence."""
    while type(module).forward is nn.Sequential.forward and len(module._modules):
        module = next(module.children())
    return module


def _volume(volume: Any, ndim: int | None) -> Volume:
    given = plain(volume)
    numbers = [positive("volume", value) for value in (given if isinstance(given, list) else [given])]
    if not numbers:
        raise SettingError("volume", got=repr(volume), expected="(channels, *size), as in (512, 7, 7)")
    rank = positive("ndim", 2 if ndim is None else ndim)
    channels, *size = numbers
    if size and ndim is not None and rank != len(size):
        raise SettingError("ndim", got=ndim, expected=f"{len(size)}, the axes of the volume {tuple(numbers)}")
    return Volume(channels, tuple(size) or (1,) * rank)


class _Conversion:
    """One call of as_convolution; copies of what stays share what the originals shared."""

    def __init__(self) -> None:
        self.copies: dict[int, Any] = {}
        self._made: dict[int, nn.Module] = {}  # what took the place of a layer, by its identity

    def module(self, module: nn.Module, layout: WindowLayout, path: str) -> tuple[nn.Module, WindowLayout]:
        """What takes the place of a module that reads a tensor of this layout, and the layout behind it."""
        if type(module).forward is nn.Sequential.forward:
            return self._sequential(module, layout, path)
        for name, part in module.named_modules(prefix=path):
            self._refuse_unseen(part, name)
        program = self._program(module, layout, path)
        made, behind = self._rewritten(Rewriting(module, program, layout, path), path)
        if len(made.calls) > 1 and any(call.function == "" for call in made.calls):
            made, behind = self._rewritten(Rewriting(module, program, layout, path, in_parts=True), path)
        return self._assembled(module, made, path), behind

    @staticmethod
    def _rewritten(made: Rewriting, path: str) -> tuple[Rewriting, WindowLayout]:
        where = ""
        try:
            for number, step in enumerate(made.program.steps):
                where = step.module
                made.rewrite(number, RULES)
            where = ""
            return made, made.finished(made.program.outputs)
        except CannotSlide as error:
            raise _refused(made.model, path, where, error) from error

    def _sequential(self, module: nn.Module, layout: WindowLayout, path: str) -> tuple[nn.Module, WindowLayout]:
        made = nn.Sequential()
        made.training = module.training
        for name, child in module._modules.items():  # named_children leaves out what comes a second time
            assert child is not None
            part, layout = self.module(child, layout, f"{path}.{name}".lstrip("."))
            made.add_module(name, part)
        return made, layout

    def _program(self, module: nn.Module, layout: WindowLayout, path: str) -> Any:
        what = f"as_convolution of {_named(module, path, '')}"
        volume = (layout.lead_sizes[1:] or (1,))[:1] + layout.sizes
        if isinstance(module, nn.Linear) and layout.shape[-1] != module.in_features:
            got, numel = f"in_features={module.in_features}", layout.shape[-1]
            expected = f"{numel}, the values of a volume {volume}"
            raise ShapeError(what, got=got, expected=expected, fix="Give the volume that it reads, (channels, *size).")
        dtype = next((one.dtype for one in module.parameters() if one.is_floating_point()), torch.float32)
        try:
            with torch.device("cpu"):  # which is that of a run without numbers, whatever the caller has chosen
                return capture(module, (torch.empty(layout.shape, dtype=dtype, device="meta"),))
        except ModelFailed as error:
            if isinstance(error.__cause__, NeedsAnotherRun | Unrepeatable):
                raise UnsupportedError(what, got=error.got, expected=error.expected, fix=HEAD) from error
            what = f"as_convolution of {_named(module, path, error.layer)}"
            raise ShapeError(what, got=f"a volume {volume}, and in it {error.got}", expected=error.expected) from error

    def _assembled(self, module: nn.Module, made: Rewriting, path: str) -> nn.Module:
        """The module itself where all of it stays, a layer where it is one, else a model of calls."""
        layers = {id(one := module.get_submodule(name)): self._shared(one, made, path, name) for name in made.layers}
        calls = made.ended()
        if [call.function for call in calls] == [""]:
            return layers[id(module)] if layers else copy.deepcopy(module, self.copies)
        if not calls and not [*module.parameters()]:
            return nn.Identity()
        original = copy.deepcopy(module, self.copies)
        for name, part in module.named_modules(remove_duplicate=False):
            if name and id(part) in layers:
                original.set_submodule(name, layers[id(part)])
        for part in original.modules():
            if getattr(part, "inplace", False):  # copies that the model makes in between may be left out here
                setattr(part, "inplace", False)  # noqa: B010
        device = next((one.device for one in module.parameters()), None)
        return SlidingModel(original, {name: one.to(device) for name, one in made.constants.items()}, calls)

    def _shared(self, original: nn.Module, made: Rewriting, path: str, name: str) -> nn.Module:
        """What takes the place of a layer: the same wherever it is used, if it has parameters."""
        layer = made.layers[name]
        if not [*layer.parameters()]:
            return layer
        if str(self._made.setdefault(id(original), layer)) != str(layer):
            raise _refused(made.model, path, name, CannotSlide(SIZES))
        return self._made[id(original)]

    @staticmethod
    def _refuse_unseen(module: nn.Module, path: str) -> None:
        what = f"as_convolution of {_named(module, path, '')}"
        if any(is_lazy(one) for one in module.parameters(recurse=False)):
            if isinstance(module, Conv):
                raise _refused(module, path, "", CannotSlide(*unshared(module.convolution)))
            got, fix = "parameters that have no shape yet", "Call the model once first."
            raise UnsupportedError(what, got=got, expected="a model that was used", fix=fix)
        if module._forward_hooks or module._forward_pre_hooks:
            got, fix = "forward hooks, which might look at places", "Remove them first."
            raise UnsupportedError(what, got=got, expected="none", fix=fix)


def _named(module: nn.Module, path: str, inner: str) -> str:
    """How a layer is called in errors."""
    whole, part = f"{path}.{inner}".strip("."), module.get_submodule(inner)
    return f"layer {whole}, {type(part).__name__}" if whole else type(part).__name__


def _refused(module: nn.Module, path: str, inner: str, error: CannotSlide) -> UnsupportedError:
    got = f"one that cannot slide, since {error.reason}"
    what = f"as_convolution of {_named(module, path, inner)}"
    return UnsupportedError(what, got=got, expected="the same way with every window", fix=error.fix or HEAD)
