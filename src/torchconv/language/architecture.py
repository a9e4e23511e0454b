"""An architecture: what a text says, and the network it stands for once the input is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from ..description.axis import integer, plain
from ..errors import SettingError, TextError
from ..network.graph import Network
from ..network.operations import Input, Volume
from .construction import Construction
from .layers import Surroundings
from .syntax import NOTHING, Chain, Item, Layer, Optional, Repeat, pointed
from .vocabulary import close, operations

BOTH = (True, False)


@dataclass(frozen=True)
class Architecture:
    """An immutable architecture; str() is its canonical text, and equal texts are equal architectures.

    >>> from torchconv.language.parser import parse
    >>> architecture = parse("[INPUT-(CONV-RELU)*N-POOL?-FC], SOFTMAX", N=2, pool=True)
    >>> print(architecture)
    INPUT - (CONV - RELU)*2 - POOL - FC - SOFTMAX
    >>> str(architecture.network(Volume(3, (32, 32)), classes=10).output)
    '10'
    """

    chain: Chain

    @property
    def text(self) -> str:
        """The canonical text, on one line; `parse` reads it back to an equal architecture."""
        return str(self.chain)

    def __str__(self) -> str:
        return self.text

    @property
    def names(self) -> tuple[str, ...]:
        """Names that wait for a value, in the order of the text: counts of repeats, and options."""
        return tuple({**self._found()})

    @property
    def input(self) -> Volume | None:
        """The volume that INPUT says; None where it leaves it to the data."""
        first = next(self.chain.layers(), NOTHING)
        if not isinstance(first, Layer) or first.word != "INPUT" or not first.settings:
            return None
        made = operations(first, Surroundings(Volume(0)))[0]
        return made.volume if isinstance(made, Input) else None

    def bind(self, **values: int | bool) -> Architecture:
        """With numbers in place of names of counts, and what is optional there (True) or left out (False).

        Raises SettingError for a name the text does not have, or a value that does not go with it.
        """
        kinds = self._found()
        for name, value in values.items():
            if name not in kinds:
                known = ", ".join(kinds) or "none: the text has no names"
                fix = close(name, kinds)
                raise SettingError("binding", got=f"{name}={value!r}", expected=f"one of {known}", fix=fix)
            _check(name, value, kinds[name])
        if not values:
            return self
        chain = self.chain.bound({name: plain(value) for name, value in values.items()})
        return Architecture(chain if chain.items else Chain((NOTHING,)))

    def expand(self, **values: Any) -> Iterator[Architecture]:
        """Every concrete architecture: each combination of these values of the names, in the order of the text.

        values: for each name of a count the numbers to take, as N=range(1, 4), or one number. An option that is not
        given is taken both ways. Raises SettingError for names without values, or values without a name.

        >>> from torchconv.language.parser import parse
        >>> for architecture in parse("(CONV)*N - POOL? - FC").expand(N=range(1, 3)):
        ...     print(architecture)
        (CONV)*1 - POOL - FC
        (CONV)*1 - FC
        (CONV)*2 - POOL - FC
        (CONV)*2 - FC
        """
        kinds = self._found()
        for name, kind in kinds.items():
            if name not in values and kind is int:
                raise SettingError("expand", got=f"no values for {name}", expected=f"some, as in {name}=range(1, 4)")
        ranges = {name: _choices(values[name]) if name in values else BOTH for name in (*kinds, *values)}
        for name, choices in ranges.items():
            for value in choices:
                self.bind(**{name: value})
        return (self.bind(**dict(zip(ranges, chosen, strict=True))) for chosen in product(*ranges.values()))

    def network(self, input: Volume | None = None, classes: int | None = None) -> Network:
        """The network, without weights.

        input: the volume that goes in, used where the text says INPUT without sizes.
        classes: outputs of a last FC that does not say how many.
        Raises TextError, SettingError or ShapeError, which name the layer, point at it and tell both sizes.
        """
        return Construction(self.chain, input, classes).network

    def _found(self) -> Mapping[str, type]:
        """The kind of each name: int for a count, bool for an option."""
        kinds: dict[str, type] = {}
        for item in self.chain.walk():
            name, kind = _named(item)
            if name and kinds.setdefault(name, kind) is not kind:
                error = TextError(name, got="it as a count and as an option", expected="a name of its own for each")
                raise pointed(error, item.place)
        return kinds


def _named(item: Item) -> tuple[str, type]:
    """The name an item waits for, or "", and the kind of its values."""
    if isinstance(item, Optional):
        return item.name, bool
    return (item.count if isinstance(item, Repeat) and isinstance(item.count, str) else ""), int


def _choices(values: Any) -> tuple[Any, ...]:
    values = plain(values)
    return tuple(values) if isinstance(values, Iterable) and not isinstance(values, str) else (values,)


def _check(name: str, value: Any, kind: type) -> None:
    if kind is bool and not isinstance(plain(value), bool):
        raise SettingError(name, got=value, expected="True or False")
    if kind is int and integer(name, value) < 0:
        raise SettingError(name, got=value, expected="an integer >= 0")
