"""What a node of a network does: volumes in, a volume out, parameters and multiply-accumulates. No torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import prod

from ..description.convolution import Convolution
from ..errors import SettingError, ShapeError


@dataclass(frozen=True)
class Volume:
    """Channels times a size per axis; written as the notes do, sizes first: 32x32x3.

    >>> str(Volume(3, (32, 32))), Volume.parse("32x32x3").numel
    ('32x32x3', 3072)
    """

    channels: int
    size: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Volume:
        """The inverse of str()."""
        *size, channels = (int(part) for part in text.split("x"))
        return cls(channels, tuple(size))

    @property
    def numel(self) -> int:
        """Number of values."""
        return self.channels * prod(self.size)

    def __str__(self) -> str:
        return "x".join(str(number) for number in (*self.size, self.channels))


class Operation(ABC):
    """One kind of layer. `word` names it in tables and module names; `reads` is how many volumes go in.

    `reads` is None where any number of them, two or more, can.
    """

    word: str
    reads: int | None = 1

    @abstractmethod
    def output(self, *volumes: Volume) -> Volume:
        """The volume that comes out; raises ShapeError if these cannot go in."""

    def parameters(self, *volumes: Volume) -> int:
        """Number of learned values."""
        return 0

    def macs(self, *volumes: Volume) -> int:
        """Multiply-accumulates for one image."""
        return 0


@dataclass(frozen=True)
class Input(Operation):
    """The image that goes in."""

    volume: Volume
    word = "input"
    reads = 0

    def output(self) -> Volume:
        return self.volume


@dataclass(frozen=True)
class Convolve(Operation):
    """Any convolution of the family."""

    convolution: Convolution
    word = "conv"

    def output(self, volume: Volume) -> Volume:
        if volume.channels != self.convolution.in_channels or len(volume.size) != self.convolution.ndim:
            raise ShapeError(
                f"convolution {self.convolution}",
                got=f"a volume {volume}",
                expected=f"{self.convolution.in_channels} channels on {self.convolution.ndim} axes",
            )
        return Volume(self.convolution.out_channels, self.convolution.output_size(volume.size))

    def parameters(self, volume: Volume) -> int:
        return self.convolution.parameters(volume.size)

    def macs(self, volume: Volume) -> int:
        return self.convolution.macs(volume.size)


@dataclass(frozen=True)
class Upsample(Operation):
    """Every axis `factors` times as long: each value repeated ("nearest"), or interpolated ("linear")."""

    factors: tuple[int, ...]
    mode: str = "nearest"
    word = "upsample"
    modes = ("nearest", "linear")

    def __post_init__(self) -> None:
        _check_choice("up-sampling mode", self.mode, self.modes)

    def output(self, volume: Volume) -> Volume:
        if len(volume.size) != len(self.factors):
            raise ShapeError("up-sampling", got=f"a volume {volume}", expected=f"{len(self.factors)} axes and channels")
        size = tuple(length * factor for length, factor in zip(volume.size, self.factors, strict=True))
        return Volume(volume.channels, size)


@dataclass(frozen=True)
class FullyConnected(Operation):
    """Every output reads every value of the input, which is flattened first."""

    features: int
    bias: bool = True
    word = "fc"

    def output(self, volume: Volume) -> Volume:
        return Volume(self.features)

    def parameters(self, volume: Volume) -> int:
        return self.features * (volume.numel + self.bias)

    def macs(self, volume: Volume) -> int:
        return self.features * volume.numel


def _check_choice(what: str, got: str, known: tuple[str, ...]) -> None:
    if got not in known:
        raise SettingError(what, got=repr(got), expected=f"one of {', '.join(known)}")
