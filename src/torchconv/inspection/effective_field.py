"""The effective receptive field, measured: how much each input sample matters to one output, `tc.effective_field`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import DataError, SettingError, ShapeError
from .network_of import module_of, output, running
from .receptive_field import joined

STEP = 8  # images at a time
TWO_SIGMA = 0.9545  # of the mass of a Gaussian lie as near as this to its middle


@dataclass(frozen=True)
class EffectiveField:
    """How much each input sample matters to one output element, in the mean over random inputs.

    map: (*size) float64, absolute gradients, summed over the input's channels. unit: the place of the output. The
    measures take the map as a distribution of mass over the samples.
    """

    map: Tensor = field(repr=False)
    unit: tuple[int, ...]
    samples: int
    theoretical: tuple[int, ...] | None = None

    @property
    def centre(self) -> tuple[float, ...]:
        """The mean place of the mass, per axis."""
        return tuple(float((mass * torch.arange(len(mass))).sum()) for mass in self._marginals())

    @property
    def gaussian_sigma(self) -> tuple[float, ...]:
        """The standard deviation of the mass in samples, per axis: the sigma of the Gaussian with the same moments."""
        pairs = zip(self._marginals(), self.centre, strict=True)
        return tuple(float((mass * (torch.arange(len(mass)) - at) ** 2).sum().sqrt()) for mass, at in pairs)

    def size(self, share: float = TWO_SIGMA) -> tuple[int, ...]:
        """The shortest run of samples on each axis that holds this share of the mass; by default two sigma's.

        Raises SettingError for a share that is not above 0 and at most 1.
        """
        if not 0 < share <= 1:
            raise SettingError("share of the mass", got=share, expected="a number above 0 and at most 1")
        return tuple(_shortest(mass, share) for mass in self._marginals())

    @property
    def side(self) -> float:
        """The square root (of the number of axes) of how many samples have more than 4.55 % of the largest gradient.

        That is what Luo et al. 2016 call the size.
        """
        return float((self.map > (1 - TWO_SIGMA) * self.map.max()).sum()) ** (1 / self.map.ndim)

    @property
    def part(self) -> float | None:
        """The area of `size()` as a share of the theoretical field's, where that was given."""
        if self.theoretical is None:
            return None
        pairs = zip(self.size(), self.theoretical, strict=True)
        return float(torch.tensor([own / box for own, box in pairs], dtype=torch.float64).prod())

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {
            "unit": list(self.unit),
            "samples": self.samples,
            "size": list(self.size()),
            "side": self.side,
            "centre": list(self.centre),
            "gaussian_sigma": list(self.gaussian_sigma),
            "theoretical": None if self.theoretical is None else list(self.theoretical),
            "part": self.part,
            "map": self.map.tolist(),
        }

    def __str__(self) -> str:
        sigma = " x ".join(f"{one:.2f}" for one in self.gaussian_sigma)
        text = f"effective field {joined(self.size())} (95.45 % of the mass on each axis), sigma {sigma} samples"
        if self.theoretical is not None:
            text += f", {self.part:.1%} of the theoretical {joined(self.theoretical)}"
        return text

    def _marginals(self) -> list[Tensor]:
        mass = self.map / self.map.sum()
        axes = range(mass.ndim)
        return [mass.sum([other for other in axes if other != axis]) if mass.ndim > 1 else mass for axis in axes]


