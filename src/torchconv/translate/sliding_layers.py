"""Each layer of a classifier as a layer that slides: one whose outputs at a place are those of the window there."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import Parameter, is_lazy
from torch.nn.utils.parametrize import is_parametrized

from ..description import shapes
from ..description.axis import Axis
from ..description.convolution import Convolution
from ..description.pooling import Pooling
from ..errors import ShapeError, UnsupportedError
from ..network.operations import Volume
from ..network.pools import Summary
from ..nn.channel_pool import ChannelPool
from ..nn.conv import Conv
from ..nn.grid_pool import GlobalPool, GridPool1d
from ..nn.learned_pool import LearnedPool
from ..nn.pool import Pool
from .layers import FullyConnected, Scaling


@dataclass(frozen=True)
class Window:
    """What a layer has before it for one window: a volume; `flat` where the classifier holds it as (batch, values)."""

    volume: Volume
    flat: bool = False

    @property
    def ndim(self) -> int:
        """Number of axes that the window slides over."""
        return len(self.volume.size)

    @property
    def is_vector(self) -> bool:
        """Whether there is one place only, so that a value is told by its channel."""
        return prod(self.volume.size) == 1

    def single(self, channels: int) -> Window:
        """A vector of so many values."""
        return Window(Volume(channels, (1,) * self.ndim), True)


class AtEachPlace(nn.Module):
    """A layer of vectors, (batch, channels) to (batch, channels), applied at every place of (batch, channels, *size).

    >>> AtEachPlace(nn.LayerNorm(3))(torch.ones(2, 3, 4, 5)).shape
    torch.Size([2, 3, 4, 5])
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        vectors = x.movedim(1, -1)
        found = self.layer(vectors.flatten(0, -2))
        return found.reshape(*vectors.shape[:-1], -1).movedim(-1, 1)


Slid = tuple[nn.Module, Window]


def slide(module: nn.Module, window: Window, name: str = "") -> Slid:
    """The layer that slides, and what stands behind it; `name` says in errors which layer it was.

    Raises UnsupportedError, with the reason, for a layer that cannot slide, ShapeError for one that does not fit.
    """
    for kind in type(module).__mro__:
        if kind in _LAYERS and kind.forward is type(module).forward:
            return _LAYERS[kind](module, window, name or type(module).__name__)
    raise refused(module, name, next((why for kind, why in _REASONS.items() if isinstance(module, kind)), UNKNOWN))


def refused(module: nn.Module, name: str, reason: str, fix: str = "") -> UnsupportedError:
    """The error for a layer that cannot slide."""
    what = f"sliding {type(module).__name__}" + (f", layer {name!r}" if name else "")
    return UnsupportedError(what, got=reason, expected="a layer that does the same at every window", fix=fix)


def _refuse_unseen(module: nn.Module, name: str) -> None:
    """Layers that are made anew must be nothing but their parameters."""
    if is_parametrized(module):
        fix = "Take it off with torch.nn.utils.parametrize.remove_parametrizations first."
        raise refused(module, name, "a parametrisation, which a new layer would lose", fix)
    if module._forward_hooks or module._forward_pre_hooks:
        raise refused(module, name, "hooks, which a new layer would lose", "Remove them first.")
    if any(is_lazy(parameter) for parameter in module.parameters()):
        raise refused(module, name, "parameters that are not there yet", "Call the model once first.")


def _linear(module: nn.Linear, window: Window, name: str) -> Slid:
    _refuse_unseen(module, name)
    volume = window.volume
    if module.in_features != volume.numel:
        got = f"in_features={module.in_features}"
        sizes = " * ".join(map(str, (volume.channels, *volume.size)))
        fix = "Give the volume that goes into the module, (channels, *size), as it was trained."
        raise ShapeError(f"layer {name} on a volume {volume}", got=got, expected=f"{sizes} = {volume.numel}", fix=fix)
    bias = module.bias is not None
    convolution = Convolution(volume.channels, module.out_features, volume.size, bias=bias)
    weight = module.weight.reshape(module.out_features, volume.channels, *volume.size)
    made = _conv_of(convolution, weight, module.bias, module)
    return made, window.single(module.out_features)


