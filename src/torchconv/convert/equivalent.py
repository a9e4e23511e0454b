"""Torch's own convolutions, and ours, as the one layer of a description."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from ..description import shapes
from ..errors import SettingError, ShapeError
from ..nn.conv import Conv, Conv1d, Conv2d, Conv3d
from ..nn.transposed import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d

KINDS: dict[type[nn.Module], Any] = {
    nn.Conv1d: Conv1d,
    nn.Conv2d: Conv2d,
    nn.Conv3d: Conv3d,
    nn.ConvTranspose1d: ConvTranspose1d,
    nn.ConvTranspose2d: ConvTranspose2d,
    nn.ConvTranspose3d: ConvTranspose3d,
}

COMPUTING = {kind.forward.__module__ for pair in KINDS.items() for kind in pair}  # where their outputs are made


def equivalent(module: Any) -> Conv:
    """The layer of torch.nn's convolution on the same parameters; a layer of torchconv is its own.

    A weight that is computed from other parameters, as by weight_norm, is copied as it is now.
    Raises SettingError for any other module, and for a subclass that computes something else.

    >>> theirs = nn.Conv2d(3, 8, 3, padding="same")
    >>> str(twin(theirs).convolution), twin(theirs).weight is theirs.weight
    ('3->8, 3x3, padding=1', True)
    """
    _check_inherited(module)
    if isinstance(module, Conv):
        return module
    kind = next((kind for kind in KINDS if isinstance(module, kind)), None)
    if kind is None:
        expected = "a convolution of torchconv.nn or torch.nn"
        raise SettingError("the layer", got=type(module).__name__, expected=expected)
    given = {
        name: getattr(module, name)
        for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
    }
    if "Transpose" in kind.__name__:
        given["output_padding"] = module.output_padding
    new = KINDS[kind](**given, bias=module.bias is not None, padding_mode=module.padding_mode, device="meta")
    new.weight, new.bias = _parameter(module.weight), _parameter(module.bias)
    return new.train(module.training)


def _check_inherited(module: nn.Module) -> None:
    """Raises SettingError for a class whose own code decides what is made of the weights."""
    known = (Conv, *KINDS)
    for name in ("forward", "_conv_forward"):
        method = getattr(type(module), name, None)
        if isinstance(module, known) and method is not None and method.__module__ not in COMPUTING:
            got = f"{type(module).__name__}, which has a {name} of its own"
            raise SettingError("the layer", got=got, expected="one that computes what its base class does")


def _parameter(values: Any) -> nn.Parameter | None:
    return values if values is None or isinstance(values, nn.Parameter) else nn.Parameter(values.detach())


def initialised(module: nn.Module, what: str) -> Conv:
    """The same, with numbers; raises SettingError naming `what` for a layer whose parameters have no shape yet."""
    if any(is_lazy(values) for values in module.parameters(recurse=False)):
        fix = "Give the layer its input_size, or call it once."
        raise SettingError(f"{what} of {module}", got="parameters without a shape yet", fix=fix)
    return equivalent(module)


def size_for(layer: Conv, input_size: Any, required: bool) -> tuple[int, ...] | None:
    """Of a layer's input: as given, or that which its weights are made for; raises errors where neither will do."""
    conv, own = layer.convolution, layer.input_size
    if input_size is None:
        if own is None and required:
            raise SettingError(f"the input size of {conv}", got="none", fix="Give input_size, samples per axis.")
        return own
    size = shapes.sizes_of(input_size, conv.ndim)
    conv.output_size(size)  # raises where no window fits
    unshared = conv.sharing.needs_size or (conv.bias and conv.bias_sharing.needs_size)
    if own is not None and unshared and size != own:
        raise ShapeError(f"input_size of {conv}", got=size, expected=f"{own}, for which its weights are made")
    return size
