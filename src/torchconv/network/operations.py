"""What a node of a network does: volumes in, a volume out, parameters and multiply-accumulates. No torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from ..description import shapes
from ..description.axis import positive
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


class Elementwise(Operation):
    """An operation whose output has the volume of its input."""

    def output(self, volume: Volume) -> Volume:
        return volume


@dataclass(frozen=True)
class Activation(Elementwise):
    """A function of every value on its own; `word` says which, by torch's names."""

    word: str = "relu"
    words: ClassVar[tuple[str, ...]] = ("relu", "leakyrelu", "elu", "gelu", "silu", "tanh", "sigmoid")

    def __post_init__(self) -> None:
        if self.word not in self.words:
            raise SettingError("activation", got=repr(self.word), expected=f"one of {', '.join(self.words)}")


@dataclass(frozen=True)
class Norm(Elementwise):
    """Values to mean 0 and variance 1 over a set of them, then scaled and shifted channel by channel.

    kind: "batch", each channel over the batch (Ioffe, Szegedy 2015); "layer", "instance" and "group", each image over
    all channels, each one, or `groups` of them (Wu, He 2018); "local" divides by neighbouring channels and learns
    nothing (Krizhevsky et al. 2012, section 3.3). momentum: the new batch's share in the running statistics.
    """

    kind: str = "batch"
    groups: int = 32
    momentum: float = 0.1
    eps: float = 1e-5
    word = "norm"
    kinds: ClassVar[tuple[str, ...]] = ("batch", "layer", "instance", "group", "local")

    def __post_init__(self) -> None:
        if self.kind not in self.kinds:
            raise SettingError("normalisation", got=repr(self.kind), expected=f"one of {', '.join(self.kinds)}")
        positive("groups", self.groups)
        if not 0 < self.momentum <= 1:
            raise SettingError("momentum", got=self.momentum, expected="a number above 0, at most 1")
        if not 0 < self.eps < 1:
            raise SettingError("eps", got=self.eps, expected="a number between 0 and 1")

    def output(self, volume: Volume) -> Volume:
        if self.kind == "group" and volume.channels % self.groups:
            raise ShapeError("NORM", got=f"{self.groups} groups", expected=f"a divisor of {volume.channels} channels")
        if self.kind in ("instance", "local") and not volume.size:
            raise ShapeError(f"NORM[{self.kind}]", got=f"a volume {volume}", expected="axes and channels")
        return volume

    def parameters(self, volume: Volume) -> int:
        return 0 if self.kind == "local" else 2 * volume.channels


@dataclass(frozen=True)
class ScaleChannels(Elementwise):
    """Every channel times a coefficient plus a bias, both learned (LeCun et al. 1998, section II.B)."""

    word = "scale"

    def parameters(self, volume: Volume) -> int:
        return 2 * volume.channels

    def macs(self, volume: Volume) -> int:
        return volume.numel


@dataclass(frozen=True)
class Dropout(Elementwise):
    """Values set to zero at random while training, the rest scaled up (Srivastava et al. 2014)."""

    rate: float = 0.5
    word = "dropout"

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise SettingError("dropout rate", got=self.rate, expected="a number from 0 to below 1")


@dataclass(frozen=True)
class Softmax(Elementwise):
    """Scores to probabilities over the channels."""

    word = "softmax"


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