def _conv_of(convolution: Convolution, weight: Tensor, bias: Tensor | None, like: nn.Module, **options: Any) -> Conv:
    """A layer with copies of these parameters, which learns where `like` does."""
    made = Conv.of(convolution, device="meta", dtype=weight.dtype, **options)
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None:
            learned = getattr(like, name).requires_grad
            setattr(made, name, Parameter(value.detach().clone(), requires_grad=learned))
    return made.train(like.training)


def _conv(module: Conv, window: Window, name: str) -> Slid:
    conv = module.convolution
    if conv.sharing.needs_size or conv.bias_sharing.needs_size:
        raise refused(module, name, "weights of their own for each place: a window elsewhere has none", NARROW)
    if any(conv.sharing.phases(None)) or any(conv.bias_sharing.phases(None)):
        raise refused(module, name, "weights that repeat with a period: windows between the periods read others", NARROW)
    if any(axis.input_dilation > 1 for axis in conv.axes):
        raise refused(module, name, BETWEEN)
    moved = _on_map(window, name, conv.ndim, conv.in_channels)
    made: nn.Module = copy.deepcopy(module)
    if any(axis.padding == "same" and axis.stride > 1 for axis in conv.axes):
        axes = _settled(conv.axes, window.volume.size)
        conv = Convolution.of_parts(conv.channels, axes, conv.sharing, conv.bias, conv.bias_sharing)
        options = {"algorithm": module.algorithm, "precision": module.precision, "workspace": module.workspace}
        made = _conv_of(conv, module.weight, module.bias, module, **options)
    return made, Window(Volume(conv.out_channels, conv.output_size(moved.volume.size)))


def _settled(axes: tuple[Axis, ...], size: tuple[int, ...]) -> tuple[Axis, ...]:
    """The axes with the padding that they have at the trained size: "same" and ceil_mode depend on the size."""
    pairs = zip(axes, size, strict=True)
    return tuple(replace(axis, padding=shapes.padding(axis, length), ceil=False) for axis, length in pairs)


def _on_map(window: Window, name: str, ndim: int | None = None, channels: int | None = None) -> Window:
    """The window itself; raises ShapeError where it is no map of so many axes and channels."""
    wrong = window.flat or (ndim or window.ndim) != window.ndim or channels not in (None, window.volume.channels)
    if wrong:
        got = "a flattened volume" if window.flat else f"a volume {window.volume}"
        expected = f"{channels or 'any number of'} channels on {ndim or 'some'} axes"
        raise ShapeError(f"layer {name}", got=got, expected=expected, fix="Give the volume that the module reads.")
    return window


def _pool(module: Pool, window: Window, name: str) -> Slid:
    pooling = module.pooling
    _on_map(window, name, pooling.ndim)
    size = pooling.output_size(window.volume.size)
    made = copy.deepcopy(module) if type(module) is LearnedPool else Pool(_settled_pooling(pooling, window.volume.size))
    return made.train(module.training), Window(Volume(window.volume.channels, size))


def _settled_pooling(pooling: Pooling, size: tuple[int, ...]) -> Pooling:
    axes = _settled(pooling.axes, size)
    cut = any(axis.ceil for axis in pooling.axes) and pooling.count_include_pad
    if axes == pooling.axes or cut:  # what ceil_mode adds is no data, even where padding is
        return pooling
    made = copy.copy(pooling)
    object.__setattr__(made, "axes", axes)
    return made


def _output(module: nn.Module, window: Window, name: str) -> Window:
    """What comes out of a layer of maps, asked of the layer itself without computing it."""
    state = {key: value.to("meta") for key, value in module.state_dict(keep_vars=True).items()}
    kinds = [value.dtype for value in state.values() if value.is_floating_point()]
    x = torch.empty(1, window.volume.channels, *window.volume.size, device="meta", dtype=(kinds or [None])[0])
    try:
        with torch.no_grad():
            found = functional_call(module, state, (x,))
    except (RuntimeError, ValueError) as error:
        first = str(error).partition("\n")[0]
        raise ShapeError(f"layer {name} on a volume {window.volume}: {first}") from error
    if not isinstance(found, Tensor):
        raise refused(module, name, "more than one output", "Let it return one tensor.")
    return replace(window, volume=Volume(found.shape[1], tuple(found.shape[2:])))


