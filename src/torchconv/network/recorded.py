"""An operation that was seen while a model ran: its numbers are those that were found then. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..description.convolution import Convolution
from ..receptive.access import AccessPattern
from .operations import Operation, Volume


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
        return self.channels * _product(self.size) * (self.shape[0] if self.shape else 1)

    def __str__(self) -> str:
        return str(self.shape)


@dataclass(frozen=True)
class Recorded(Operation):
    """What a model did at one place, and what that took.

    word: its name in tables. pattern: which elements it reads; known: whether that, and the numbers, are sure.
    customary: multiply-accumulates with those on padding, as most programs count.
    """

    word: str
    pattern: AccessPattern
    volume: Volume
    inputs: int = 1
    weights: int = 0
    exact: int = 0
    customary: int = 0
    known: bool = True
    convolution: Convolution | None = None
    axes: tuple = ()
    module: str = ""
    bytes: int = 0
    equivariant: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def reads(self) -> int:  # type: ignore[override]
        return self.inputs

    def output(self, *volumes: Volume) -> Volume:
        return self.volume

    def parameters(self, *volumes: Volume) -> int:
        return self.weights

    def macs(self, *volumes: Volume) -> int:
        return self.exact


def _product(size: tuple[int, ...]) -> int:
    found = 1
    for length in size:
        found *= length
    return found
