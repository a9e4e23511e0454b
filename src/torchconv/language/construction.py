"""From syntax to a network: repeats are written out, branches split and join, marks are kept and gone back to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..errors import TextError, TorchconvError
from ..network.graph import Growing, Network
from ..network.operations import Input, Operation, Volume
from .layers import Surroundings
from .syntax import NOTHING, Branches, Chain, Layer, Optional, Place, Repeat, pointed
from .vocabulary import operations, read

MOST_LAYERS = 10_000  # repeats multiply, so that a short text could ask for more than any memory holds

Leaf = Layer | Branches


class Construction:
    """One network on its way from a chain; `network` is the result.

    input: the volume of the data. classes: their number.
    Raises TextError, SettingError or ShapeError, which name the layer, point at it and tell both sizes.
    """

    def __init__(self, chain: Chain, input: Volume | None, classes: int | None) -> None:
        self._input, self._classes = input, classes
        self._counts = {"layers": 0, "repeats": 0}
        self._marks: dict[str, str] = {}
        self._marking: dict[str, Leaf] = {}
        self._places: dict[str, Place | None] = {}
        leaves = list(self._written_out(chain))
        starts = bool(leaves) and leaves[0].word == "INPUT"
        first = leaves[0] if starts else Layer("INPUT", place=leaves[0].place if leaves else None)
        made = operations(first, Surroundings(Volume(0), input))[0]
        assert isinstance(made, Input)
        self._growing = Growing(made)
        rest = leaves[1:] if starts else leaves
        last = _last(rest)
        here = made.word
        for number, leaf in enumerate(rest):
            here = self._add(leaf, here, number == last, number == len(rest) - 1)
        self.network = self._finished(here, rest[-1].place if rest else first.place)

    def _written_out(self, chain: Chain) -> Iterator[Leaf]:
        """The layers one after another, with repeats written out."""
        for item in chain.items:
            if isinstance(item, Layer | Branches):
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

    def _tally(self, what: str, place: Place | None) -> None:
        self._counts[what] += 1
        if self._counts[what] > MOST_LAYERS:
            error = TextError("an architecture", got=f"more {what}", expected=f"at most {MOST_LAYERS} layers in all")
            raise pointed(error, place)

    def _add(self, leaf: Leaf, here: str, last: bool = False, ends: bool = False) -> str:
        """The node in which a layer that reads node `here` ends."""
        if leaf.word == "INPUT":
            error = TextError("the start of the chain", got="INPUT after other layers", expected="INPUT there only")
            raise pointed(error, leaf.place)
        if leaf.word == "SOFTMAX" and not ends:
            fix = "Inside a network the activations are RELU, GELU, TANH and their like."
            raise pointed(TextError("SOFTMAX", got="layers after it", expected="it at the end", fix=fix), leaf.place)
        if leaf.word in ("MARK", "FROM"):
            return self._go(leaf, here)
        sources = [here]
        if isinstance(leaf, Branches):
            sources = [self._branch(branch, here) for branch in leaf.branches]
        around = Surroundings(
            self._growing.volume(here), self._input, self._classes, last, self._growing.operation(here)
        )
        for operation in operations(leaf, around):
            sources = [self._grow(operation, sources, leaf)]
        return sources[0] if leaf.word != NOTHING.word else here

    def _grow(self, operation: Operation, sources: Sequence[str], leaf: Leaf) -> str:
        try:
            name = self._growing.add(operation, sources)
        except TorchconvError as error:
            raise pointed(error, leaf.place) from None
        self._places[name] = leaf.place
        return name

    def _branch(self, chain: Chain, here: str) -> str:
        for leaf in self._written_out(chain):
            here = self._add(leaf, here)
        return here

    def _go(self, leaf: Leaf, here: str) -> str:
        name = read(leaf)["name"]
        if leaf.word == "MARK" and self._marking.setdefault(name, leaf) is not leaf:  # but a repeat may come again
            raise pointed(TextError("MARK", got=f"{name} in a second place", expected="another name"), leaf.place)
        if leaf.word == "MARK":
            self._marks[name] = here
        elif name not in self._marks:
            known = ", ".join(self._marks) or "a MARK before it"
            raise pointed(TextError("FROM", got=name, expected=f"one of the marks before it: {known}"), leaf.place)
        return self._marks[name]

    def _finished(self, end: str, place: Place | None) -> Network:
        """The network that ends in this node; raises TextError for layers that lead nowhere."""
        network = self._growing.network()
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


def _number(repeat: Repeat) -> int:
    if isinstance(repeat.count, str):
        fix = f"Bind it: parse(text, {repeat.count}=2)."
        raise pointed(TextError("count of a repeat", got=repeat.count, expected="a number", fix=fix), repeat.place)
    return repeat.count


def _last(leaves: Sequence[Leaf]) -> int:
    """The place of the layer that gives the scores: the last one but for SOFTMAX."""
    return len(leaves) - 2 if leaves and leaves[-1].word == "SOFTMAX" else len(leaves) - 1
