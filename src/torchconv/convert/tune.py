"""A model's convolutions measured on an example, and planned ones put in the place of torch's where that is faster."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from math import inf
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..compute import layouts
from ..compute.algorithms.torch_kernels import TorchKernels
from ..compute.operator import Operator
from ..compute.planning import choose
from ..compute.planning.choose import Choice
from ..compute.planning.plan import Plan, plan
from ..errors import SettingError
from ..nn.conv import Conv
from .equivalent import equivalent
from .run_model import evaluating, step, timed

KINDS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
ROUNDS = 5
SETTINGS = ("dtype", "device", "channels_last", "precision", "workspace")  # of a plan
CLOSE = 1e-3  # largest difference of outputs, in parts of the largest output, that planned layers may make


@dataclass(frozen=True)
class TunedLayer:
    """One convolution of the model: its names, the plan, what computed it before, and why it stayed, if it did."""

    names: tuple[str, ...]
    plan: Plan
    before: Choice
    stayed: str | None

    def seconds(self, role: str) -> tuple[float, float]:
        """What the operation took before, and what it takes now."""
        rows = {row.name: row.seconds[role] for row in self.plan.rows if row.reason is None}
        before = rows[self.before[role].name]
        if before == inf:  # refused, so not measured; the first of the table always is
            before = next(iter(rows.values()))
        return before, before if self.stayed else rows[self.plan.algorithms[role]]

    @property
    def changes(self) -> bool:
        """Whether the plan has other algorithms than before."""
        return any(self.before[role].name != name for role, name in self.plan.algorithms.items())


@dataclass(frozen=True)
class Tuning:
    """What tuning came to: the layers, and seconds of the whole model before and after, without and with gradients."""

    layers: tuple[TunedLayer, ...]
    inference: tuple[float, float]
    training: tuple[float, float]

    def __str__(self) -> str:
        rows = [("layer", "convolution", "algorithms", "before ms", "after ms", "times as fast")]
        total = [0.0, 0.0]
        for layer in self.layers:
            pair = [sum(times) for times in zip(*map(layer.seconds, layer.plan.algorithms), strict=True)]
            total = [whole + len(layer.names) * one for whole, one in zip(total, pair, strict=True)]
            names = ", ".join(dict.fromkeys(layer.plan.algorithms.values()))
            shown = layer.names[0] + (f" +{len(layer.names) - 1}" if len(layer.names) > 1 else "")
            kept = f"as it was: {layer.stayed}" if layer.stayed else names
            rows.append((shown, str(layer.plan.problem.convolution), kept, *_compared(*pair)))
        count = sum(len(layer.names) for layer in self.layers)
        rows.append(("together", f"all {count} convolutions", "", *_compared(*total)))
        rows.append(("inference", "whole model", "", *_compared(*self.inference)))
        rows.append(("training step", "whole model", "", *_compared(*self.training)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(f"{cell:{'<' if n < 3 else '>'}{widths[n]}}" for n, cell in enumerate(row)) for row in rows)
        return "\n".join(lines)


def _compared(before: float, after: float) -> tuple[str, str, str]:
    return f"{1e3 * before:.2f}", f"{1e3 * after:.2f}", f"{before / after:.2f}"


def tune(model: nn.Module, example: Any) -> Tuning:
    """Measure each distinct convolution of a model once, and put planned layers where torch's are slower.

    example: the model's input, a tensor or a tuple of its arguments. The model is changed in place: parameters, keys of
    state_dict, and outputs (to rounding) stay. What was measured is remembered on disk. Milliseconds in the table are
    of output and both gradients together, of one layer where several are alike ("+2"). Raises SettingError for a model
    without convolutions, or for one whose outputs change, which is then left as it was.

    >>> model = nn.Sequential(nn.Conv2d(1, 1, 31, padding=15), nn.ReLU())
    >>> [layer.names for layer in tune(model, torch.randn(1, 1, 64, 64)).layers]
    [('0',)]
    """
    arguments = example if isinstance(example, tuple) else (example,)
    with evaluating(model):
        inputs = _inputs(model, arguments)
        if not inputs:
            expected = "a model that calls torch.nn.Conv1d, Conv2d or Conv3d"
            raise SettingError("model of tune", got=type(model).__name__, expected=expected)
        layers, planned = _planned(model, inputs)
        try:
            return _swapped(model, arguments, layers, planned)
        except BaseException:
            _put(model, {new: old for old, new in planned.items()})
            raise


def _swapped(
    model: nn.Module, arguments: tuple, layers: list[TunedLayer], planned: dict[nn.Module, nn.Module]
) -> Tuning:
    """The planned layers in place, after outputs are found equal and both ways of the model are timed in turns."""
    back = {new: old for old, new in planned.items()}
    before = _outputs(model, arguments)
    _put(model, planned)
    for old, new in zip(before, _outputs(model, arguments), strict=True):
        away = float((old.double() - new.double()).abs().max()) if old.numel() else 0.0
        if away > CLOSE * max(float(old.abs().max()), 1e-30):
            raise SettingError("tune", got=f"outputs that differ by {away:.2g}", expected="equal outputs")
    times: dict[str, list[tuple[float, float]]] = {"inference": [], "training": []}
    for number in range(ROUNDS + 1):
        for name, run in (("inference", _outputs), ("training", step)):
            _put(model, back)
            first = timed(lambda run=run: run(model, arguments))
            _put(model, planned)
            second = timed(lambda run=run: run(model, arguments))
            if number:
                times[name].append((first, second))
    inference, training = ((median(a), median(b)) for a, b in (zip(*found, strict=True) for found in times.values()))
    return Tuning(tuple(layers), inference, training)


def _inputs(model: nn.Module, arguments: tuple) -> dict[nn.Module, Tensor]:
    """What each of torch's convolutions is given first, on the meta device."""
    found: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, given: tuple) -> None:
        found.setdefault(module, given[0].detach().to("meta"))

    wanted = [
        one for one in model.modules() if type(one) in KINDS or (isinstance(one, Conv) and one.algorithm == "auto")
    ]
    hooks = [one.register_forward_pre_hook(note) for one in wanted]
    try:
        _outputs(model, arguments)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _planned(model: nn.Module, inputs: dict[nn.Module, Tensor]) -> tuple[list[TunedLayer], dict[nn.Module, nn.Module]]:
    """Every distinct convolution measured once, and the modules that are to take the places of others."""
    names = {
        module: tuple(n for n, one in model.named_modules(remove_duplicate=False) if one is module) for module in inputs
    }
    found: dict[tuple, tuple[Choice, Plan]] = {}
    alike: dict[tuple, list[nn.Module]] = {}
    for module, x in inputs.items():
        key = (_request(module, x), isinstance(module, Conv), _reason(model, module))
        if key not in found:
            convolution, shape, *settings = key[0]
            settings = dict(zip(SETTINGS, settings, strict=True))
            problem = plan(convolution, shape, **settings).problem
            before = choose.choose(problem, "auto" if isinstance(module, Conv) else TorchKernels.name)
            found[key] = before, plan(convolution, shape, measure=True, **settings)
        alike.setdefault(key, []).append(module)
    planned: dict[nn.Module, nn.Module] = {}
    layers = []
    for key, modules in alike.items():
        layers.append(
            TunedLayer(tuple(n for one in modules for n in names[one]), found[key][1], found[key][0], key[-1])
        )
        if key[-1] is None and layers[-1].changes:
            planned |= {module: _of(module) for module in modules}  # anew: what was measured decides how it computes
    return layers, planned


