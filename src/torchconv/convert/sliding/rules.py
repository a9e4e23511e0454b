"""Which layers slide, and by which rule: one table. Layers that are not in it are refused: nothing is known of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ...description.pooling import Pooling
from ...language import build
from ...nn.conv import Conv
from ...nn.pooling.channel_pool import ChannelPool
from ...nn.pooling.grid_pool import GlobalPool, GridPool1d, GridPool2d, GridPool3d
from ...nn.pooling.learned_pool import LearnedPool
from ...nn.pooling.pool import Pool
from . import layers as slide
from .layers import CannotSlide, Seen, Slid

OVER_PLACES = "its mean and variance are taken over places, which are others in a larger image"
BATCH = "Use batch normalisation, whose statistics are settled by training."
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of every place on its own: (batch, channels, *size) to the same.

    >>> import torch
    >>> ChannelNorm(2)(torch.tensor([[[3.0, 0.0], [5.0, 8.0]]])).detach().round(decimals=3)
    tensor([[[-1., -1.],
             [ 1.,  1.]]])
    """

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


def _batch_norm(module: Any, seen: Seen) -> Slid:
    slide.unflattened(seen)
    if module.running_mean is None:
        raise CannotSlide("without running statistics it takes them over all places", "Use track_running_stats=True.")
    if not seen.flat or isinstance(module, nn.SyncBatchNorm):
        return module, seen
    made = BATCH_NORMS[seen.ndim](module.num_features, module.eps, module.momentum, module.affine, device="meta")
    tensors = dict([*module.named_parameters(), *module.named_buffers()])
    return slide.holding(made, **tensors), seen


def _layer_norm(module: Any, seen: Seen) -> Slid:
    if not (seen.flat and seen.alone and tuple(module.normalized_shape) == (seen.volume.channels,)):
        raise CannotSlide(OVER_PLACES, BATCH)
    made = ChannelNorm(module.normalized_shape, module.eps, module.elementwise_affine, module.bias is not None, "meta")
    return slide.holding(made, **dict(module.named_parameters())), seen


def _group_norm(module: Any, seen: Seen) -> Slid:
    if module.num_groups > 1 or not (seen.flat and seen.alone):
        raise CannotSlide(OVER_PLACES, BATCH)
    made = ChannelNorm(module.num_channels, module.eps, module.affine, device="meta")
    return slide.holding(made, **dict(module.named_parameters())), seen


def torch_pool(module: Any, seen: Seen) -> Slid:
    """torch's pools; where the last window may end outside, one of ours, which does as at the size of one window."""
    slide.not_flattened(seen)
    if not module.ceil_mode or getattr(module, "divisor_override", None):
        return slide.windows(module, seen)
    if getattr(module, "return_indices", False):
        raise CannotSlide("return_indices=True gives places in the whole image", "Leave it out.")
    names = ("kernel_size", "stride", "padding", "dilation", "count_include_pad")
    settings = {name: getattr(module, name) for name in names if hasattr(module, name)}
    statistic = "mean" if "count_include_pad" in settings else "max"
    if isinstance(module.kernel_size, int):  # a description takes its rank from the window
        settings["kernel_size"] = (module.kernel_size,) * seen.ndim
    return slide.pool(Pool(Pooling(**settings, statistic=statistic, ceil_mode=True)), seen)


def _statistics(module: Any, *seen: Seen) -> Slid:
    raise CannotSlide(OVER_PLACES, BATCH)


def over_channels(dim: Any, seen: Seen, what: str = "it") -> None:
    """Raises CannotSlide unless a dimension of the model's tensor is that of the channels."""
    slide.unflattened(seen)
    axes = 2 if seen.flat else seen.ndim + 2
    if (1 if dim is None and axes in (2, 4) else dim) not in (1, 1 - axes):
        raise CannotSlide(f"{what} works along dimension {dim}, not over channels", "Use dim=1.")


