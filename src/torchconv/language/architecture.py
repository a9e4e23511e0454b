"""An architecture: what a text says, and the network it stands for once the input is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..description.axis import integer
from ..errors import SettingError, TextError, TorchconvError
from ..network.graph import Network, chain
from ..network.operations import Input, Operation, Volume
from .syntax import Chain, Layer, Repeat, pointed
from .vocabulary import Surroundings, close, operation

MOST_LAYERS = 10_000  # repeats multiply, so that a short text could ask for more than any memory holds


@dataclass(frozen=True)
class Architecture:
    """An immutable architecture; str() is its canonical text, and equal texts are equal architectures.

    >>> from torchconv.language.parser import parse
    >>> architecture = parse("[INPUT-(CONV-RELU)*N-POOL-FC], SOFTMAX", N=2)
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
        """Names of counts that wait for a value, in the order of the text."""
        counts = (repeat.count for repeat in self.chain.repeats())
        return tuple(dict.fromkeys(count for count in counts if isinstance(count, str)))

    @property
    def input(self) -> Volume | None:
        """The volume that INPUT says; None where it leaves it to the data."""
        first = next(self.chain.layers())
        made = operation(first, Surroundings(Volume(0))) if first.word == "INPUT" and first.settings else None
        return made.volume if isinstance(made, Input) else None

    def bind(self, **values: int) -> Architecture:
        """With numbers in place of names of counts; raises SettingError for a name the text does not have."""
        for name, value in values.items():
            if name not in self.names:
                known = ", ".join(self.names) or "none: the text has no names"
                fix = close(name, self.names)
                raise SettingError("binding", got=f"{name}={value!r}", expected=f"one of {known}", fix=fix)
            if integer(name, value) < 0:
                raise SettingError(name, got=value, expected="an integer >= 0")
        return Architecture(self.chain.bound(values))

    def network(self, input: Volume | None = None, classes: int | None = None) -> Network:
        """The network, without weights.

        input: the volume that goes in, used where the text says INPUT without sizes.
        classes: outputs of a last FC that does not say how many.
        Raises TextError, SettingError or ShapeError, which name the layer, point at it and tell both sizes.
        """
        layers = list(self._expanded(self.chain))
        last = _last(layers)
        operations: list[Operation] = []
        volume = Volume(0)
        for number, layer in enumerate(layers):
            self._check_input(number, layer)
            operations.append(operation(layer, Surroundings(volume, input, classes, number == last)))
            try:
                volume = operations[-1].output(volume)
            except TorchconvError:
                raise _misfit(operations, layer) from None
        network = chain(operations)
        try:
            _ = network.rows
        except TorchconvError as error:  # a count that only the whole network makes
            raise pointed(error, layers[0].place) from None
        return network

    def _expanded(self, part: Chain, times: int = 1) -> Iterator[Layer]:
        """The layers one after another, repeats written out."""
        for item in part.items:
            if isinstance(item, Layer):
                yield item
                continue
            count = self._count(item, times)
            for _ in range(count):
                yield from self._expanded(item.body, times * count)

    def _count(self, repeat: Repeat, times: int) -> int:
        if isinstance(repeat.count, str):
            fix = f"Bind it: parse(text, {repeat.count}=2)."
            raise pointed(TextError("count of a repeat", got=repeat.count, expected="a number", fix=fix), repeat.place)
        if repeat.count * times > MOST_LAYERS:
            error = TextError("count of a repeat", got=repeat.count, expected=f"at most {MOST_LAYERS} layers in all")
            raise pointed(error, repeat.place)
        return repeat.count

    @staticmethod
    def _check_input(number: int, layer: Layer) -> None:
        if (number == 0) != (layer.word == "INPUT"):
            got = f"{layer.word} first" if number == 0 else "INPUT after other layers"
            error = TextError("the start of the chain", got=got, expected="INPUT there and nowhere else")
            raise pointed(error, layer.place)


def _misfit(operations: list[Operation], layer: Layer) -> TorchconvError:
    """The network's own error, which names the layer that does not fit, pointing at it."""
    try:
        _ = chain(operations).rows
    except TorchconvError as error:
        return pointed(error, layer.place)
    raise AssertionError("an operation that does not fit must not fit in a network either")


def _last(layers: list[Layer]) -> int:
    """The place of the layer that gives the scores: the last one but for SOFTMAX."""
    return len(layers) - 2 if layers and layers[-1].word == "SOFTMAX" else len(layers) - 1
