"""Whether the output of a model moves along when its input moves, measured: `tc.equivariance`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from ..description import shapes
from ..errors import DataError, SettingError, ShapeError, TorchconvError
from .motions import Transform, lattice, sampled, transform_of
from .network_of import module_of, network_of, output, running
from .receptive_field import ReceptiveField, between


@dataclass(frozen=True)
class Difference:
    """How far f(g(x)) is from g(f(x)): largest difference over largest value, and the same of root mean squares."""

    max: float
    rms: float


@dataclass(frozen=True)
class Border:
    """Of each channel's outputs, how many were compared and how many were left out, and why."""

    compared: int
    left_out: int
    reason: str


@dataclass(frozen=True)
class Equivariance:
    """What a motion of the input did to the output of a model.

    error: of f(g(x)) against g(f(x)), for the transform `measured`, which is the one asked for except where strides do
    not let that move the output by whole samples. unchanged: the share of outputs that stay as they were under the
    transform asked for. tolerance: relative; what counts as rounding.
    """

    model: str
    transform: Transform
    measured: Transform
    error: Difference
    unchanged: float
    border: Border
    tolerance: float
    notes: tuple[str, ...] = ()

    @property
    def equivariant(self) -> bool:
        """Whether f(g(x)) is g(f(x)), up to the tolerance."""
        return self.error.max <= self.tolerance

    @property
    def invariant(self) -> bool:
        """Whether no output changed."""
        return self.unchanged == 1

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        plain = asdict(self) | {"transform": str(self.transform), "measured": str(self.measured)}
        return plain | {"notes": list(self.notes), "equivariant": self.equivariant, "invariant": self.invariant}

    def __str__(self) -> str:
        verdict = "equivariant" if self.equivariant else "not equivariant"
        lines = [
            f"{self.model}, {self.transform}: {verdict}",
            f"  error      {self.error.max:.2g} of the largest output, {self.error.rms:.2g} in root mean squares",
            f"  unchanged  {self.unchanged:.1%} of the outputs",
            f"  compared   {self.border.compared} places, {self.border.left_out} left out: {self.border.reason}",
        ]
        return "\n".join(lines + [f"  note       {note}" for note in self.notes])

    def __rich__(self) -> str:
        return str(self).replace("[", "\\[")


def equivariance(
    model: Callable[[Tensor], Tensor] | str,
    x: Tensor,
    transform: str | Transform = "translation",
    *,
    tolerance: float | None = None,
    margin: int | None = None,
    **settings: Any,
) -> Equivariance:
    """Measure how far a model f is from moving along with a transform g of its input: f(g(x)) against g(f(x)).

    model: a torch module, or any function of a tensor; modules run in evaluation mode and are left as they were. Texts,
        names in the zoo and networks are built for x, with fresh weights, the same every time.
    x: images, (batch, channels, *size). The output may have other sizes, as behind strides; of an output without axes,
        as of a classifier, the transform changes nothing, so that the error is that of invariance.
    transform: "translation" (shift=1: samples, for every axis or for each), "rotation" (angle=15 degrees), "scale"
        (factor=1.2), or a `tc.inspection` Translation, Rotation or Scale.
    tolerance: relative error that counts as none, by default the square root of the output's epsilon.
    margin: samples of the input, around an output's place, that are taken to matter to it; by default those of the
        exact receptive field. Outputs that read padding, or what a transform brings in from outside, are left out.
    Raises SettingError for a transform that there is not, ShapeError for an input that is too small for it or an output
    of other axes, DataError for outputs that are not finite.
    Source: Goodfellow, Bengio, Courville 2016, Deep Learning, section 9.2 and figure 9.8.

    >>> x = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> equivariance(nn.Conv2d(1, 1, 3), x).equivariant, equivariance(nn.Conv2d(1, 1, 3), x, "rotation").equivariant
    (True, False)
    """
    asked = transform_of(transform, settings)
    if not isinstance(x, Tensor) or x.ndim < 3 or not x.is_floating_point():
        got = f"{tuple(x.shape)} of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        expected = "a tensor of real numbers of shape (batch, channels, *size)"
        raise ShapeError("x of equivariance", got=got, expected=expected)
    for name, value in (("tolerance", tolerance), ("margin", margin)):
        if value is not None and not value >= 0:
            raise SettingError(f"{name} of equivariance", got=value, expected="a number >= 0, or None")
    asked.check(x.shape[2:])
    built = module_of(model, x.shape[1:])
    with running(built), torch.no_grad():
        still = _output(built, x)
        near = float(torch.finfo(still.dtype).eps ** 0.5) if tolerance is None else tolerance
        if still.shape[2:].numel() == 1:
            found = _compared_vectors(built, x, still, asked, near)
        else:
            found = _compared_maps(built, x, still, asked, near, margin)
    return replace(found, model=model.strip()) if isinstance(model, str) else found


