"""From syntax to a network: repeats are written out, branches split and join, marks are kept and gone back to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

from ..description.axis import integer, plain
from ..errors import SettingError, TextError, TorchconvError
from ..network.graph import Growing, Network, Recurrence
from ..network.operations import Input, Volume
from ..network.propagation import steps
from ..network.recurrence import Again, Zeros, repeat
from ..text import did_you_mean
from . import semantics
from .semantics import Surroundings
from .syntax import (
    NOTHING,
    RECURRENT,
    Branches,
    Chain,
    LayerItem,
    Optional,
    Repeat,
    SourceLocation,
    pointed,
    waiting,
)
from .words import WORDS, operations, read

PASSES = 2  # of a RECUR that says no number
MOST_LAYERS = 10_000  # repeats multiply, so that a short text could ask for more than any memory holds

Leaf = LayerItem | Branches


class Construction:
    """One network on its way from a chain; `network` is the result.

    input: the volume of the data, by default the text's. classes: their number. default_classes: where nobody says it.
    Raises TextError, SettingError or ShapeError, which name the layer, point at it and tell both sizes.
    """

    def __init__(
        self, chain: Chain, input: Volume | None, classes: int | None, default_classes: int | None = None
    ) -> None:
        self._input, self._said, self._classes = input, classes, default_classes if classes is None else classes
        self._counts = {"layers": 0, "repeats": 0}
        self._marks: dict[str, str] = {}
        self._marking: dict[str, Leaf] = {}
        self._places: dict[str, SourceLocation | None] = {}
        leaves = list(self._written_out(chain))
        starts = bool(leaves) and leaves[0].word == "INPUT"
        first = leaves[0] if starts else LayerItem("INPUT", place=leaves[0].place if leaves else None)
        made = operations(first, Surroundings(Volume(0), input))[0]
        assert isinstance(made, Input)
        self._growing = Growing(made if input is None else Input(input))  # what the caller says wins
        self._recurrences: list[Recurrence] = []
        rest = leaves[1:] if starts else leaves
        last = len(rest) - 1 - bool(rest and rest[-1].word == "SOFTMAX")  # the layer that gives the scores
        here, decides = made.word, None if classes is None else _decides(rest)
        for number, leaf in enumerate(rest):
            outputs = classes if number == decides else None
            here = self._add(leaf, here, number == last, number == len(rest) - 1, outputs)
        self.network = self._finished(here, rest[-1].place if rest else first.place)
        if classes is not None and self.network.output.channels != classes:
            gives = f"{self.network.output.channels}, which {self.network.without_softmax().nodes[-1].name} gives"
            fix = "End the text with FC or CONV, or leave classes out."
            raise SettingError("classes", got=classes, expected=gives, fix=fix)

    def _written_out(self, chain: Chain) -> Iterator[Leaf]:
        """The layers one after another, with repeats written out."""
        for item in chain.items:
            if isinstance(item, LayerItem | Branches):
                self._tally("layers", item.place)
                yield item
            elif isinstance(item, Optional):
                fix = f"Choose: parse(text, {item.name}=True), or False."
                error = TextError(f"{item} is there or not", got="neither", expected="a choice", fix=fix)
                raise pointed(error, item.place)
            else:
                for _ in range(_number(item)):
                    self._tally("repeats", item.place)
                    yield from self._written_out(item.body)

    def _tally(self, what: str, place: SourceLocation | None) -> None:
        self._counts[what] += 1
        if self._counts[what] > MOST_LAYERS:
            error = TextError("an architecture", got=f"more {what}", expected=f"at most {MOST_LAYERS} layers in all")
            raise pointed(error, place)

    def _add(self, leaf: Leaf, here: str, last: bool = False, ends: bool = False, outputs: int | None = None) -> str:
        """The node in which a layer that reads node `here` ends; outputs: how many it has, whatever it says."""
        if leaf.word == "INPUT":
            error = TextError("the start of the chain", got="INPUT after other layers", expected="INPUT there only")
            raise pointed(error, leaf.place)
        if leaf.word == "SOFTMAX" and not ends:
            fix = "Inside a network the activations are RELU, GELU, TANH and their like."
            raise pointed(TextError("SOFTMAX", got="layers after it", expected="it at the end", fix=fix), leaf.place)
        if leaf.word in ("MARK", "FROM"):
            return self._go(leaf, here)
        if leaf.word == RECURRENT:
            assert isinstance(leaf, Branches)
            return self._recur(leaf, here, outputs)
        sources = [here]
        if isinstance(leaf, Branches):
            sources = [self._branch(branch, here, outputs) for branch in leaf.branches]
        before = self._growing.rows[here]
        said = read(leaf)
        target = [self._marked(said["to"], "to", leaf)] if "to" in said else []
        coarser = self._coarser(target[0], here) if target and "factor" not in said else None
        around = Surroundings(before.volume, self._input, self._classes, last, before.node.operation, outputs, coarser)
        for operation in operations(leaf, around):
            try:
                sources = [self._growing.add(operation, sources + target * (operation.reads == 2))]
            except TorchconvError as error:
                raise pointed(error, leaf.place) from None
            self._places[sources[0]] = leaf.place
        return sources[0] if leaf.word != NOTHING.word else here

    def _branch(self, chain: Chain, here: str, outputs: int | None) -> str:
        leaves = list(self._written_out(chain))
        decides = None if outputs is None else _decides(leaves)
        for number, leaf in enumerate(leaves):
            here = self._add(leaf, here, outputs=outputs if number == decides else None)
        return here

    def _recur(self, leaf: Branches, here: str, outputs: int | None) -> str:
        """The node in which the last pass of a RECUR ends."""
        said = read(leaf)
        if (name := waiting(leaf)) is not None:
            raise _unbound("passes of RECUR", name, leaf.place)
        try:
            if "zeros" in said:
                here = self._growing.add(Zeros(self._channels(leaf, here, outputs)), [here])
                self._places[here] = leaf.place
            start = self._growing.add(Again(), [here])
            self._places[start] = leaf.place
            end = self._branch(leaf.branches[0], start, outputs)
            if end == start:
                return start  # nothing, however often
            owner = self._growing.rows[end].node.shares or end
            recurrence = Recurrence(start, owner, said.get("n", PASSES))
            if recurrence.passes > MOST_LAYERS:
                raise TextError("passes of RECUR", got=recurrence.passes, expected=f"at most {MOST_LAYERS}")
            repeat(self._growing, recurrence)
        except TorchconvError as error:
            raise error if error.where else pointed(error, leaf.place) from None
        self._recurrences.append(recurrence)
        rows, latest = self._growing.rows, self._growing.latest
        self._marks = {mark: latest[rows[node].node.shares or node] for mark, node in self._marks.items()}
        self._places |= {latest[node]: place for node, place in self._places.items() if node in latest}
        return latest[owner]

    def _channels(self, leaf: Branches, here: str, outputs: int | None) -> int:
        """How many channels come out of a RECUR if as many go in."""
        channels = 1
        for _ in range(2):
            kept = self._growing, self._marks, self._marking, self._counts, self._recurrences, self._places
            self._growing, self._recurrences = self._growing.copy(), self._recurrences.copy()
            self._marks, self._marking = self._marks.copy(), self._marking.copy()
            self._counts, self._places = self._counts.copy(), self._places.copy()
            try:
                end = self._branch(leaf.branches[0], self._growing.add(Zeros(channels), [here]), outputs)
                channels = self._growing.rows[end].volume.channels
            finally:
                self._growing, self._marks, self._marking, self._counts, self._recurrences, self._places = kept
        return channels

    def _coarser(self, mark: str, here: str) -> tuple[int, ...] | None:
        """How many times as far apart samples of a node are as those at a mark; None if that is no whole number."""
        far = steps(self._growing.network(), [mark, here])
        ratios = [one / two if one and two else Fraction() for one, two in zip(far[here], far[mark], strict=True)]
        whole = all(ratio >= 1 and ratio.denominator == 1 for ratio in ratios)
        return tuple(map(int, ratios)) if whole and ratios else None

    def _go(self, leaf: Leaf, here: str) -> str:
        name = read(leaf)["name"]
        if leaf.word == "MARK" and self._marking.setdefault(name, leaf) is not leaf:  # but a repeat may come again
            raise pointed(TextError("MARK", got=f"{name} in a second place", expected="another name"), leaf.place)
        if leaf.word == "MARK":
            self._marks[name] = here
        return self._marked(name, "FROM", leaf)

    def _marked(self, name: str, what: str, leaf: Leaf) -> str:
        """The node at a mark; raises TextError unless it stands before."""
        if name not in self._marks:
            known = ", ".join(self._marks) or "a MARK before it"
            raise pointed(TextError(what, got=name, expected=f"one of the marks before it: {known}"), leaf.place)
        return self._marks[name]

    def _finished(self, end: str, place: SourceLocation | None) -> Network:
        """The network that ends in this node; raises TextError for layers that lead nowhere."""
        network = self._growing.network(tuple(self._recurrences))
        used = {end}
        for node in reversed(network.nodes):
            if node.name in used:
                used.update(node.inputs)
        for node in network.nodes[1:]:
            if node.name not in used:
                error = TextError(f"layer {node.name}", got="an output that nothing reads", fix="FROM left it behind.")
                raise pointed(error, self._places[node.name])
        if network.nodes[-1].name != end:
            error = TextError("the end", got=f"going back to {end}", expected="a layer", fix="Leave the last FROM out.")
            raise pointed(error, place)
        return network


def _decides(leaves: Sequence[Leaf]) -> int | None:
    """Which of the layers of a chain sets how many outputs come out at its end; None if it is none of them."""
    passed = ("scores",) if leaves and leaves[-1].word == "SOFTMAX" else ("scores", "keeps")
    for number in reversed(range(len(leaves))):
        outputs = WORDS[leaves[number].word].outputs
        if outputs in ("sets", "joins"):
            return number
        if leaves[number].word != "SOFTMAX" and outputs not in passed:
            break
    return None


def _number(repeat: Repeat) -> int:
    if isinstance(repeat.count, str):
        raise _unbound("count of a repeat", repeat.count, repeat.place)
    return repeat.count


def _unbound(what: str, name: str, place: SourceLocation | None) -> TorchconvError:
    """The error of a count whose name has no value yet."""
    return pointed(TextError(what, got=name, expected="a number", fix=f"Bind it: parse(text, {name}=2)."), place)


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
        return tuple(self._found())

    @property
    def input(self) -> Volume | None:
        """The volume that INPUT says; None where it leaves it to the data."""
        first = next(self.chain.layers(), NOTHING)
        if not isinstance(first, LayerItem) or first.word != "INPUT" or not first.settings:
            return None
        made = operations(first, Surroundings(Volume(0)))[0]
        return made.volume if isinstance(made, Input) else None

    def with_input(self, volume: Volume) -> Architecture:
        """The same with this volume in INPUT, whatever it says.

        >>> from torchconv.language.parser import parse
        >>> print(parse("INPUT[32x32x3] - CONV").with_input(Volume(1, (8, 8))), parse("FC").with_input(Volume(5)))
        INPUT[8x8x1] - CONV INPUT[5] - FC
        """
        first, *others = self.chain.items
        said = isinstance(first, LayerItem) and first.word == "INPUT"
        item = LayerItem("INPUT", semantics.input_settings(volume))
        return Architecture(Chain((item, *(others if said else self.chain.items))))

    def bind(self, **values: int | bool) -> Architecture:
        """With numbers in place of names of counts, and what is optional there (True) or left out (False).

        Raises SettingError for a name the text does not have, or a value that does not go with it.
        """
        kinds = self._found()
        for name, value in values.items():
            if name not in kinds:
                known = ", ".join(kinds) or "none: the text has no names"
                fix = did_you_mean(name, kinds)
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
        ranges = {name: _choices(values.get(name, (True, False))) for name in (*kinds, *values)}
        for name, choices in ranges.items():
            for value in choices:
                self.bind(**{name: value})
        return (self.bind(**dict(zip(ranges, chosen, strict=True))) for chosen in product(*ranges.values()))

    def network(
        self, input: Volume | None = None, classes: int | None = None, *, default_classes: int | None = None
    ) -> Network:
        """The network, without weights.

        input: the volume that goes in; by default what the text says of INPUT.
        classes: outputs of the last FC or CONV, whatever it says, and of all that are written CONV[classes].
        default_classes: the same where neither the text nor `classes` says how many.
        Raises TextError, SettingError or ShapeError, which name the layer, point at it and tell both sizes.
        """
        return Construction(self.chain, input, classes, default_classes).network

    def _found(self) -> Mapping[str, type]:
        """The kind of each name: int for a count, bool for an option."""
        kinds: dict[str, type] = {}
        for item in self.chain.walk():
            name: str | None
            if isinstance(item, Optional):
                name, kind = item.name, bool
            elif (name := waiting(item)) is not None:
                kind = int
            else:
                continue
            if kinds.setdefault(name, kind) is not kind:
                error = TextError(name, got="it as a count and as an option", expected="a name of its own for each")
                raise pointed(error, item.place)
        return kinds


def _choices(values: Any) -> tuple[Any, ...]:
    values = plain(values)
    return tuple(values) if isinstance(values, Iterable) and not isinstance(values, str) else (values,)


def _check(name: str, value: Any, kind: type) -> None:
    if kind is bool and not isinstance(plain(value), bool):
        raise SettingError(name, got=value, expected="True or False")
    if kind is int and integer(name, value) < 0:
        raise SettingError(name, got=value, expected="an integer >= 0")
