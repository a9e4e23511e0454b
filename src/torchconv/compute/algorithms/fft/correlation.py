"""Correlations with steps of 1 by torch's transforms of tiles, on 1 to 3 axes, in double precision too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import log2, prod

import torch
from torch import Tensor

from ... import padding
from ...planning import machine
from ...weight_cache import Kernels
from .tiles import Correlation, Lengths, cheapest

NARROW = (torch.bfloat16, torch.float16)  # computed in float32


def correlate(x: Tensor, kernels: Kernels, groups: int, room: int) -> Tensor:
    """The valid correlation with steps of 1: (n, in, *size) to (n, out, *windows), by torch's transforms."""
    if x.dtype in NARROW:
        return correlate(x.float(), kernels, groups, room).to(x.dtype)
    tiling = Tiling.of(_work(x, kernels.shape, groups, room), x.element_size())

    def transformed(weight: Tensor) -> Tensor:  # (groups, out, in, *frequencies)
        return tiling.spectra(weight.unflatten(0, (groups, -1))).conj()

    work, count = tiling.work, kernels.shape[0] * kernels.shape[1]
    size = 2 * x.element_size() * count * prod(tiling.lengths)
    pays = count > machine.KEEP * work.tiles(tiling.lengths) * (work.ins + work.outs) and size <= room
    spectra = kernels.recall(tiling.lengths, size, transformed) if pays else None
    spectra = transformed(kernels.make()) if spectra is None else spectra
    if len(x) <= tiling.images:
        return tiling.windows(_outputs(tiling.spectra(tiling.tiles(x)), spectra, tiling))
    y = x.new_empty(len(x), kernels.shape[0], *work.outputs)
    for part, place in zip(x.split(tiling.images), y.split(tiling.images), strict=True):
        place.copy_(tiling.windows(_outputs(tiling.spectra(tiling.tiles(part)), spectra, tiling)))
    return y


