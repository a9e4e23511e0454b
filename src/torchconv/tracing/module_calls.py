"""Which module is being called while a model runs, and how the rows of its table are named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch


class Failed(Exception):
    """A model that did not run on these inputs: which layer, what came in, and what it says."""

    def __init__(self, layer: str, kind: str, got: str, expected: str) -> None:
        super().__init__(f"layer {layer}: {expected}")
        self.layer, self.kind, self.got, self.expected = layer, kind, got, expected


@dataclass
class _Call:
    """A call of a module: its name with the number of the call, and how many rows it has already."""

    path: str
    name: str
    leaf: bool
    module: torch.nn.Module
    shapes: tuple[tuple[int, ...], ...] = ()
    rows: int = 0


class Places:
    """The modules being called, the outermost first.

    sizes: how many values each parameter has.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._paths: dict[int, str] = {}
        for path, module in model.named_modules():
            self._paths.setdefault(id(module), path)
        self.sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
        self._calls: list[_Call] = []
        self._counts: Counter[str] = Counter()

    @property
    def here(self) -> str:
        """The path of the innermost module, "" for the model itself."""
        return self._calls[-1].path if self._calls else ""

    def failed(self, error: Exception) -> Failed:
        """What to say of an error that the model has raised."""
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        if not self._calls:
            return Failed("", "", f"{type(error).__name__}", said)
        call = self._calls[-1]
        shapes = ", ".join(map(str, call.shapes)) or "no tensor"
        return Failed(call.path, type(call.module).__name__, f"an input of shape {shapes}", f"what it takes: {said}")

    def name(self, word: str) -> str:
        """The name of a row of the module that is being called."""
        if not self._calls or not self._calls[-1].name:
            return word or "view"
        call = self._calls[-1]
        if not call.leaf or not word or word in ("reshape", "permute", "expand"):
            return f"{call.name}.{word or 'view'}"
        call.rows += 1
        return call.name if call.rows == 1 else f"{call.name}.{word}"

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While this lasts, calls of the model's modules are followed."""
        hooks = (
            torch.nn.modules.module.register_module_forward_pre_hook(self._enter),
            torch.nn.modules.module.register_module_forward_hook(self._leave),
        )
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _enter(self, module: torch.nn.Module, arguments: Any) -> None:
        path = self._paths.get(id(module))
        if path is None:
            path = f"{self.here}.{type(module).__name__}".strip(".")
        self._counts[path] += 1
        count = self._counts[path]
        name = path if count == 1 else f"{path}#{count}"
        shapes = tuple(tuple(one.shape) for one in arguments if isinstance(one, torch.Tensor))
        self._calls.append(_Call(path, name, not any(True for _ in module.children()), module, shapes))

    def _leave(self, module: torch.nn.Module, arguments: Any, result: Any) -> None:
        self._calls.pop()
