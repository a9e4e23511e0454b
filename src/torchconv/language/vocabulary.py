"""What a layer of a text says: its settings by name, and the operations that its word makes of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from ..errors import TextError, TorchconvError
from ..network.operations import Operation
from .layers import Surroundings, Values
from .syntax import Branches, Layer, Place, Setting, pointed
from .words import CHOICES, WORDS, Word


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
    return [choice for choice in CHOICES if any(recognise(choice) == choice for _, recognise in word.slots)]
