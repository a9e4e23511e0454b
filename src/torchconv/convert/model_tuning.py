"""A model's convolutions measured on an example, and planned ones put in the place of torch's where the model gains."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..compute import layouts
from ..compute.algorithms.torch_kernels import TorchKernels
from ..compute.operator import Operator
from ..compute.planning import choose, wisdom
from ..compute.planning.choose import Choice
from ..compute.planning.measure import timed
from ..compute.planning.plan import Plan, plan
from ..compute.tensors import OUTPUT
from ..errors import SettingError
from ..nn.conv import Conv
from .equivalent import equivalent
from .run_model import evaluating, step

KINDS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
ROUNDS, TWICE = 5, 2  # rounds of timing in turns; a gain has to show in two series of them
NOISE = 0.02  # of the time of the whole model: what gains less cannot be told from noise
LOSS = 0.01  # by which a median may be off where nothing changed
CLOSE = 1e-3  # largest difference of outputs, in parts of the largest output, that planned layers may make
PUT_BACK = "the whole model is no faster with it"


@dataclass(frozen=True)
class TunedLayer:
    """Convolutions of the model that are alike: their names, the plan, what computed them before, and why they stayed.

    stayed: None where the planned layers are in place, or where the plan is what computed them before.
    """

    names: tuple[str, ...]
    plan: Plan
    before: Choice
    stayed: str | None

    def seconds(self, role: str) -> tuple[float, float]:
        """What the operation took before, and what it takes now, measured on its own."""
        before, after = self.measured(role)
        return before, before if self.stayed else after

    def measured(self, role: str) -> tuple[float, float]:
        """What the operation takes by what computed it before, and by the plan."""
        rows = {row.name: row.seconds[role] for row in self.plan.rows if row.reason is None}
        before = rows[self.before[role].name]
        if before == inf:  # refused, so not measured; the first of the table always is
            before = next(iter(rows.values()))
        return before, rows[self.plan.algorithms[role]]

    @property
    def changes(self) -> bool:
        """Whether other algorithms than before are in place."""
        return not self.stayed and any(self.before[role].name != name for role, name in self.plan.algorithms.items())


@dataclass(frozen=True)
class Tuning:
    """What tuning came to: the layers, and seconds of the whole model as it was and as it is, both ways.

    Where nothing was to be gained, the model is as it was, and both numbers are the same.
    """

    layers: tuple[TunedLayer, ...]
    inference: tuple[float, float]
    training: tuple[float, float]

    @property
    def gained(self) -> bool:
        """Whether any layer was changed for good."""
        return any(layer.changes for layer in self.layers)

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
        lines = ["  ".join(f"{cell:{'<' if n < 3 else '>'}{widths[n]}}" for n, cell in enumerate(row)) for row in rows]
        return "\n".join(lines if self.gained else [*lines, "nothing to gain: every layer is as it was"])


def _compared(before: float, after: float) -> tuple[str, str, str]:
    return f"{1e3 * before:.2f}", f"{1e3 * after:.2f}", f"{before / after:.2f}"


def tune(model: nn.Module, example: Any) -> Tuning:
    """Measure each distinct convolution of a model, and put planned layers where they make the whole model faster.

    example: the model's input, a tensor or a tuple of its arguments. The model is changed in place: parameters, keys of
    state_dict, and outputs (to rounding) stay. Layers that are faster on their own are put in place one kind after the
    other, and the whole model is timed with and without them in turns: in inference, and in training steps too where
    the model is in training mode. What does not gain more than noise there is put back. What was measured is remembered
    on disk. Milliseconds in the table are of output and both gradients together, of one layer where several are alike
    ("+2"); those of the whole model are of its final state. Raises SettingError for a model without convolutions, or
    for one whose outputs change, which is then left as it was.

    >>> model = nn.Sequential(nn.Conv2d(1, 1, 31, padding=15), nn.ReLU())
    >>> [layer.names for layer in tune(model, torch.randn(1, 1, 64, 64)).layers]
    [('0',)]
    """
    arguments = example if isinstance(example, tuple) else (example,)
    trains = model.training and any(one.requires_grad for one in model.parameters())
    with evaluating(model):
        inputs = _inputs(model, arguments)
        if not inputs:
            expected = "a model that calls torch.nn.Conv1d, Conv2d or Conv3d"
            raise SettingError("model of tune", got=type(model).__name__, expected=expected)
        trial = _Trial(model, arguments, _alike(model, inputs), trains)
        with trial.restoring():
            trial.check_outputs()
            kept = trial.selected()
            times = trial.final(kept)
        layers = [kind.layer if kind in kept or not kind.layer.changes else kind.put_back() for kind in trial.kinds]
        choose.forget_choices()
    return Tuning(tuple(layers), times["inference"], times["training"])


@dataclass(frozen=True, eq=False)
class _Kind:
    """Convolutions that are alike, the planned layers for their places, and what chose for them before measuring."""

    layer: TunedLayer
    planned: dict[nn.Module, Conv]
    choices: tuple[Choice, Choice]  # for weights that change, and for weights that stay

    def gain(self, roles: Sequence[str]) -> float:
        """Seconds that the planned layers gain on their own."""
        pairs = [self.layer.measured(role) for role in roles]
        return len(self.planned) * sum(before - after for before, after in pairs)

    def put_back(self) -> TunedLayer:
        """The layer as it was; layers of torchconv would follow what was measured, unless that is unlearned."""
        if self._operators():
            names = {role: self.choices[0][role].name for role in self.layer.plan.algorithms}
            wisdom.remember(self.layer.plan.problem, names, {})
        return replace(self.layer, stayed=PUT_BACK)

    def pin(self) -> None:
        """Let layers of torchconv compute as before they were measured, until `unpin`."""
        for operator in self._operators():
            operator._choose = partial(self._chosen, operator)  # type: ignore[method-assign]

    def _chosen(self, operator: Operator, x: Tensor, sizes: tuple[int, ...], frozen_weight: bool = False) -> Choice:
        problem = self.layer.plan.problem
        if (x.shape[0], tuple(sizes)) == (problem.batch, problem.sizes):
            return self.choices[frozen_weight]
        return Operator._choose(operator, x, sizes, frozen_weight)

    def unpin(self) -> None:
        for operator in self._operators():
            vars(operator).pop("_choose", None)

    def _operators(self) -> list[Operator]:
        return [module._operator for module in self.planned if isinstance(module, Conv)]


class _Trial:
    """The whole model with some kinds of planned layers in place, checked and timed against others."""

    def __init__(self, model: nn.Module, arguments: tuple, kinds: list[_Kind], trains: bool) -> None:
        self.model, self.arguments, self.kinds = model, arguments, kinds
        self.ways: dict[str, Callable[[nn.Module, tuple], Any]] = {"inference": _outputs, "training": step}
        self.deciding = ("inference", "training") if trains else ("inference",)
        self._back: dict[nn.Module, nn.Module] = {new: old for kind in kinds for old, new in kind.planned.items()}

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Layers of torchconv as they were before they were measured, and all layers if something fails."""
        for kind in self.kinds:
            kind.pin()
        try:
            yield
        except BaseException:
            self._put([])
            raise
        finally:
            for kind in self.kinds:
                kind.unpin()

    def check_outputs(self) -> None:
        """Raises SettingError where planned layers change the outputs."""
        before = _outputs(self.model, self.arguments)
        self._put([kind for kind in self.kinds if kind.layer.changes])
        for old, new in zip(before, _outputs(self.model, self.arguments), strict=True):
            away = float((old.double() - new.double()).abs().max()) if old.numel() else 0.0
            if away > CLOSE * max(float(old.abs().max()), 1e-30):
                raise SettingError("tune", got=f"outputs that differ by {away:.2g}", expected="equal outputs")

    def selected(self) -> list[_Kind]:
        """The kinds that make the whole model faster, those that promise most first.

        Each that promises more than noise is tried by itself; the others together, and by halves where that fails.
        """
        whole = {way: median(pair[0] for pair in self._timed([], [], way, 2)) for way in self.deciding}
        promises = {kind: self._promise(kind, whole) for kind in self.kinds if kind.layer.changes}
        ordered = sorted((kind for kind in promises if promises[kind] > 0), key=lambda kind: -promises[kind])
        large = [kind for kind in ordered if promises[kind] >= NOISE]
        waiting = [[kind] for kind in large] + [ordered[len(large) :]]
        kept: list[_Kind] = []
        while waiting:
            kinds = waiting.pop(0)
            if sum(promises[kind] for kind in kinds) < NOISE:
                continue
            if all(self._gains(kept, [*kept, *kinds]) for _ in range(TWICE)):
                kept += kinds
            elif len(kinds) > 1:
                half = len(kinds) // 2
                waiting[:0] = [kinds[:half], kinds[half:]]
        return kept

    def final(self, kept: list[_Kind]) -> dict[str, tuple[float, float]]:
        """Seconds of the model as it was and as it is, each way; what loses all together is taken out of `kept`."""
        while kept:
            times = {way: self._timed([], kept, way, ROUNDS) for way in self.ways}
            if _gains(times[way] for way in self.deciding):
                self._put(kept)
                halves = {way: zip(*pairs, strict=True) for way, pairs in times.items()}
                return {way: (median(old), median(new)) for way, (old, new) in halves.items()}
            kept.pop()
        self._put([])
        alone = {way: median(timed(partial(self._run, way)) for _ in range(ROUNDS)) for way in self.ways}
        return {way: (seconds, seconds) for way, seconds in alone.items()}

    def _promise(self, kind: _Kind, whole: dict[str, float]) -> float:
        """What a kind gains on its own, in parts of the whole model's time."""
        roles = {"inference": (OUTPUT,), "training": choose.ROLES}
        return max(kind.gain(roles[way]) / seconds for way, seconds in whole.items())

    def _gains(self, before: Sequence[_Kind], after: Sequence[_Kind]) -> bool:
        return _gains(self._timed(before, after, way, ROUNDS) for way in self.deciding)

    def _timed(self, one: Sequence[_Kind], other: Sequence[_Kind], way: str, rounds: int) -> list[tuple[float, float]]:
        """Seconds with the kinds of each in place, in turns, after a first run of each that does not count."""
        found = []
        for number in range(rounds + 1):
            seconds = {}
            for second in (False, True) if number % 2 else (True, False):
                self._put(other if second else one)
                seconds[second] = timed(partial(self._run, way))
            found.append((seconds[False], seconds[True]))
        return found[1:]

    def _run(self, way: str) -> None:
        self.ways[way](self.model, self.arguments)

    def _put(self, kinds: Sequence[_Kind]) -> None:
        """Put the planned layers of some kinds in their places, and what was there before in all others."""
        planned: dict[nn.Module, nn.Module] = {old: new for kind in kinds for old, new in kind.planned.items()}
        for parent in list(self.model.modules()):
            for name, child in list(parent._modules.items()):  # also one that a parent has under two names
                if child is not None:
                    original = self._back.get(child, child)
                    wanted = planned.get(original, original)
                    if wanted is not child:
                        setattr(parent, name, wanted)


