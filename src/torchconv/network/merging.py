"""Operations that make one volume of several: the residual sum, and concatenation over the channels. No torch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from ..description import shapes
from ..errors import ShapeError
from .operations import Operation, Volume


@dataclass(frozen=True)
class Merge(Operation):
    """Volumes of equal sizes into one; with `crop`, larger ones lose what they have more, as much at either side."""

    crop: bool = False
    reads = None

    def output(self, *volumes: Volume) -> Volume:
        sizes = {volume.size for volume in volumes}
        if len(sizes) > 1 and (not self.crop or len({len(size) for size in sizes}) > 1):
            fix = "" if self.crop else f"{self.word.upper()}[crop] cuts them to the smallest."
            shown = ", ".join(str(volume) for volume in volumes)
            raise ShapeError(self.word, got=f"volumes {shown}", expected="equal sizes", fix=fix)
        return Volume(self._channels([volume.channels for volume in volumes]), tuple(map(min, *self._sizes(volumes))))

    def cuts(self, *volumes: Volume) -> Iterator[tuple[tuple[int, int], ...]]:
        """For each volume how many samples go at the (low, high) end of each axis; the odd one at the high end."""
        size = self.output(*volumes).size
        return (shapes.central_cut(volume.size, size) for volume in volumes)

    @staticmethod
    def _sizes(volumes: tuple[Volume, ...]) -> list[tuple[int, ...]]:
        return [volume.size for volume in volumes]

    @abstractmethod
    def _channels(self, channels: list[int]) -> int:
        """Of the output."""


@dataclass(frozen=True)
class Sum(Merge):
    """Values added place by place: a residual connection (He et al. 2016)."""

    word = "sum"

    def _channels(self, channels: list[int]) -> int:
        if len(set(channels)) > 1:
            got = " and ".join(map(str, channels))
            raise ShapeError("sum", got=f"{got} channels", expected="as many in every branch")
        return channels[0]


@dataclass(frozen=True)
class Concat(Merge):
    """Channels of one after those of the other (Szegedy et al. 2015; Ronneberger et al. 2015)."""

    word = "concat"

    def _channels(self, channels: list[int]) -> int:
        return sum(channels)
