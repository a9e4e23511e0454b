"""Operations that leave the volume as it is: activations, normalisations, scaling, dropout, softmax. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..description.axis import positive
from ..errors import SettingError, ShapeError
from .operations import Operation, Volume


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
class Scale(Elementwise):
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
