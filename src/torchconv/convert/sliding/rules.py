"""Which layers, functions and methods slide, and by which rule: two tables. What is in neither is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, fx, nn
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from ...description.pooling import Pooling
from ...language import modules
from ...network.operations import Volume
from ...network.pooling import Summary
from ...nn.conv import Conv
from ...nn.pooling.grid_pool import GlobalPool, GridPool1d, GridPool2d, GridPool3d
from ...nn.pooling.learned_pool import LearnedPool
from ...nn.pooling.window_pool import ChannelPool, Pool
from . import layers as slide
from .layers import CannotSlide, Slid, WindowVolume

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


def _batch_norm(module: Any, seen: WindowVolume) -> Slid:
    slide.unflattened(seen)
    if module.running_mean is None:
        raise CannotSlide("without running statistics it takes them over all places", "Use track_running_stats=True.")
    if not seen.flat or isinstance(module, nn.SyncBatchNorm):
        return module, seen
    made = BATCH_NORMS[seen.ndim](module.num_features, module.eps, module.momentum, module.affine, device="meta")
    tensors = dict([*module.named_parameters(), *module.named_buffers()])
    return slide.holding(made, **tensors), seen


def _layer_norm(module: Any, seen: WindowVolume) -> Slid:
    if not (seen.flat and seen.alone and tuple(module.normalized_shape) == (seen.volume.channels,)):
        raise CannotSlide(OVER_PLACES, BATCH)
    made = ChannelNorm(module.normalized_shape, module.eps, module.elementwise_affine, module.bias is not None, "meta")
    return slide.holding(made, **dict(module.named_parameters())), seen


def _group_norm(module: Any, seen: WindowVolume) -> Slid:
    if module.num_groups > 1 or not (seen.flat and seen.alone):
        raise CannotSlide(OVER_PLACES, BATCH)
    made = ChannelNorm(module.num_channels, module.eps, module.affine, device="meta")
    return slide.holding(made, **dict(module.named_parameters())), seen


def _torch_pool(module: Any, seen: WindowVolume) -> Slid:
    """torch's pools; where the last window may end outside, one of ours, which does as at the size of one window."""
    if not module.ceil_mode or getattr(module, "divisor_override", None):
        return slide.windows(module, seen)
    names = ("kernel_size", "stride", "padding", "dilation", "count_include_pad")
    settings = {name: getattr(module, name) for name in names if hasattr(module, name)}
    statistic = "mean" if "count_include_pad" in settings else "max"
    if isinstance(module.kernel_size, int):  # a description takes its rank from the window
        settings["kernel_size"] = (module.kernel_size,) * seen.ndim
    return slide.pool(Pool(Pooling(**settings, statistic=statistic, ceil_mode=True)), seen)


def _statistics(module: Any, *seen: WindowVolume) -> Slid:
    raise CannotSlide(OVER_PLACES, BATCH)


def _over_channels(module: Any, seen: WindowVolume) -> None:
    """Raises CannotSlide unless a dimension of the model's tensor is that of the channels."""
    slide.unflattened(seen)
    axes = 2 if seen.flat else seen.ndim + 2
    if (1 if module.dim is None and axes in (2, 4) else module.dim) not in (1, 1 - axes):
        reason = f"{type(module).__name__} works along dimension {module.dim}, not over channels"
        raise CannotSlide(reason, "Use dim=1.")


def _softmax(module: Any, seen: WindowVolume) -> Slid:
    _over_channels(module, seen)
    return type(module)(dim=1), seen


def _prelu(module: Any, seen: WindowVolume) -> Slid:
    return slide.keep(module, seen) if module.num_parameters == 1 else slide.keep_channels(module, seen)


def _glu(module: Any, seen: WindowVolume) -> Slid:
    _over_channels(module, seen)
    made = nn.GLU(dim=1)
    return made, slide.after(made, seen)


def _adaptive(module: Any, seen: WindowVolume) -> Slid:
    return slide.cells(seen, module.output_size, Summary("max" if hasattr(module, "return_indices") else "mean"))


def _over_all(module: Any, seen: WindowVolume) -> Slid:
    return slide.overall(seen, module.summary)


def _all_ranks(*names: str) -> list[type[nn.Module]]:
    return [getattr(nn, f"{name}{ndim}d") for name in names for ndim in (1, 2, 3) if hasattr(nn, f"{name}{ndim}d")]


def _named(names: str) -> list[type[nn.Module]]:
    return [getattr(nn, name) for name in names.split()]


