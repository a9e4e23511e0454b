"""How the functions and methods slide that a model's forward calls beside its layers: torch.flatten, F.relu, x.mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from ...network.operations import Volume
from .layers import CannotSlide, Seen, after, cells, flattened, not_flattened, overall
from .rules import over_channels, torch_pool

BATCH, SHAPE = "the number of images", "the shape of a tensor"
RANKS = (1, 2, 3)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


VALUES = _words("""
    relu relu_ relu6 leaky_relu elu celu selu gelu silu mish sigmoid sigmoid_ tanh tanh_ hardtanh hardswish hardsigmoid
    softplus softsign logsigmoid threshold abs exp sqrt square neg clamp clip pow contiguous
""")
SUMS = _words("add add_ iadd sub sub_ isub mul mul_ imul div truediv maximum minimum")
WINDOWS = {f"{kind}_pool{ndim}d" for kind in ("max", "avg", "lp") for ndim in RANKS}
POOLS = {f"{kind.lower()}_pool{ndim}d": getattr(nn, f"{kind}Pool{ndim}d") for kind in ("Max", "Avg") for ndim in RANKS}
SOFTMAX = {"softmax": nn.Softmax, "log_softmax": nn.LogSoftmax}
SUMMARIES = {"mean": "mean", "amax": "max"}
ADAPTIVE = {f"adaptive_{word}_pool{ndim}d": name for word, name in (("avg", "mean"), ("max", "max")) for ndim in RANKS}

# What a rule gives: the module that takes the place of the call, "kept" for the call itself or "left out" for its
# input, with what a window is behind it; or one of BATCH and SHAPE, for what is no tensor.
Found = tuple[nn.Module | Literal["kept", "left out"], Seen] | str


def called(node: fx.Node, known: Mapping[fx.Node, Any]) -> Found:
    """What takes the place of a function or method; raises CannotSlide for one that is in none of the tables above."""
    name = str(node.target) if node.op == "call_method" else getattr(node.target, "__name__", str(node.target))
    home = str(getattr(node.target, "__module__", None) or "torch").partition(".")[0]
    rule = next((rule for names, rule in RULES if name in names), None)
    args, words = map_arg((node.args, node.kwargs), lambda one: known[one])
    seen = [one for one in _leaves([args, words]) if isinstance(one, Seen)]
    if rule is None or home not in ("torch", "_operator", "builtins") or (not seen and name != "getitem"):
        raise CannotSlide(f"its forward calls {name}, of which it is not known how it treats places")
    args, words = list(args), dict(words)
    if "input" in words:
        args.insert(0, words.pop("input"))
    if rule not in (_sum, _cat, _item) and not (args and isinstance(args[0], Seen)):
        raise CannotSlide(f"its forward calls {name} with something else than a tensor of the image first")
    return rule(name, node.target, args, words)


def _leaves(values: Any) -> list[Any]:
    if isinstance(values, dict):
        values = list(values.values())
    return [leaf for one in values for leaf in _leaves(one)] if isinstance(values, tuple | list) else [values]


def _argument(args: list[Any], words: dict[str, Any], at: int, name: str, default: Any = None) -> Any:
    return args[at] if len(args) > at else words.get(name, default)


def _values(name: str, target: Any, args: list[Any], words: dict[str, Any]) -> Found:
    if any(isinstance(one, Seen | Tensor) or one in (BATCH, SHAPE) for one in _leaves([args[1:], words])):
        raise CannotSlide(f"its forward calls {name} with settings that depend on the image")
    return "kept", args[0]


def _dropout(name: str, target: Any, args: list[Any], words: dict[str, Any]) -> Found:
    """Traced in eval mode: where it is on there, it always is."""
    always = _argument(args, words, 2, "training", True)
    return "kept" if always else nn.Dropout(_argument(args, words, 1, "p", 0.5)), args[0]


def _sum(name: str, target: Any, args: list[Any], words: dict[str, Any]) -> Found:
    given = [*args, *words.values()]
    seen = [one for one in given if isinstance(one, Seen)]
    for one in given:
        if isinstance(one, Seen):
            if one != seen[0]:
                shown = " and ".join(f"{part.volume}, {part.stride} samples apart" for part in (seen[0], one))
                raise CannotSlide(f"its forward calls {name} on places that are not the same ones ({shown})")
        elif isinstance(one, str) or (isinstance(one, Tensor) and not _alike(one, seen[0])):
            raise CannotSlide(f"its forward calls {name} with numbers that differ from place to place")
    return "kept", seen[0]


def _alike(tensor: Tensor, seen: Seen) -> bool:
    """Whether a parameter has one value for all places."""
    return tensor.numel() == 1 or (
        not seen.flat
        and tensor.ndim in (seen.ndim + 1, seen.ndim + 2)
        and tensor.shape[-seen.ndim - 1] == seen.volume.channels == tensor.numel()
    )


def _cat(name: str, target: Any, args: list[Any], words: dict[str, Any]) -> Found:
    parts = _argument(args, words, 0, "tensors")
    if len({(one.volume.size, one.stride, one.flat) for one in parts}) > 1:
        raise CannotSlide(f"its forward calls {name} on places that are not the same ones")
    if _argument(args, words, 1, "dim", 0) != 1:
        raise CannotSlide(f"its forward calls {name} along another dimension than that of the channels", "Use dim=1.")
    volume = Volume(sum(one.volume.channels for one in parts), parts[0].volume.size)
    return "kept", Seen(volume, parts[0].stride, parts[0].flat)


def _windows(name: str, target: Any, args: list[Any], words: dict[str, Any]) -> Found:
    if words.get("return_indices"):
        raise CannotSlide(f"{name} with return_indices=True gives places in the whole image")
    not_flattened(args[0])
    if name in POOLS and (words.get("ceil_mode") or (name.startswith("avg") and len(args) > 4 and args[4])):
        order = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
        given = dict(zip(order, args[1:], strict=False)) | {key: one for key, one in words.items() if key != "input"}
        return torch_pool(POOLS[name](**given), args[0])
    return "kept", after(lambda x: target(x, *args[1:], **words), args[0])


def _softmax(name: str, target: Any, args: list[Any], words: dict[str, Any]) -> Found:
    over_channels(_argument(args, words, 1, "dim"), args[0], name)
    if words.get("dtype") is not None:
        raise CannotSlide(f"{name} with a dtype is not known", "Convert the tensor first.")
    return SOFTMAX[name](dim=1), args[0]


def _summary(name: str, target: Any, args: list[Any], words: dict[str, Any]) -> Found:
    seen, axes = args[0], args[0].ndim + 2
    dims = _argument(args, words, 1, "dim")
    given = [dims] if isinstance(dims, int) else list(dims or ())
    if seen.flat or {dim % axes for dim in given} != set(range(2, axes)):
        raise CannotSlide(f"its forward calls {name} along other dimensions than all places", "Give those of the size.")
    make = cells if _argument(args, words, 2, "keepdim", False) else overall
    return make(seen, statistic=SUMMARIES[name], **({"counts": 1} if make is cells else {}))


def _adaptive(name: str, target: Any, args: list[Any], words: dict[str, Any]) -> Found:
    return cells(args[0], _argument(args, words, 1, "output_size"), ADAPTIVE[name])


def _flatten(name: str, target: Any, args: list[Any], words: dict[str, Any]) -> Found:
    start, end = _argument(args, words, 1, "start_dim", 0), _argument(args, words, 2, "end_dim", -1)
    return "left out", flattened(args[0], start, end)


def _view(name: str, target: Any, args: list[Any], words: dict[str, Any]) -> Found:
    seen, *rest = args
    sizes = list(rest[0]) if len(rest) == 1 and isinstance(rest[0], tuple | list) else rest
    numel = seen.volume.numel
    if sizes not in ([BATCH, -1], [BATCH, numel], [-1, numel]):
        raise CannotSlide(f"its forward calls {name}{tuple(sizes)}, which mixes places", "Flatten all but the batch.")
    return "left out", flattened(seen, 1, -1)


def _squeeze(name: str, target: Any, args: list[Any], words: dict[str, Any]) -> Found:
    if len(args) > 1 or words or not args[0].alone:
        raise CannotSlide("its forward calls squeeze for some dimensions", "Use torch.flatten(x, 1).")
    return "left out", flattened(args[0], 1, -1)


def _size(name: str, target: Any, args: list[Any], words: dict[str, Any]) -> Found:
    if name == "getattr" and args[1] != "shape":
        raise CannotSlide(f"its forward reads .{args[1]} of a tensor")
    return BATCH if name == "size" and len(args) > 1 and args[1] == 0 else SHAPE


def _item(name: str, target: Any, args: list[Any], words: dict[str, Any]) -> Found:
    if args[0] != SHAPE or args[1] != 0:
        raise CannotSlide("its forward takes parts of a tensor or of its size, which is another in a larger image")
    return BATCH


RULES: tuple[tuple[Any, Callable[..., Found]], ...] = (
    (VALUES, _values),
    (SUMS, _sum),
    (WINDOWS, _windows),
    (SOFTMAX, _softmax),
    (SUMMARIES, _summary),
    (ADAPTIVE, _adaptive),
    ({"dropout"}, _dropout),
    ({"cat", "concat"}, _cat),
    ({"flatten"}, _flatten),
    ({"view", "reshape"}, _view),
    ({"squeeze"}, _squeeze),
    ({"size", "getattr"}, _size),
    ({"getitem"}, _item),
)