def _compared_vectors(model: Any, x: Tensor, still: Tensor, asked: Transform, tolerance: float) -> Equivariance:
    moved = _output(model, asked.apply(x))
    everywhere = torch.ones(still.shape[2:], dtype=torch.bool)
    reason = "outputs without axes read the whole image, and 0 where it moved away"
    note = "the output has no axes, where the transform changes nothing: error is that of invariance"
    error, unchanged = _difference(moved, still, everywhere), _unchanged(moved, still, everywhere, tolerance)
    return Equivariance(_name(model), asked, asked, error, unchanged, Border(1, 0, reason), tolerance, (note,))


def _compared_maps(
    model: Any, x: Tensor, still: Tensor, asked: Transform, tolerance: float, margin: int | None
) -> Equivariance:
    grid = grid_of(model, x, still.shape[2:], margin)
    measured = asked.on_strides(grid.strides)
    measured.check(grid.size)
    within = grid.undisturbed(torch.ones(grid.size, dtype=torch.bool))
    moved, whole = _output(model, measured.apply(x)), grid.undisturbed(_filled(measured, grid))
    numbers = grid.numbers(measured.source(grid.places(), grid.size))
    target, inside = sampled(still, numbers)
    known, _ = sampled(within[None, None].double(), numbers)
    good = whole & inside & (known[0, 0] > 1 - 1e-9)
    if not good.any():
        got = f"{good.numel()} outputs, all of which read the border or what came in from outside"
        fix = "Give a larger x, or say with margin= how many samples around an output matter to it."
        raise ShapeError(f"{measured} of an input of {'x'.join(map(str, grid.size))}", got=got, fix=fix)
    notes = [grid.note] if grid.note else []
    count, error = int(good.sum()), _difference(moved, target, good)
    if measured != asked:
        moved = _output(model, asked.apply(x))
        strides = ", ".join(map(str, grid.strides))
        notes.append(f"{asked} is no whole number of outputs at stride {strides}: the error is that of {measured}")
    unchanged = _unchanged(moved, still, grid.undisturbed(_filled(asked, grid)) & within, tolerance)
    border = Border(count, good.numel() - count, "they read the border or what came in from outside")
    return Equivariance(_name(model), asked, measured, error, unchanged, border, tolerance, tuple(notes))


def _filled(transform: Transform, grid: OutputGrid) -> Tensor:
    """Samples of the moved image that come from inside the image, (*size)."""
    blank = torch.zeros((1, 1, *grid.size))
    return sampled(blank, transform.source(lattice(grid.size), grid.size))[1]


def _output(model: Any, x: Tensor) -> Tensor:
    found = output(model, x)
    if not isinstance(found, Tensor) or found.ndim not in (2, x.ndim) or not found.is_floating_point():
        got = f"shape {tuple(found.shape)} of {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
        expected = f"one tensor of real numbers, (batch, values) or (batch, channels, *size) with {x.ndim - 2} axes"
        raise ShapeError("output of the model", got=got, expected=expected, fix="Wrap the model in a function.")
    if not found.isfinite().all():
        raise DataError("output of the model", got="NaN or Inf", expected="finite numbers")
    return found


def _difference(moved: Tensor, target: Tensor, where: Tensor) -> Difference:
    wanted = target[..., where].double()
    away = moved[..., where].double() - wanted
    if not away.any():  # outputs may all be 0
        return Difference(0.0, 0.0)
    return Difference(float(away.abs().max() / wanted.abs().max()), float(away.norm() / wanted.norm()))


def _unchanged(moved: Tensor, still: Tensor, where: Tensor, tolerance: float) -> float:
    away = (moved - still).abs() <= tolerance * still.abs().max()
    return float(away[..., where].double().mean())


def _name(model: Any) -> str:
    return getattr(model, "__name__", type(model).__name__)


@dataclass(frozen=True)
class OutputAxis:
    """One axis of an output: number p lies at first + p * stride, and reads `reach` samples to both sides."""

    first: float
    stride: int | Fraction
    reach: tuple[float, float]