def _gains(times: Iterable[list[tuple[float, float]]]) -> bool:
    """Whether the model gains more than noise in one of the ways, and loses in none."""
    gains = False
    for pairs in times:
        ratio = median(before / after for before, after in pairs)
        if ratio < 1 - LOSS:
            return False
        gains |= ratio > 1 + NOISE and sum(before > after for before, after in pairs) >= len(pairs) - 1
    return gains


def _inputs(model: nn.Module, arguments: tuple) -> dict[nn.Module, Tensor]:
    """What each convolution is given first, on the meta device."""
    found: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, given: tuple) -> None:
        found.setdefault(module, given[0].detach().to("meta"))

    modules = model.modules()
    wanted = (one for one in modules if type(one) in KINDS or (isinstance(one, Conv) and one.algorithm == "auto"))
    hooks = [one.register_forward_pre_hook(note) for one in wanted]
    try:
        _outputs(model, arguments)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _alike(model: nn.Module, inputs: dict[nn.Module, Tensor]) -> list[_Kind]:
    """Every distinct convolution measured once, with the modules that are alike."""
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    alike: dict[tuple, list[nn.Module]] = {}
    for module, x in inputs.items():
        problem = _planned(module, x).problem
        alike.setdefault((problem, isinstance(module, Conv), _reason(model, module)), []).append(module)
    kinds, known = [], {}
    for (problem, own, reason), modules in alike.items():
        if (problem, own) not in known:
            name = "auto" if own else TorchKernels.name
            before, frozen = (choose.choose(replace(problem, frozen_weight=one), name) for one in (False, True))
            known[problem, own] = (before, frozen), _planned(modules[0], inputs[modules[0]], measure=True)
        choices, measured = known[problem, own]
        layer = TunedLayer(tuple(name for one in modules for name in names[one]), measured, choices[0], reason)
        kinds.append(_Kind(layer, {module: _of(module) for module in modules}, choices))
    return kinds


def _planned(module: nn.Module, x: Tensor, measure: bool = False) -> Plan:
    """The plan of a module that is given x."""
    new, device = _of(module), next(module.parameters()).device
    x = x if x.ndim == new.convolution.ndim + 2 else x.unsqueeze(0)
    last = layouts.channels_last(x)
    return plan(new, tuple(x.shape), dtype=x.dtype, device=device, measure=measure, channels_last=last)


def _of(module: Any) -> Conv:
    """The layer that has a convolution's settings and its very parameters, and looks anew for its algorithms."""
    if isinstance(module, Conv):
        new = copy.copy(module)
        new._parameters = dict(module._parameters)
        settings = module.algorithm, module.layout, module.precision, module.workspace
        new._operator = Operator(module.convolution, *settings)
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


def _outputs(model: nn.Module, arguments: tuple) -> list[Tensor]:
    with torch.no_grad():
        return [one for one in pytree.tree_leaves(model(*arguments)) if isinstance(one, Tensor)]