def _request(module: nn.Module, x: Tensor) -> tuple:
    """What is planned for a module that is given x: convolution, shape and SETTINGS."""
    new, device = _of(module), next(module.parameters()).device
    x = x if x.ndim == new.convolution.ndim + 2 else x.unsqueeze(0)
    last = layouts.channels_last(x)
    return new.convolution, tuple(x.shape), x.dtype, device, last, new.precision, new.workspace


def _of(module: Any) -> Conv:
    """The layer that has a convolution's settings and its very parameters, and looks anew for its algorithms."""
    if isinstance(module, Conv):
        new = copy.copy(module)
        new._parameters = dict(module._parameters)
        new._operator = Operator(
            module.convolution, module.algorithm, module.layout, module.precision, module.workspace
        )
        return new
    return equivalent(module)


def _reason(model: nn.Module, module: nn.Module) -> str | None:
    """Why a module has to stay."""
    if module is model:
        return "it is the whole model"
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    if any(getattr(module, name) for name in hooks):
        return "it has hooks"
    return "it is parametrized" if set(module._parameters) != {"weight", "bias"} else None


def _put(model: nn.Module, places: dict[nn.Module, nn.Module]) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):  # also one that a parent has under two names
            if child is not None and child in places:
                setattr(parent, name, places[child])


def _outputs(model: nn.Module, arguments: tuple) -> list[Tensor]:
    with torch.no_grad():
        return [one for one in pytree.tree_leaves(model(*arguments)) if isinstance(one, Tensor)]
