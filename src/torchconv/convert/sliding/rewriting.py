"""The steps of a model written anew for larger images, one after another: what stays, with other arguments, or refused.

Each step is asked how local it is. What works alike at every place stays, with its sizes and dimensions as they are in
the sliding model; what takes all places of a window together becomes the same of every window; the rest is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import getitem
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils import _pytree as pytree

from ...description.convolution import Convolution
from ...network.base import Locality
from ...nn.conv import Conv
from ...receptive.access import Pointwise
from ...tracing.aten import TABLE
from ...tracing.program import FromInput, FromModel, FromNowhere, FromStep, ModelProgram, Reference, Step
from .places import PART, SIZES, CannotSlide, Factor, WindowLayout, together
from .sliding_model import OPERANDS, Aten, Own, SlidingCall, Value, fitted, kernel_of, numbers_of, reshaped

Rule = Callable[["Rewriting", Step], WindowLayout | tuple[WindowLayout, ...]]
REASONS = {
    Locality.GLOBAL: "it takes all places together, which are others in a larger image",
    Locality.POSITIONAL: "what it does differs from place to place of the image, or depends on how many there are",
}


class Rewriting:
    """The calls that take the place of a model's steps, and where the places are in what they give.

    layout: of the image, which is the program's input. path: of the model in a larger one. in_parts: whether the model
    itself, where it is one layer, is not to be called.
    """

    def __init__(
        self, model: nn.Module, program: ModelProgram, layout: WindowLayout, path: str, in_parts: bool = False
    ) -> None:
        self.model, self.program, self._path, self._in_parts = model, program, path, in_parts
        self.calls: list[SlidingCall] = []
        self.constants: dict[str, Tensor] = {}
        self.layers: dict[str, nn.Module] = {}  # what takes the place of a module of the model, by its path
        self.layouts: dict[Reference, WindowLayout] = {FromInput(0): layout}
        self._values: dict[Reference, Any] = {FromInput(0): Value(0)}
        self._folded: dict[Reference, Tensor | None] = {}
        self._used: dict[str, str] = {}  # what stands in the place of a layer that is called, by its path; "": itself
        self._names: dict[str, set[str]] = {}  # of the operators that each module calls
        for step in program.steps:
            if any(step.depends):
                self._names.setdefault(step.module, set()).add(step.name)
        self.number = 0

    def add(self, function: Callable[..., Any] | str, *arguments: Any, **named: Any) -> Value:
        """Write a call down."""
        if isinstance(function, OpOverload):
            function = Aten(function.namespace, function._opname, function._overloadname)
        self.calls.append(SlidingCall(function, arguments, named))
        return Value(len(self.calls))

    def rewrite(self, number: int, rules: dict[Any, Rule]) -> None:
        """Write what takes the place of a step, if it follows from the image; raises CannotSlide.

        rules: by the builders of the table of operators.
        """
        step, self.number = self.program.steps[number], number
        if not any(step.depends):
            if step.name.endswith("_like") and any(one in self.layouts for one in step.references):
                self.layouts[FromStep(number)] = self.of(step.references[0])
                self.call(step, self.value, device=None)
            return
        builder = TABLE.get(step.name) or TABLE.get(step.name.removesuffix("_"))
        rule = rules.get("layer" if step.operation else builder)
        if rule is None and not step.drafts[0].known:
            raise CannotSlide(f"of {step.name} it is not known how it treats places", PART)
        layouts = self.pointwise(step) if rule is None else rule(self, step)
        for at, layout in enumerate([layouts] if isinstance(layouts, WindowLayout) else layouts):
            if layout.shape != step.shapes[at]:
                raise CannotSlide(f"of {step.name} to {step.shapes[at]} it is not known where it has the places")
            self.layouts[FromStep(number, at)] = layout

    def pointwise(self, step: Step) -> WindowLayout:
        """A function of each place on its own: the same function."""
        draft = step.drafts[0]
        local = step.operation.locality if step.operation else draft.locality
        if local is not Locality.POINTWISE or not isinstance(draft.pattern, Pointwise):
            raise CannotSlide(REASONS.get(local, f"of {draft.word} it is not known how it slides"), PART)
        references = [one for one in step.references if one in self.layouts]
        layout = self._broadcast(together([self.layouts[one] for one in references]), step.shapes[0])
        layer = self.layer_of(step)
        if layer is not None and len(references) == 1:
            self.gives(self.add(layer, self.value(references[0])))
        else:
            fitted = dict(zip(references, self.fitted(references), strict=True))
            self.call(step, lambda one: self.beside(one, layout, fitted.get(one)))
        return layout

    def fitted(self, references: Sequence[Reference]) -> list[Any]:
        """What stands for several tensors, once places are left out that not all have: those behind the last window."""
        ways = {tuple(place.way for place in self.layouts[one].places) for one in references}
        values = [self.value(one) for one in references]
        if len(ways) == 1:
            return values
        made = self.add(fitted, values, len(self.layouts[references[0]].places))
        return [self.add(getitem, made, at) for at in range(len(values))]

    def _broadcast(self, layout: WindowLayout, shape: tuple[int, ...]) -> WindowLayout:
        """Dimensions of one channel that constants have made more."""
        if len(shape) > len(layout.dims):
            layout = replace(layout, dims=((),) * (len(shape) - len(layout.dims)) + layout.dims)
        for number, (dim, size) in enumerate(zip(layout.dims, shape, strict=True)):
            if size > 1 and all(factor.size == 1 for factor in dim):
                layout = layout.with_dim(number, size)
        return layout

    def where(self, step: Step) -> str:
        """The layer that a step is part of, or in a model without layers what it does."""
        return f"{self._path}.{step.module}".strip(".") or step.drafts[0].word

    def of(self, one: Reference) -> WindowLayout:
        """Where the places are in a tensor; raises CannotSlide where it does not follow from the image."""
        if one not in self.layouts:
            raise CannotSlide("it is computed from something else than the image, or from places by their number")
        return self.layouts[one]

    def gives(self, value: Value) -> None:
        """What the step that is being written gives."""
        self._values[FromStep(self.number)] = value

    def same(self, one: Reference) -> None:
        """The step gives a tensor that is there already."""
        self._values[FromStep(self.number)] = self.value(one)

    def regrouped(self, one: Reference, layout: WindowLayout, found: WindowLayout) -> WindowLayout:
        """The step gives a tensor with its channels in other dimensions."""
        if found.lead_sizes == layout.lead_sizes:
            self.same(one)
        else:
            self.gives(self.add(reshaped, self.value(one), found.lead_sizes, len(found.places)))
        return found

    def value(self, one: Reference) -> Any:
        """What stands for a tensor in the calls."""
        if one not in self._values:
            several = isinstance(one, FromStep) and FromStep(one.step, -1) in self._values
            self._values[one] = self._picked(one) if several else self._constant(one)
        return self._values[one]

    def _picked(self, one: Any) -> Value:
        return self.add(getitem, self._values[FromStep(one.step, -1)], one.result)

    def shape(self, one: Reference) -> tuple[int, ...]:
        """Of a tensor in the model."""
        if isinstance(one, FromStep):
            return self.program.steps[one.step].shapes[one.result]
        if isinstance(one, FromInput):
            return self.program.shapes[one.number]
        return tuple((self.program.tensors[one.name] if isinstance(one, FromModel) else one.tensor).shape)

    def _constant(self, one: Reference) -> Any:
        """A tensor that follows from parameters is computed from them anew, any other is kept."""
        if isinstance(one, FromModel):
            return Own(one.name)
        folded = self._fold(one)
        if folded is not None:
            name = f"_constant{len(self.constants)}"
            self.constants[name] = folded
            return Own(name)
        assert isinstance(one, FromStep)
        step = self.program.steps[one.step]
        if any(each in self.layouts for each in step.references):
            raise CannotSlide(f"{step.name} makes a tensor by the number of places")
        made = self.add(step.function, *self._arguments(step, self.value), **self._named(step, self.value))
        return made if len(step.shapes) == 1 else self.add(getitem, made, one.result)

    def _fold(self, one: Reference) -> Tensor | None:
        """The numbers of a tensor that follows from nothing else; None for any other."""
        if isinstance(one, FromNowhere):
            return one.tensor.detach().clone()
        if not isinstance(one, FromStep) or one in self.layouts or self.program.steps[one.step].drawn:
            return None
        if one not in self._folded:
            step = self.program.steps[one.step]
            parts = {each: self._fold(each) for each in step.references}
            known: dict[Reference, Tensor] = {each: part for each, part in parts.items() if part is not None}
            self._folded[one] = step.run(known.__getitem__)[one.result] if len(known) == len(parts) else None
        return self._folded[one]

    def call(self, step: Step, value: Callable[[Reference], Any], **instead: Any) -> None:
        """Write the step itself, on these tensors and with some other arguments."""
        changed = replace(step, arguments=step.arguments | instead)
        made = self.add(step.function, *self._arguments(changed, value), **self._named(changed, value))
        self._values[FromStep(self.number, 0 if len(step.shapes) == 1 else -1)] = made

    @staticmethod
    def _arguments(step: Step, value: Callable[[Reference], Any]) -> list[Any]:
        plain = [one for name, one in step.arguments.items() if name not in step.named]
        return [_filled(one, value) for one in plain]

    @staticmethod
    def _named(step: Step, value: Callable[[Reference], Any]) -> dict[str, Any]:
        return {name: _filled(one, value) for name, one in step.arguments.items() if name in step.named}

    def layer_of(self, step: Step, instead: nn.Module | None = None) -> str | None:
        """The layer of torch, or of this package, that is this one step, by its path; None where there is none.

        instead: what takes its place from now on; None is given where something else does already.
        """
        module = self.model.get_submodule(step.module)
        own = type(module).__module__.startswith(("torch.nn.modules.", "torchconv.nn."))
        plain = own and "forward" not in vars(module) and next(module.children(), None) is None
        if not plain or (self._in_parts and not step.module):
            return None
        reads = [one for one in step.references if one not in self.layouts]
        held = {id(one) for one in [*module.parameters(), *module.buffers()]}
        mine = all(isinstance(one, FromModel) and id(self.program.tensors[one.name]) in held for one in reads)
        whole = mine and len(self._names[step.module]) == 1
        return step.module if whole and self._put(step.module, instead) else None

    def _put(self, path: str, instead: nn.Module | None) -> bool:
        """Put a layer in the place of another, or leave it; whether that is how it is used elsewhere too."""
        shown = "" if instead is None else str(instead)
        if self._used.setdefault(path, shown) != shown:
            return False
        if instead is not None:
            self.layers.setdefault(path, instead.train(self.model.get_submodule(path).training))
        return True

    def linear_of(self, step: Step, weight: Reference, conv: Convolution, order: Any, shape: Any) -> str | None:
        """The fully connected layer that a step is, by its path, once a convolution has taken its place.

        order, shape: how its inputs make a kernel. None where its weights are read elsewhere too.
        """
        module = self.model.get_submodule(step.module)
        if not isinstance(module, nn.Linear) or not isinstance(weight, FromModel):
            return None
        readers = {(one.module, one.name) for one in self.program.steps if weight in one.references}
        own = self.program.tensors[weight.name] is module.weight and readers == {(step.module, step.name)}
        if not own or (self._in_parts and not step.module):
            return None
        layer = holding(Conv.of(conv, device="meta"), weight=module.weight, bias=module.bias)
        layer.weight.data = kernel_of(layer.weight.data, order, shape)
        if not self._put(step.module, layer):
            raise CannotSlide(SIZES)
        return step.module

    def beside(self, one: Reference, layout: WindowLayout, value: Any = None) -> Any:
        """A tensor so that it broadcasts beside one of this layout in the sliding model as it did in the model."""
        own, shape = self.layouts.get(one), self.shape(one)
        if own is None or value is None:
            value = self.value(one)
        if not shape and own is None:
            return value
        dims = layout.dims[len(layout.dims) - len(shape) :]
        kept = [number - len(layout.dims) for number in layout.leading if number >= len(layout.dims) - len(shape)]
        if own is not None:
            has = [number - len(own.dims) for number in own.leading]
            if has == kept:
                return value
            sizes = dict(zip(has, own.lead_sizes, strict=True))
            return self.add(reshaped, value, tuple(sizes.get(at, 1) for at in kept), len(layout.places))
        for size, dim in zip(shape, dims, strict=True):
            if size > 1 and (any(factor.size > 1 and factor.axis is not None for factor in dim) or _has_batch(dim)):
                raise CannotSlide("its numbers differ from place to place of the image", PART)
        wanted = (*(shape[at] for at in kept), *(1,) * len(layout.places))
        return value if wanted == shape else self.add(torch.reshape, value, wanted)

    def finished(self, outputs: Sequence[Reference]) -> WindowLayout:
        """The last call gives the scores; raises CannotSlide where there are none for each window."""
        if len(outputs) != 1:
            raise CannotSlide(f"it returns {len(outputs)} tensors, and not one")
        layout, value = self.of(outputs[0]), self.value(outputs[0])
        steps = tuple(place.step for place in layout.places)
        if any(step > 1 and place.size > 1 for step, place in zip(steps, layout.places, strict=True)):
            raise CannotSlide("its output has places between those that windows of the image begin at", PART)
        if max(steps, default=1) > 1:
            value = self.add(_every, value, steps)
            layout = layout.moved(lambda axis, place: replace(place, stride=place.period))
        if value != Value(len(self.calls)):
            self.add(getitem, (value,), 0)
        return layout

    def ended(self) -> tuple[SlidingCall, ...]:
        """The calls, which know what nobody reads after them."""
        last: dict[int, int] = {}
        for number, call in enumerate(self.calls, 1):
            last |= dict.fromkeys(numbers_of((call.arguments, call.named)), number)
        last.pop(len(self.calls), None)
        done = {number: tuple(one for one, end in last.items() if end == number) for number in set(last.values())}
        return tuple(replace(call, done=done.get(number, ())) for number, call in enumerate(self.calls, 1))


def holding(module: nn.Module, **tensors: Tensor | None) -> Any:
    """A module that holds copies of these parameters in place of its own."""
    for name, tensor in tensors.items():
        if tensor is not None:
            module._parameters[name] = nn.Parameter(tensor.detach().clone(), requires_grad=tensor.requires_grad)
    return module


def _has_batch(dim: tuple[Factor, ...]) -> bool:
    return any(factor.batch for factor in dim)


def _filled(given: Any, value: Callable[[Reference], Any]) -> Any:
    """Arguments with what stands for tensors in the place of references."""
    kinds = (*OPERANDS, Reference)
    return pytree.tree_map_only(
        Reference,
        value,
        given,
        is_leaf=lambda one: isinstance(one, kinds),  # type: ignore[arg-type]
    )


def _every(x: Tensor, steps: tuple[int, ...]) -> Tensor:
    """Every so many places along each of the last axes."""
    return x[(..., *(slice(None, None, step) for step in steps))]