@dataclass(frozen=True)
class OutputGrid:
    """Where the outputs of a model lie in its input of `size`; `note` says where that had to be guessed."""

    size: tuple[int, ...]
    outputs: tuple[int, ...]
    lines: tuple[OutputAxis, ...]
    note: str = ""

    @property
    def strides(self) -> tuple[int | Fraction, ...]:
        """Samples of the input from one output to the next, on each axis."""
        return tuple(line.stride for line in self.lines)

    def places(self) -> Tensor:
        """The place of each output in the input, (*outputs, axes)."""
        return self._first + lattice(self.outputs) * self._strides

    def numbers(self, places: Tensor) -> Tensor:
        """The inverse: positions in the input as output numbers, which may lie between two."""
        return shapes.in_steps(places - self._first, self._strides)

    def undisturbed(self, good: Tensor) -> Tensor:
        """Outputs, (*outputs), of which all that they read is inside and good; good: (*size) booleans."""
        bad = (~good).long()
        for axis, line in enumerate(self.lines):
            at, length = line.first + torch.arange(self.outputs[axis]).double() * float(line.stride), bad.shape[axis]
            low, high = (at - line.reach[0]).floor().long(), (at + line.reach[1]).ceil().long()
            counted = torch.cat([torch.zeros_like(bad.narrow(axis, 0, 1)), bad.cumsum(axis)], axis)
            start, stop, outside = low.clamp(0, length), (high + 1).clamp(0, length), (low < 0) | (high >= length)
            shape = [-1 if other == axis else 1 for other in range(bad.ndim)]
            found = counted.index_select(axis, stop) - counted.index_select(axis, start) > 0
            bad = (found | outside.view(shape)).long()
        return bad == 0

    @property
    def _first(self) -> Tensor:
        return torch.tensor([line.first for line in self.lines], dtype=torch.float64)

    @property
    def _strides(self) -> Tensor:
        return torch.tensor([float(line.stride) for line in self.lines], dtype=torch.float64)


class _FunctionModule(nn.Module):
    """A function as a torch module, so that it can be traced."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def grid_of(model: Any, x: Tensor, outputs: Sequence[int], margin: int | None) -> OutputGrid:
    """Where outputs of these sizes lie: by the model's exact receptive field, or else in the middle of the input.

    margin: samples at each border that are taken to matter; None for as many as the receptive field says, or a quarter
    of the size where that is not known or is the whole input.
    """
    size = tuple(x.shape[2:])
    field = _field(model, x)
    lines, guessed = [], False
    for axis, (length, count) in enumerate(zip(size, outputs, strict=True)):
        stride = field.stride[axis] if field else None
        padding = field.padding[axis] if field else None
        if field and stride and padding is not None and field.size[axis]:
            # Between samples of the input the fields begin late or early by less than one of them.
            slack = 0 if Fraction(stride).denominator == 1 else 1
            last = field.size[axis] - 1 - padding
            first = _middle(length, count, stride) if slack else (last - padding) / 2
            line = OutputAxis(first, stride, (first + padding + slack, last + slack - first))
        else:
            guessed = True
            stride = _ratio(length, count)
            line = OutputAxis(_middle(length, count, stride), stride, (length / 4, length / 4))
        lines.append(line if margin is None else OutputAxis(line.first, line.stride, (margin, margin)))
    note = "the receptive field is not known, or is the whole input: a quarter of the size is left out at each border"
    return OutputGrid(size, tuple(outputs), tuple(lines), note if guessed and margin is None else "")


def _field(model: Any, x: Tensor) -> ReceptiveField | None:
    module = model if isinstance(model, nn.Module) else _FunctionModule(model)
    try:
        found = network_of(module, torch.empty(x.shape, dtype=x.dtype, device="meta"))
        if not found.outputs:
            return None
        field = between(found.network, goal=found.outputs[0])
    except TorchconvError:
        return None
    return field if len(field.size) == x.ndim - 2 else None


def _ratio(length: int, count: int) -> int | Fraction:
    """The stride that the sizes suggest: a whole number, or one over a whole number."""
    return round(length / count) if length >= count else Fraction(1, round(count / length))


def _middle(length: int, count: int, stride: int | Fraction) -> float:
    """The first place of outputs whose middle is the middle of the input."""
    return (length - 1) / 2 - (count - 1) / 2 * float(stride)
