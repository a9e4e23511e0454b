"""One call of an ATen operator, and what it does in the words of `network`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from ...description.axis import Axis
from ...description.convolution import Convolution
from ...network.base import Locality
from ...receptive.access import AccessPattern, Pointwise

POINTWISE, WINDOWED = Locality.POINTWISE, Locality.WINDOWED
GLOBAL, POSITIONAL = Locality.GLOBAL, Locality.POSITIONAL


@dataclass(frozen=True)
class OperatorCall:
    """An operator with its arguments by name, and the tensors that came out.

    depends: whether a tensor follows from the network's input.
    """

    name: str
    given: dict[str, Any]
    results: tuple[Tensor, ...]
    depends: Callable[[Tensor], bool]

    def __getitem__(self, name: str) -> Any:
        return self.given[name]

    @property
    def out(self) -> Tensor:
        """The first result."""
        return self.results[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the first result."""
        return tuple(self.out.shape)

    @property
    def x(self) -> Tensor:
        """The first tensor among the arguments."""
        return next(self.tensors())

    @property
    def dim(self) -> int:
        """The axis of x that the argument `dim` names, counted from the front."""
        return int(self.given["dim"]) % max(self.x.ndim, 1)

    @cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        """The tensors among the arguments that follow from the network's input."""
        return tuple(one for one in self.tensors() if self.depends(one))

    def numbers(self, tensor: Tensor) -> Tensor | None:
        """Those of a constant, if they are at hand."""
        return None if isinstance(tensor, FakeTensor) or self.depends(tensor) else tensor

    def tensors(self) -> Iterator[Tensor]:
        """All tensors among the arguments."""
        for value in self.given.values():
            many = value if isinstance(value, list | tuple) else [value]
            yield from (one for one in many if isinstance(one, Tensor))


@dataclass(frozen=True)
class Draft:
    """The node that one result of a call becomes: how it reads, and what that takes. No word: none, it is its input."""

    word: str
    pattern: AccessPattern = field(default_factory=Pointwise)
    inputs: tuple[Tensor, ...] | None = None
    exact: int = 0
    nominal: int | None = None
    convolution: Convolution | None = None
    axes: tuple[Axis, ...] = ()
    known: bool = True
    locality: Locality = Locality.POINTWISE
    note: str = ""


Drafts = tuple[Draft, ...]  # one for each result, where they are not one node


def table(rows: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """Rows of one length, filled up with -1 for none."""
    width = max([1, *map(len, rows)])
    return tuple((*row, *[-1] * (width - len(row))) for row in rows)


def before(length: int) -> tuple[tuple[int, ...], ...]:
    """For each place those up to it."""
    return table([range(at + 1) for at in range(length)])


def spread(value: Any, ndim: int, default: Any = None) -> tuple[int, ...]:
    """One number per axis, as torch takes them: none (the default), one for all, or each."""
    values = list(value) if isinstance(value, list | tuple) else [value]
    if not values:
        return spread(default, ndim)
    return tuple(int(one) for one in (values * ndim if len(values) == 1 else values))
