"""What is to be computed, whatever the words were: a part of the full convolution over the last axes of two arrays.

The full convolution of sizes n and k has n + k - 1 numbers; every mode is a range of them. Correlation is convolution
with one operand reversed, and the gradients of a range are again ranges, so nothing else needs to be known below.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Job:
    """Shapes (*batch, *size) of both operands and the range of the full convolution that is wanted.

    first, second: shapes of the operands, of one rank; batch sizes are equal or 1. The second has fewer taps.
    spans: (start, stop) per convolved axis; the convolved axes are the last.
    kind: numpy's name of the type of the numbers. tensors: whether they are torch's, on a device that NumPy cannot see.
    """

    first: tuple[int, ...]
    second: tuple[int, ...]
    spans: Spans
    kind: str
    tensors: bool = False

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:  # jobs are keys of every table, at every call
        return hash((self.first, self.second, self.spans, self.kind))

    @cached_property
    def ndim(self) -> int:
        """Number of convolved axes."""
        return len(self.spans)

    @cached_property
    def size(self) -> tuple[int, ...]:
        """Sizes of the first operand along the convolved axes."""
        return self.first[len(self.first) - self.ndim :]

    @cached_property
    def taps(self) -> tuple[int, ...]:
        """Sizes of the second operand along the convolved axes."""
        return self.second[len(self.second) - self.ndim :]

    @cached_property
    def full(self) -> tuple[int, ...]:
        """Sizes of the full convolution."""
        return tuple(size + taps - 1 for size, taps in zip(self.size, self.taps, strict=True))

    @cached_property
    def outputs(self) -> tuple[int, ...]:
        """Sizes of the wanted part."""
        return tuple(stop - start for start, stop in self.spans)

    @cached_property
    def batch(self) -> tuple[int, ...]:
        """The other axes of the result."""
        places = range(len(self.first) - self.ndim)
        return tuple(self.first[place] if self.second[place] == 1 else self.second[place] for place in places)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of the result."""
        return self.batch + self.outputs

    @property
    def one_kernel(self) -> bool:
        """Whether the second operand is the same for all of the batch."""
        return prod(self.second[: len(self.second) - self.ndim]) == 1

    @property
    def is_complex(self) -> bool:
        """Whether the numbers are complex."""
        return self.kind.startswith("complex")

    @property
    def is_single(self) -> bool:
        """Whether the numbers have 24 bits of precision."""
        return self.kind in ("float32", "complex64")


def spans_of(mode: str, first: tuple[int, ...], second: tuple[int, ...]) -> Spans:
    """The range of the full convolution that a mode means, per axis, for the sizes as the caller ordered them."""
    if mode == "full":
        return tuple((0, n + k - 1) for n, k in zip(first, second, strict=True))
    if mode == "same":
        return tuple(((k - 1) // 2, (k - 1) // 2 + n) for n, k in zip(first, second, strict=True))
    return tuple((min(n, k) - 1, max(n, k)) for n, k in zip(first, second, strict=True))
