"""Motions of images, translation, rotation and scale: each says from which position a value comes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

import torch
from torch import Tensor

from ..description import shapes
from ..errors import SettingError, ShapeError

ROUNDING = 1e-9  # samples; places that are nearer to a sample than this are that sample


class Transform(ABC):
    """A motion of the image. Places are in samples of the input, first axis first, and may lie between samples."""

    @abstractmethod
    def source(self, places: Tensor, size: Sequence[int]) -> Tensor:
        """The position in an image of this size from which each place takes its value; places: (..., axes) float64."""

    def check(self, size: Sequence[int]) -> None:  # noqa: B027 (most motions fit every image)
        """Raises ShapeError for an image that cannot be moved so."""

    def on_strides(self, strides: Sequence[int | Fraction]) -> Transform:
        """The same, or the next larger one that moves an output of these strides by whole samples."""
        return self

    def apply(self, images: Tensor) -> Tensor:
        """The moved images, (batch, channels, *size) as given; 0 where a value would come from outside.

        >>> Translation(1).apply(torch.tensor([[[1.0, 2.0, 3.0]]]))
        tensor([[[0., 1., 2.]]])
        """
        size = images.shape[2:]
        self.check(size)
        return sampled(images, self.source(lattice(size), size))[0]


@dataclass(frozen=True)
class Translation(Transform):
    """A shift by whole samples on each axis, towards higher places; one number stands for all axes.

    >>> str(Translation((1, 0))), Translation((1, -3)).on_strides((2, 2))
    ('translation by 1, 0', Translation(shift=(2, -4)))

    Raises SettingError where the shift is not of integers, or is 0 on every axis.
    """

    shift: int | tuple[int, ...] = 1

    def __post_init__(self) -> None:
        values = self.shift if isinstance(self.shift, Sequence) else (self.shift,)
        if not values or any(isinstance(one, bool) or not isinstance(one, int) for one in values) or not any(values):
            expected = "an integer, or one for each axis, not all 0"
            raise SettingError("shift of a translation", got=repr(self.shift), expected=expected)
        if isinstance(self.shift, Sequence):
            object.__setattr__(self, "shift", tuple(values))

    def along(self, axes: int) -> tuple[int, ...]:
        """The shift on each of so many axes."""
        return self.shift if isinstance(self.shift, tuple) else (self.shift,) * axes

    def check(self, size: Sequence[int]) -> None:
        shift = self.along(len(size))
        if len(shift) != len(size) or any(abs(one) >= length for one, length in zip(shift, size, strict=True)):
            expected = f"one number for each of {len(size)} axes, less than the size {tuple(size)}"
            raise ShapeError("shift of a translation", got=shift, expected=expected)

    def on_strides(self, strides: Sequence[int | Fraction]) -> Transform:
        pairs = zip(self.along(len(strides)), (Fraction(one).numerator for one in strides), strict=True)
        whole = tuple(shapes.repeats(abs(one), step) * step * (1 if one > 0 else -1) for one, step in pairs)
        return self if whole == self.along(len(strides)) else Translation(whole)

    def source(self, places: Tensor, size: Sequence[int]) -> Tensor:
        return places - torch.tensor(self.along(len(size)), dtype=places.dtype, device=places.device)

    def __str__(self) -> str:
        return f"translation by {', '.join(map(str, self.along(1)))}"


@dataclass(frozen=True)
class Rotation(Transform):
    """A rotation of the last two axes about the middle, in degrees, clockwise as pictures are shown.

    Values between samples are interpolated linearly; multiples of 90 degrees move samples onto samples, and are exact.

    >>> Rotation(90).apply(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).squeeze()
    tensor([[3., 1.],
            [4., 2.]])

    Raises SettingError for an angle that is not finite or turns nothing.
    """

    angle: float = 15

    def __post_init__(self) -> None:
        if not _number(self.angle) or self.angle % 360 == 0:
            expected = "degrees, finite and no multiple of 360"
            raise SettingError("angle of a rotation", got=repr(self.angle), expected=expected)

    def check(self, size: Sequence[int]) -> None:
        if len(size) < 2:
            raise ShapeError("a rotation", got=f"{len(size)} axis", expected="at least two axes to turn")

    def source(self, places: Tensor, size: Sequence[int]) -> Tensor:
        quarters, rest = divmod(self.angle, 90)
        turned = math.radians(self.angle)
        cosine, sine = math.cos(turned), math.sin(turned)
        if rest == 0:
            cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[int(quarters) % 4]
        y, x = (places[..., axis] - (size[axis] - 1) / 2 for axis in (-2, -1))
        back = (cosine * y - sine * x, sine * y + cosine * x)
        moved = [one + (size[axis] - 1) / 2 for one, axis in zip(back, (-2, -1), strict=True)]
        return torch.cat([places[..., :-2], torch.stack(moved, -1)], -1)

    def __str__(self) -> str:
        return f"rotation by {self.angle:g} degrees"


@dataclass(frozen=True)
class Scale(Transform):
    """Enlarging about the middle by a factor on every axis, with linear interpolation; below 1 it makes smaller.

    >>> Scale(3).apply(torch.tensor([[[0.0, 3.0, 0.0]]])).squeeze()
    tensor([2., 3., 2.])

    Raises SettingError for a factor that is not finite and positive, or is 1.
    """

    factor: float = 1.2

    def __post_init__(self) -> None:
        if not _number(self.factor) or self.factor <= 0 or self.factor == 1:
            expected = "a finite number above 0, not 1"
            raise SettingError("factor of a scale", got=repr(self.factor), expected=expected)

    def source(self, places: Tensor, size: Sequence[int]) -> Tensor:
        middle = (torch.tensor(tuple(size), dtype=places.dtype, device=places.device) - 1) / 2
        return (places - middle) / self.factor + middle

    def __str__(self) -> str:
        return f"scale by {self.factor:g}"


NAMES: dict[str, type[Transform]] = {"translation": Translation, "rotation": Rotation, "scale": Scale}


def transform_of(given: Any, settings: dict[str, Any]) -> Transform:
    """The transform of a name with settings, or one that is given as such."""
    if isinstance(given, Transform) and not settings:
        return given
    if not isinstance(given, str) or given not in NAMES:
        got = f"{given!r} with {', '.join(settings)}" if settings else repr(given)
        expected = "'translation' (shift=), 'rotation' (angle=), 'scale' (factor=), or such an object alone"
        raise SettingError("transform", got=got, expected=expected)
    try:
        return NAMES[given](**settings)
    except TypeError:
        (setting,) = NAMES[given].__dataclass_fields__  # type: ignore[attr-defined]
        raise SettingError(f"settings of {given!r}", got=", ".join(settings), expected=f"{setting}=") from None


def lattice(size: Sequence[int]) -> Tensor:
    """The places of all samples, (*size, axes), float64."""
    axes = (torch.arange(length, dtype=torch.float64) for length in size)
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)


def sampled(maps: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Linear interpolation between the samples of maps, and whether all samples that it needs are inside.

    maps: (batch, channels, *size); places: (*out, axes), in samples. Gives (batch, channels, *out), 0 outside, and
    (*out) booleans.
    """
    size = maps.shape[2:]
    whole = places.round()
    places = torch.where((places - whole).abs() < ROUNDING, whole, places)
    low = places.floor()
    flat = maps.flatten(2)
    total = torch.zeros((*maps.shape[:2], *places.shape[:-1]), dtype=maps.dtype, device=maps.device)
    inside = torch.ones(places.shape[:-1], dtype=torch.bool)
    for corner in product((0, 1), repeat=len(size)):
        index = torch.zeros(places.shape[:-1], dtype=torch.long)
        weight, there = torch.ones(places.shape[:-1], dtype=torch.float64), torch.ones_like(inside)
        for axis, step in enumerate(corner):
            at, part = low[..., axis].long() + step, places[..., axis] - low[..., axis]
            weight = weight * (part if step else 1 - part)
            there = there & (at >= 0) & (at < size[axis])
            index = index * size[axis] + at.clamp(0, size[axis] - 1)
        inside = inside & (there | (weight == 0))
        weight = torch.where(there, weight, 0.0).to(maps)
        total = total + weight * flat[:, :, index.to(maps.device)]
    return total, inside


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
