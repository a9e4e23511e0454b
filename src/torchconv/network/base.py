"""What every operation of a network has to say: the base class, its values, and operations seen in a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from enum import Enum
from math import prod
from typing import Any, ClassVar

from ..description.axis import Axis
from ..description.convolution import Convolution
from ..errors import ShapeError, UnsupportedError
from ..receptive.access import AccessPattern, Pointwise


@dataclass(frozen=True)
class Volume:
    """Channels times a size per axis; written with the sizes first: 32x32x3.

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


@dataclass(frozen=True)
class TensorVolume(Volume):
    """Several images, or a tensor with any axes; `channels` and `size` are those of its shape after the batch."""

    shape: tuple[int, ...] = ()

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Volume:
        """A volume where it is one image, else the tensor; the batch is counted by `numel`.

        >>> str(TensorVolume.of((1, 3, 8, 8))), str(TensorVolume.of((5, 3)))
        ('8x8x3', '(5, 3)')
        """
        shape = tuple(shape)
        if len(shape) >= 2 and shape[0] == 1:
            return Volume(shape[1], shape[2:])
        return cls(shape[1] if len(shape) > 1 else 1, shape[2:], shape)

    @property
    def numel(self) -> int:
        """Number of values."""
        return self.channels * prod(self.size) * (self.shape[0] if self.shape else 1)

    def __str__(self) -> str:
        return str(self.shape)


def check_axes(what: str, volume: Volume, ndim: int) -> None:
    """Raises ShapeError unless the volume has so many axes, and channels."""
    if len(volume.size) != ndim:
        raise ShapeError(what, got=f"a volume {volume}", expected=f"{ndim} axes and channels")


class Locality(Enum):
    """What of its input an output at a place depends on, and whether by one function for all places.

    POINTWISE: the same place of every input, by one function. WINDOWED: a window of bounded size around the place, by
    one function, or by finitely many that take turns, as in tiled convolutions and up-sampling. GLOBAL: the whole
    extent, by a function that does not ask where things are: it takes statistics over all places. POSITIONAL: the
    function, or what it reads, depends on which place it is or on the size of the input, as with unshared weights.

    So POINTWISE and WINDOWED operations commute with shifts by their stride, go on over larger inputs, and can be
    computed in tiles with a halo; a GLOBAL one needs a pass over all tiles first; a POSITIONAL one has to be told where
    a tile lies. Borders are left out of account.
    """

    POINTWISE = "pointwise"
    WINDOWED = "windowed"
    GLOBAL = "global"
    POSITIONAL = "positional"


@dataclass(frozen=True)
class ModuleSpec:
    """A torch module as plain data: what to call, by its import path, and with which arguments.

    >>> ModuleSpec.of("torch.nn.Dropout", 0.5)
    ModuleSpec(path='torch.nn.Dropout', arguments=(0.5,), settings=())
    """

    path: str
    arguments: tuple[Any, ...] = ()
    settings: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, path: str, *arguments: Any, **settings: Any) -> ModuleSpec:
        """As the call is written."""
        return cls(path, arguments, tuple(settings.items()))


class Operation(ABC):
    """One kind of layer; an immutable value.

    reads: how many volumes go in; None where any number of them, two or more, can. rank: how many axes they must have,
    None for any. axes: those of windows. known: whether its numbers are sure; notes: why not. gives_scores: whether any
    number can come out, so that it can give scores.
    """

    reads: int | None = 1
    rank: int | None = None
    axes: tuple[Axis, ...] = ()
    convolution: Convolution | None = None
    known: bool = True
    notes: tuple[str, ...] = ()
    gives_scores: bool = False

    @property
    @abstractmethod
    def word(self) -> str:
        """Its name in the names of nodes and modules."""

    @property
    @abstractmethod
    def locality(self) -> Locality:
        """What sliding, equivariance and tiling ask."""

    @abstractmethod
    def output(self, *volumes: Volume) -> Volume:
        """The volume that comes out; raises ShapeError if these cannot go in."""

    @abstractmethod
    def parameters(self, *volumes: Volume) -> int:
        """Number of learned values."""

    @abstractmethod
    def macs(self, *volumes: Volume) -> int:
        """Multiply-accumulates for one image, exact."""

    @abstractmethod
    def access(self, *volumes: Volume) -> AccessPattern:
        """Which elements of these volumes, as tensors (1, channels, *size), each element of the output reads."""

    @abstractmethod
    def torch_module(self, *volumes: Volume) -> ModuleSpec:
        """The torch module that does it."""

    @property
    def title(self) -> str:
        """Its name in tables."""
        return self.word

    def macs_ignoring_borders(self, *volumes: Volume) -> int:
        """Nominal multiply-accumulates: those with padding counted too."""
        return self.macs(*volumes)

    def __str__(self) -> str:
        """What was chosen of it, in a few words: choices by name first, then what differs from the defaults."""
        words: list[str] = []
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, str) and field.name != "word":
                words.insert(0, value)
            elif not isinstance(value, str) and value != field.default:
                words.append(f"{field.name} {value}")
        return ", ".join(words)


class Unlearned(Operation):
    """An operation without learned values and without products."""

    def parameters(self, *volumes: Volume) -> int:
        return 0

    def macs(self, *volumes: Volume) -> int:
        return 0


class Elementwise(Unlearned):
    """An operation whose output has the volume of its input, each element depending on the one at its place."""

    locality: ClassVar[Locality] = Locality.POINTWISE

    def output(self, volume: Volume) -> Volume:
        return volume

    def access(self, *volumes: Volume) -> AccessPattern:
        return Pointwise()


@dataclass(frozen=True)
class Recorded(Operation):
    """An operation seen while a model ran; its numbers are those that were found then.

    kind: its name in tables. pattern: which elements it reads. known: whether that, and the numbers, are sure.
    weights, exact, nominal: learned values; multiply-accumulates; those with padding counted too.
    module: where in the model; bytes: of the output.
    """

    kind: str
    pattern: AccessPattern
    volume: Volume
    inputs: int = 1
    weights: int = 0
    exact: int = 0
    nominal: int = 0
    known: bool = True
    convolution: Convolution | None = None
    axes: tuple[Axis, ...] = ()
    module: str = ""
    bytes: int = 0
    locality: Locality = Locality.POINTWISE
    notes: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        return self.kind

    @property
    def reads(self) -> int:  # type: ignore[override]
        return self.inputs

    def output(self, *volumes: Volume) -> Volume:
        return self.volume

    def parameters(self, *volumes: Volume) -> int:
        return self.weights

    def macs(self, *volumes: Volume) -> int:
        return self.exact

    def macs_ignoring_borders(self, *volumes: Volume) -> int:
        return self.nominal

    def access(self, *volumes: Volume) -> AccessPattern:
        return self.pattern

    def torch_module(self, *volumes: Volume) -> ModuleSpec:
        raise UnsupportedError(f"a module of {self.word}, which was recorded", fix="Take the model that it is part of.")