VALUES = _named(
    "Identity ReLU ReLU6 LeakyReLU RReLU ELU CELU SELU GELU SiLU Mish Sigmoid Tanh Hardtanh Hardsigmoid Hardswish"
    " Hardshrink Softshrink Tanhshrink Softplus Softsign LogSigmoid Threshold Dropout AlphaDropout"
)
CHANNELS = [
    *_named("LocalResponseNorm CrossMapLRN2d ChannelShuffle"),
    *_all_ranks("Dropout"),
    modules.ChannelScale,
]
WINDOWS = _named("Upsample PixelShuffle PixelUnshuffle") + _all_ranks(
    *("Conv", "ConvTranspose", "LPPool"), *("ZeroPad", "ConstantPad", "ReflectionPad", "ReplicationPad", "CircularPad")
)
RULES: dict[type, Callable[..., Slid]] = {
    **dict.fromkeys(VALUES, slide.keep),
    **dict.fromkeys(CHANNELS, slide.keep_channels),
    **dict.fromkeys(WINDOWS, slide.windows),
    **dict.fromkeys([ChannelPool, modules.Merging], slide.keep_windows),
    **dict.fromkeys([*_all_ranks("BatchNorm"), nn.SyncBatchNorm], _batch_norm),
    **dict.fromkeys(_all_ranks("InstanceNorm"), _statistics),
    **dict.fromkeys(_all_ranks("MaxPool", "AvgPool"), _torch_pool),
    nn.GroupNorm: _group_norm,
    **dict.fromkeys(_all_ranks("AdaptiveAvgPool", "AdaptiveMaxPool"), _adaptive),
    **dict.fromkeys([GridPool1d, GridPool2d, GridPool3d], slide.grid),
    **dict.fromkeys([Pool, LearnedPool], slide.pool),
    **dict.fromkeys([nn.Linear, modules.FlattenedLinear], slide.linear),
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
    if getattr(module, "return_indices", False):
        raise CannotSlide("return_indices=True gives places in the whole image", "Leave it out.")
    forward = type(module).forward
    for kind in type(module).__mro__:
        if kind in RULES:
            return RULES[kind] if kind.forward is forward else None
    return None


IMAGES, SHAPE = "the number of images", "the shape of a tensor"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


POINTWISE_CALLS = _words("""
    relu relu_ relu6 leaky_relu elu celu selu gelu silu mish sigmoid sigmoid_ tanh tanh_ hardtanh hardswish hardsigmoid
    softplus softsign logsigmoid threshold abs exp sqrt square neg clamp clip pow contiguous
""")
SUM_CALLS = _words("add add_ iadd sub sub_ isub mul mul_ imul div truediv maximum minimum")
SUMMARIES = {"mean": Summary("mean"), "amax": Summary("max")}
# Functions that are modules too: the class, and its settings in the order in which the function takes them.
POOLS = (
    ("max_pool", "MaxPool", "kernel_size stride padding dilation ceil_mode return_indices"),
    ("avg_pool", "AvgPool", "kernel_size stride padding ceil_mode count_include_pad divisor_override"),
    ("lp_pool", "LPPool", "norm_type kernel_size stride ceil_mode"),
    ("adaptive_avg_pool", "AdaptiveAvgPool", "output_size"),
    ("adaptive_max_pool", "AdaptiveMaxPool", "output_size return_indices"),
)
MODULES: dict[str, tuple[Any, str]] = {
    **{f"{name}{n}d": (getattr(nn, f"{kind}{n}d", None), order) for name, kind, order in POOLS for n in (1, 2, 3)},
    "softmax": (nn.Softmax, "dim"),
    "log_softmax": (nn.LogSoftmax, "dim"),
    "flatten": (partial(nn.Flatten, start_dim=0), "start_dim end_dim"),
}

# What a rule gives: the module that takes the place of the call, None where the call stays, with what a window is
# behind it; or one of IMAGES and SHAPE, for what is no tensor.
Found = tuple[nn.Module | None, WindowVolume] | str


def called(node: fx.Node, known: Mapping[fx.Node, Any]) -> Found:
    """What takes the place of a function or method; raises CannotSlide for one that is in none of the tables above."""
    name = str(node.target) if node.op == "call_method" else getattr(node.target, "__name__", str(node.target))
    home = str(getattr(node.target, "__module__", None) or "torch").partition(".")[0]
    rule = next((rule for names, rule in CALL_RULES if name in names), None)
    args, words = map_arg((node.args, node.kwargs), lambda one: known[one])
    seen = [one for one in pytree.tree_leaves([args, words]) if isinstance(one, WindowVolume)]
    if rule is None or home not in ("torch", "_operator", "builtins") or (not seen and name != "getitem"):
        raise CannotSlide(f"its forward calls {name}, of which it is not known how it treats places")
    args, words = list(args), dict(words)
    if "input" in words:
        args.insert(0, words.pop("input"))
    if rule not in (_sum, _cat, _item) and not (args and isinstance(args[0], WindowVolume)):
        raise CannotSlide(f"its forward calls {name} with something else than a tensor of the image first")
    return rule(name, args, words)


def _argument(args: list[Any], words: dict[str, Any], at: int, name: str, default: Any = None) -> Any:
    return args[at] if len(args) > at else words.get(name, default)


def _values(name: str, args: list[Any], words: dict[str, Any]) -> Found:
    if any(
        isinstance(one, WindowVolume | Tensor) or one in (IMAGES, SHAPE)
        for one in pytree.tree_leaves([args[1:], words])
    ):
        raise CannotSlide(f"its forward calls {name} with settings that depend on the image")
    return None, args[0]


def _dropout(name: str, args: list[Any], words: dict[str, Any]) -> Found:
    """Traced in eval mode: where it is on there, it always is."""
    always = _argument(args, words, 2, "training", True)
    return None if always else nn.Dropout(_argument(args, words, 1, "p", 0.5)), args[0]


def _sum(name: str, args: list[Any], words: dict[str, Any]) -> Found:
    given = [*args, *words.values()]
    seen = [one for one in given if isinstance(one, WindowVolume)]
    for one in given:
        if isinstance(one, WindowVolume):
            if one != seen[0]:
                shown = " and ".join(f"{part.volume}, {part.stride} samples apart" for part in (seen[0], one))
                raise CannotSlide(f"its forward calls {name} on places that are not the same ones ({shown})")
        elif isinstance(one, str) or (isinstance(one, Tensor) and not _alike(one, seen[0])):
            raise CannotSlide(f"its forward calls {name} with numbers that differ from place to place")
    return None, seen[0]


def _alike(tensor: Tensor, seen: WindowVolume) -> bool:
    """Whether a parameter has one value for all places."""
    return tensor.numel() == 1 or (
        not seen.flat
        and tensor.ndim in (seen.ndim + 1, seen.ndim + 2)
        and tensor.shape[-seen.ndim - 1] == seen.volume.channels == tensor.numel()
    )


def _cat(name: str, args: list[Any], words: dict[str, Any]) -> Found:
    parts = _argument(args, words, 0, "tensors")
    if len({(one.volume.size, one.stride, one.flat) for one in parts}) > 1:
        raise CannotSlide(f"its forward calls {name} on places that are not the same ones")
    if _argument(args, words, 1, "dim", 0) != 1:
        raise CannotSlide(f"its forward calls {name} along another dimension than that of the channels", "Use dim=1.")
    volume = Volume(sum(one.volume.channels for one in parts), parts[0].volume.size)
    return None, WindowVolume(volume, parts[0].stride, parts[0].flat)


def _module_call(name: str, args: list[Any], words: dict[str, Any]) -> Found:
    """By the rule of the module that does the same; the call stays where the module would."""
    kind, order = MODULES[name]
    names, values = order.split(), args[1:]
    words.pop("_stacklevel", None)  # of the warning that a softmax without dim gives
    given = {key: one for key, one in [*zip(names, values, strict=False), *words.items()] if one is not None}
    if len(values) > len(names) or not given.keys() <= set(names):
        raise CannotSlide(f"its forward calls {name} with more than {', '.join(names)}", "Leave that out.")
    module = kind(**given)
    rule = rule_of(module)
    assert rule is not None, "all of these modules are in the table of rules"
    found, behind = rule(module, args[0])
    return None if found is module else found, behind


def _summary(name: str, args: list[Any], words: dict[str, Any]) -> Found:
    seen, axes = args[0], args[0].ndim + 2
    dims = _argument(args, words, 1, "dim")
    given = [dims] if isinstance(dims, int) else list(dims or ())
    if seen.flat or {dim % axes for dim in given} != set(range(2, axes)):
        raise CannotSlide(f"its forward calls {name} along other dimensions than all places", "Give those of the size.")
    kept = _argument(args, words, 2, "keepdim", False)
    return slide.cells(seen, 1, SUMMARIES[name]) if kept else slide.overall(seen, SUMMARIES[name])


def _view(name: str, args: list[Any], words: dict[str, Any]) -> Found:
    seen, *rest = args
    sizes = list(rest[0]) if len(rest) == 1 and isinstance(rest[0], tuple | list) else rest
    numel = seen.volume.numel
    if sizes not in ([IMAGES, -1], [IMAGES, numel], [-1, numel]):
        raise CannotSlide(f"its forward calls {name}{tuple(sizes)}, which mixes places", "Flatten all but the batch.")
    return nn.Identity(), slide.flattened(seen, 1, -1)


def _squeeze(name: str, args: list[Any], words: dict[str, Any]) -> Found:
    if len(args) > 1 or words or not args[0].alone:
        raise CannotSlide("its forward calls squeeze for some dimensions", "Use torch.flatten(x, 1).")
    return nn.Identity(), slide.flattened(args[0], 1, -1)


def _size(name: str, args: list[Any], words: dict[str, Any]) -> Found:
    if name == "getattr" and args[1] != "shape":
        raise CannotSlide(f"its forward reads .{args[1]} of a tensor")
    return IMAGES if name == "size" and len(args) > 1 and args[1] == 0 else SHAPE


def _item(name: str, args: list[Any], words: dict[str, Any]) -> Found:
    if args[0] != SHAPE or args[1] != 0:
        raise CannotSlide("its forward takes parts of a tensor or of its size, which is another in a larger image")
    return IMAGES


CALL_RULES: tuple[tuple[Any, Callable[..., Found]], ...] = (
    (POINTWISE_CALLS, _values),
    (SUM_CALLS, _sum),
    (MODULES, _module_call),
    (SUMMARIES, _summary),
    ({"dropout"}, _dropout),
    ({"cat", "concat"}, _cat),
    ({"view", "reshape"}, _view),
    ({"squeeze"}, _squeeze),
    ({"size", "getattr"}, _size),
    ({"getitem"}, _item),
)