def weight_grad(x: Tensor, grad: Tensor, kernel: Sequence[int], groups: int, room: int) -> Tensor:
    """The adjoint of `correlate` towards the weights."""
    if x.dtype in NARROW:
        return weight_grad(x.float(), grad.float(), kernel, groups, room).to(x.dtype)
    work = _work(x, (grad.shape[1], x.shape[1] // groups, *kernel), groups, room)
    tiling = Tiling.of(work, x.element_size())
    total = None
    for images, grads in zip(x.split(tiling.images), grad.split(tiling.images), strict=True):
        part = _products(tiling.spectra(tiling.tiles(images)), tiling.spectra(tiling.cells(grads)).conj(), tiling)
        total = part if total is None else total + part
    assert total is not None
    return tiling.back(total, work.kernel).flatten(0, 1)


def _work(x: Tensor, kernels: Sequence[int], groups: int, room: int) -> Correlation:
    kernel = tuple(kernels[2:])
    outputs = tuple(size - taps + 1 for size, taps in zip(x.shape[2:], kernel, strict=True))
    return Correlation(outputs, kernel, x.shape[0], x.shape[1], kernels[0], groups, room)


@dataclass(frozen=True)
class Tiling:
    """How a correlation is cut up: tiles of `lengths` samples, and so many images at a time, to save memory.

    workspace: bytes for the padded input and the spectra of the kernels and of a part.
    """

    work: Correlation
    lengths: Lengths
    images: int
    workspace: int

    @classmethod
    def of(cls, work: Correlation, itemsize: int) -> Tiling:
        """The cheapest, for numbers of so many bytes."""
        lengths, padded = _cheapest(work, itemsize), _padded(work)
        fixed, each = _spectra(work, lengths)
        images = min(work.batch, max(1, (work.room // itemsize - padded - fixed) // each))
        return cls(work, lengths, images, itemsize * (padded + fixed + images * each))

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.lengths)

    @property
    def steps(self) -> tuple[int, ...]:
        """Outputs of a tile."""
        return self.work.steps(self.lengths)

    @property
    def counts(self) -> tuple[int, ...]:
        """Tiles per axis."""
        return self.work.counts(self.lengths)

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

    def back(self, spectra: Tensor, sizes: Sequence[int]) -> Tensor:
        """Back from spectra, the first samples of each axis."""
        y = torch.fft.irfftn(spectra, s=self.lengths, dim=tuple(range(-self.ndim, 0)))
        return y[(..., *map(slice, sizes))]

    def windows(self, spectra: Tensor) -> Tensor:
        """Back from the spectra of outputs (n, channels, *counts, *frequencies) to (n, channels, *outputs)."""
        y = self.back(spectra, self.steps)
        y = y.permute(0, 1, *(place for axis in range(self.ndim) for place in (2 + axis, 2 + self.ndim + axis)))
        y = y.reshape(*y.shape[:2], *(count * step for count, step in zip(self.counts, self.steps, strict=True)))
        return y[(..., *map(slice, self.work.outputs))]


def seconds(work: Correlation, itemsize: int) -> float:
    """What one operation takes on one core with the cheapest tiles, about."""
    return _seconds(work, _cheapest(work, itemsize))


@lru_cache(maxsize=1024)
def _cheapest(work: Correlation, itemsize: int) -> Lengths:
    """The lengths that take the least time within the workspace, or the least workspace."""
    room = work.room // itemsize - _padded(work)

    def cost(lengths: Lengths) -> tuple[int, float]:
        return max(0, sum(_spectra(work, lengths)) - room), _seconds(work, lengths)

    axes = ((taps + 1, size) for taps, size in zip(work.kernel, work.size, strict=True))
    lengths = cheapest(axes, cost, finer=3)
    assert lengths is not None, "every length fits"
    return lengths


def _seconds(work: Correlation, lengths: Lengths) -> float:
    samples, channels = _samples(work, lengths), work.batch * (work.ins + work.outs)
    steps = (channels * samples + work.kernels * prod(lengths)) * log2(max(2, prod(lengths)))
    products = 2 * work.batch * work.kernels * samples
    copied = channels * samples * (1 if work.ins == work.outs == work.groups else 3)
    costs = machine.TORCH_FFT_STEP, machine.TORCH_FFT_PRODUCT, machine.TORCH_FFT_COPY
    return costs[0] * steps + costs[1] * products + costs[2] * copied


def _padded(work: Correlation) -> int:
    """Numbers of the input."""
    return work.batch * work.ins * prod(work.size)


def _spectra(work: Correlation, lengths: Lengths) -> tuple[int, int]:
    """Real numbers of workspace for the spectra of the kernels, and for one image: its tiles and their spectra."""
    wide, samples = machine.TORCH_FFT_COPIES * (lengths[-1] // 2 + 1) * 2, _samples(work, lengths)
    kernels = wide * prod(lengths[:-1]) * work.kernels
    return kernels, work.ins * samples + wide * (work.ins + work.outs) * samples // lengths[-1]


def _samples(work: Correlation, lengths: Lengths) -> int:
    """Of all tiles of one channel of one image."""
    return prod(work.counts(lengths)) * prod(lengths)


def _outputs(x: Tensor, kernels: Tensor, tiling: Tiling) -> Tensor:
    """Spectra (n, in, *tiles, *frequencies) times kernels (groups, out, in, *frequencies): (n, out, *tiles, ...)."""
    groups, outs, ins = kernels.shape[:3]
    count, tiles, points = x.shape[0], tiling.counts, x.shape[-tiling.ndim :]
    if outs == ins == 1:
        return x * kernels.reshape(groups, *(1,) * tiling.ndim, *points)
    x = x.reshape(count, groups, ins, prod(tiles), prod(points)).permute(4, 1, 0, 3, 2)
    x = x.reshape(prod(points), groups, count * prod(tiles), ins)
    y = x @ kernels.flatten(3).permute(3, 0, 2, 1)
    y = y.reshape(prod(points), groups, count, prod(tiles), outs).permute(2, 1, 4, 3, 0)
    return y.reshape(count, groups * outs, *tiles, *points)


def _products(x: Tensor, grad: Tensor, tiling: Tiling) -> Tensor:
    """Spectra of inputs and of gradients to those of the kernels' gradient: (groups, out, in, *frequencies)."""
    groups = tiling.work.groups
    count, tiles, points = x.shape[0], prod(tiling.counts), x.shape[-tiling.ndim :]
    x = x.reshape(count, groups, -1, tiles, prod(points))
    grad = grad.reshape(count, groups, -1, tiles, prod(points))
    if x.shape[2] == grad.shape[2] == 1:
        return (x * grad).sum((0, 3)).reshape(groups, 1, 1, *points)
    rows = grad.permute(4, 1, 2, 0, 3).flatten(3)  # (points, groups, out, n * tiles)
    columns = x.permute(4, 1, 0, 3, 2).flatten(2, 3)  # (points, groups, n * tiles, in)
    return (rows @ columns).permute(1, 2, 3, 0).reshape(groups, grad.shape[2], x.shape[2], *points)
