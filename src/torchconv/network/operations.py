"""What a node of a network does: volumes in, a volume out, parameters and multiply-accumulates. No torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import prod

from ..description import shapes
from ..description.axis import Axis
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
    """One kind of layer. `word` names it in texts, tables and module names."""

    word: str

    @abstractmethod
    def output(self, volume: Volume) -> Volume:
        """The volume that comes out; raises ShapeError if `volume` cannot go in."""

    def parameters(self, volume: Volume) -> int:
        """Number of learned values."""
        return 0

    def macs(self, volume: Volume) -> int:
        """Multiply-accumulates for one image."""
        return 0


@dataclass(frozen=True)
class Input(Operation):
    """The image that goes in."""

    volume: Volume
    word = "input"

    def output(self, volume: Volume) -> Volume:
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
class Pool(Operation):
    """A statistic of every window, channel by channel: "max" or "mean"; padding never counts as data."""

    axes: tuple[Axis, ...]
    statistic: str = "max"
    word = "pool"
    statistics = ("max", "mean")

    def __post_init__(self) -> None:
        if self.statistic not in self.statistics:
            raise SettingError(
                "pooling statistic", got=repr(self.statistic), expected=f"one of {', '.join(self.statistics)}"
            )

    def output(self, volume: Volume) -> Volume:
        if len(volume.size) != len(self.axes):
            raise ShapeError("pooling", got=f"a volume {volume}", expected=f"{len(self.axes)} axes and channels")
        outputs = shapes.output_sizes(self.axes, volume.size, "pooling")
        for axis, size in zip(self.axes, volume.size, strict=True):
            if axis.padding != (0, 0) and (shapes.sources(axis, size) < 0).all(axis=1).any():
                raise ShapeError(
                    "pooling", got=f"a window on padding only (padding {axis.padding})", expected="less padding"
                )
        return Volume(volume.channels, outputs)


@dataclass(frozen=True)
class Activation(Operation):
    """A function of every value on its own."""

    word: str = "relu"
    words = ("relu",)

    def output(self, volume: Volume) -> Volume:
        return volume


@dataclass(frozen=True)
class Norm(Operation):
    """Batch normalisation: every channel to mean 0 and variance 1, then scaled and shifted (Ioffe, Szegedy 2015)."""

    word = "norm"

    def output(self, volume: Volume) -> Volume:
        return volume

    def parameters(self, volume: Volume) -> int:
        return 2 * volume.channels


@dataclass(frozen=True)
class Dropout(Operation):
    """Values set to zero at random while training, the rest scaled up (Srivastava et al. 2014)."""

    rate: float = 0.5
    word = "dropout"

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise SettingError("dropout rate", got=self.rate, expected="a number from 0 to below 1")

    def output(self, volume: Volume) -> Volume:
        return volume


@dataclass(frozen=True)
class FullyConnected(Operation):
    """Every output reads every value of the input, which is flattened first."""

    features: int
    word = "fc"

    def output(self, volume: Volume) -> Volume:
        return Volume(self.features)

    def parameters(self, volume: Volume) -> int:
        return self.features * (volume.numel + 1)

    def macs(self, volume: Volume) -> int:
        return self.features * volume.numel


@dataclass(frozen=True)
class Softmax(Operation):
    """Scores to probabilities over the channels."""

    word = "softmax"

    def output(self, volume: Volume) -> Volume:
        return volume
