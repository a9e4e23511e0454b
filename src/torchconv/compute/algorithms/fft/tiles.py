"""Tiles of an image that overlap by kernel - 1 samples, their transforms, and the lengths that cost least."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import log2, prod

import torch
from torch import Tensor

from ....description import shapes
from ... import padding

# Seconds on one machine of two cores; only their ratios matter for the choice of a tile.
TRANSFORM = 1 / 6e9  # for one step of one sample, of which a real transform of n samples needs n log2(n)
PRODUCT = 1 / 60e9  # for one multiply-add of real numbers in a product of complex matrices
TOUCH = 1 / 2e9  # for a number that is copied into another order
COPIES = 3  # of all spectra, as torch turns and multiplies them


@dataclass(frozen=True)
class Tiling:
    """How a valid correlation with steps of 1 is cut up: `counts` tiles of `lengths` samples, `steps` apart."""

    groups: int
    outputs: tuple[int, ...]
    kernel: tuple[int, ...]
    lengths: tuple[int, ...]
    images: int  # in one part
    workspace: int  # real numbers for the padded input and the spectra of the kernels and of a part

    @classmethod
    def of(cls, x: tuple[int, ...], weight: tuple[int, ...], groups: int, room: int) -> Tiling:
        """For an input (n, in, *size) and weights (out, in // groups, *kernel); room: of workspace, in real numbers."""
        kernel = weight[2:]
        outputs = tuple(size - taps + 1 for size, taps in zip(x[2:], kernel, strict=True))
        padded = prod(x)
        lengths = cheapest(outputs, kernel, x[0], x[1], weight[0], groups, room - padded)
        fixed, each = _spectra(outputs, kernel, lengths, x[1], weight[0], groups)
        images = min(x[0], max(1, (room - padded - fixed) // each))
        return cls(groups, outputs, kernel, lengths, images, padded + fixed + images * each)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.kernel)

    @property
    def steps(self) -> tuple[int, ...]:
        """Outputs of a tile."""
        return tuple(length - taps + 1 for length, taps in zip(self.lengths, self.kernel, strict=True))

    @property
    def counts(self) -> tuple[int, ...]:
        """Tiles per axis."""
        return tuple(shapes.repeats(size, step) for size, step in zip(self.outputs, self.steps, strict=True))

    def parts(self, x: Tensor) -> tuple[Tensor, ...]:
        """A few images at a time, so that their spectra do not fill the memory."""
        return x.split(self.images)

    def tiles(self, x: Tensor) -> Tensor:
        """(n, channels, *size) to (n, channels, *counts, *lengths), a view of a padded copy."""
        pairs = zip(self.counts, self.steps, self.lengths, x.shape[2:], strict=True)
        x = padding.pad(x, [(0, (count - 1) * step + length - size) for count, step, length, size in pairs])
        for axis, (length, step) in enumerate(zip(self.lengths, self.steps, strict=True), 2):
            x = x.unfold(axis, length, step)
        return x

    def cells(self, grad: Tensor) -> Tensor:
        """(n, channels, *outputs) to (n, channels, *counts, *steps): what each tile has given."""
        sizes = zip(self.counts, self.steps, grad.shape[2:], strict=True)
        grad = padding.pad(grad, [(0, count * step - size) for count, step, size in sizes])
        for axis, step in enumerate(self.steps, 2):
            grad = grad.unfold(axis, step, step)
        return grad

    def spectra(self, x: Tensor) -> Tensor:
        """The transforms of the last axes, filled up with zeros to `lengths`."""
        return torch.fft.rfftn(x, s=self.lengths, dim=tuple(range(-self.ndim, 0)))

    def windows(self, spectra: Tensor) -> Tensor:
        """Back from the spectra of outputs (n, channels, *counts, *frequencies) to (n, channels, *outputs)."""
        y = torch.fft.irfftn(spectra, s=self.lengths, dim=tuple(range(-self.ndim, 0)))
        y = y[(..., *(slice(step) for step in self.steps))]
        y = y.permute(0, 1, *(place for axis in range(self.ndim) for place in (2 + axis, 2 + self.ndim + axis)))
        y = y.reshape(*y.shape[:2], *(count * step for count, step in zip(self.counts, self.steps, strict=True)))
        return y[(..., *(slice(size) for size in self.outputs))]

    def kernels(self, spectra: Tensor) -> Tensor:
        """Back from the spectra of kernels."""
        found = torch.fft.irfftn(spectra, s=self.lengths, dim=tuple(range(-self.ndim, 0)))
        return found[(..., *(slice(taps) for taps in self.kernel))]


@lru_cache(maxsize=1024)
def cheapest(
    outputs: tuple[int, ...], kernel: tuple[int, ...], batch: int, ins: int, outs: int, groups: int, room: int
) -> tuple[int, ...]:
    """The lengths of the tiles that take the least time within the workspace, or the least workspace."""
    choices = [lengths_between(taps, size + taps - 1, 3) for size, taps in zip(outputs, kernel, strict=True)]

    def weighed(lengths: tuple[int, ...]) -> tuple[int, float]:
        least = sum(_spectra(outputs, kernel, lengths, ins, outs, groups))
        return max(0, least - room), seconds(outputs, kernel, lengths, batch, ins, outs, groups)

    return min(product(*choices), key=weighed)


def least_seconds(
    outputs: tuple[int, ...], kernel: tuple[int, ...], batch: int, ins: int, outs: int, groups: int, room: int
) -> float:
    """What one operation takes with the cheapest tiles, about."""
    lengths = cheapest(outputs, kernel, batch, ins, outs, groups, room)
    return seconds(outputs, kernel, lengths, batch, ins, outs, groups)


def seconds(
    outputs: tuple[int, ...], kernel: tuple[int, ...], lengths: tuple[int, ...],
    batch: int, ins: int, outs: int, groups: int,
) -> float:  # fmt: skip
    """What one operation with tiles of these lengths takes, about."""
    numbers = _numbers(outputs, kernel, lengths)
    transforms = (batch * (ins + outs) * numbers + outs * ins // groups * prod(lengths)) * log2(max(2, prod(lengths)))
    products = 2 * batch * outs * ins // groups * numbers
    touched = batch * (ins + outs) * numbers * (1 if ins == outs == groups else 3)
    return TRANSFORM * transforms + PRODUCT * products + TOUCH * touched


def _spectra(
    outputs: tuple[int, ...], kernel: tuple[int, ...], lengths: tuple[int, ...], ins: int, outs: int, groups: int
) -> tuple[int, int]:
    """Real numbers of workspace for the spectra of the kernels, and for one image: its tiles and their spectra."""
    wide, samples = COPIES * (lengths[-1] // 2 + 1) * 2, _numbers(outputs, kernel, lengths)
    kernels = wide * prod(lengths[:-1]) * outs * ins // groups
    return kernels, ins * samples + wide * (ins + outs) * samples // lengths[-1]


def _numbers(outputs: tuple[int, ...], kernel: tuple[int, ...], lengths: tuple[int, ...]) -> int:
    """Samples of all tiles of one channel of one image."""
    counts = (
        shapes.repeats(size, length - taps + 1) for size, taps, length in zip(outputs, kernel, lengths, strict=True)
    )
    return prod(count * length for count, length in zip(counts, lengths, strict=True))


def lengths_between(taps: int, whole: int, finer: int) -> list[int]:
    """Good lengths from a little over the kernel to the whole input, each about 1 / finer longer than the last."""
    most = good_length(whole)
    found, length = [], taps + 1
    while (good := good_length(length)) < most:
        found.append(good)
        length = good + max(1, good // finer)
    return [*found, most]


@lru_cache(maxsize=4096)
def good_length(least: int) -> int:
    """The next length that is a product of 2, 3 and 5, for which transforms are fast, and even."""
    return min(
        length for length in _products_of_small_primes(2 * least) if length >= least and (length % 2 == 0 or length < 4)
    )


@lru_cache(maxsize=64)
def _products_of_small_primes(most: int) -> tuple[int, ...]:
    return tuple(_multiples(1, (2, 3, 5), max(most, 2)))


def _multiples(number: int, primes: tuple[int, ...], most: int) -> Iterator[int]:
    if number > most:
        return
    yield number
    for place, prime in enumerate(primes):
        yield from _multiples(number * prime, primes[place:], most)
