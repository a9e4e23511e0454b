"""The operators that a model calls, one after another, as nodes of a network."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from ..network.graph import Node
from ..network.operations import Input
from ..network.recorded import Recorded, TensorVolume
from ..receptive.access import Everything, Pointwise
from .aten.call import Call, Step
from .aten.spectral import Spectra
from .aten.table import TABLE
from .module_calls import Places

KEPT = ("lift_fresh", "detach", "alias", "clone", "_to_copy")  # after which a constant's numbers are what they were
HIDDEN = ("reshape", "permute", "expand", "")


class Recorder(TorchDispatchMode):
    """Notes every operator that reads the input, or what follows from it."""

    def __init__(self, places: Places, parameters: dict[int, str]) -> None:
        super().__init__()
        self.places, self.parameters = places, parameters
        self.nodes: list[Node] = []
        self.used: dict[str, tuple[str, ...]] = {}
        self.notes: list[str] = []
        self._sources: dict[int, str] = {}  # of tensors that follow from the input, by identity: the node
        self._made_of: dict[int, frozenset[str]] = {}  # of tensors that do not: the parameters behind them
        self._alive: list[Any] = []  # so that no identity is given twice
        self._spectra = Spectra()
        self.constants: dict[int, Tensor] = {}  # those whose numbers are at hand
        self._names: Counter[str] = Counter()
        self._taken: set[str] = set()

    def start(self, x: Tensor) -> None:
        """An input of the network."""
        self._add("input", x, Input(TensorVolume.of(tuple(x.shape))), ())

    def source(self, tensor: Tensor) -> str | None:
        """The node whose output a tensor is."""
        return self._sources.get(id(tensor))

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.namespace != "prim":
            self._note(func, args, kwargs or {}, result)
        return result

    def _note(self, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
        schema = [argument.name for argument in func._schema.arguments]
        given = {argument.name: argument.default_value for argument in func._schema.arguments}
        given |= dict(zip(schema, args, strict=False)) | kwargs
        results = tuple(one for one in pytree.tree_leaves(result) if isinstance(one, Tensor))
        self._alive.append((args, kwargs, result))
        name = func.overloadpacket.__name__
        call = Call(name, given, results, lambda tensor: id(tensor) in self._sources, self._numbers_of)
        made_of = self._parameters(pytree.tree_leaves((args, kwargs)))
        if not call.inputs:
            self._spectra.constant(call)
            if name in KEPT and results and self._numbers_of(call.x) is not None:
                self.constants[id(call.out)] = self._numbers_of(call.x)  # type: ignore[assignment]
            for one in results:
                self._made_of[id(one)] = made_of
            return
        if name in ("_local_scalar_dense", "nonzero", "is_nonzero"):
            self.notes.append("its path depends on the numbers: the one taken for an image of zeros is shown")
        if results:
            self.record(call, self._steps(call, func), made_of)

    def record(self, call: Call, steps: tuple[Step, ...], made_of: frozenset[str]) -> None:
        """Nodes for the results of a call."""
        earlier: dict[int, str] = {}
        for one, step in zip(call.results, steps, strict=False):
            inputs = call.inputs if step.inputs is None else tuple(t for t in step.inputs if call.depends(t))
            if not inputs:  # what it was is written over by what is known
                self._sources.pop(id(one), None)
                self._made_of[id(one)] = made_of
            elif not step.word and isinstance(step.pattern, Pointwise):
                self._sources[id(one)] = self._sources[id(inputs[0])]
            elif id(step) in earlier:
                self._sources[id(one)] = earlier[id(step)]
            else:
                earlier[id(step)] = self._add_step(one, step, inputs, made_of)
                made_of = frozenset()

    def _numbers_of(self, tensor: Tensor) -> Tensor | None:
        return self.constants.get(id(tensor), None if isinstance(tensor, FakeTensor) else tensor)

    def _steps(self, call: Call, func: Any) -> tuple[Step, ...]:
        spectral = self._spectra.steps(call)
        if spectral is not None:
            return (spectral,)
        builder = TABLE.get(call.name) or TABLE.get(call.name.removesuffix("_"))
        if builder is not None:
            found = builder(call)
            return found if isinstance(found, tuple) else (found,)
        word = call.name.strip("_")
        if torch.Tag.pointwise in func.tags:
            return (Step(word),)
        shape = tuple(call.out.shape)
        return (Step(word, Everything(shape), known=False, note=f"{func} is not understood"),) * len(call.results)

    def _add_step(self, one: Tensor, step: Step, inputs: tuple[Tensor, ...], made_of: frozenset[str]) -> str:
        fresh = tuple(sorted(made_of - self._taken))
        self._taken.update(fresh)
        operation = Recorded(
            step.word,
            step.pattern,
            TensorVolume.of(tuple(one.shape)),
            inputs=len(inputs),
            weights=sum(self.places.sizes[name] for name in fresh),
            exact=step.exact,
            customary=step.exact if step.customary is None else step.customary,
            known=step.known,
            convolution=step.convolution,
            axes=step.axes,
            module=self.places.here,
            bytes=0 if step.word in HIDDEN else one.numel() * one.element_size(),
            equivariant=step.equivariant,
            notes=(step.note,) if step.note else (),
        )
        name = self._add(self.places.name(step.word), one, operation, tuple(self._sources[id(t)] for t in inputs))
        self.used[name] = fresh
        return name

    def _add(self, name: str, one: Tensor, operation: Any, inputs: tuple[str, ...]) -> str:
        self._names[name] += 1
        name = name if self._names[name] == 1 else f"{name}#{self._names[name]}"
        self.nodes.append(Node(name, operation, inputs))
        self._sources[id(one)] = name
        self._alive.append(one)
        return name

    def _parameters(self, values: list[Any]) -> frozenset[str]:
        found: frozenset[str] = frozenset()
        for one in values:
            if isinstance(one, Tensor) and id(one) not in self._sources:
                if id(one) in self.parameters:
                    found |= {self.parameters[id(one)]}
                found |= self._made_of.get(id(one), frozenset())
        return found
