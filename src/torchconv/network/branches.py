"""Volumes that meet: branches added or put beside each other, larger ones cut, or cut to the size of another."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from ..description import shapes
from ..errors import ShapeError
from ..receptive.access import AccessPattern, Cropped, First, Join, Pointwise
from .base import Locality, ModuleSpec, Unlearned, Volume, check_axes


@dataclass(frozen=True)
class Merge(Unlearned):
    """Volumes of equal sizes into one; with `crop`, larger ones lose what they have more, as much at either side.

    low: with crop, so many at the low end of every axis that is cut, the rest at the high end.
    """

    crop: bool = False
    low: int | None = None
    reads = None
    gives_scores = True
    pattern: ClassVar[AccessPattern]  # of volumes of equal sizes

    @property
    def locality(self) -> Locality:
        if not self.crop:
            return Locality.POINTWISE
        return Locality.POSITIONAL if self.low is None else Locality.WINDOWED

    def output(self, *volumes: Volume) -> Volume:
        sizes = {volume.size for volume in volumes}
        if len(sizes) > 1 and (not self.crop or len({len(size) for size in sizes}) > 1):
            word = self.word.upper()
            fix = (
                ""
                if self.crop
                else f"{word}[crop] cuts them to the smallest; UPSAMPLE[to=a] meets the size of MARK[a]."
            )
            shown = ", ".join(str(volume) for volume in volumes)
            raise ShapeError(self.word, got=f"volumes {shown}", expected="equal sizes", fix=fix)
        smallest = tuple(map(min, zip(*sizes, strict=True)))
        surplus = {have - want for size in sizes for have, want in zip(size, smallest, strict=True)}
        if self.low and any(0 < more < self.low for more in surplus):
            shown = ", ".join(str(volume) for volume in volumes)
            raise ShapeError(self.word, got=f"volumes {shown}", expected=f"equal ones, or {self.low} samples to cut")
        return Volume(self._channels([volume.channels for volume in volumes]), smallest)

    def access(self, *volumes: Volume) -> AccessPattern:
        cuts = self._cuts(*volumes)
        return Cropped(cuts, self.pattern) if any(any(pair) for cut in cuts for pair in cut) else self.pattern

    def torch_module(self, *volumes: Volume) -> ModuleSpec:
        return ModuleSpec.of("torchconv.language.modules.Merging", self.word, self.crop, self.low)

    def _cuts(self, *volumes: Volume) -> tuple[tuple[tuple[int, int], ...], ...]:
        """For each volume how many samples go at the (low, high) end of each axis."""
        size = self.output(*volumes).size
        return tuple(shapes.cuts(volume.size, size, self.low) for volume in volumes)

    @abstractmethod
    def _channels(self, channels: list[int]) -> int:
        """Of the output."""


@dataclass(frozen=True)
class Sum(Merge):
    """Values added place by place: a residual connection (He et al. 2016)."""

    word: ClassVar[str] = "sum"
    pattern: ClassVar[AccessPattern] = Pointwise()

    def _channels(self, channels: list[int]) -> int:
        if len(set(channels)) > 1:
            got = " and ".join(map(str, channels))
            raise ShapeError("sum", got=f"{got} channels", expected="as many in every branch")
        return channels[0]


@dataclass(frozen=True)
class Concat(Merge):
    """Channels of one after those of the other (Szegedy et al. 2015; Ronneberger et al. 2015)."""

    word: ClassVar[str] = "concat"
    pattern: ClassVar[AccessPattern] = Join(1)

    def _channels(self, channels: list[int]) -> int:
        return sum(channels)


@dataclass(frozen=True)
class Crop(Unlearned):
    """A volume cut to the size of a second input: at its middle, or `low` samples at the low end of every axis.

    most: how many samples may go along each axis; by default as many as there are.

    >>> str(Crop(low=2).output(Volume(8, (12, 9)), Volume(3, (6, 7))))
    '6x7x8'
    """

    low: int | None = None
    most: tuple[int, ...] | None = None
    word: ClassVar[str] = "crop"
    reads = 2
    gives_scores = True

    @property
    def locality(self) -> Locality:
        return Locality.POSITIONAL if self.low is None else Locality.WINDOWED

    def output(self, volume: Volume, like: Volume) -> Volume:
        check_axes("a volume to crop", volume, len(like.size))
        surplus = [have - want for have, want in zip(volume.size, like.size, strict=True)]
        for more, most in zip(surplus, self.most or volume.size, strict=True):
            if not (self.low or 0) <= more <= most:
                got = f"a volume {volume} for a size of {'x'.join(map(str, like.size))}"
                expected = f"{self.low or 0} to {most} samples more than that along every axis"
                raise ShapeError("crop", got=got, expected=expected)
        return Volume(volume.channels, like.size)

    def access(self, volume: Volume, like: Volume) -> AccessPattern:
        return First(Cropped((shapes.cuts(volume.size, like.size, self.low),), Pointwise()))

    def torch_module(self, *volumes: Volume) -> ModuleSpec:
        return ModuleSpec.of("torchconv.language.modules.CropTo", self.low)
