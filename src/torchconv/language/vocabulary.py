"""The words of the language: what each may say in brackets, and which operation it stands for.

Whatever a layer does not say has its default, and all defaults are here:

    word      in brackets                                        what is not said
    INPUT     height x width x channels, as in 32x32x3           the volume of the data
    CONV      filters, kernel, same|valid|full, name=value       32 filters, 3 along each axis, same, stride 1
    POOL      kernel, max|mean, same|valid|full, name=value      2 along each axis, max, valid, stride = kernel
    RELU      nothing
    NORM      nothing
    DROPOUT   rate                                               0.5
    FC        outputs                                            the number of classes if last, else 128
    SOFTMAX   nothing

Names that CONV takes: stride, padding, dilation, groups, connections, padding_mode, input_dilation, sharing, bias,
bias_sharing; POOL: stride, padding, dilation. They are written as `str(Convolution)` writes them: stride=2,
padding=0:1x1. An FC is last if nothing or only SOFTMAX follows. One number stands for all axes: CONV[16, 5] is 5x5
on images.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..description import notation
from ..description.axis import PADDING_WORDS, axes_of, positive
from ..description.convolution import Convolution
from ..errors import SettingError, TextError, TorchconvError
from ..network import operations as ops
from ..network.operations import Operation, Volume
from .syntax import Layer, Setting, pointed

CONV_DEFAULTS = {"filters": 32, "kernel": 3, "padding": "same"}
POOL_DEFAULTS = {"kernel": 2, "statistic": "max", "padding": "valid"}
DROPOUT_RATE = 0.5
FC_OUTPUTS = 128

Values = dict[str, Any]


@dataclass(frozen=True)
class Surroundings:
    """What an operation may depend on besides its own settings."""

    volume: Volume
    input: Volume | None = None
    classes: int | None = None
    last: bool = False


@dataclass(frozen=True)
class Word:
    """How one word reads its settings (`slots`: values without a name, `names`: those with one), and what it makes.

    A slot recognises its text and returns the value, or returns None; the first free slot that does takes it.
    """

    make: Callable[[Values, Surroundings], Operation]
    slots: tuple[tuple[str, Callable[[str], Any]], ...] = ()
    names: tuple[str, ...] = ()

    @property
    def accepts(self) -> str:
        """What may stand in the brackets, for messages."""
        parts = [name for name, _ in self.slots] + [f"{name}=..." for name in self.names]
        return ", ".join(parts) if parts else "no settings"


def close(word: str, known: Iterable[str]) -> str:
    """A suggestion for a mistyped word, or "".

    >>> close("conv", ["CONV", "POOL"]), close("strid", ["stride"]), close("xyz", ["CONV"])
    ('Did you mean CONV?', 'Did you mean stride?', '')
    """
    by_case = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), by_case, n=1)
    return f"Did you mean {by_case[found[0]]}?" if found else ""


def read(layer: Layer) -> Values:
    """The settings of a layer by name; raises TextError or SettingError that points at the one that is wrong.

    >>> from torchconv.language.syntax import Layer, Setting
    >>> read(Layer("CONV", (Setting("16"), Setting("5x5"), Setting("2", "stride"))))
    {'filters': 16, 'kernel': (5, 5), 'stride': 2}
    """
    word = WORDS.get(layer.word)
    if word is None:
        error = TextError(
            "unknown layer", got=repr(layer.word), expected=f"one of {', '.join(WORDS)}", fix=close(layer.word, WORDS)
        )
        raise pointed(error, layer.place)
    values: Values = {}
    for setting in layer.settings:
        try:
            name, value = _read_setting(layer.word, word, setting, values)
            if name in values:
                raise TextError(f"settings of {layer.word}", got=f"{name} twice", expected="each once")
        except TorchconvError as error:
            raise pointed(error, setting.place or layer.place) from None
        values[name] = value
    return values


def operation(layer: Layer, surroundings: Surroundings) -> Operation:
    """The operation a layer stands for, on the volume it reads; raises what `read` and the operation raise."""
    values = read(layer)
    try:
        return WORDS[layer.word].make(values, surroundings)
    except TorchconvError as error:
        raise pointed(error, layer.place) from None


def _read_setting(text: str, word: Word, setting: Setting, taken: Values) -> tuple[str, Any]:
    if setting.name is None:
        for name, recognise in word.slots:
            if name not in taken and (value := recognise(setting.value)) is not None:
                return name, value
        known = [*PADDING_WORDS, *ops.Pool.statistics] if word.slots else []
        raise TextError(
            f"settings of {text}", got=repr(setting.value), expected=word.accepts, fix=close(setting.value, known)
        )
    if setting.name not in word.names:
        raise TextError(
            f"settings of {text}",
            got=repr(str(setting)),
            expected=word.accepts,
            fix=close(setting.name, word.names),
        )
    return next(iter(notation.read_settings([str(setting)]).items()))


def _number(text: str) -> int | None:
    return positive("a size", notation.read_integer(text)) if re.fullmatch(r"\d+", text) else None


def _sizes(text: str) -> int | tuple[int, ...] | None:
    """One number or several joined by x, as kernels and volumes are written."""
    if not re.fullmatch(r"\d+(x\d+)*", text):
        return None
    sizes = notation.read_per_axis(text, notation.read_integer)
    for size in sizes if isinstance(sizes, tuple) else (sizes,):
        positive("a size", size)
    return sizes


def _rate(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d*\.?\d+", text) else None


def _one_of(words: tuple[str, ...]) -> Callable[[str], str | None]:
    return lambda text: text if text in words else None


def _make_input(values: Values, around: Surroundings) -> Operation:
    if "height x width x channels" in values:
        sizes = values["height x width x channels"]
        *size, channels = sizes if isinstance(sizes, tuple) else (sizes,)
        return ops.Input(Volume(channels, tuple(size)))
    if around.input is None:
        raise TextError("the volume of INPUT", got="none", expected="sizes and channels", fix="Write INPUT[32x32x3].")
    return ops.Input(around.input)


def _make_conv(values: Values, around: Surroundings) -> Operation:
    settings = {**CONV_DEFAULTS, **values}
    kernel = _per_axis(settings.pop("kernel"), around.volume, "CONV")
    return ops.Convolve(Convolution(around.volume.channels, settings.pop("filters"), kernel, **settings))


def _make_pool(values: Values, around: Surroundings) -> Operation:
    settings = {**POOL_DEFAULTS, **values}
    statistic = settings.pop("statistic")
    kernel = _per_axis(settings.pop("kernel"), around.volume, "POOL")
    settings.setdefault("stride", kernel)
    return ops.Pool(axes_of(kernel, **settings), statistic)


def _per_axis(kernel: int | tuple[int, ...], volume: Volume, word: str) -> tuple[int, ...]:
    ndim = len(volume.size)
    sizes = kernel if isinstance(kernel, tuple) else (kernel,) * ndim
    if len(sizes) != ndim or not ndim:
        raise SettingError(
            f"kernel of {word} on a volume {volume}",
            got="x".join(map(str, sizes)) or kernel,
            expected=f"one size for each of its {ndim} axes" if ndim else "a volume with axes",
            fix="" if ndim else f"Put {word} before FC.",
        )
    return sizes


def _make_fc(values: Values, around: Surroundings) -> Operation:
    outputs = values.get("outputs") or (around.classes if around.last else FC_OUTPUTS)
    if outputs is None:
        fix = "Write FC[10], or give classes."
        raise TextError("outputs of the last FC", got="none", expected="their number", fix=fix)
    return ops.FullyConnected(outputs)


_PADDING = ("padding", _one_of(PADDING_WORDS))
WORDS: dict[str, Word] = {
    "INPUT": Word(_make_input, (("height x width x channels", _sizes),)),
    "CONV": Word(_make_conv, (("filters", _number), ("kernel", _sizes), _PADDING), tuple(notation.READERS)),
    "POOL": Word(
        _make_pool,
        (("kernel", _sizes), ("statistic", _one_of(ops.Pool.statistics)), _PADDING),
        ("stride", "padding", "dilation"),
    ),
    "RELU": Word(lambda values, around: ops.Activation("relu")),
    "NORM": Word(lambda values, around: ops.Norm()),
    "DROPOUT": Word(lambda values, around: ops.Dropout(values.get("rate", DROPOUT_RATE)), (("rate", _rate),)),
    "FC": Word(_make_fc, (("outputs", _number),)),
    "SOFTMAX": Word(lambda values, around: ops.Softmax()),
}
