"""Operations: what a node of a network does, all that there is to know of it in one class. No torch.

An operation says its name, the volume that comes out, its parameters and multiply-accumulates, which elements it reads,
how local it is, and which torch module does it. A new one needs its class here, its word in `language.words`, and its
row in the table of ATen operators.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np

from ..description import shapes
from ..description.axis import Axis, positive
from ..description.convolution import Convolution
from ..description.resampling import Resampling
from ..errors import SettingError, ShapeError
from ..receptive.access import AccessPattern, Everything, First, Mix, Pointwise, Resize, Shuffle, SlidingWindows
from .base import Elementwise, Locality, ModuleSpec, Operation, Unlearned, Volume, check_axes


@dataclass(frozen=True)
class Input(Elementwise):
    """The image that goes in."""

    volume: Volume
    word: ClassVar[str] = "input"
    reads = 0

    def output(self) -> Volume:
        return self.volume

    def torch_module(self, *volumes: Volume) -> ModuleSpec:
        return ModuleSpec.of("torch.nn.Identity")

    def __str__(self) -> str:
        return ""


@dataclass(frozen=True)
class Convolve(Operation):
    """Any convolution of the family."""

    convolution: Convolution
    word: ClassVar[str] = "conv"
    gives_scores = True

    @property
    def axes(self) -> tuple[Axis, ...]:  # type: ignore[override]
        return self.convolution.axes

    @property
    def locality(self) -> Locality:
        return Locality.POSITIONAL if self.convolution.sharing.needs_size else Locality.WINDOWED

    def output(self, volume: Volume) -> Volume:
        if volume.channels != self.convolution.in_channels or len(volume.size) != self.convolution.ndim:
            expected = f"{self.convolution.in_channels} channels on {self.convolution.ndim} axes"
            raise ShapeError(f"convolution {self.convolution}", got=f"a volume {volume}", expected=expected)
        return Volume(self.convolution.out_channels, self.convolution.output_size(volume.size))

    def parameters(self, volume: Volume) -> int:
        return self.convolution.parameters(volume.size)

    def macs(self, volume: Volume) -> int:
        return self.convolution.macs(volume.size)

    def macs_ignoring_borders(self, volume: Volume) -> int:
        return self.convolution.macs_ignoring_borders(volume.size)

    def access(self, *volumes: Volume) -> AccessPattern:
        return SlidingWindows(self.convolution.axes, self.convolution.channels)

    def torch_module(self, volume: Volume) -> ModuleSpec:
        conv = self.convolution
        needs_size = conv.sharing.needs_size or (conv.bias and conv.bias_sharing.needs_size)
        return ModuleSpec.of("torchconv.nn.conv.Conv.of", conv, input_size=volume.size if needs_size else None)

    def __str__(self) -> str:
        return f"{self.convolution}"


@dataclass(frozen=True)
class Upsample(Unlearned):
    """Every axis `factors` times as long: each value repeated ("nearest"), or interpolated ("linear").

    to_size: the output has the size of a second input, less than `factor` samples away, as images have that were halved
    and rounded: at the high end samples are cut off, or the last one goes on.

    >>> str(Upsample((2, 2), to_size=True).output(Volume(8, (180, 240)), Volume(4, (361, 480))))
    '361x480x8'
    """

    factors: tuple[int, ...]
    mode: str = "nearest"
    to_size: bool = False
    word: ClassVar[str] = "upsample"
    locality: ClassVar[Locality] = Locality.WINDOWED
    gives_scores = True
    modes = ("nearest", "linear")

    def __post_init__(self) -> None:
        _check_choice("up-sampling mode", self.mode, self.modes)

    @property
    def reads(self) -> int:  # type: ignore[override]
        return 1 + self.to_size

    def output(self, volume: Volume, like: Volume | None = None) -> Volume:
        for one in (volume, like or volume):
            check_axes("up-sampling", one, len(self.factors))
        targets = like.size if like else (None,) * len(self.factors)
        each = zip(volume.size, self.factors, targets, strict=True)
        return Volume(volume.channels, tuple(shapes.enlarged(*one) for one in each))

    def access(self, volume: Volume, like: Volume | None = None) -> AccessPattern:
        sizes = zip(volume.size, self.factors, self.output(volume, like).size, strict=True)
        way = Resize(tuple(Resampling(size, out, self.mode, scale=Fraction(1, by)) for size, by, out in sizes))
        return First(way) if like else way

    def torch_module(self, volume: Volume, like: Volume | None = None) -> ModuleSpec:
        path, factors = "torch.nn.Upsample", tuple(map(float, self.factors))
        if like:
            path = "torchconv.language.modules.UpsampleTo"
        if self.mode == "nearest":
            # torch's "nearest" multiplies with 1 / factor, which repeats some values once too often if it is too small
            short = any(Fraction(float(np.float32(1 / by))) < Fraction(1, by) for by in self.factors)
            return ModuleSpec.of(path, scale_factor=factors, mode="nearest-exact" if short else "nearest")
        mode = ("linear", "bilinear", "trilinear")[len(volume.size) - 1]
        return ModuleSpec.of(path, scale_factor=factors, mode=mode, align_corners=False)


@dataclass(frozen=True)
class ShufflePixels(Unlearned):
    """Depth to space: `factor` times as long on every axis, of factor ** axes as many channels (Shi et al. 2016).

    Channel c * factor ** axes + k goes to channel c, at place k of a block of `factor` places along each axis, the last
    axis changing fastest.

    >>> str(ShufflePixels(2).output(Volume(12, (4, 5))))
    '8x10x3'
    """

    factor: int = 2
    word: ClassVar[str] = "pixelshuffle"
    locality: ClassVar[Locality] = Locality.WINDOWED
    gives_scores = True

    def __post_init__(self) -> None:
        positive("factor of PIXELSHUFFLE", self.factor)

    def output(self, volume: Volume) -> Volume:
        block = self.factor ** len(volume.size)
        if not volume.size or volume.channels % block:
            expected = f"axes, and a multiple of {block} channels" if volume.size else "axes and channels"
            raise ShapeError(f"PIXELSHUFFLE[{self.factor}]", got=f"a volume {volume}", expected=expected)
        return Volume(volume.channels // block, tuple(length * self.factor for length in volume.size))

    def access(self, volume: Volume) -> AccessPattern:
        return Shuffle(self.factor, len(volume.size))

    def torch_module(self, volume: Volume) -> ModuleSpec:
        own = "torchconv.language.modules.DepthToSpace"
        return ModuleSpec.of("torch.nn.PixelShuffle" if len(volume.size) == 2 else own, self.factor)


@dataclass(frozen=True)
class FullyConnected(Operation):
    """Every output reads every value of the input, which is flattened first."""

    features: int
    bias: bool = True
    word: ClassVar[str] = "fc"
    locality: ClassVar[Locality] = Locality.POSITIONAL
    gives_scores = True

    def output(self, volume: Volume) -> Volume:
        return Volume(self.features)

    def parameters(self, volume: Volume) -> int:
        return self.features * (volume.numel + self.bias)

    def macs(self, volume: Volume) -> int:
        return self.features * volume.numel

    def access(self, volume: Volume) -> AccessPattern:
        return Everything((1, self.features))

    def torch_module(self, volume: Volume) -> ModuleSpec:
        path = "torchconv.language.modules.FlattenedLinear"
        return ModuleSpec.of(path, volume.numel, self.features, self.bias)


def _check_choice(what: str, got: str, known: tuple[str, ...]) -> None:
    if got not in known:
        raise SettingError(what, got=repr(got), expected=f"one of {', '.join(known)}")


@dataclass(frozen=True)
class Activation(Elementwise):
    """A function of every value on its own; `word` says which, by torch's names in small letters."""

    word: str = "relu"
    classes: ClassVar[tuple[str, ...]] = ("ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "Tanh", "Sigmoid")
    words: ClassVar[tuple[str, ...]] = tuple(map(str.lower, classes))

    def __post_init__(self) -> None:
        _check_choice("activation", self.word, self.words)

    def torch_module(self, *volumes: Volume) -> ModuleSpec:
        return ModuleSpec.of(f"torch.nn.{self.classes[self.words.index(self.word)]}")


@dataclass(frozen=True)
class Norm(Elementwise):
    """Values to mean 0 and variance 1 over a set of them, then scaled and shifted channel by channel.

    kind: "batch", each channel over the batch (Ioffe, Szegedy 2015), by known statistics in use; "layer", "instance"
    and "group", each image over all channels, each one, or `groups` of them (Wu, He 2018); "local" divides by
    neighbouring channels and learns nothing (Krizhevsky et al. 2012, section 3.3). momentum: the new batch's share in
    the running statistics.
    """

    kind: str = "batch"
    groups: int = 32
    momentum: float = 0.1
    eps: float = 1e-5
    word: ClassVar[str] = "norm"
    kinds: ClassVar[tuple[str, ...]] = ("batch", "layer", "instance", "group", "local")

    def __post_init__(self) -> None:
        _check_choice("normalisation", self.kind, self.kinds)
        positive("groups", self.groups)
        if not 0 < self.momentum <= 1:
            raise SettingError("momentum", got=self.momentum, expected="a number above 0, at most 1")
        if not 0 < self.eps < 1:
            raise SettingError("eps", got=self.eps, expected="a number between 0 and 1")

    @property
    def title(self) -> str:
        return f"{self.kind}norm"

    @property
    def locality(self) -> Locality:  # type: ignore[override]
        return Locality.POINTWISE if self.kind in ("batch", "local") else Locality.GLOBAL

    def output(self, volume: Volume) -> Volume:
        if self.kind == "group" and volume.channels % self.groups:
            raise ShapeError("NORM", got=f"{self.groups} groups", expected=f"a divisor of {volume.channels} channels")
        if self.kind in ("instance", "local") and not volume.size:
            raise ShapeError(f"NORM[{self.kind}]", got=f"a volume {volume}", expected="axes and channels")
        return volume

    def parameters(self, volume: Volume) -> int:
        return 0 if self.kind == "local" else 2 * volume.channels

    def access(self, volume: Volume) -> AccessPattern:
        if self.kind in ("batch", "local"):
            return Pointwise()
        places = tuple(range(2, 2 + len(volume.size)))
        return Mix(places if self.kind == "instance" else (1, *places))

    def torch_module(self, volume: Volume) -> ModuleSpec:
        if self.kind == "local":  # five neighbours and the constants of Krizhevsky et al. 2012, section 3.3
            return ModuleSpec.of("torch.nn.LocalResponseNorm", 5, alpha=5e-4, beta=0.75, k=2.0)
        if self.kind == "batch":
            path = f"torch.nn.BatchNorm{max(len(volume.size), 1)}d"
            return ModuleSpec.of(path, volume.channels, self.eps, self.momentum)
        groups = {"layer": 1, "instance": volume.channels}.get(self.kind, self.groups)
        return ModuleSpec.of("torch.nn.GroupNorm", groups, volume.channels, self.eps)


@dataclass(frozen=True)
class ScaleChannels(Elementwise):
    """Every channel times a coefficient plus a bias, both learned (LeCun et al. 1998, section II.B)."""

    word: ClassVar[str] = "scale"

    def parameters(self, volume: Volume) -> int:
        return 2 * volume.channels

    def macs(self, volume: Volume) -> int:
        return volume.numel

    def torch_module(self, volume: Volume) -> ModuleSpec:
        return ModuleSpec.of("torchconv.language.modules.ChannelScale", volume.channels)


@dataclass(frozen=True)
class Dropout(Elementwise):
    """Values set to zero at random while training, the rest scaled up (Srivastava et al. 2014)."""

    rate: float = 0.5
    word: ClassVar[str] = "dropout"

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise SettingError("dropout rate", got=self.rate, expected="a number from 0 to below 1")

    def torch_module(self, *volumes: Volume) -> ModuleSpec:
        return ModuleSpec.of("torch.nn.Dropout", self.rate)


@dataclass(frozen=True)
class Softmax(Elementwise):
    """Scores to probabilities over the channels."""

    word: ClassVar[str] = "softmax"

    def access(self, *volumes: Volume) -> AccessPattern:
        return Mix((1,))

    def torch_module(self, *volumes: Volume) -> ModuleSpec:
        return ModuleSpec.of("torch.nn.Softmax", dim=1)
