"""Torch's own convolutions, and ours, as the one layer of a description."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..errors import SettingError
from .conv import Conv, Conv1d, Conv2d, Conv3d
from .transposed import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d

KINDS: dict[type[nn.Module], Any] = {
    nn.Conv1d: Conv1d,
    nn.Conv2d: Conv2d,
    nn.Conv3d: Conv3d,
    nn.ConvTranspose1d: ConvTranspose1d,
    nn.ConvTranspose2d: ConvTranspose2d,
    nn.ConvTranspose3d: ConvTranspose3d,
}


def twin(module: Any) -> Conv:
    """The layer of torch.nn's convolution on the same parameters; a layer of torchconv is its own.

    Raises SettingError for any other module.

    >>> theirs = nn.Conv2d(3, 8, 3, padding="same")
    >>> str(twin(theirs).convolution), twin(theirs).weight is theirs.weight
    ('3->8, 3x3, padding=1', True)
    """
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
    new.weight, new.bias = module.weight, module.bias
    return new.train(module.training)
