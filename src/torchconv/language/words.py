"""The words of the language: what each may say in brackets, and what it makes.

Whatever a layer does not say has its default, and all defaults are here:

    word        in brackets                                          what is not said
    INPUT       height x width x channels, as in 32x32x3; or         the volume of the data; INPUT may be left out
                size=32x32, channels=3
    CONV        filters (a number or "classes"), kernel,             32 filters, 3 along each axis, same, stride 1
                same|valid|full, transposed, name=value
    LOCAL       the same: a kernel of its own at every position      the same
    TILED       the same, period=: kernels that repeat               the same, period 2
    POOL        kernel, max|mean|l2|lp|binomial|gaussian, p=,        2 along each axis, max, valid, stride = kernel
                same|valid|full, name=value
    LEARNEDPOOL kernel, same|valid|full, per_channel=yes, name=value 2 along each axis, valid, one set of weights
    GRIDPOOL    grid or grids, as in 2x2 or 1x1+2x2, a statistic, p= 2 cells along each axis, max
    GLOBALPOOL  max|mean|l2|lp, p=                                   mean
    MAXOUT      channels                                             2
    CHANNELPOOL channels, max|mean|l2|lp|binomial|gaussian, stride=  2, max, stride = channels
    UPSAMPLE    factor, nearest|linear, to=a: to the size that is    2 along each axis, nearest; with to= what the
                where MARK[a] stands                                 layers since then took away
    CROP        to=a: to the size that is where MARK[a] stands;      the middle is left
                low=: so many samples at the low end
    PIXELSHUFFLE factor: channels to places                          2
    FC          outputs, bias=                                       the number of classes if last, else 128
    NORM        batch|layer|instance|group|local, groups=,           batch, 32 groups, momentum 0.1, eps 1e-5
                momentum=, eps=
    SCALE       nothing
    DROPOUT     rate                                                 0.5
    RELU, LEAKYRELU, ELU, GELU, SILU, TANH, SIGMOID: nothing
    SOFTMAX     nothing; it stands at the end only                   FC to the classes first, unless scores are there
    IDENTITY    nothing: it is what a branch without layers says
    MARK, FROM  a name: FROM[a] goes on from where MARK[a] stands
    SUM(a | b), CONCAT(a | b): branches; in brackets crop, low=      branches of equal sizes
    RECUR(a)[n=3]: the same layers n times one after another, with   2 passes; what comes in goes in first
                the same weights; zeros: zeros go in first

Names that CONV takes: stride, padding, dilation, groups, connections, padding_mode, input_dilation, sharing, bias,
bias_sharing, output_padding, to (LOCAL and TILED: but sharing); POOL and LEARNEDPOOL: stride, padding, dilation,
ceil_mode, POOL also count_include_pad. They are written as `str(Convolution)` writes them:
stride=2, padding=0:1x1. With `transposed`, stride, padding and output_padding mean what they mean in torch, same
makes every sample into `stride` samples, and to=a chooses the output padding that leads to the size at MARK[a]. An FC
is last if nothing or only SOFTMAX follows. FC, CONV, GLOBALPOOL, UPSAMPLE, CROP, PIXELSHUFFLE, SUM and CONCAT give
scores; after anything else SOFTMAX is a softmax classifier, with an FC of its own.
One number stands for all axes: CONV[16, 5] is 5x5 on images. What stands without a name may have one: CONV[filters=16].
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..description import notation
from ..description.axis import PADDING_WORDS, positive
from ..errors import TextError, TorchconvError
from ..network import operations as ops, pooling
from ..network.branches import Concat, Crop, Sum
from ..network.operations import Operation
from ..text import did_you_mean
from . import semantics, syntax
from .semantics import Made, Surroundings, Values
from .syntax import Argument, Branches, LayerItem, SourceLocation, pointed

# What recognises a value without a name: the words that it may be, or what reads it, and gives None for another kind.
Slot = tuple[str, ...] | Callable[[str], Any]
DECIMAL = r"[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?"


def number(text: str) -> int | None:
    """An integer >= 1.

    >>> number("12"), number("same")
    (12, None)
    """
    return positive("a size", notation.read_integer(text)) if re.fullmatch(r"[0-9]+", text) else None


def sizes(text: str) -> int | tuple[int, ...] | None:
    """One number or several joined by x, as kernels and volumes are written.

    >>> sizes("5"), sizes("32x32x3"), sizes("same")
    (5, (32, 32, 3), None)
    """
    if not re.fullmatch(r"[0-9]+(x[0-9]+)*", text):
        return None
    found = notation.read_per_axis(text, notation.read_integer)
    for size in found if isinstance(found, tuple) else (found,):
        positive("a size", size)
    return found


def read_sizes(text: str) -> int | tuple[int, ...]:
    """Sizes as `sizes` reads them; raises TextError for anything else."""
    found = sizes(text)
    if found is None:
        raise TextError("a size", got=repr(text), expected="sizes joined by x, as in 32x32")
    return found


def grids(text: str) -> tuple[int | tuple[int, ...], ...] | None:
    """Sizes of one grid, or of several joined by +.

    >>> grids("2x2"), grids("1+2x3"), grids("max")
    (((2, 2),), (1, (2, 3)), None)
    """
    found = [sizes(part) for part in text.split("+")]
    return None if None in found else tuple(one for one in found if one is not None)


def rate(text: str) -> float | None:
    """A number with or without a point, or with an exponent."""
    return float(text) if re.fullmatch(DECIMAL, text) else None


def name(text: str) -> str | None:
    """A name such as those of variables."""
    return text if re.fullmatch(r"[A-Za-z_]\w*", text) else None


def read_decimal(text: str) -> float:
    """A number as `0.1` or `1e-5`; raises TextError for anything else."""
    value = rate(text)
    if value is None or not math.isfinite(value):
        raise TextError("a number", got=repr(text), expected="a number such as 0.1")
    return value


def filters(text: str) -> int | str | None:
    """A number, or the word for as many as there are classes.

    >>> filters("16"), filters("classes"), filters("same")
    (16, 'classes', None)
    """
    return text if text == semantics.CLASSES else number(text)


def count(text: str) -> int | str | None:
    """A number, or a name that waits for one.

    >>> count("3"), count("N"), count("3x3")
    (3, 'N', None)
    """
    return number(text) or name(text)


def read_passes(text: str) -> int | str:
    """A number >= 1, or a name that waits for one; raises TextError or SettingError for anything else."""
    return name(text) or positive("passes", notation.read_integer(text))


def read_name(text: str) -> str:
    """A name; raises TextError for anything else."""
    found = name(text)
    if found is None:
        raise TextError("a name", got=repr(text), expected="letters, as in MARK[a]")
    return found


def read_count(text: str) -> int:
    """An integer >= 1."""
    return positive("a number", notation.read_integer(text))


@dataclass(frozen=True)
class Word:
    """How one word reads its settings (`slots`: values without a name, `names`: those with one), and what it makes.

    The first free slot that recognises a value takes it. branches: how many chains, at least and at most, stand in
    round brackets after it. needs: a setting that must be there. make is None for words that say where things are.
    outputs: whether it "sets" the number of channels; "keeps" it, or keeps "scores" scores, so that those of the layer
    before count; or "joins" those of its branches, which must be equal.
    """

    make: Callable[[Values, Surroundings], Made] | None = None
    slots: tuple[tuple[str, Slot], ...] = ()
    names: Mapping[str, Callable[[str], Any]] = field(default_factory=dict)
    branches: tuple[int, int] = (0, 0)
    needs: str = ""
    outputs: str = ""

    @property
    def accepts(self) -> str:
        """What may stand in the brackets, for messages."""
        parts = [name for name, _ in self.slots] + [f"{name}=..." for name in self.names]
        return ", ".join(parts) if parts else "no settings"


_PADDING = ("padding", PADDING_WORDS)
_STATISTIC = ("statistic", pooling.SUMMARIES)
_WEIGHTED = ("statistic", (*pooling.SUMMARIES, *semantics.WEIGHTS))
_POWER = {"p": read_decimal}
_SEVERAL = (2, 10**6)
_CROP = ("crop", ("crop",))
_LOW = {"low": notation.read_integer}
_TO = {"to": read_name}
_GEOMETRY = {name: notation.READERS[name] for name in ("stride", "padding", "dilation")}
_GEOMETRY["ceil_mode"] = notation.read_switch
_CONV_SLOTS = (("filters", filters), ("kernel", sizes), _PADDING, ("transposed", ("transposed",)))
_CONV_NAMES = {**notation.READERS, "output_padding": notation.read_steps, **_TO}
_UNSHARED = {name: read for name, read in _CONV_NAMES.items() if name != "sharing"}
_ACTIVATIONS = {
    word.upper(): Word(lambda values, around, word=word: ops.Activation(word), outputs="keeps")
    for word in ops.Activation.words
}
WORDS: dict[str, Word] = {
    "INPUT": Word(
        semantics.make_input, (("height x width x channels", sizes),), {"size": read_sizes, "channels": read_count}
    ),
    "CONV": Word(semantics.make_conv, _CONV_SLOTS, _CONV_NAMES, outputs="sets"),
    "LOCAL": Word(semantics.make_local, _CONV_SLOTS, _UNSHARED, outputs="sets"),
    "TILED": Word(semantics.make_tiled, _CONV_SLOTS, {**_UNSHARED, "period": notation.read_steps}, outputs="sets"),
    "POOL": Word(
        semantics.make_pool,
        (("kernel", sizes), _WEIGHTED, _PADDING),
        {**_GEOMETRY, **_POWER, "count_include_pad": notation.read_switch},
        outputs="keeps",
    ),
    "LEARNEDPOOL": Word(
        semantics.make_learned_pool,
        (("kernel", sizes), _PADDING),
        {**_GEOMETRY, "per_channel": notation.read_switch},
        outputs="keeps",
    ),
    "GRIDPOOL": Word(semantics.make_grid_pool, (("grid", grids), _STATISTIC), _POWER, outputs="keeps"),
    "GLOBALPOOL": Word(lambda values, around: pooling.PoolAll(**values), (_STATISTIC,), _POWER, outputs="scores"),
    "MAXOUT": Word(semantics.make_channel_pool, (("channels", number),)),
    "CHANNELPOOL": Word(
        semantics.make_channel_pool, (("channels", number), _WEIGHTED), {"stride": notation.read_steps, **_POWER}
    ),
    "UPSAMPLE": Word(semantics.make_upsample, (("factor", sizes), ("mode", ops.Upsample.modes)), _TO, outputs="scores"),
    "CROP": Word(lambda values, around: Crop(values.get("low")), (), {**_TO, **_LOW}, needs="to", outputs="scores"),
    "PIXELSHUFFLE": Word(lambda values, around: ops.ShufflePixels(**values), (("factor", number),)),
    **_ACTIVATIONS,
    "NORM": Word(
        semantics.make_norm,
        (("kind", ops.Norm.kinds),),
        {"groups": notation.read_integer, "momentum": read_decimal, "eps": read_decimal},
        outputs="keeps",
    ),
    "SCALE": Word(lambda values, around: ops.ScaleChannels(), outputs="keeps"),
    "DROPOUT": Word(lambda values, around: ops.Dropout(**values), (("rate", rate),), outputs="keeps"),
    "FC": Word(semantics.make_fc, (("outputs", number),), {"bias": notation.read_switch}, outputs="sets"),
    "SOFTMAX": Word(semantics.make_softmax),
    "SUM": Word(lambda values, around: semantics.make_branches(Sum, values), (_CROP,), _LOW, _SEVERAL, outputs="joins"),
    "CONCAT": Word(lambda values, around: semantics.make_branches(Concat, values), (_CROP,), _LOW, _SEVERAL),
    syntax.RECURRENT: Word(
        None, (("zeros", ("zeros",)), ("n", count)), {"n": read_passes}, branches=(1, 1), outputs="joins"
    ),
    "IDENTITY": Word(outputs="scores"),
    "MARK": Word(None, (("name", name),), needs="name", outputs="scores"),
    "FROM": Word(None, (("name", name),), needs="name"),
}


def read(layer: LayerItem | Branches) -> Values:
    """The settings of a layer by name; raises TextError or SettingError that points at the one that is wrong.

    >>> from torchconv.language.syntax import LayerItem, Argument
    >>> read(LayerItem("CONV", (Argument("16"), Argument("5x5"), Argument("2", "stride"))))
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