def _windows(module: nn.Module, window: Window, name: str) -> Slid:
    """A layer of torch that reads windows of a map."""
    _on_map(window, name)
    return copy.deepcopy(module), _output(module, window, name)


def _torch_pool(module: Any, window: Window, name: str) -> Slid:
    if not module.ceil_mode or getattr(module, "divisor_override", None):
        return _windows(module, window, name)
    settings = {"padding": module.padding, "ceil_mode": True, "ndim": window.ndim}
    mean = isinstance(module, nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d)
    settings |= {"statistic": "mean", "count_include_pad": module.count_include_pad} if mean else {}
    settings |= {} if mean else {"dilation": module.dilation}
    if not mean and module.return_indices:
        raise refused(module, name, "more than one output", "Let it return one tensor.")
    return _pool(Pool(Pooling(_one_each(module.kernel_size, window.ndim), module.stride, **settings)), window, name)


def _one_each(value: Any, ndim: int) -> tuple[int, ...]:
    return (value,) * ndim if isinstance(value, int) else tuple(value)


def _channels(module: nn.Module, window: Window, name: str) -> Slid:
    """A layer that treats every place alike and tells channels apart."""
    if window.flat and not window.is_vector:
        raise refused(module, name, f"single values of a flattened volume {window.volume}", FLATTENED)
    return copy.deepcopy(module), _output(module, window, name)


def _values(module: nn.Module, window: Window, name: str) -> Slid:
    """A layer that treats every value alike."""
    return copy.deepcopy(module), window


def _prelu(module: nn.PReLU, window: Window, name: str) -> Slid:
    return (_values if module.num_parameters == 1 else _channels)(module, window, name)


def _batch_norm(module: nn.BatchNorm1d, window: Window, name: str) -> Slid:
    """Statistics and scales of channels, which the maps of any rank have; the classes differ in a check of the shape."""
    if not window.is_vector and (window.flat or window.ndim != 1):
        raise refused(module, name, f"single values of a flattened volume {window.volume}", FLATTENED)
    if module.num_features != window.volume.channels:
        raise ShapeError(f"layer {name}", got=f"a volume {window.volume}", expected=f"{module.num_features} channels")
    made = copy.deepcopy(module)
    made.__class__ = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[window.ndim - 1]
    return made, window


def _norm_of_vectors(module: nn.Module, window: Window, name: str) -> Slid:
    if not (window.flat and window.is_vector):
        raise refused(module, name, _REASONS[nn.GroupNorm])
    return AtEachPlace(copy.deepcopy(module)).train(module.training), window


def _softmax(module: Any, window: Window, name: str) -> Slid:
    axes = (1, -1, None) if window.flat else (1, -window.ndim - 1)
    if module.dim not in axes or (window.flat and not window.is_vector):
        over = "the values of a flattened volume" if window.flat else f"axis {module.dim}"
        raise refused(module, name, f"a sum over {over}", "Sum over the classes, dim=1.")
    made = copy.deepcopy(module)
    made.dim = 1
    return made, window


def _flatten(module: nn.Flatten, window: Window, name: str) -> Slid:
    last = 1 if window.flat else window.ndim + 1
    if module.start_dim not in (1, -last) or module.end_dim not in (-1, last):
        got = f"start_dim={module.start_dim}, end_dim={module.end_dim}, which leaves some axes"
        raise refused(module, name, got, "Flatten whole images, Flatten().")
    return nn.Identity().train(module.training), replace(window, flat=True)


def _global(module: GlobalPool, window: Window, name: str) -> Slid:
    _on_map(window, name)
    made, _ = pooled_cells(module, (1,) * window.ndim, module.summary, window, name)
    return made, window.single(window.volume.channels)


def _grid(module: Any, window: Window, name: str) -> Slid:
    if len(module.grids) > 1:
        raise refused(module, name, f"a pyramid of {len(module.grids)} grids, whose cells no common stride has")
    return pooled_cells(module, module.grids[0], module.summary, window, name)


def _adaptive(module: Any, window: Window, name: str) -> Slid:
    if getattr(module, "return_indices", False):
        raise refused(module, name, "more than one output", "Let it return one tensor.")
    wanted = module.output_size
    wanted = wanted if isinstance(wanted, tuple | list) else (wanted,) * window.ndim
    grid = tuple(size if cells is None else cells for cells, size in zip(wanted, window.volume.size, strict=False))
    mean = isinstance(module, nn.AdaptiveAvgPool1d | nn.AdaptiveAvgPool2d | nn.AdaptiveAvgPool3d)
    return pooled_cells(module, grid, Summary("mean" if mean else "max"), window, name)


