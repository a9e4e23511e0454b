"""Parameters and buffers that stand for a model's own, without their numbers: they take no memory."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.func import functional_call, functionalize
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.utils import _pytree as pytree

from ..network.graph import Network
from .module_calls import Failed, Places
from .opaque_layers import whole_layers
from .recorder import Recorder


def weightless(model: torch.nn.Module, fake: FakeTensorMode | None) -> dict[str, Tensor]:
    """Parameters and buffers, without their numbers where that will do; those with several names once."""
    made: dict[int, Tensor] = {}
    found = {}
    named = (model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False))
    for name, one in itertools.chain(*named):
        if id(one) not in made:
            with fake or contextlib.nullcontext():
                made[id(one)] = one.detach() if fake is None else torch.empty(one.shape, dtype=one.dtype)
        found[name] = made[id(one)]
    return found


class Elsewise(Exception):
    """A model that must be run in another way: with numbers, or as it is."""


# without numbers or with them, and first without writing in place, which functions of autograd of one's own forbid
WAYS = tuple((fake, way) for way in (functionalize, lambda call: call) for fake in (True, False))
LOOKED = (DataDependentOutputException, DynamicOutputShapeException, GuardOnDataDependentSymNode)


@dataclass
class Watched:
    """What was seen of one run: the network, the parameters that each node was the first to use, and remarks."""

    network: Network
    outputs: tuple[str, ...]
    used: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def watch(model: torch.nn.Module, inputs: Any) -> Watched:
    """Run a model once on inputs (tensors in any nesting, as one argument or, where a dict, by name) and write it down.

    Tensors are taken for their shape and type only; where the model looks at its numbers, it runs on zeros.
    """
    modes = {module: module.training for module in model.modules()}
    problem: Exception | None = None
    fastpath = torch.backends.mha.get_fastpath_enabled()
    complaints = logging.getLogger(FakeTensorMode.__module__)
    quiet = complaints.disabled
    with contextlib.suppress(NotImplementedError):  # of exported programs, which have one mode
        model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    complaints.disabled = True  # of models that fail: the one who asked is told
    try:
        for fake, way in WAYS:
            try:
                return _run(model, inputs, FakeTensorMode(allow_non_fake_inputs=True) if fake else None, way)
            except Elsewise as error:
                problem = error
        raise Failed("", type(model).__name__, "a model", "one that torch can follow") from problem
    finally:
        complaints.disabled = quiet
        torch.backends.mha.set_fastpath_enabled(fastpath)
        for module, training in modes.items():
            module.training = training


def _run(model: torch.nn.Module, inputs: Any, fake: FakeTensorMode | None, way: Callable[..., Any]) -> Watched:
    places = Places(model)
    state = weightless(model, fake)
    recorder = Recorder(places, {id(state[name]): name for name, _ in model.named_parameters()})
    recorder.constants |= {id(state[name]): one for name, one in model.named_buffers() if not one.is_meta}
    with fake or contextlib.nullcontext():
        given = pytree.tree_map_only(Tensor, lambda one: torch.zeros(one.shape, dtype=one.dtype), inputs)
    leaves, form = pytree.tree_flatten(given)
    tensors = [one for one in leaves if isinstance(one, Tensor)]

    def call(*values: Tensor) -> Any:
        numbers = iter(values)
        whole = pytree.tree_unflatten([next(numbers) if isinstance(one, Tensor) else one for one in leaves], form)
        arguments, words = ((), whole) if isinstance(whole, dict) else (tuple(whole), {})
        result = functional_call(model, state, arguments, words)
        return tuple(one for one in pytree.tree_leaves(result) if isinstance(one, Tensor))

    for one in tensors:
        recorder.start(one)
    with torch.no_grad(), fake or contextlib.nullcontext(), recorder, places.watched(), whole_layers():
        try:
            results = way(call)(*tensors)
        except LOOKED as error:
            raise Elsewise from error
        except Exception as error:  # of any kind: it is the model's
            known = "an autograd.Function with functorch" in str(error)
            raise (Elsewise() if known else places.failed(error)) from error
    return _written(recorder, places, results)


def _written(recorder: Recorder, places: Places, results: tuple[Tensor, ...]) -> Watched:
    outputs = [recorder.source(one) for one in results]
    used = {name for names in recorder.used.values() for name in names}
    return Watched(
        Network(tuple(recorder.nodes)),
        tuple(one for one in outputs if one is not None),
        recorder.used,
        tuple(name for name in places.sizes if name not in used),
        tuple(dict.fromkeys(recorder.notes)),
    )