def operations(layer: LayerItem | Branches, around: Surroundings) -> list[Operation]:
    """The operations a layer stands for, on the volume it reads; raises what `read` and the operation raise."""
    found = read(layer)
    make = WORDS[layer.word].make
    try:
        made = make(found, around) if make else []
    except TorchconvError as error:
        raise pointed(error, _blamed(layer, found, error)) from None
    return made if isinstance(made, list) else [made]


def _word(layer: LayerItem | Branches) -> Word:
    """What the vocabulary says of a layer; raises TextError for unknown words, and branches too many or missing."""
    word = WORDS.get(layer.word)
    if word is None:
        expected, fix = f"one of {', '.join(WORDS)}", did_you_mean(layer.word, WORDS)
        raise pointed(TextError("unknown layer", got=repr(layer.word), expected=expected, fix=fix), layer.place)
    number = len(layer.branches) if isinstance(layer, Branches) else 0
    fewest, most = word.branches
    if most and not fewest <= number <= most:
        got = f"{number} branches" if number != 1 else "one branch"
        several, one = (
            f"at least two, as in {layer.word}(CONV - RELU | IDENTITY)",
            f"one, as in {layer.word}(CONV - RELU)",
        )
        error = TextError(f"branches of {layer.word}", got=got, expected=one if most == 1 else several)
        raise pointed(error, layer.place)
    if number and not most:
        takers = " and ".join(name for name, one in WORDS.items() if one.branches[1])
        error = TextError(f"round brackets after {layer.word}", got="branches", expected=f"them after {takers} only")
        raise pointed(error, layer.place)
    return word