def pooled_cells(module: nn.Module, grid: tuple[int, ...], summary: Summary, window: Window, name: str) -> Slid:
    """A grid whose cells are equal windows side by side; a single cell may be at any place."""
    _refuse_unseen(module, name)
    size = _on_map(window, name, len(grid)).volume.size
    if any(length % cells for length, cells in zip(size, grid, strict=True)):
        got = f"cells of several sizes: {'x'.join(map(str, grid))} of a volume {window.volume}"
        raise refused(module, name, got, "Use a grid that divides the size, or a single cell.")
    kernel = tuple(length // cells for length, cells in zip(size, grid, strict=True))
    stride = tuple(1 if cells == 1 else taps for taps, cells in zip(kernel, grid, strict=True))
    pool = Pool(Pooling(kernel, stride, statistic=summary.statistic, p=summary.p if summary.statistic == "lp" else None))
    return pool.train(module.training), Window(Volume(window.volume.channels, grid))


NARROW = "Share its weights over all places first."
FLATTENED = "Put it before Flatten, or behind a Linear."
BETWEEN = "places between the samples of its input, at which no window begins"
UNKNOWN = "what it does with the places is not known"
_REASONS: dict[type[nn.Module], str] = {
    nn.GroupNorm: "statistics over all places, which are those of the whole image when it slides",
    nn.modules.conv._ConvTransposeNd: BETWEEN,
    Conv: BETWEEN,  # those with a forward of their own are transposed
    nn.Upsample: BETWEEN,
    nn.MultiheadAttention: "every place looks at every other, in the whole image when it slides",
}
for _kind in (nn.LayerNorm, nn.RMSNorm, nn.modules.instancenorm._InstanceNorm):
    _REASONS[_kind] = _REASONS[nn.GroupNorm]

_VALUES = (
    "Identity ReLU ReLU6 LeakyReLU RReLU ELU SELU CELU GELU SiLU Mish Hardswish Hardsigmoid Hardtanh Hardshrink "
    "Softshrink Tanhshrink Softplus Softsign Tanh Sigmoid LogSigmoid Threshold Dropout AlphaDropout"
)
_MAPS = (
    "Conv1d Conv2d Conv3d LPPool1d LPPool2d LPPool3d Dropout1d Dropout2d Dropout3d "
    "ConstantPad1d ConstantPad2d ConstantPad3d ZeroPad1d ZeroPad2d ZeroPad3d ReflectionPad1d ReflectionPad2d "
    "ReflectionPad3d ReplicationPad1d ReplicationPad2d ReplicationPad3d CircularPad1d CircularPad2d CircularPad3d"
)
_PLACES = "BatchNorm2d BatchNorm3d SyncBatchNorm LocalResponseNorm CrossMapLRN2d Softmax2d ChannelShuffle"
_LAYERS: dict[type[nn.Module], Callable[[Any, Window, str], Slid]] = {
    **{getattr(nn, word): _values for word in _VALUES.split()},
    **{getattr(nn, word): _windows for word in _MAPS.split()},
    **{getattr(nn, word): _channels for word in _PLACES.split()},
    **{getattr(nn, f"{kind}Pool{n}d"): _torch_pool for kind in ("Max", "Avg") for n in (1, 2, 3)},
    **{getattr(nn, f"Adaptive{kind}Pool{n}d"): _adaptive for kind in ("Max", "Avg") for n in (1, 2, 3)},
    **{kind: _norm_of_vectors for kind in (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)},
    nn.PReLU: _prelu,
    nn.BatchNorm1d: _batch_norm,
    nn.Softmax: _softmax,
    nn.LogSoftmax: _softmax,
    nn.Flatten: _flatten,
    nn.Linear: _linear,
    FullyConnected: _linear,
    Scaling: _channels,
    Conv: _conv,
    Pool: _pool,
    LearnedPool: _pool,
    ChannelPool: _channels,
    GlobalPool: _global,
    GridPool1d.__base__: _grid,
}