def _softmax(module: Any, seen: Seen) -> Slid:
    over_channels(module.dim, seen)
    return type(module)(dim=1), seen


def _prelu(module: Any, seen: Seen) -> Slid:
    return slide.keep(module, seen) if module.num_parameters == 1 else slide.keep_channels(module, seen)


def _glu(module: Any, seen: Seen) -> Slid:
    over_channels(module.dim, seen)
    made = nn.GLU(dim=1)
    return made, slide.after(made, seen)


def _adaptive(statistic: str) -> Callable[..., Slid]:
    def rule(module: Any, seen: Seen) -> Slid:
        if getattr(module, "return_indices", False):
            raise CannotSlide("return_indices=True gives places in the whole image", "Leave it out.")
        return slide.cells(seen, module.output_size, statistic)

    return rule


def _over_all(module: Any, seen: Seen) -> Slid:
    return slide.overall(seen, *slide.settings(module.summary))


def _all_ranks(*names: str) -> list[type[nn.Module]]:
    return [getattr(nn, f"{name}{ndim}d") for name in names for ndim in (1, 2, 3) if hasattr(nn, f"{name}{ndim}d")]


def _named(names: str) -> list[type[nn.Module]]:
    return [getattr(nn, name) for name in names.split()]


VALUES = _named(
    "Identity ReLU ReLU6 LeakyReLU RReLU ELU CELU SELU GELU SiLU Mish Sigmoid Tanh Hardtanh Hardsigmoid Hardswish"
    " Hardshrink Softshrink Tanhshrink Softplus Softsign LogSigmoid Threshold Dropout AlphaDropout"
)
CHANNELS = [*_named("LocalResponseNorm CrossMapLRN2d ChannelShuffle"), *_all_ranks("Dropout"), build.ChannelScale]
WINDOWS = _named("Upsample PixelShuffle PixelUnshuffle") + _all_ranks(
    *("Conv", "ConvTranspose", "LPPool"),
    *("ZeroPad", "ConstantPad", "ReflectionPad", "ReplicationPad", "CircularPad"),
)
RULES: dict[type, Callable[..., Slid]] = {
    **dict.fromkeys(VALUES, slide.keep),
    **dict.fromkeys(CHANNELS, slide.keep_channels),
    **dict.fromkeys(WINDOWS, slide.windows),
    **dict.fromkeys([ChannelPool, build.Merging], slide.keep_windows),
    **dict.fromkeys([*_all_ranks("BatchNorm"), nn.SyncBatchNorm], _batch_norm),
    **dict.fromkeys(_all_ranks("InstanceNorm"), _statistics),
    **dict.fromkeys(_all_ranks("MaxPool", "AvgPool"), torch_pool),
    nn.GroupNorm: _group_norm,
    **dict.fromkeys(_all_ranks("AdaptiveAvgPool"), _adaptive("mean")),
    **dict.fromkeys(_all_ranks("AdaptiveMaxPool"), _adaptive("max")),
    **dict.fromkeys([GridPool1d, GridPool2d, GridPool3d], slide.grid),
    **dict.fromkeys([Pool, LearnedPool], slide.pool),
    **dict.fromkeys([nn.Linear, build.FullyConnected], slide.linear),
    **dict.fromkeys([nn.Softmax, nn.LogSoftmax, nn.Softmin], _softmax),
    nn.Softmax2d: slide.keep_channels,
    nn.LayerNorm: _layer_norm,
    nn.PReLU: _prelu,
    nn.GLU: _glu,
    nn.Flatten: slide.flatten,
    Conv: slide.convolution,
    GlobalPool: _over_all,
}


def rule_of(module: nn.Module) -> Callable[..., Slid] | None:
    """The rule of a module, also by a class that it inherits its forward from; None where there is none."""
    forward = type(module).forward
    for kind in type(module).__mro__:
        if kind in RULES:
            return RULES[kind] if kind.forward is forward else None
    return None
