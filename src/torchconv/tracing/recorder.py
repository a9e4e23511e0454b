"""The operators that a model calls, one after another, as nodes of a network.

Operators of our own stand for functions that torch would take apart before they are seen; and one, `layer`, for all
that this package computes itself, from the operation of a network that it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, library as registry
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from ..compute.tensors import observed
from ..network.base import Operation, Recorded, TensorVolume
from ..network.graph import Node
from ..network.operations import Input
from ..receptive.access import Everything, Pointwise
from .aten import COUNTED, TABLE
from .aten.call import Draft, OperatorCall
from .aten.spectral import Spectra
from .aten.windows import described_layer, volume_of
from .model_copy import ModelCopy, ModuleCalls

_LIBRARY = registry.Library("torchconv_trace", "DEF")
COMPUTES: dict[Any, Callable[..., Any]] = {}  # what each operator of our own computes, which can be differentiated


def _operator(schema: str, compute: Callable[..., Any]) -> Any:
    name = schema.partition("(")[0]
    _LIBRARY.define(schema)
    _LIBRARY.impl(name, compute, "CompositeExplicitAutograd")
    operator = getattr(torch.ops.torchconv_trace, name).default
    COMPUTES[operator] = compute
    return operator


def _uncalled(tensors: Sequence[Tensor]) -> Tensor:
    raise NotImplementedError("an operation outside of a trace")


LAYER = _operator("layer(Tensor[] tensors) -> Tensor", _uncalled)
LINEAR = _operator("linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor", functional.linear)
MATMUL = _operator("matmul(Tensor input, Tensor other) -> Tensor", torch.matmul)
EINSUM = _operator(  # a clone, because an operator must not give a view of what it was given
    "einsum(str equation, Tensor[] operands) -> Tensor", lambda equation, each: torch.einsum(equation, each).clone()
)
CIRCULAR = _operator("circular_pad(Tensor x, int[] pad) -> Tensor", lambda x, pad: functional.pad(x, pad, "circular"))

DROPOUT = _operator("dropout(Tensor x, float p, str kind) -> Tensor", lambda x, p, kind: x.clone())


def _dropout(kind: str) -> Callable[..., Any]:
    """Dropout of any kind, which in evaluation is seen all the same."""

    def called(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
        return getattr(functional, kind)(input, p, training, inplace) if training else DROPOUT(input, p, kind)

    return called


def _recur(x: Tensor, hidden: Any, weights: Any, kind: str, biases: bool, layers: int, *rest: bool) -> list[Tensor]:
    states = hidden if kind == "lstm" else hidden[0]
    return list(getattr(torch, kind)(x, states, weights, biases, layers, 0.0, False, *rest))


def _attend(query: Tensor, key: Tensor, value: Tensor, dropout: float = 0.0, causal: bool = False, **more: Any) -> Any:
    """Attention by whichever kernel the device has, for those of torch's own that only some devices have."""
    mask, scale = more.get("attn_mask"), more.get("scale")
    return functional.scaled_dot_product_attention(query, key, value, mask, dropout, causal, scale=scale)


COMPUTES[torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default] = _attend
RECURRENT = _operator(
    "recurrent(Tensor input, Tensor[] hidden, Tensor[] weights, str kind, bool biases, int layers, bool both, "
    "bool batch_first) -> Tensor[]",
    _recur,
)


def _recurrent(kind: str) -> Callable[..., Any]:
    """A recurrent layer of torch in evaluation; of packed sequences in parts."""

    def called(x: Tensor, hidden: Any, weights: Any, *rest: Any) -> Any:
        if not isinstance(weights, list):
            return getattr(torch, kind)(x, hidden, weights, *rest)
        biases, layers, _, _, both, batch_first = rest
        states = [hidden] if isinstance(hidden, Tensor) else list(hidden)
        return tuple(RECURRENT(x, states, weights, kind, biases, layers, both, batch_first))

    return called


def _pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """F.pad; torch pads around by writing into an empty tensor, part by part."""
    if mode == "circular" and min(pad) >= 0:
        return CIRCULAR(input, list(pad))
    return functional.pad(input, pad, mode, value)  # type: ignore[arg-type]


