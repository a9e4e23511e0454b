"""The words of the language: what each may say in brackets, and what it makes.

Whatever a layer does not say has its default, and all defaults are here:

    word        in brackets                                          what is not said
    INPUT       height x width x channels, as in 32x32x3             the volume of the data; INPUT may be left out
    CONV        filters, kernel, same|valid|full, transposed,        32 filters, 3 along each axis, same, stride 1
                name=value
    POOL        kernel, max|mean, same|valid|full, name=value        2 along each axis, max, valid, stride = kernel
    GLOBALPOOL  max|mean                                             mean
    UPSAMPLE    factor, nearest|linear                               2 along each axis, nearest
    FC          outputs, bias=                                       the number of classes if last, else 128
    NORM        batch|layer|instance|group|local, groups=,           batch, 32 groups, momentum 0.1, eps 1e-5
                momentum=, eps=
    SCALE       nothing
    DROPOUT     rate                                                 0.5
    RELU, LEAKYRELU, ELU, GELU, SILU, TANH, SIGMOID: nothing
    SOFTMAX     nothing; it stands at the end only                   FC to the classes first, unless scores are there
    IDENTITY    nothing: it is what a branch without layers says
    MARK, FROM  a name: FROM[a] goes on from where MARK[a] stands
    SUM(a | b), CONCAT(a | b): branches; in brackets crop            branches of equal sizes

Names that CONV takes: stride, padding, dilation, groups, connections, padding_mode, input_dilation, sharing, bias,
bias_sharing, output_padding; POOL: stride, padding, dilation. They are written as `str(Convolution)` writes them:
stride=2, padding=0:1x1. With `transposed`, stride, padding and output_padding mean what they mean in torch, and same
makes every sample into `stride` samples. An FC is last if nothing or only SOFTMAX follows. FC, CONV, GLOBALPOOL,
UPSAMPLE, SUM and CONCAT give scores; after anything else SOFTMAX is the notes' softmax classifier, FC included.
One number stands for all axes: CONV[16, 5] is 5x5 on images.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..description import notation
from ..description.axis import PADDING_WORDS
from ..errors import TextError, TorchconvError
from ..network import elementwise, merging
from ..network import operations as ops
from ..network.operations import Operation
from . import layers, values
from .layers import Surroundings, Values
from .syntax import Branches, Layer, Place, Setting, pointed

Made = Operation | list[Operation]


@dataclass(frozen=True)
class Word:
    """How one word reads its settings (`slots`: values without a name, `names`: those with one), and what it makes.

    The first free slot that recognises a value takes it. branches: whether chains stand in round brackets after it.
    needs: a setting that must be there. make is None for the words that only say where things are.
    """

    make: Callable[[Values, Surroundings], Made] | None = None
    slots: tuple[tuple[str, values.Recognise], ...] = ()
    names: Mapping[str, Callable[[str], Any]] = field(default_factory=dict)
    branches: bool = False
    needs: str = ""

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


def read(layer: Layer | Branches) -> Values:
    """The settings of a layer by name; raises TextError or SettingError that points at the one that is wrong.

    >>> from torchconv.language.syntax import Layer, Setting
    >>> read(Layer("CONV", (Setting("16"), Setting("5x5"), Setting("2", "stride"))))
    {'filters': 16, 'kernel': (5, 5), 'stride': 2}
    """
    word = _word(layer)
    found: Values = {}
    for setting in layer.settings:
        try:
            name, value = _read_setting(layer.word, word, setting, found)
            if name in found:
                raise _twice(layer, name, found, setting)
        except TorchconvError as error:
            raise pointed(error, setting.place or layer.place) from None
        found[name] = value
    if word.needs and word.needs not in found:
        error = TextError(f"settings of {layer.word}", got="none", expected=f"a {word.needs}")
        raise pointed(error, layer.place)
    return found


def operations(layer: Layer | Branches, around: Surroundings) -> list[Operation]:
    """The operations a layer stands for, on the volume it reads; raises what `read` and the operation raise."""
    found = read(layer)
    make = WORDS[layer.word].make
    try:
        made = make(found, around) if make else []
    except TorchconvError as error:
        raise pointed(error, _blamed(layer, found, error)) from None
    return made if isinstance(made, list) else [made]


def _word(layer: Layer | Branches) -> Word:
    """What the vocabulary says of a layer; raises TextError for unknown words, and branches too many or missing."""
    word = WORDS.get(layer.word)
    if word is None:
        known = ", ".join(WORDS)
        error = TextError(
            "unknown layer", got=repr(layer.word), expected=f"one of {known}", fix=close(layer.word, WORDS)
        )
        raise pointed(error, layer.place)
    count = len(layer.branches) if isinstance(layer, Branches) else 0
    if word.branches and count < 2:
        got = f"{count} branches" if count != 1 else "one branch"
        expected = f"at least two, as in {layer.word}(CONV - RELU | IDENTITY)"
        raise pointed(TextError(f"branches of {layer.word}", got=got, expected=expected), layer.place)
    if count and not word.branches:
        takers = " and ".join(name for name, one in WORDS.items() if one.branches)
        error = TextError(f"round brackets after {layer.word}", got="branches", expected=f"them after {takers} only")
        raise pointed(error, layer.place)
    return word


def _read_setting(text: str, word: Word, setting: Setting, taken: Values) -> tuple[str, Any]:
    what = f"settings of {text}"
    if setting.name is None:
        fitting = [(name, value) for name, one in word.slots if (value := one(setting.value)) is not None]
        if fitting:  # the last one where all are taken, so that it is said to be given twice
            return next((slot for slot in fitting if slot[0] not in taken), fitting[-1])
        fix = close(setting.value, _choices(word))
        raise TextError(what, got=repr(setting.value), expected=word.accepts, fix=fix)
    if setting.name not in word.names:
        fix = close(setting.name, word.names)
        raise TextError(what, got=repr(str(setting)), expected=word.accepts, fix=fix)
    return setting.name, word.names[setting.name](setting.value)


def _twice(layer: Layer | Branches, name: str, found: Values, second: Setting) -> TextError:
    """The error of a setting that is given a second time."""
    first = layer.settings[list(found).index(name)]
    sized = name in ("kernel", "factor") and isinstance(found[name], int) and second.name is None
    fix = f"Join the sizes of the axes: {first.value}x{second.value}." if sized else ""
    got = f"{name} twice, as {first} and as {second}"
    return TextError(f"settings of {layer.word}", got=got, expected="each once", fix=fix)


def _blamed(layer: Layer | Branches, found: Values, error: TorchconvError) -> Place | None:
    """The place of the setting that an error names, or that of the layer."""
    named = error.what.replace("out_channels", "filters").replace("kernel_size", "kernel").split()
    places = {name: setting.place for name, setting in zip(found, layer.settings, strict=True) if name in named}
    return next(iter(places.values()), None) or layer.place


def _choices(word: Word) -> list[str]:
    """The words that its slots know."""
    known = [*PADDING_WORDS, *ops.Pool.statistics, *ops.Upsample.modes, *elementwise.Norm.kinds, "transposed", "crop"]
    return [choice for choice in known if any(recognise(choice) == choice for _, recognise in word.slots)]


_PADDING = ("padding", values.one_of(*PADDING_WORDS))
_STATISTIC = ("statistic", values.one_of(*ops.Pool.statistics))
_CROP = ("crop", values.one_of("crop"))
_GEOMETRY = {name: notation.READERS[name] for name in ("stride", "padding", "dilation")}
_ACTIVATIONS = {
    word.upper(): Word(lambda values, around, word=word: elementwise.Activation(word))
    for word in elementwise.Activation.words
}
WORDS: dict[str, Word] = {
    "INPUT": Word(layers.make_input, (("height x width x channels", values.sizes),)),
    "CONV": Word(
        layers.make_conv,
        (("filters", values.number), ("kernel", values.sizes), _PADDING, ("transposed", values.one_of("transposed"))),
        {**notation.READERS, "output_padding": values.read_steps},
    ),
    "POOL": Word(layers.make_pool, (("kernel", values.sizes), _STATISTIC, _PADDING), _GEOMETRY),
    "GLOBALPOOL": Word(lambda values, around: ops.GlobalPool(**values), (_STATISTIC,)),
    "UPSAMPLE": Word(layers.make_upsample, (("factor", values.sizes), ("mode", values.one_of(*ops.Upsample.modes)))),
    **_ACTIVATIONS,
    "NORM": Word(
        layers.make_norm,
        (("kind", values.one_of(*elementwise.Norm.kinds)),),
        {"groups": notation.read_integer, "momentum": values.read_decimal, "eps": values.read_decimal},
    ),
    "SCALE": Word(lambda values, around: elementwise.Scale()),
    "DROPOUT": Word(
        lambda values, around: elementwise.Dropout(values.get("rate", layers.DROPOUT_RATE)), (("rate", values.rate),)
    ),
    "FC": Word(layers.make_fc, (("outputs", values.number),), {"bias": notation.read_switch}),
    "SOFTMAX": Word(layers.make_softmax),
    "SUM": Word(lambda values, around: merging.Sum("crop" in values), (_CROP,), branches=True),
    "CONCAT": Word(lambda values, around: merging.Concat("crop" in values), (_CROP,), branches=True),
    "IDENTITY": Word(),
    "MARK": Word(None, (("name", values.name),), needs="name"),
    "FROM": Word(None, (("name", values.name),), needs="name"),
}
