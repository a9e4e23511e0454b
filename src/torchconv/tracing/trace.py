"""A run of any torch module, written down as a network, or into a sink of the caller's own."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.func import functionalize
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.nn.parameter import Parameter
from torch.utils import _pytree as pytree

from ..compute.tensors import THREAD, observed
from ..network.graph import Network, Node
from .model_copy import ModelCopy, ModelFailed, ModuleCalls, uncached
from .recorder import MOST_NUMBERS, CallSink, Recorder, Sink, WholeFunctions

PATH = "{} looks at numbers, on which its path depends: the one taken for {} is shown"
FAILS = "{}, with {} for the numbers of the input at which {} looks"
FEW_NUMBERS = 64  # of a parameter that a model may look at; the others are without from the start, which is quicker
UNFIT = ("functorch", "INTERNAL ASSERT", "(non-ATen)")  # in what torch says of a model that it cannot make functional
LOOKED = (DataDependentOutputException, DynamicOutputShapeException, GuardOnDataDependentSymNode)
logging.getLogger(FakeTensorMode.__module__).addFilter(lambda record: THREAD.observer is None)


class NeedsAnotherRun(Exception):
    """A model that must be run in another way: with numbers, or as it is."""


class Unrepeatable(Exception):
    """A call that cannot be written down so that it can be made again."""


@dataclass(frozen=True)
class TraceResult:
    """What one run showed.

    network: its nodes, where no other sink was given them. outputs: the nodes that come out. unused: how many numbers
    each parameter has that nothing reads. notes: remarks.
    """

    network: Network | None
    outputs: tuple[str, ...]
    unused: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class NodeList:
    """The sink that keeps the nodes of the network, and no tensor."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def node(self, node: Node, tensor: Tensor) -> None:
        self.nodes.append(node)


def trace(model: nn.Module, inputs: Any) -> TraceResult:
    """Run a copy of a model once on inputs (tensors in any nesting, one by one or, where a dict, by name).

    Tensors are taken for their shape and type only; where the model looks at their numbers, it runs on them, or on
    zeros for tensors without any. What does not follow from the inputs has its numbers all the same. The model is left
    as it is, also when it fails.
    Raises ModelFailed naming the layer where it does.
    """
    problem: Exception | None = None
    for numbers, functional in ((False, True), (False, False), (True, True), (True, False)):
        sink = NodeList()
        try:
            found = _run(model, inputs, sink, numbers, functional)
            return TraceResult(Network(tuple(sink.nodes)), *found)
        except NeedsAnotherRun as error:
            problem = error
    raise ModelFailed("", type(model).__name__, "a model", "one that torch can follow") from problem


def trace_values(model: nn.Module, inputs: Any, sink: Sink) -> TraceResult:
    """Run a copy of a model on the numbers of these inputs, and tell a sink of every node and its tensor.

    The nodes are those of `trace`. In evaluation mode, without gradients; the model is left as it is.
    """
    with contextlib.suppress(NeedsAnotherRun):
        return TraceResult(None, *_run(model, inputs, sink, True, True))
    return TraceResult(None, *_run(model, inputs, sink, True, False))


def trace_calls(model: nn.Module, inputs: Any, sink: CallSink) -> TraceResult:
    """Run a copy of a model without numbers, without writing in place, and tell a sink of every call as well.

    Raises ModelFailed where the model fails, or cannot be run so: because its path depends on numbers of its input, or
    because it writes into tensors that it keeps.
    """
    try:
        return TraceResult(None, *_run(model, inputs, sink, False, True))
    except NeedsAnotherRun as error:
        problem: Exception = error
        looked = isinstance(error.__cause__, LOOKED)
        got = "one whose path depends on the numbers of its input" if looked else "one that writes into what it keeps"
    except ModelFailed as error:
        if not isinstance(error.__cause__, Unrepeatable):
            raise
        problem = error
        got = f"{error.__cause__} writing into a tensor that is read elsewhere"
    raise ModelFailed("", type(model).__name__, got, "a model that does the same on every input") from problem


def _run(model: nn.Module, inputs: Any, sink: Sink, numbers: bool, functional: bool) -> tuple[Any, ...]:
    """One run, with numbers or without; and what writes in place turned into what does not, where a model allows it."""
    fake = None if numbers else FakeTensorMode(allow_non_fake_inputs=True)
    copied = ModelCopy(lambda one: _stand_in(one, fake, functional))
    own = copied(model)
    calls = ModuleCalls(own)
    if fake is not None:
        fake.cache_enabled = not copied.of(torch.ScriptObject)  # packed weights, which cannot be compared
    parameters = {name: (copied(one), one) for name, one in model.named_parameters()}
    told = sink if isinstance(sink, CallSink) else CallSink()
    recorder = Recorder(calls, parameters, sink, fake, functional, copied.of(Tensor))
    given = pytree.tree_map_only(Tensor, lambda one: _input(one, fake), inputs)
    leaves, form = pytree.tree_flatten(given)
    answers = []

    def call(*values: Tensor) -> tuple[Tensor, ...]:
        each = iter(values)
        whole = pytree.tree_unflatten([next(each) if isinstance(one, Tensor) else one for one in leaves], form)
        result = own(**whole) if isinstance(whole, dict) else own(*whole)
        answers.append(result)
        return tuple(one for one in pytree.tree_leaves(result) if isinstance(one, Tensor))

    tensors = [one for one in leaves if isinstance(one, Tensor)]
    for one in tensors:
        recorder.start(one)
    told.begin(copied, tensors)
    with torch.no_grad(), fake or contextlib.nullcontext(), recorder, observed(recorder), WholeFunctions(), uncached():
        try:
            with contextlib.suppress(NotImplementedError):  # of exported programs, which have one mode
                own.eval()
            results = (functionalize(call) if functional else call)(*tensors)
        except Exception as error:  # of any kind: it is the model's
            if isinstance(error, LOOKED) or (functional and any(word in str(error) for word in UNFIT)):
                raise NeedsAnotherRun from error
            failed = calls.failed(error)
            if recorder.looked:
                failed.got = FAILS.format(failed.got, _shown(tensors), recorder.looked)
            raise failed from error
    told.end(answers[0], results)
    outputs = tuple(name for name in map(recorder.source, results) if name is not None)
    notes = (PATH.format(recorder.looked, _shown(tensors)),) if recorder.looked else ()
    return outputs, {name: one.numel() for name, (_, one) in parameters.items() if name not in recorder.taken}, notes


def _stand_in(one: Tensor, fake: FakeTensorMode | None, constants: bool) -> Tensor:
    """What a copy of a model has in place of a parameter, a buffer or any other tensor; nothing can be written back."""
    most = FEW_NUMBERS if isinstance(one, Parameter) else MOST_NUMBERS
    plain = type(one) in (Tensor, Parameter) and one.device.type == "cpu" and one.layout == torch.strided
    if fake is None:
        return torch.zeros(one.shape, dtype=one.dtype) if one.is_meta else one.detach().cpu().clone()
    if plain and constants and one.numel() <= most:
        return one.detach().clone()
    with fake:
        return torch.empty(one.shape, dtype=one.dtype)


def _input(one: Tensor, fake: FakeTensorMode | None) -> Tensor:
    if fake is None and not one.is_meta:
        return one.detach().cpu().clone()
    with fake or contextlib.nullcontext():
        return torch.zeros(one.shape, dtype=one.dtype)


def _shown(tensors: list[Tensor]) -> str:
    """What a model looked at."""
    return "these numbers" if any(bool(one.any()) for one in tensors) else "zeros"