def _sum_of_products(equation: str, *operands: Any) -> Tensor:
    """torch.einsum; whole where every letter is written out, and none twice in one factor."""
    tensors = list(operands[0] if len(operands) == 1 and not isinstance(operands[0], Tensor) else operands)
    plain = equation.replace(" ", "") if isinstance(equation, str) else ""
    factors = plain.partition("->")[0].split(",")
    known = "->" in plain and "." not in plain and len(factors) == len(tensors) == 2
    known = known and all(len({*own}) == len(own) == one.ndim for own, one in zip(factors, tensors, strict=True))
    return EINSUM(plain, tensors) if known else torch.einsum(equation, *operands)


def _numbers(method: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
    """A method that reads the memory of a tensor, which the wrappers of `functionalize` do not have."""

    def read(x: Tensor) -> Any:
        functions: Any = torch
        while functions._is_functional_tensor(x):
            functions._sync(x)
            x = functions._from_functional_tensor(x)
        return method(x)

    return read


DROPOUTS = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")
INSTEAD: dict[Any, Any] = {
    functional.pad: _pad,
    torch.einsum: _sum_of_products,
    functional.linear: LINEAR,
    torch.ops.aten.linear.default: LINEAR,
    torch.matmul: MATMUL,
    Tensor.matmul: MATMUL,
    Tensor.__matmul__: MATMUL,
    torch.ops.aten.matmul.default: MATMUL,
    **{getattr(torch, kind): _recurrent(kind) for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu")},
    **{getattr(functional, kind): _dropout(kind) for kind in DROPOUTS},
    Tensor.tolist: _numbers(Tensor.tolist),
    Tensor.numpy: _numbers(Tensor.numpy),
}


class WholeFunctions(TorchFunctionMode):
    """While this lasts, this thread calls our operators in place of some of torch's functions."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return INSTEAD.get(func, func)(*args, **(kwargs or {}))


Layer = tuple[Operation, Callable[..., Tensor]]
HIDDEN = ("reshape", "permute", "expand", "")
LOOKS = ("_local_scalar_dense", "nonzero", "is_nonzero")
MOST_NUMBERS = 2**22  # of constants from which others are computed, so that weights are not


class Sink(Protocol):
    """What a trace is written into: one that keeps the nodes has the network, one that keeps tensors its values."""

    def node(self, node: Node, tensor: Tensor) -> None:
        """A node of the network, and what came out of it; without numbers where the trace runs without them."""
        ...


class CallSink:
    """A sink that is told of every call of an operator too, in order, also of those that no input reaches."""

    def node(self, node: Node, tensor: Tensor) -> None:
        """As of any sink."""

    def begin(self, copied: ModelCopy, inputs: list[Tensor]) -> None:
        """The copy that runs, and what goes into it."""

    def call(self, func: Any, call: OperatorCall, drafts: tuple[Draft, ...], module: str, layer: Layer | None) -> None:
        """An operator that was called in a module; `layer` is what it computes where it is one of this package."""

    def end(self, answer: Any, results: tuple[Tensor, ...]) -> None:
        """What the model gave, in any nesting, and the tensors of it, one by one."""


class Recorder(TorchDispatchMode):
    """Tells a sink of every operator that reads the input, or what follows from it.

    fake: the mode in which tensors have no numbers; None: all have. constants: whether what follows from no input is
    computed with numbers all the same, so that a model may look at it. own: tensors that may be written into.
    """

    def __init__(
        self,
        calls: ModuleCalls,
        parameters: Mapping[str, tuple[Tensor, ...]],
        sink: Sink,
        fake: FakeTensorMode | None,
        constants: bool,
        own: Iterable[Tensor],
    ) -> None:
        super().__init__()
        self.taken: frozenset[str] = frozenset()  # names of parameters, and of products of constants, that were read
        self.looked: str | None = None  # the module that was first to look at numbers that follow from the input
        self._calls, self._sink, self._fake, self._constants = calls, sink, fake, constants and fake is not None
        self._sizes = {name: tensors[0].numel() for name, tensors in parameters.items()}
        self._sources: Any = WeakIdKeyDictionary()  # of tensors that follow from the input: the node
        self._made_of: Any = WeakIdKeyDictionary()  # of tensors that do not: parameters and products behind them
        self._work: dict[str, Draft] = {}  # products of constants, by a name that no parameter has
        for name, tensors in parameters.items():
            self._made_of.update((tensor, frozenset({name})) for tensor in tensors)
        self._own = {*map(_storage, own)}
        self._spectra = Spectra()
        self._names: Counter[str] = Counter()
        self._chance: Tensor | None = None  # the state of the numbers by chance that are drawn here
        self._layer: Layer | None = None

    def start(self, x: Tensor) -> None:
        """An input of the network."""
        self._add("input", x, Input(TensorVolume.of(tuple(x.shape))), ())

    def source(self, tensor: Tensor) -> str | None:
        """The node whose output a tensor is."""
        return self._sources.get(tensor)

    def whole(self, operation: Operation, tensors: Sequence[Tensor], compute: Callable[..., Tensor]) -> Tensor:
        """The output of an operation that is one node."""
        self._layer = operation, compute
        return LAYER(list(tensors))

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "prim":
            return func(*args, **kwargs)
        leaves = _tensors((args, kwargs))
        result = self._result(func, args, kwargs, leaves)
        with unset_fake_temporarily():  # so that the numbers of constants can be read
            self._note(func, args, kwargs, leaves, result)
        return result

    def _result(self, func: Any, args: tuple, kwargs: dict, leaves: list[Tensor]) -> Any:
        """Of an operator: with numbers, without them, or with those of constants."""
        compute, shaped = (self._computed, self._shaped) if func is LAYER else (func, func)
        if self._fake is None:
            drawn = torch.Tag.nondeterministic_seeded in func.tags
            return self._drawn(func, args, kwargs) if drawn else compute(*args, **kwargs)
        constant = self._is_constant(func, leaves)
        if func._schema.is_mutable and not constant:
            return self._written(func, args, kwargs)
        if not constant or (not leaves and _numel(func(*args, **kwargs)) > MOST_NUMBERS):
            return shaped(*args, **kwargs)
        with unset_fake_temporarily():
            result = compute(*args, **kwargs)
        self._own.update(map(_storage, _tensors(result)))
        return result

    def _is_constant(self, func: Any, leaves: list[Tensor]) -> bool:
        """Whether an operator is to be computed with numbers, and if it writes, into nothing but our own."""
        if not self._constants or torch.Tag.nondeterministic_seeded in func.tags:
            return False
        if any(isinstance(one, FakeTensor) or one in self._sources for one in leaves):
            return False
        return _numel(leaves) <= MOST_NUMBERS and not (func._schema.is_mutable and {*map(_storage, leaves)} - self._own)

    def _written(self, func: Any, args: tuple, kwargs: dict) -> Any:
        """Of an operator that writes: the numbers of what has some stay, and it is known to follow from the input."""
        assert self._fake is not None
        fake = self._fake.from_tensor
        apart = pytree.tree_map_only(Tensor, lambda x: x if isinstance(x, FakeTensor) else fake(x), (args, kwargs))
        result = func(*apart[0], **apart[1])
        return args[0] if isinstance(result, Tensor) and result is apart[0][0] else result

    def _drawn(self, call: Callable[..., Any], args: tuple, kwargs: dict) -> Any:
        """By chance, with torch's generator left as it was."""
        with torch.random.fork_rng(devices=()):
            if self._chance is not None:
                torch.set_rng_state(self._chance)
            result = call(*args, **kwargs)
            self._chance = torch.get_rng_state()
        return result

    def _computed(self, tensors: list[Tensor]) -> Tensor:
        assert self._layer is not None
        with observed(None):
            return self._layer[1](*tensors)

    def _shaped(self, tensors: list[Tensor]) -> Tensor:
        assert self._layer is not None
        operation = self._layer[0]
        made = operation.output(*map(volume_of, tensors[: operation.reads]))
        return torch.empty((tensors[0].shape[0], made.channels, *made.size), dtype=tensors[0].dtype)

    def _note(self, func: Any, args: tuple, kwargs: dict, leaves: list[Tensor], result: Any) -> None:
        given = {argument.name: argument.default_value for argument in func._schema.arguments}
        given |= dict(zip(given, args, strict=False)) | kwargs
        name = func.overloadpacket.__name__
        call = OperatorCall(name, given, tuple(_tensors(result)), lambda tensor: tensor in self._sources)
        made_of = frozenset().union(*(self._made_of.get(one, ()) for one in leaves if one not in self._sources))
        if self.looked is None and name in LOOKS and call.inputs:
            self.looked = self._calls.here or "the model"
        drafts = self._drafts(call, func) if call.inputs and call.results else ()
        if not call.inputs:
            self._note_constant(call, func, made_of)
        elif drafts:
            self._record(call, drafts, made_of)
        if isinstance(self._sink, CallSink):
            self._sink.call(func, call, drafts, self._calls.here, self._layer if func is LAYER else None)

    def _note_constant(self, call: OperatorCall, func: Any, made_of: frozenset[str]) -> None:
        """Remember what a tensor is made of that follows from no input: whoever reads it first has done the work."""
        if call.results:
            self._spectra.constant(call)
        if func is LAYER or TABLE.get(call.name) in COUNTED:
            name = f"%{len(self._work)}"
            self._work[name] = self._drafts(call, func)[0]
            made_of |= {name}
        for one in call.results:
            self._made_of[one] = made_of

    def _record(self, call: OperatorCall, drafts: tuple[Draft, ...], made_of: frozenset[str]) -> None:
        """Nodes for the results of a call."""
        earlier: dict[int, str] = {}
        for one, draft in zip(call.results, drafts, strict=False):
            inputs = call.inputs if draft.inputs is None else tuple(t for t in draft.inputs if call.depends(t))
            if not inputs:  # what it was is written over by what is known
                self._sources.pop(one, None)
                self._made_of[one] = made_of
            elif not draft.word and isinstance(draft.pattern, Pointwise):
                self._sources[one] = self._sources[inputs[0]]
            elif id(draft) in earlier:
                self._sources[one] = earlier[id(draft)]
            else:
                earlier[id(draft)] = self._add_draft(one, draft, inputs, made_of)
                made_of = frozenset()

    def _drafts(self, call: OperatorCall, func: Any) -> tuple[Draft, ...]:
        if func is LAYER and self._layer is not None:
            return (described_layer(self._layer[0], call),)
        found = self._spectra.draft(call) if call.inputs else None
        builder = TABLE.get(call.name) or TABLE.get(call.name.removesuffix("_"))
        if found is None and builder is not None:
            found = builder(call)
        if found is not None:
            return found if isinstance(found, tuple) else (found,) * len(call.results)
        word = call.name.strip("_")
        if torch.Tag.pointwise in func.tags:
            return (Draft(word),)
        found = Draft(word, Everything(call.shape), known=False, note=f"{func} is not understood")
        return (found,) * len(call.results)

    def _add_draft(self, one: Tensor, draft: Draft, inputs: tuple[Tensor, ...], made_of: frozenset[str]) -> str:
        fresh, self.taken = made_of - self.taken, made_of | self.taken
        work = [draft, *(self._work[name] for name in fresh - self._sizes.keys())]
        operation = Recorded(
            draft.word,
            draft.pattern,
            TensorVolume.of(tuple(one.shape)),
            inputs=len(inputs),
            weights=sum(self._sizes[name] for name in fresh & self._sizes.keys()),
            exact=sum(one.exact for one in work),
            nominal=sum(one.exact if one.nominal is None else one.nominal for one in work),
            known=draft.known,
            convolution=draft.convolution,
            axes=draft.axes,
            module=self._calls.here,
            bytes=0 if draft.word in HIDDEN else one.numel() * one.element_size(),
            locality=draft.locality,
            notes=(draft.note,) if draft.note else (),
        )
        return self._add(self._calls.name(draft.word), one, operation, tuple(self._sources[t] for t in inputs))

    def _add(self, name: str, one: Tensor, operation: Any, inputs: tuple[str, ...]) -> str:
        self._names[name] += 1
        name = name if self._names[name] == 1 else f"{name}#{self._names[name]}"
        self._sources[one] = name
        self._sink.node(Node(name, operation, inputs), one)
        return name


def _tensors(values: Any) -> list[Tensor]:
    return [one for one in pytree.tree_leaves(values) if isinstance(one, Tensor)]


def _numel(values: Any) -> int:
    return sum(one.numel() for one in _tensors(values))


def _storage(tensor: Tensor) -> int | None:
    """Which memory a tensor is in; None: none."""
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else None
