"""A network as steps to run one after another, with loops for what recurs, and what is let go after each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..network.graph import Network, Node, Recurrence
from ..network.operations import Input
from ..network.recurrence import first_pass


@dataclass(frozen=True)
class Call:
    """One layer: its name, what it reads, and what is not needed any more behind it."""

    name: str
    inputs: tuple[str, ...]
    done: tuple[str, ...] = ()


@dataclass(frozen=True)
class Passes:
    """Calls that recur: `start` is what comes in at first, then what `end` was; so many times."""

    start: str
    source: str
    body: tuple[Call | Passes, ...]
    end: str
    times: int
    done: tuple[str, ...] = ()


Calls = tuple[Call | Passes, ...]


def program(network: Network) -> Calls:
    """The calls of a network, named by the nodes that have weights of their own."""
    nodes = [node for node in first_pass(network) if not isinstance(node.operation, Input)]
    return _letting_go(_nested(nodes, network.recurrences), set())[0]


def run(calls: Calls, values: dict[str, Tensor], layer: Callable, passes: int | None = None) -> None:
    """Put what each call gives among the values, and let go what nothing reads any more, unless a gradient needs it."""
    for call in calls:
        if isinstance(call, Call):
            values[call.name] = layer(call.name)(*[values[name] for name in call.inputs])
        else:
            values[call.start] = values[call.source]
            for number in range(call.times if passes is None else passes):
                if number:
                    values[call.start] = values[call.end]
                run(call.body, values, layer, passes)
        for name in call.done:
            del values[name]


def _nested(nodes: Sequence[Node], recurrences: Sequence[Recurrence]) -> Calls:
    starts, names = {one.start: one for one in recurrences}, [node.name for node in nodes]
    calls: list[Call | Passes] = []
    at = 0
    while at < len(nodes):
        node = nodes[at]
        at += 1
        if (found := starts.get(node.name)) is None:
            calls.append(Call(node.name, node.inputs))
            continue
        last = names.index(found.end) + 1
        body = _nested(nodes[at:last], recurrences)
        calls.append(Passes(node.name, node.inputs[0], body, found.end, found.passes))
        at = last
    return tuple(calls)


def _letting_go(calls: Calls, needed: set[str]) -> tuple[Calls, set[str]]:
    """The calls with what each is the last to need; needed: names that are read after them."""
    own = {name for call in calls for name in _makes(call)}
    own |= {name for call in calls for name in _reads(call)} if not needed else set()  # the input, at the top level
    found: list[Call | Passes] = []
    for call in reversed(calls):
        reads = _reads(call)
        done = tuple(name for name in dict.fromkeys(reads) if name in own and name not in needed)
        if isinstance(call, Call):
            found.append(Call(call.name, call.inputs, done))
        else:
            body, _ = _letting_go(call.body, needed | {call.end} | set(done))
            start = tuple(one for one in (call.start,) if call.start not in needed)
            found.append(Passes(call.start, call.source, body, call.end, call.times, (*done, *start)))
        needed = needed | set(reads)
    return tuple(reversed(found)), needed


def _makes(call: Call | Passes) -> list[str]:
    if isinstance(call, Call):
        return [call.name]
    return [call.start, *(name for inner in call.body for name in _makes(inner))]


def _reads(call: Call | Passes) -> list[str]:
    """What a call reads that it does not make itself."""
    if isinstance(call, Call):
        return list(call.inputs)
    made = set(_makes(call))
    return [call.source, *(name for inner in call.body for name in _reads(inner) if name not in made)]