def _read_setting(text: str, word: Word, setting: Argument, taken: Values) -> tuple[str, Any]:
    said = setting.value
    if setting.name is None:
        fitting = [(name, value) for name, slot in word.slots if (value := _recognised(slot, said)) is not None]
        if fitting:  # the last one where all are taken, so that it is said to be given twice
            return next((slot for slot in fitting if slot[0] not in taken), fitting[-1])
        fix = did_you_mean(said, [choice for _, slot in word.slots if isinstance(slot, tuple) for choice in slot])
    elif setting.name in word.names:
        return setting.name, word.names[setting.name](said)
    elif (slot := dict(word.slots).get(setting.name)) and (value := _recognised(slot, said)) is not None:
        return setting.name, value
    else:
        fix = did_you_mean(setting.name, [*word.names, *dict(word.slots)])
    raise TextError(f"settings of {text}", got=repr(str(setting)), expected=word.accepts, fix=fix)


def _recognised(slot: Slot, text: str) -> Any:
    if isinstance(slot, tuple):
        return text if text in slot else None
    return slot(text)


def _twice(layer: LayerItem | Branches, name: str, found: Values, second: Argument) -> TextError:
    """The error of a setting that is given a second time."""
    first = layer.settings[list(found).index(name)]
    sized = name in ("kernel", "factor") and isinstance(found[name], int) and second.name is None
    fix = f"Join the sizes of the axes: {first.value}x{second.value}." if sized else ""
    got = f"{name} twice, as {first} and as {second}"
    return TextError(f"settings of {layer.word}", got=got, expected="each once", fix=fix)


def _blamed(layer: LayerItem | Branches, found: Values, error: TorchconvError) -> SourceLocation | None:
    """The place of the setting that an error names, or that of the layer."""
    named = error.what.replace("out_channels", "filters").replace("kernel_size", "kernel").split()
    places = {name: setting.place for name, setting in zip(found, layer.settings, strict=True) if name in named}
    return next(iter(places.values()), None) or layer.place
