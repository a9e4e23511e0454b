"""What each word of the language means: the operation that its settings make, and the defaults of what is not said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..description import shapes
from ..description.connections import Connections
from ..description.convolution import Convolution
from ..description.pooling import Pooling
from ..description.sharing import Sharing
from ..errors import SettingError, TextError
from ..network import operations as ops, pooling
from ..network.branches import Crop, Merge
from ..network.operations import Operation, Volume
from .syntax import Argument

CONV_DEFAULTS = {"filters": 32, "kernel": 3, "padding": "same"}
POOL_DEFAULTS = {"kernel": 2, "statistic": "max", "padding": "valid"}
WEIGHTS = ("binomial", "gaussian")
FC_OUTPUTS = 128
CLASSES = "classes"  # the number of filters that waits for that of the classes
# The kinds of NORM that a setting says something to.
NORM_SETTINGS = {"groups": ("group",), "momentum": ("batch",), "eps": ("batch", "layer", "instance", "group")}

VOLUME = "height x width x channels"

Values = dict[str, Any]
Made = Operation | list[Operation]


@dataclass(frozen=True)
class Surroundings:
    """What an operation may depend on besides its own settings.

    volume: what it reads. input: the volume of the data. classes: their number. last: nothing but SOFTMAX follows.
    before: the operation it reads. outputs: how many the caller wants of this layer, whatever it says. coarser: how
    many times as far apart, along each axis, its samples are as those it is to meet the size of; None if not known.
    """

    volume: Volume
    input: Volume | None = None
    classes: int | None = None
    last: bool = False
    before: Operation | None = None
    outputs: int | None = None
    coarser: tuple[int, ...] | None = None


def make_input(values: Values, around: Surroundings) -> Operation:
    """INPUT: the volume that it says, or that of the data."""
    if {"size", "channels"} & values.keys():
        return ops.Input(_named_volume(values))
    if VOLUME in values:
        sizes = values[VOLUME]
        *size, channels = sizes if isinstance(sizes, tuple) else (sizes,)
        _check_order(size, channels)
        return ops.Input(Volume(channels, tuple(size)))
    if around.input is None:
        raise TextError("the volume of INPUT", got="none", expected="sizes and channels", fix="Write INPUT[32x32x3].")
    return ops.Input(around.input)


def input_settings(volume: Volume) -> tuple[Argument, ...]:
    """What INPUT says in brackets for a volume."""
    try:
        _check_order([*volume.size], volume.channels)
    except TextError:
        size = "x".join(map(str, volume.size))
        return Argument(size, "size"), Argument(str(volume.channels), "channels")
    return (Argument(str(volume)),)


def _named_volume(values: Values) -> Volume:
    """Of INPUT[size=32x32, channels=3]."""
    if len(values) != 2 or VOLUME in values:
        got = " and ".join(values)
        raise TextError("the volume of INPUT", got=got, expected="size and channels", fix="Write INPUT[32x32x3].")
    size = values["size"]
    return Volume(values["channels"], size if isinstance(size, tuple) else (size,))


def _check_order(size: list[int], channels: int) -> None:
    """Raise TextError for channels in front, as torch has them, and for images without channels."""
    said = "x".join(map(str, [*size, channels]))
    images = len(size) == 2 and size[0] in (1, 3) and channels >= 8 and size[1] >= 8
    if not images and not (size == [channels] and channels >= 8):
        return
    meant = f"{size[1]}x{channels}x{size[0]}" if images else f"{said}x1 or {said}x3"
    exactly = f"INPUT[size={'x'.join(map(str, size))}, channels={channels}]"
    fix = f"Write INPUT[{meant}] for images, {exactly} if that is meant."
    raise TextError(f"INPUT[{said}]", got=f"{channels} channels", expected="height x width x channels", fix=fix)


def make_conv(values: Values, around: Surroundings) -> Made:
    """CONV: any convolution of the family; `transposed` makes it the adjoint of the one its settings describe."""
    settings = {**CONV_DEFAULTS, **values}
    kernel = per_axis(settings.pop("kernel"), around.volume, "CONV")
    channels, filters = around.volume.channels, _filters(settings.pop("filters"), around)
    if settings.get("bias") is False and "bias_sharing" in settings:
        raise SettingError("bias_sharing", got="one with bias=no", expected="a bias", fix="Leave one of them out.")
    if settings.pop("transposed", None) is None:
        for name in {"output_padding", "to"} & settings.keys():
            raise SettingError(name, got="no transposed", expected="CONV[..., transposed] with it")
        return ops.Convolve(Convolution(channels, filters, kernel, **settings))
    if settings.pop("to", None) is None:
        return ops.Convolve(_transposed(channels, filters, kernel, settings))
    if "output_padding" in settings:
        raise SettingError("output_padding", got="one beside to", expected="one of them", fix="Leave it out.")
    steps = per_axis(settings.get("stride", 1), around.volume, "CONV", "stride")
    more = tuple(step - 1 for step in steps)  # as long as it can be; of sizes that were rounded up as much goes again
    found = _transposed(channels, filters, kernel, {**settings, "output_padding": more})
    return [ops.Convolve(found), Crop(0, tuple(2 * one for one in more))]


def _filters(said: int | str, around: Surroundings) -> int:
    if around.outputs is not None:
        return around.outputs
    if said != CLASSES:
        return int(said)
    if around.classes is None:
        raise TextError("filters", got="classes", expected="their number", fix="Give classes.")
    return around.classes


def make_local(values: Values, around: Surroundings) -> Made:
    """LOCAL: a kernel of its own at every position."""
    return make_conv({**values, "sharing": "none"}, around)


def _transposed(channels: int, filters: int, kernel: tuple[int, ...], settings: Values) -> Convolution:
    if unfit := sorted({"padding_mode", "input_dilation"} & settings.keys()):
        raise SettingError(unfit[0], got="with transposed", expected="left out", fix="Its stride dilates the input.")
    geometry = {name: settings[name] for name in ("stride", "padding", "dilation") if name in settings}
    forward = Convolution(1, 1, kernel, bias=False, **geometry)
    extras = shapes.paddings_of(settings.get("output_padding", 0), len(kernel))
    axes = shapes.transposed_axes(forward.axes, extras, same=settings["padding"] == "same")
    shared = Sharing.of(settings.get("sharing", "full"), len(kernel))
    biases = Sharing.of(settings.get("bias_sharing", shared), len(kernel))
    table = Connections.of(channels, filters, settings.get("groups", 1), settings.get("connections"))
    return Convolution.of_parts(table, axes, shared, settings.get("bias", True), biases)


def make_norm(values: Values, around: Surroundings) -> Operation:
    """NORM: of the kind it says, with the settings which that kind has."""
    kind = values.get("kind", ops.Norm.kind)
    for name in sorted(values.keys() - {"kind"}):
        if kind not in (kinds := NORM_SETTINGS[name]):
            takers = " or ".join(f"NORM[{one}]" for one in kinds)
            raise SettingError(f"{name} of NORM[{kind}]", got=values[name], expected=f"none: only {takers} has it")
    return ops.Norm(**values)


def make_tiled(values: Values, around: Surroundings) -> Made:
    """TILED: kernels that repeat with a period."""
    settings = {**values}
    return make_conv({"sharing": settings.pop("period", 2), **settings}, around)


def make_pool(values: Values, around: Surroundings) -> Operation:
    """POOL: a statistic of every window."""
    return pooling.PoolWindows(_pooling({**POOL_DEFAULTS, **values}, around, "POOL"))


def make_learned_pool(values: Values, around: Surroundings) -> Operation:
    """LEARNEDPOOL: an average of every window with learned weights."""
    settings = {**POOL_DEFAULTS, "statistic": "mean", **values}
    per_channel = settings.pop("per_channel", False)
    return pooling.PoolLearned(_pooling(settings, around, "LEARNEDPOOL"), per_channel)


def _pooling(settings: Values, around: Surroundings, word: str) -> Pooling:
    return Pooling(per_axis(settings.pop("kernel"), around.volume, word), **_weighted(settings))


def _weighted(settings: Values) -> Values:
    """The name of weights stands for the average with them."""
    if settings.get("statistic") in WEIGHTS:
        return {**settings, "statistic": "weighted", "weight": settings["statistic"]}
    return settings


def make_grid_pool(values: Values, around: Surroundings) -> Operation:
    """GRIDPOOL: a statistic of each cell of a grid, or of several grids."""
    given = [per_axis(grid, around.volume, "GRIDPOOL", "grid") for grid in values.get("grid", (2,))]
    return pooling.PoolGrid(tuple(given), pooling.Summary(values.get("statistic", "max"), values.get("p")))


def make_channel_pool(values: Values, around: Surroundings) -> Operation:
    """CHANNELPOOL, and MAXOUT where it takes the largest: a statistic of neighbouring channels."""
    settings = {"channels": 2, **values}
    return pooling.PoolChannels(Pooling((settings.pop("channels"),), **_weighted(settings)))


def make_upsample(values: Values, around: Surroundings) -> Operation:
    """UPSAMPLE: every axis so many times as long, or as far as the size that it meets asks for."""
    to_size = "to" in values
    if to_size and "factor" not in values and around.coarser is None:
        expected, fix = "a factor", f"Write UPSAMPLE[2, to={values['to']}]."
        raise SettingError("UPSAMPLE", got="samples that are no whole steps apart", expected=expected, fix=fix)
    usual = around.coarser if to_size else 2
    factors = per_axis(values.get("factor", usual), around.volume, "UPSAMPLE", "factor")
    return ops.Upsample(factors, values.get("mode", "nearest"), to_size)


def make_branches(kind: type[Merge], values: Values) -> Operation:
    """SUM and CONCAT, which cut larger branches if they say so."""
    if "low" in values and "crop" not in values:
        raise SettingError("low", got="no crop", expected="SUM[crop, low=5] or CONCAT[crop, low=5]")
    return kind("crop" in values, values.get("low"))


def make_fc(values: Values, around: Surroundings) -> Operation:
    """FC: so many outputs, each reading everything."""
    outputs = around.outputs or values.get("outputs") or (around.classes if around.last else FC_OUTPUTS)
    if outputs is None:
        expected, fix = "their number", "Write FC[10], or give classes."
        raise TextError("outputs of the last FC", got="none", expected=expected, fix=fix)
    return ops.FullyConnected(outputs, values.get("bias", True))


def make_softmax(values: Values, around: Surroundings) -> list[Operation]:
    """SOFTMAX: scores to probabilities; where what is before gives no scores, the classifier's FC comes first."""
    if around.before is not None and around.before.gives_scores:
        return [ops.Softmax()]
    if around.classes is None:
        fix = "Write FC[10] - SOFTMAX, or give classes."
        raise TextError("outputs of SOFTMAX", got="none", expected="the number of classes", fix=fix)
    return [ops.FullyConnected(around.classes), ops.Softmax()]


def per_axis(given: int | tuple[int, ...], volume: Volume, word: str, what: str = "kernel") -> tuple[int, ...]:
    """One size for each axis of a volume; raises SettingError where there are more, fewer, or no axes."""
    ndim = len(volume.size)
    sizes = given if isinstance(given, tuple) else (given,) * ndim
    if len(sizes) != ndim or not ndim:
        expected = f"one size for each of its {ndim} axes" if ndim else "a volume with axes"
        fix, got = "" if ndim else f"Put {word} before FC.", "x".join(map(str, sizes)) or given
        raise SettingError(f"{what} of {word} on a volume {volume}", got=got, expected=expected, fix=fix)
    return sizes
