"""The equivalent torchconv layer of a torch.nn convolution, sharing its parameters; and the numbers of a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..compute import layouts
from ..description import shapes
from ..description.convolution import Convolution
from ..errors import SettingError, ShapeError
from ..nn.conv import Conv, Conv1d, Conv2d, Conv3d
from ..nn.transposed import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d

OURS = (Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)
KINDS: dict[type[nn.Module], Any] = {getattr(nn, kind.__name__): kind for kind in OURS}
COMPUTING = {kind.forward.__module__ for pair in KINDS.items() for kind in pair}  # where their outputs are made


def equivalent(module: Any) -> Conv:
    """The equivalent torchconv layer of a torch.nn convolution, on the same parameters; a layer of torchconv itself.

    A weight that is computed from other parameters, as by weight_norm, is copied as it is now.
    Raises SettingError for any other module, and for a subclass that computes something else.

    >>> theirs = nn.Conv2d(3, 8, 3, padding="same")
    >>> str(equivalent(theirs).convolution), equivalent(theirs).weight is theirs.weight
    ('3->8, 3x3, padding=1', True)
    """
    _check_inherited(module)
    if isinstance(module, Conv):
        return module
    kind = next((kind for kind in KINDS if isinstance(module, kind)), None)
    if kind is None:
        got, expected = type(module).__name__, "a convolution of torchconv.nn or torch.nn"
        raise SettingError("the layer", got=got, expected=expected)
    names = ["in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"]
    names += ["output_padding"] * ("Transpose" in kind.__name__)
    given = {name: getattr(module, name) for name in names}
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


@dataclass(frozen=True)
class LayerValues:
    """A layer's description, sizes of its input and output, if they are given, and its numbers.

    weight: in the description's order, or the matrix of a fully connected layer. like: the layer that they are from.
    """

    convolution: Convolution
    size: tuple[int, ...] | None
    outputs: tuple[int, ...] | None
    weight: Tensor
    bias: Tensor | None
    like: Any

    @classmethod
    def of(cls, module: nn.Module, input_size: Any, what: str) -> LayerValues:
        """The values of a convolution; raises SettingError or ShapeError naming `what` for one that has none yet."""
        if any(is_lazy(values) for values in module.parameters(recurse=False)):
            fix = "Give the layer its input_size, or call it once."
            raise SettingError(f"{what} of {module}", got="parameters without a shape yet", fix=fix)
        layer = equivalent(module)
        conv, size = layer.convolution, layer.input_size
        if input_size is not None:
            size = shapes.sizes_of(input_size, conv.ndim)
            unshared = conv.sharing.needs_size or (conv.bias and conv.bias_sharing.needs_size)
            if layer.input_size not in (None, size) and unshared:
                expected = f"{layer.input_size}, for which its weights are made"
                raise ShapeError(f"input_size of {conv}", got=size, expected=expected)
        outputs = None if size is None else conv.output_size(size)  # raises where no window fits
        return cls(conv, size, outputs, layouts.plain(layer.weight, layer.layout, conv), layer.bias, layer)

    def sized(self) -> LayerValues:
        """The same; raises SettingError where the size of the input is not known."""
        if self.size is None:
            fix = "Give input_size, samples per axis."
            raise SettingError(f"the input size of {self.convolution}", got="none", fix=fix)
        return self

    def module(self) -> Conv:
        """The layer of these values, copies, and with everything else as it is in `like`."""
        options = {name: getattr(self.like, name) for name in ("precision", "workspace") if isinstance(self.like, Conv)}
        bias = None if self.bias is None else copied(self.bias, self.like.bias)
        new = Conv.holding(self.convolution, self.size, copied(self.weight, self.like.weight), bias, **options)
        return new.train(self.like.training)


def copied(values: Tensor, like: Any) -> nn.Parameter:
    """A parameter of its own, also where nothing had to be changed."""
    values = values.detach()
    return nn.Parameter(values.clone() if values.data_ptr() == like.data_ptr() else values, like.requires_grad)