def effective_field(
    model: Any,
    input_shape: Sequence[int],
    unit: Sequence[int] | None = None,
    *,
    samples: int = 32,
    seed: int = 0,
    theoretical: Sequence[int] | None = None,
) -> EffectiveField:
    """Measure how much each input sample matters to one output element: mean absolute gradients over random inputs.

    model: a torch module (or a function of a tensor), which runs in evaluation mode and is left as it was; texts, names
        in the zoo and networks are built for this input, with fresh weights, the same every time.
    input_shape: (channels, *size). The inputs are `samples` images of normal random numbers, the same for one seed.
    unit: the place of the output, as (y, x); by default the middle one. Its channels, or the values of an output
        without axes, are added with random signs, new for each image.
    theoretical: the box to compare with, as `tc.receptive_field(...).size`.
    Raises ShapeError for a unit that is not there, DataError for one that does not depend on the input.
    Source: Luo, Li, Urtasun, Zemel 2016, Understanding the effective receptive field, sections 2 and 3.

    >>> layer = nn.Conv1d(1, 1, 3, padding=1, bias=False)
    >>> _ = nn.init.ones_(layer.weight)
    >>> found = effective_field(nn.Sequential(layer, layer), (1, 9))
    >>> found.map.tolist(), found.size(0.7)
    ([0.0, 0.0, 1.0, 2.0, 3.0, 2.0, 1.0, 0.0, 0.0], (3,))
    """
    shape = _checked(input_shape, samples)
    model = module_of(model, shape)
    chance = torch.Generator().manual_seed(seed)
    total = torch.zeros(shape[1:], dtype=torch.float64)
    place: tuple[int, ...] = ()
    with running(model), torch.enable_grad():
        for start in range(0, samples, STEP):
            images = torch.randn((min(STEP, samples - start), *shape), generator=chance)
            images = images.to(_like(model)).requires_grad_()
            found = output(model, images)
            place = _place(found, unit)
            values = found[(slice(None), slice(None), *place)]
            signs = 2 * torch.randint(2, values.shape, generator=chance).to(values) - 1
            (gradient,) = torch.autograd.grad(values, images, signs)
            total += gradient.abs().sum((0, 1)).double().cpu()
    total /= samples
    if not total.isfinite().all() or not total.any():
        raise DataError("gradients of the unit", got="all 0, or NaN or Inf", expected="one that depends on the input")
    box = None if theoretical is None else tuple(theoretical)
    if box is not None and len(box) != len(shape) - 1:
        raise ShapeError("theoretical", got=box, expected=f"a size for each of {len(shape) - 1} axes")
    return EffectiveField(total, place, samples, box)


def _checked(input_shape: Sequence[int], samples: int) -> tuple[int, ...]:
    shape = tuple(input_shape)
    if len(shape) < 2 or any(isinstance(one, bool) or not isinstance(one, int) or one < 1 for one in shape):
        expected = "(channels, *size), integers >= 1, as in (3, 64, 64)"
        raise ShapeError("input_shape", got=shape, expected=expected)
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise SettingError("samples", got=samples, expected="an integer >= 1")
    return shape


def _like(model: Any) -> Tensor:
    """A tensor of the type and on the device of the model's parameters."""
    found = list(model.parameters()) if isinstance(model, nn.Module) else []
    return next((one.detach() for one in found if one.is_floating_point()), torch.zeros(()))


def _place(found: Any, unit: Sequence[int] | None) -> tuple[int, ...]:
    """The unit's place in an output that can be differentiated, (batch, channels, *size) or (batch, values)."""
    if not isinstance(found, Tensor) or found.ndim < 2 or not found.requires_grad:
        got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        expected = "one tensor of shape (batch, channels, *size) or (batch, values) that has a gradient"
        raise ShapeError("output of the model", got=got, expected=expected, fix="Wrap the model in a function.")
    size = tuple(found.shape[2:])
    place = tuple(length // 2 for length in size) if unit is None else tuple(unit)
    if len(place) != len(size) or any(not 0 <= at < length for at, length in zip(place, size, strict=True)):
        raise ShapeError("unit of the effective field", got=place, expected=f"a place in an output of size {size}")
    return place


def _shortest(mass: Tensor, share: float) -> int:
    """The length of the shortest run of neighbours that holds so much; 1e-9 of the mass may be rounding."""
    sums = torch.cat([torch.zeros(1, dtype=mass.dtype), mass.cumsum(0)])
    for length in range(1, len(mass) + 1):
        if float((sums[length:] - sums[:-length]).max()) >= share - 1e-9:
            return length
    return len(mass)
