"""A model's calls of operators, written down so that they can be run again: whole, or one by one.

`capture` follows one run without numbers. What is written in place becomes what is not, so every step is a function of
earlier results, of inputs, and of the model's own tensors.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree

from ..network.base import Operation
from .aten.call import Draft, OperatorCall
from .model_copy import ModelCopy
from .recorder import COMPUTES, CallSink, Layer
from .trace import Unrepeatable, trace_calls


@dataclass(frozen=True)
class FromStep:
    """A result of an earlier step."""

    step: int
    result: int = 0


@dataclass(frozen=True)
class FromInput:
    """An input of the model, by its place among the tensors that go in."""

    number: int


@dataclass(frozen=True)
class FromModel:
    """A parameter or buffer, by its name."""

    name: str


@dataclass(frozen=True, eq=False)
class FromNowhere:
    """A tensor of its own that has no name: a constant."""

    tensor: Tensor = field(repr=False)


Reference = FromStep | FromInput | FromModel | FromNowhere


@dataclass(frozen=True)
class Step:
    """One call of an operator.

    function: what computes it. name: of the operator, as in the table `aten`. arguments: by the names of its schema,
    with references for tensors, in lists too. shapes, dtypes: of the results. depends: which of them follow from an
    input. drafts: what each result is in the words of networks, none where nothing follows from an input; reads: the
    references that a draft is about. operation: the layer, where it is one of this package. module: the path of the
    module it was called in. drawn: whether it draws numbers by chance.
    """

    function: Callable[..., Any]
    name: str
    arguments: dict[str, Any]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[torch.dtype, ...]
    depends: tuple[bool, ...]
    drafts: tuple[Draft, ...] = ()
    reads: tuple[tuple[Reference, ...], ...] = ()
    operation: Operation | None = None
    module: str = ""
    named: frozenset[str] = frozenset()
    drawn: bool = False

    @property
    def references(self) -> tuple[Reference, ...]:
        """All tensors among the arguments, in order."""
        return tuple(one for one in pytree.tree_leaves(self.arguments, _is_reference) if _is_reference(one))

    def run(self, value: Callable[[Reference], Tensor], device: torch.device | None = None, /, **instead: Any) -> Any:
        """The results, a tuple; `value` gives the tensors of references; instead: other arguments by name.

        device: where tensors are made that the model makes anew; None: where they were.
        """
        given = pytree.tree_map_only(Reference, value, self.arguments | instead, is_leaf=_is_reference)
        if device is not None:
            given = {name: device if isinstance(one, torch.device) else one for name, one in given.items()}
        return self.call(given)

    @property
    def layer(self) -> Any:
        """What computes a layer of this package from its tensors, such as its `Operator`."""
        return self.function.args[0] if isinstance(self.function, functools.partial) else None

    def call(self, given: Mapping[str, Any]) -> tuple[Tensor, ...]:
        """The results for arguments by name, tensors in the place of references."""
        plain = [one for name, one in given.items() if name not in self.named]
        result = self.function(*plain, **{name: one for name, one in given.items() if name in self.named})
        return tuple(result) if isinstance(result, list | tuple) else (result,)


def _is_reference(value: Any) -> bool:
    return isinstance(value, Reference)


@dataclass(frozen=True)
class ModelProgram:
    """The steps of a model at one shape of its inputs.

    shapes: of the inputs. tensors: parameters and buffers by name, the model's own. outputs: references to the tensors
    that come out; answer, form: all leaves of what comes out, with None for those, and their nesting.
    """

    steps: tuple[Step, ...]
    shapes: tuple[tuple[int, ...], ...]
    tensors: dict[str, Tensor]
    outputs: tuple[Reference, ...]
    answer: tuple[Any, ...]
    form: Any

    def run(self, inputs: Any) -> Any:
        """What the model gives in evaluation, for inputs of these shapes (any nesting, as they were captured).

        Differentiable as far as torch's operators are, towards inputs and the model's tensors.
        """
        given = [one for one in pytree.tree_leaves(inputs) if isinstance(one, Tensor)]
        values: dict[Reference, Tensor] = {FromInput(number): one for number, one in enumerate(given)}
        device = given[0].device if given else None
        last = self.last_uses()
        for number, step in enumerate(self.steps):
            results = step.run(lambda one: self.tensor(one, values, device), device)
            values.update({FromStep(number, at): one for at, one in enumerate(results)})
            for one in last.get(number, ()):
                values.pop(one, None)
        return self.answered([self.tensor(one, values, device) for one in self.outputs])

    def answered(self, outputs: list[Tensor]) -> Any:
        """Output tensors in the nesting that the model gives them in."""
        each = iter(outputs)
        return pytree.tree_unflatten([next(each) if one is None else one[0] for one in self.answer], self.form)

    def tensor(self, one: Reference, values: Mapping[Reference, Tensor], device: torch.device | None = None) -> Tensor:
        """The tensor that a reference stands for: a value, or a constant, on a device if one is given."""
        if isinstance(one, FromModel):
            return self.tensors[one.name]
        if isinstance(one, FromNowhere):
            return one.tensor if device is None else one.tensor.to(device)
        return values[one]

    def last_uses(self) -> dict[int, tuple[Reference, ...]]:
        """For each step the values that nothing reads after it, its own among them."""
        last: dict[Reference, int] = {}
        for number, step in enumerate(self.steps):
            last |= {FromStep(number, at): number for at in range(len(step.shapes))}
            last |= dict.fromkeys(step.references, number)
        ends: dict[int, list[Reference]] = {}
        for one, number in last.items():
            if one not in self.outputs and isinstance(one, FromStep | FromInput):
                ends.setdefault(number, []).append(one)
        return {number: tuple(ones) for number, ones in ends.items()}


def capture(model: nn.Module, inputs: Any) -> ModelProgram:
    """The program of a model in evaluation, for inputs of the shapes and types of these (tensors in any nesting, one by
    one or, where a dict, by name).

    The model is left as it is, and no tensor of its size is made: inputs may be on the device "meta".
    Raises ModelFailed where the model fails, or where what it does depends on numbers of its inputs.
    """
    calls = _Calls(model)
    trace_calls(model, inputs, calls)
    return calls.program()


class _Calls(CallSink):
    """The sink that writes every call down as a step."""

    def __init__(self, model: nn.Module) -> None:
        named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
        self._names = {id(one): name for name, one in reversed(named)}
        self._tensors = dict(named)
        self._steps: list[Step] = []
        self._known: dict[int, Reference] = {}
        self._alive: list[Tensor] = []  # so that an identity stays that of one tensor
        self._written: set[int] = set()  # memory that was written into: its numbers are taken when they are read

    def begin(self, copied: ModelCopy, inputs: list[Tensor]) -> None:
        self._originals = copied.originals()
        self._inputs = inputs
        self._known |= {id(one): FromInput(number) for number, one in enumerate(inputs)}
        for one in copied.of(Tensor):
            original = self._originals[id(one)]
            name = self._names.get(id(original))
            self._known[id(one)] = FromNowhere(original.detach()) if name is None else FromModel(name)

    def call(self, func: Any, call: OperatorCall, drafts: tuple[Draft, ...], module: str, layer: Layer | None) -> None:
        if func._schema.is_mutable:
            if call.name == "as_strided_" and call.shape == call.x.shape:
                return  # other strides of axes of length 1
            twin = self._twin(func, call)
            if twin is None:
                self._write(call, module)
                return
            func = twin
        given = pytree.tree_map_only(Tensor, self._reference, call.given)
        reads = tuple(
            tuple(map(self._reference, call.inputs if draft.inputs is None else draft.inputs)) for draft in drafts
        )
        function: Any = COMPUTES.get(func, func) if layer is None else self._computing(layer[1])
        number = len(self._steps)
        for at, one in enumerate(call.results):
            self._known[id(one)] = FromStep(number, at)
            self._alive.append(one)
        self._steps.append(
            Step(
                function,
                call.name,
                given,
                tuple(tuple(one.shape) for one in call.results),
                tuple(one.dtype for one in call.results),
                tuple(call.depends(one) for one in call.results),
                tuple(replace(draft, inputs=None) for draft in drafts),
                reads,
                None if layer is None else layer[0],
                module,
                frozenset(one.name for one in func._schema.arguments if one.kwarg_only),
                torch.Tag.nondeterministic_seeded in func.tags and given.get("dropout_p", 1) != 0,
            )
        )

    def _twin(self, func: Any, call: OperatorCall) -> Any:
        """The operator that gives what this one writes, where nothing else is in the memory that is written into."""
        known = self._known.get(id(call.x))
        alone = all(one is call.x or _memory(one) != _memory(call.x) for one in self._alive)
        packet = getattr(torch.ops.aten, call.name.removesuffix("_"), None)
        apart = alone and isinstance(known, FromStep) and call.name.endswith("_")
        return getattr(packet, func._overloadname, None) if apart else None

    def _write(self, call: OperatorCall, module: str) -> None:
        """Remember what was written into, if its numbers are at hand."""
        if any(isinstance(one, FakeTensor) for one in call.tensors()):
            raise Unrepeatable(module or "the model")
        self._written |= {_memory(one) for one in call.tensors()}

    def _reference(self, one: Tensor) -> Reference:
        found = self._known.get(id(one))
        real = not isinstance(one, FakeTensor)
        if real and (found is None or (self._written and _memory(one) in self._written)):
            return FromNowhere(one.detach().clone())
        if found is None:
            raise Unrepeatable("the model")
        return found

    def _computing(self, compute: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """What computes a layer of this package: of the model itself, and not of the copy that runs."""
        owner = self._originals.get(id(getattr(compute, "__self__", compute)), None)
        method = isinstance(compute, types.MethodType) and owner is not None
        return functools.partial(_computed, types.MethodType(compute.__func__, owner) if method else owner or compute)

    def end(self, answer: Any, results: tuple[Tensor, ...]) -> None:
        leaves, self._form = pytree.tree_flatten(answer)
        self._answer = tuple(None if isinstance(one, Tensor) else (one,) for one in leaves)
        self._outputs = tuple(map(self._reference, results))

    def program(self) -> ModelProgram:
        """Without the steps that no output follows from."""
        wanted: set[int] = {one.step for one in self._outputs if isinstance(one, FromStep)}
        for number in reversed(range(len(self._steps))):
            if number in wanted:
                wanted |= {one.step for one in self._steps[number].references if isinstance(one, FromStep)}
        places = {number: at for at, number in enumerate(sorted(wanted))}

        def moved(one: Any) -> Any:
            return replace(one, step=places[one.step]) if isinstance(one, FromStep) else one

        kept = tuple(self._moved(self._steps[number], moved) for number in places)
        shapes = tuple(tuple(one.shape) for one in self._inputs)
        outputs = tuple(map(moved, self._outputs))
        return ModelProgram(kept, shapes, self._tensors, outputs, self._answer, self._form)

    @staticmethod
    def _moved(step: Step, moved: Callable[[Any], Any]) -> Step:
        arguments = pytree.tree_map_only(FromStep, moved, step.arguments, is_leaf=_is_reference)
        return replace(step, arguments=arguments, reads=tuple(tuple(map(moved, ones)) for ones in step.reads))


def _computed(layer: Callable[..., Tensor], tensors: list[Tensor]) -> Tensor:
    return layer(*tensors)


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else -1
