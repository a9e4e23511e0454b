"""A copy of a model to run in its place, and which of the copy's modules is being called.

The model itself is read and never written: not its parameters and buffers, which the copy holds stand-ins for, under
all their names, not its modules, settings, hooks and lists, and not whether it trains. So a look cannot change it, also
when it fails, and other threads can go on using it.
"""

from __future__ import annotations

import copy
import enum
import functools
import random
import sys
import types
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

OWN = {*sys.stdlib_module_names, "torch", "sympy", "numpy", "torchconv"} - {"collections", "queue", "types"}
PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)
GENERATORS = (np.random.Generator, np.random.RandomState, random.Random, torch.Generator)
METHODS = (types.FunctionType, types.MethodType, types.BuiltinMethodType)
FUNCTIONS = (*METHODS, functools.partial, functools._lru_cache_wrapper, weakref.ref)
REARRANGING = ("", "view", "reshape", "permute", "expand")  # which do not take the name of their layer


class ModelFailed(Exception):
    """A model that did not run on these inputs: which layer, what came in, and what it says."""

    def __init__(self, layer: str, kind: str, got: str, expected: str) -> None:
        super().__init__(f"layer {layer}: {expected}")
        self.layer, self.kind, self.got, self.expected = layer, kind, got, expected


class ModelCopy:
    """Copies whatever holds modules, tensors or other state, each once; what cannot be copied is shared.

    stand_in: what takes the place of a tensor.
    """

    def __init__(self, stand_in: Callable[[Tensor], Tensor]) -> None:
        self._stand_in = stand_in
        self._made: dict[int, tuple[Any, Any]] = {}  # by identity: what was copied, which so stays alive, and its copy

    def __call__(self, value: Any) -> Any:
        """The copy of a value, the same one for the same value."""
        if type(value) in PLAIN:
            return value
        if id(value) not in self._made:
            self._keep(value, value)
            self._copy(value)
        return self._made[id(value)][1]

    def of(self, kind: type) -> list[Any]:
        """All copies of this kind."""
        return [made for _, made in self._made.values() if isinstance(made, kind)]

    def originals(self) -> dict[int, Any]:
        """What was copied, by the identity of its copy, which lives as long as this."""
        return {id(made): value for value, made in self._made.values()}

    def _keep(self, value: Any, made: Any) -> Any:
        self._made[id(value)] = value, made
        return made

    def _copy(self, value: Any) -> None:
        kind: Any = type(value)
        if isinstance(value, FUNCTIONS):
            self._copy_function(value)
        elif kind in weakref.ProxyTypes:
            with suppress(ReferenceError):  # of what is gone
                self._keep(value, weakref.proxy(self(value.__repr__.__self__)))
        elif isinstance(value, Tensor):
            self._keep(value, self._stand_in(value))
        elif isinstance(value, torch.jit.ScriptModule):
            made = self._keep(value, copy.deepcopy(value))
            for all_of in (nn.Module.parameters, nn.Module.buffers):
                for old, new in zip(all_of(value), all_of(made), strict=True):
                    self._keep(old, new)
        elif isinstance(value, GENERATORS):
            self._keep(value, copy.deepcopy(value))
        elif kind is np.ndarray and value.flags.owndata:
            self._keep(value, value.copy())
        elif kind in (tuple, frozenset) or (isinstance(value, tuple) and hasattr(value, "_fields")):
            made = [self(one) for one in value]
            if any(new is not old for new, old in zip(made, value, strict=True)):
                self._keep(value, frozenset(made) if kind is frozenset else tuple.__new__(type(value), made))
        elif isinstance(value, dict | list | set | deque):
            self._copy_container(value)
        elif isinstance(value, nn.Module) or _has_state(value):
            made = self._keep(value, types.SimpleNamespace() if kind is types.SimpleNamespace else object.__new__(kind))
            self._copy_attributes(value, made)

    def _copy_container(self, value: Any) -> None:
        with suppress(Exception):  # of a class of its own that does not let itself be filled
            made = copy.copy(value)
            made.clear()
            self._keep(value, made)
            if isinstance(value, dict):
                for key, one in value.items():
                    made[self(key)] = self(one)
            else:
                (made.update if isinstance(value, set) else made.extend)([self(one) for one in value])
            self._copy_attributes(value, made)

    def _copy_attributes(self, value: Any, made: Any) -> None:
        for name, one in getattr(value, "__dict__", {}).items():
            made.__dict__[name] = None if name == "_compiled_call_impl" else self(one)
        for slot in _slots(type(value)):
            with suppress(AttributeError, TypeError):  # empty, or not to be set
                slot.__set__(made, self(slot.__get__(value)))

    def _copy_function(self, value: Any) -> None:
        """Functions that were given modules: methods of them, with arguments filled in, within others, with a cache."""
        kind = type(value)
        if kind is types.MethodType:
            self._keep(value, types.MethodType(self(value.__func__), self(value.__self__)))
        elif kind is types.BuiltinMethodType and isinstance(value.__self__, dict | list | set | deque):
            self._keep(value, getattr(self(value.__self__), value.__name__))
        elif kind is functools.partial:
            keywords = {name: self(one) for name, one in value.keywords.items()}
            self._keep(value, functools.partial(self(value.func), *map(self, value.args), **keywords))
        elif kind is functools._lru_cache_wrapper:
            self._keep(value, self(value.__wrapped__))
        elif kind is weakref.ref and value() is not None:
            self._keep(value, weakref.ref(self(value())))
        elif kind is types.FunctionType and (value.__closure__ or self(value.__defaults__) is not value.__defaults__):
            cells = tuple(types.CellType() for _ in value.__closure__ or ())
            made = types.FunctionType(value.__code__, value.__globals__, value.__name__, None, cells or None)
            self._keep(value, made)
            made.__kwdefaults__, made.__dict__ = self(value.__kwdefaults__), value.__dict__
            made.__defaults__ = self(value.__defaults__)
            for cell, old in zip(cells, value.__closure__ or (), strict=True):
                with suppress(ValueError):  # empty as yet
                    cell.cell_contents = self(old.cell_contents)


