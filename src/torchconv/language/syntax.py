"""What an architecture text says, as immutable values that print the text again, and errors that point into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from ..errors import TorchconvError

WIDTH = 100  # columns of a line that an error shows


@dataclass(frozen=True)
class Place:
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


def pointed(error: TorchconvError, place: Place | None) -> TorchconvError:
    """The same error with the line and the caret of `place` below it.

    >>> from torchconv.errors import SettingError
    >>> print(pointed(SettingError("stride", got=0), Place("CONV[stride=0]", 5)))
    stride: got 0
      line 1, column 6:
        CONV[stride=0]
             ^
    """
    if place is None:
        return error
    return type(error)(error.what, got=error.got, expected=error.expected, fix=error.fix, where=place)


@dataclass(frozen=True)
class Setting:
    """A value in the brackets of a layer, with or without a name: `same`, `stride=2`."""

    value: str
    name: str | None = None
    place: Place | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return self.value if self.name is None else f"{self.name}={self.value}"


@dataclass(frozen=True)
class Layer:
    """A word and its settings.

    >>> print(Layer("CONV", (Setting("16"), Setting("2", "stride"))))
    CONV[16, stride=2]
    """

    word: str
    settings: tuple[Setting, ...] = ()
    place: Place | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.word}[{', '.join(map(str, self.settings))}]" if self.settings else self.word


@dataclass(frozen=True)
class Repeat:
    """A chain so many times after itself; a count that is a name waits for its value."""

    body: Chain
    count: int | str
    place: Place | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"({self.body})*{self.count}"


@dataclass(frozen=True)
class Chain:
    """Layers and repeats, each reading what is before it.

    >>> print(Chain((Layer("INPUT"), Repeat(Chain((Layer("CONV"), Layer("RELU"))), 2), Layer("FC"))))
    INPUT - (CONV - RELU)*2 - FC
    """

    items: tuple[Layer | Repeat, ...]

    def __str__(self) -> str:
        return " - ".join(map(str, self.items))

    @property
    def depth(self) -> int:
        """How many repeats stand inside one another."""
        return max((1 + item.body.depth for item in self.items if isinstance(item, Repeat)), default=0)

    def layers(self) -> Iterator[Layer]:
        """The layers as written, each once."""
        for item in self.items:
            if isinstance(item, Repeat):
                yield from item.body.layers()
            else:
                yield item

    def repeats(self) -> Iterator[Repeat]:
        """The repeats as written, each once, inner ones included."""
        for item in self.items:
            if isinstance(item, Repeat):
                yield item
                yield from item.body.repeats()

    def bound(self, values: Mapping[str, int]) -> Chain:
        """The same chain with numbers in place of these names of counts."""

        def bind(item: Layer | Repeat) -> Layer | Repeat:
            if isinstance(item, Layer):
                return item
            count = values.get(item.count, item.count) if isinstance(item.count, str) else item.count
            return replace(item, body=item.body.bound(values), count=count)

        return Chain(tuple(map(bind, self.items)))
