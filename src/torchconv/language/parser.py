"""From text to an `Architecture`, with errors that show the line, the column and what was expected there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from lark import Lark, Token, UnexpectedCharacters, UnexpectedInput, UnexpectedToken
from lark.exceptions import VisitError
from lark.visitors import Transformer_NonRecursive

from ..errors import TextError, TorchconvError
from ..text import did_you_mean
from . import zoo
from .architecture import Architecture
from .syntax import Argument, Branches, Chain, Item, LayerItem, Optional, Repeat, SourceLocation, pointed
from .words import read

DEEPEST = 20  # brackets inside one another
LONGEST = 1_000_000  # characters

TERMINALS = {  # for messages; all others stand for themselves
    "WORD": "a layer such as CONV",
    "COUNT": "a count such as 2",
    "VALUE": "a value such as 3x3",
    "NAME": "a name",
}


def parse(text: str, /, **bindings: int | bool) -> Architecture:
    """The architecture a text describes, or the one of this name in the zoo.

    bindings: values for the names in it: numbers for counts, True or False for what is optional.
    Raises TextError with the line, a caret under the column and what was expected, for anything it cannot read:
    also for unknown layers and settings. Raises SettingError for a binding the text has no name for.
    The words and their defaults are in `torchconv.language.words`.

    >>> print(parse("INPUT[8x8x1]-(CONV[16,same]-RELU)*2 - FC, SOFTMAX  # two convolutions"))
    INPUT[8x8x1] - (CONV[16, same] - RELU)*2 - FC - SOFTMAX
    """
    if not isinstance(text, str):
        raise TextError("an architecture", got=type(text).__name__, expected="a text such as 'INPUT - CONV - FC'")
    if len(text) > LONGEST:
        raise TextError("an architecture", got=f"{len(text)} characters", expected=f"at most {LONGEST}")
    if text.strip().lower() in zoo.names():
        text = zoo.text(text.strip().lower())
    _check_name(text.strip())
    try:
        tree = _grammar().parse(text)
    except UnexpectedInput as error:
        raise _explained(error, text) from None
    try:
        found = _Reader(text).transform(tree)
    except VisitError as error:  # lark wraps what a rule raises
        raise error.orig_exc from None
    for layer in found.layers():
        read(layer)
    return Architecture(found).bind(**bindings)


def _check_name(text: str) -> None:
    """Raise TextError for a mistyped name of the zoo; words of the language are in capital letters."""
    if text != text.upper() and re.fullmatch(r"\w[\w-]*", text) and (fix := did_you_mean(text, zoo.names())):
        raise TextError("a name in the zoo", got=repr(text), expected=f"one of {', '.join(zoo.names())}", fix=fix)


@cache
def _grammar() -> Lark:
    grammar = Path(__file__).with_name("grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", maybe_placeholders=True)


class _Reader(Transformer_NonRecursive):
    """The parse tree as syntax; not recursive, because a text may nest its brackets as deep as it likes."""

    def __init__(self, text: str) -> None:
        super().__init__(visit_tokens=False)
        self.text = text

    def chain(self, items: list[Item | Chain]) -> Chain:
        """A bracket that is not repeated says nothing: its items join those around it."""
        return Chain(tuple(one for item in items for one in _body(item).items))

    start = chain

    def group(self, chains: list[Chain]) -> Chain:
        return chains[0]

    def repeat(self, parts: list[Any]) -> Repeat:
        what, count = parts
        place = self._place(count)
        return Repeat(_shallow(_body(what), place), _count(count, place), place)

    def optional(self, parts: list[Any]) -> Optional:
        body = _body(parts[0])
        place = next(body.layers()).place
        return Optional(_shallow(body, place), str(parts[1] or Optional.usual_name(body)), place)

    def branches(self, parts: list[Any]) -> Branches:
        word, before, *chains, after = parts
        place = self._place(word)
        settings = (*(before or ()), *(after or ()))
        return Branches(str(word), tuple(_shallow(chain, place) for chain in chains), settings, place)

    def layer(self, parts: list[Any]) -> LayerItem:
        word, settings = parts
        return LayerItem(str(word), settings or (), self._place(word))

    def settings(self, settings: list[Argument]) -> tuple[Argument, ...]:
        return tuple(settings)

    def setting(self, parts: list[Any]) -> Argument:
        first, second = parts
        place = self._place(first)
        return Argument(str(first), None, place) if second is None else Argument(str(second), str(first), place)

    def _place(self, token: Token) -> SourceLocation:
        return SourceLocation(self.text, token.start_pos or 0)


def _body(what: Item | Chain) -> Chain:
    return what if isinstance(what, Chain) else Chain((what,))


def _shallow(body: Chain, place: SourceLocation | None) -> Chain:
    """The chain, unless too many brackets stand inside one another in it."""
    if body.depth >= DEEPEST:
        error = TextError("brackets inside one another", got=body.depth + 1, expected=f"at most {DEEPEST}")
        raise pointed(error, place)
    return body


def _count(token: Token, place: SourceLocation) -> int | str:
    if token.isidentifier():
        return str(token)
    if not (token.isascii() and token.isdigit() and len(token) < 10):
        raise pointed(TextError("count of a repeat", got=repr(str(token)), expected="a number or a name"), place)
    return int(token)


def _explained(error: UnexpectedInput, text: str) -> TorchconvError:
    """What lark expected, in words, pointing at the place."""
    if isinstance(error, UnexpectedToken):
        found = "the end of the text" if error.token.type == "$END" else repr(str(error.token))
        terminals = error.accepts or error.expected
    else:
        found = repr(error.char) if isinstance(error, UnexpectedCharacters) else "the end of the text"
        terminals = getattr(error, "allowed", None) or ()
    position = len(text.rstrip()) if found == "the end of the text" else error.pos_in_stream or 0
    known = (one for one in _grammar().terminals if one.name in terminals)
    words = [TERMINALS.get(one.name) or f"'{one.pattern.value}'" for one in known] + ["the end"] * ("$END" in terminals)
    fix = "Join layers with a hyphen, '-'." if found in ("'\u2013'", "'\u2014'", "'\u2212'") else ""
    wrong = TextError("an architecture cannot be read", got=found, expected=" or ".join(words) or None, fix=fix)
    return pointed(wrong, SourceLocation(text, position))