def _slots(kind: type) -> list[Any]:
    return [one for base in kind.__mro__ for one in vars(base).values() if isinstance(one, types.MemberDescriptorType)]


def _has_state(value: Any) -> bool:
    """Whether an object holds modules or tensors, or is of another package's class and holds anything."""
    kind, attributes = type(value), getattr(value, "__dict__", {})
    if isinstance(value, type | types.ModuleType | enum.Enum):
        return False
    if any(isinstance(one, nn.Module | Tensor) for one in attributes.values()):
        return True
    return _is_foreign(kind.__module__) and not hasattr(kind, "__del__") and bool(attributes or _slots(kind))


def _is_foreign(name: str) -> bool:
    """Whether a module is neither torch's nor ours, nor comes with Python."""
    return name == "__main__" or name.partition(".")[0] not in OWN


@contextmanager
def uncached() -> Iterator[None]:
    """Functions of other packages that keep their answers forget those given meanwhile: they belong to a trace."""
    before = [(cache, cache.cache_info().misses) for cache in _caches(len(sys.modules))]
    try:
        yield
    finally:
        for cache, misses in before:
            if cache.cache_info().misses != misses:
                cache.cache_clear()


@functools.lru_cache(1)
def _caches(count: int) -> list[Any]:
    """Of the modules that are loaded, so many, but for torch and what comes with Python."""
    others = [module for name, module in [*sys.modules.items()] if _is_foreign(name)]
    values = [value for module in others for value in [*getattr(module, "__dict__", {}).values()]]
    return [value for value in values if type(value) is functools._lru_cache_wrapper]


@dataclass
class ModuleCall:
    """A call of a module: its name with the number of the call, and how many rows it has already."""

    path: str
    name: str
    leaf: bool
    kind: str
    shapes: tuple[tuple[int, ...], ...] = ()
    rows: int = 0


class ModuleCalls:
    """The calls of a copied model's modules that are going on, the outermost first."""

    def __init__(self, model: nn.Module) -> None:
        self._calls: list[ModuleCall] = []
        self._counts: Counter[str] = Counter()
        for path, module in model.named_modules():
            if not isinstance(module, torch.jit.ScriptModule):
                module.register_forward_pre_hook(functools.partial(self._enter, path), prepend=True)
                module.register_forward_hook(functools.partial(self._leave, path))

    @property
    def here(self) -> str:
        """The path of the innermost module, "" for the model itself."""
        return self._calls[-1].path if self._calls else ""

    def failed(self, error: Exception) -> ModelFailed:
        """What to say of an error that the model has raised."""
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        if not self._calls:
            return ModelFailed("", "", f"{type(error).__name__}", said)
        call = self._calls[-1]
        shapes = ", ".join(map(str, call.shapes)) or "no tensor"
        return ModelFailed(call.path, call.kind, f"an input of shape {shapes}", f"what it takes: {said}")

    def name(self, word: str) -> str:
        """The name of a row of the module that is being called."""
        if not self._calls or not self._calls[-1].name:
            return word or "view"
        call = self._calls[-1]
        if not call.leaf or word in REARRANGING:
            return f"{call.name}.{word or 'view'}"
        call.rows += 1
        return call.name if call.rows == 1 else f"{call.name}.{word}"

    def _enter(self, path: str, module: nn.Module, arguments: Any) -> None:
        self._counts[path] += 1
        count = self._counts[path]
        name = path if count == 1 else f"{path}#{count}"
        shapes = tuple(tuple(one.shape) for one in arguments if isinstance(one, Tensor))
        leaf = next(module.children(), None) is None
        self._calls.append(ModuleCall(path, name, leaf, type(module).__name__, shapes))

    def _leave(self, path: str, module: nn.Module, arguments: Any, result: Any) -> None:
        while self._calls.pop().path != path:  # calls that failed, and the model went on
            continue
