"""What an architecture text says, as immutable values that print the text again, and errors that point into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import TorchconvError

WIDTH = 100  # columns of a line that an error shows


@dataclass(frozen=True)
class SourceLocation:
    """A character of a text, by its offset."""

    text: str
    offset: int

    @property
    def line(self) -> int:
        """Number of the line, from 1."""
        return self.text.count("\n", 0, self.offset) + 1

    @property
    def column(self) -> int:
        """Number of the column, from 1."""
        return self.offset - self.text.rfind("\n", 0, self.offset)

    def __str__(self) -> str:
        """The line with a caret under the column; long lines are cut around it."""
        start = self.offset - self.column + 1
        line = self.text[start:].partition("\n")[0].replace("\t", " ")
        first = max(0, min(self.column - 1 - WIDTH // 2, len(line) - WIDTH))
        shown = line[first : first + WIDTH]
        return f"  line {self.line}, column {self.column}:\n    {shown}\n    {' ' * (self.column - 1 - first)}^"


def pointed(error: TorchconvError, place: SourceLocation | None) -> TorchconvError:
    """The same error with the line and the caret of `place` below it.

    >>> from torchconv.errors import SettingError
    >>> print(pointed(SettingError("stride", got=0), SourceLocation("CONV[stride=0]", 5)))
    stride: got 0
      line 1, column 6:
        CONV[stride=0]
             ^
    """
    if place is None:
        return error
    return type(error)(error.what, got=error.got, expected=error.expected, fix=error.fix, where=place)


@dataclass(frozen=True)
class Argument:
    """A value in the brackets of a layer, with or without a name: `same`, `stride=2`."""

    value: str
    name: str | None = None
    place: SourceLocation | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return self.value if self.name is None else f"{self.name}={self.value}"


@dataclass(frozen=True)
class LayerItem:
    """A word and its settings.

    >>> print(LayerItem("CONV", (Argument("16"), Argument("2", "stride"))))
    CONV[16, stride=2]
    """

    word: str
    settings: tuple[Argument, ...] = ()
    place: SourceLocation | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.word}[{', '.join(map(str, self.settings))}]" if self.settings else self.word


@dataclass(frozen=True)
class Repeat:
    """A chain so many times after itself; a count that is a name waits for its value."""

    body: Chain
    count: int | str
    place: SourceLocation | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"({self.body})*{self.count}"


@dataclass(frozen=True)
class Optional:
    """A chain that is there or not: its name waits for True or False.

    >>> pool = Chain((LayerItem("POOL"),))
    >>> print(Optional(pool, "pool"), "or", Optional(pool, "halve"))
    POOL? or POOL?halve
    """

    body: Chain
    name: str
    place: SourceLocation | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        single = len(self.body.items) == 1 and isinstance(self.body.items[0], LayerItem | Branches)
        shown = str(self.body) if single else f"({self.body})"
        return f"{shown}?" if self.name == self.usual_name(self.body) else f"{shown}?{self.name}"

    @staticmethod
    def usual_name(body: Chain) -> str:
        """That of the first word in it, in small letters."""
        return next((layer.word.lower() for layer in body.layers()), "")


@dataclass(frozen=True)
class Branches:
    """Chains that all read the same volume, and the word that says how their outputs become one.

    >>> print(Branches("SUM", (Chain((LayerItem("CONV"),)), Chain((LayerItem("IDENTITY"),)))))
    SUM(CONV | IDENTITY)
    """

    word: str
    branches: tuple[Chain, ...]
    settings: tuple[Argument, ...] = ()
    place: SourceLocation | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{LayerItem(self.word, self.settings)}({' | '.join(map(str, self.branches))})"


@dataclass(frozen=True)
class Chain:
    """Items one after another, each reading what is before it.

    >>> print(Chain((LayerItem("INPUT"), Repeat(Chain((LayerItem("CONV"), LayerItem("RELU"))), 2), LayerItem("FC"))))
    INPUT - (CONV - RELU)*2 - FC
    """

    items: tuple[Item, ...]

    def __str__(self) -> str:
        return " - ".join(map(str, self.items))

    @property
    def depth(self) -> int:
        """How many brackets stand inside one another."""
        return max((1 + body.depth for item in self.items for body in bodies(item)), default=0)

    def walk(self) -> Iterator[Item]:
        """All items as written, each once, outer ones before those inside them."""
        for item in self.items:
            yield item
            for body in bodies(item):
                yield from body.walk()

    def layers(self) -> Iterator[LayerItem | Branches]:
        """The items that have a word, as written."""
        return (item for item in self.walk() if isinstance(item, LayerItem | Branches))

    def bound(self, values: Mapping[str, Any]) -> Chain:
        """The same chain with values in place of these names; what is optional is there then, or is not."""
        return Chain(tuple(new for item in self.items for new in _bound(item, values)))


Item = LayerItem | Repeat | Optional | Branches
NOTHING = LayerItem("IDENTITY")
RECURRENT = "RECUR"


def waiting(item: Item) -> str | None:
    """The name of a count that waits for its value: of a repeat, or of the passes of a RECUR."""
    if isinstance(item, Repeat):
        return item.count if isinstance(item.count, str) else None
    if not isinstance(item, Branches) or item.word != RECURRENT:
        return None
    names = (one.value for one in item.settings if one.value.isidentifier() and (one.name or one.value) != "zeros")
    return next(names, None)


def bodies(item: Item) -> tuple[Chain, ...]:
    """The chains inside an item."""
    if isinstance(item, Branches):
        return item.branches
    return () if isinstance(item, LayerItem) else (item.body,)


def _bound(item: Item, values: Mapping[str, Any]) -> tuple[Item, ...]:
    """What stands in the place of an item once these names have values."""
    if isinstance(item, LayerItem):
        return (item,)
    if isinstance(item, Branches):
        kept = (branch.bound(values) for branch in item.branches)
        bodies = tuple(one if one.items else Chain((NOTHING,)) for one in kept)
        settings = item.settings
        if (name := waiting(item)) is not None and name in values:
            settings = tuple(replace(one, value=str(values[name])) if one.value == name else one for one in settings)
        return (replace(item, branches=bodies, settings=settings),)
    body = item.body.bound(values)
    if not body.items:
        return ()
    if isinstance(item, Optional):
        there = values.get(item.name)
        return (replace(item, body=body),) if there is None else body.items if there else ()
    return (replace(item, body=body, count=values.get(str(item.count), item.count)),)
