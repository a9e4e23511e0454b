"""Convolution by fast Fourier transforms: of everything at once, or of overlapping tiles (Stockham 1966, overlap-save).

A transform of length L wraps around: it gives output n plus outputs n - L and n + L. So L need not hold the full
convolution, only keep apart the range that is wanted; "valid" takes no padding at all.
"""

from __future__ import annotations

from functools import lru_cache, partial
from itertools import product
from math import expm1, log2, prod
from typing import Any

import scipy.fft
import torch
from torch import Tensor

from ..description import shapes
from . import native
from .array_ops import Array, AxisWindows, permuted, windows
from .request import Job

# Nanoseconds of one core; only their ratios to the other methods' matter.
PER_STEP, PER_SAMPLE, PER_MOVE, CALL = 0.3, 1.5, 5.0, 22_000
CACHE, BEYOND_CACHE = 2**15, 0.9  # samples of a transform that stay close to the core, and what each doubling adds
COMPILED_CALL, COMPILED = 10_000, 0.4  # of tiles by the C++ kernels, and how much of the rest they take
SINGLE = {1: 0.85, 2: 0.55}  # of the time of double, by the number of axes
ROUNDINGS = 12  # of one level of a transform, at most
LARGE = 2**19  # samples of several axes from which the threads that torch may use are worth waking


class Tiles:
    """How a job is cut: per axis the windows, the transform's length, and the first good sample of a tile."""

    def __init__(self, job: Job, lengths: tuple[int, ...]) -> None:
        self.lengths, cuts, firsts = lengths, [], []
        for length, size, taps, (start, stop) in zip(lengths, job.size, job.taps, job.spans, strict=True):
            if length >= _whole(size, taps, start, stop):
                cuts.append(AxisWindows(0, 1, stop - start, size))
                firsts.append(start)
            else:
                step = length - taps + 1
                cuts.append(AxisWindows(start - taps + 1, shapes.repeats(stop - start, step), step, length))
                firsts.append(taps - 1)
        self.cuts = tuple(cuts)
        self.good = (..., *(slice(first, first + cut.step) for first, cut in zip(firsts, cuts, strict=True)))

    @property
    def count(self) -> int:
        """Number of tiles."""
        return prod(cut.count for cut in self.cuts)


def run(first: Array, second: Array, job: Job, tiled: bool) -> Array:
    """The job by transforms; `tiled` says whether in tiles."""
    if tiled and native.takes_tiles(job):
        return native.tiles(first, second, job)
    tiles = best_tiles(job, tiled)
    axes = tuple(range(-job.ndim, 0))
    batch = second.shape[: second.ndim - job.ndim]
    forward, inverse = _transforms(first, job, tiles)
    kernel = forward(second.reshape(*batch, *(1,) * job.ndim, *job.taps), tiles.lengths, axes)
    spectra = forward(windows(first, tiles.cuts), tiles.lengths, axes)
    if prod(spectra.shape[: len(job.batch)]) == prod(job.batch):
        spectra *= kernel  # fresh memory for large arrays takes longer than the product
    else:
        spectra = spectra * kernel
    y = inverse(spectra, tiles.lengths, axes)[tiles.good]
    if tiles.count > 1:
        places = len(job.batch)
        order = [place + axis for axis in range(job.ndim) for place in (places, places + job.ndim)]
        y = permuted(y, [*range(places), *order])
    y = y.reshape(*job.batch, *(cut.count * cut.step for cut in tiles.cuts))
    return y[(..., *(slice(size) for size in job.outputs))]


def _transforms(first: Array, job: Job, tiles: Tiles) -> tuple[Any, Any]:
    """Forward and inverse transforms of the last axes, of real or of complex numbers."""
    if isinstance(first, Tensor):
        return (torch.fft.fftn, torch.fft.ifftn) if job.is_complex else (torch.fft.rfftn, torch.fft.irfftn)
    if job.ndim == 1:
        return _ALONG_ONE[job.is_complex]
    workers = torch.get_num_threads() if prod(job.batch) * tiles.count * prod(tiles.lengths) >= LARGE else 1
    return _along_several(job.is_complex, workers)


def _along_one(transform: Any, overwrite: bool) -> Any:
    def call(x: Any, lengths: Any, axes: Any) -> Any:
        return transform(x, lengths[0], overwrite_x=overwrite)

    return call


@lru_cache(maxsize=64)
def _along_several(is_complex: bool, workers: int) -> tuple[Any, Any]:
    pair = (scipy.fft.fftn, scipy.fft.ifftn) if is_complex else (scipy.fft.rfftn, scipy.fft.irfftn)
    return partial(pair[0], workers=workers), partial(pair[1], workers=workers, overwrite_x=True)


_ALONG_ONE = {
    False: (_along_one(scipy.fft.rfft, False), _along_one(scipy.fft.irfft, True)),
    True: (_along_one(scipy.fft.fft, False), _along_one(scipy.fft.ifft, True)),
}


@lru_cache(maxsize=4096)
def seconds(job: Job, tiled: bool) -> float:
    """What the job takes, about."""
    found = _nanoseconds(job, best_tiles(job, tiled))
    if tiled and native.takes_tiles(job):
        found = COMPILED_CALL + found * COMPILED
    return found * 1e-9


def error_bound(job: Job, tiled: bool) -> float:
    """Most that a float64 result is off, for operands whose 2-norms have the product 1.

    Every output is a sum over paths through the butterflies of three transforms, and each level of a path costs at
    most 12 roundings for lengths made of 2, 3 and 5 (radix 2: an addition, a product and a root; radix 3 and 5: their
    sums have up to 7 operations and weights that add up to sqrt(2) more). Then ||a * b|| of circular convolution in
    max norm is at most ||a||_2 ||b||_2. Source: Percival 2003, Rapid multiplication modulo the sum and difference of
    highly composite numbers, theorem 5.1, which has about 5 instead of 12 for radix 2 alone; Higham 2002, Accuracy
    and stability of numerical algorithms, section 24.1.
    """
    levels = sum(log2(max(2, length)) + 1 for length in best_tiles(job, tiled).lengths)
    return expm1((3 * ROUNDINGS * levels + 8) * 2.0**-53)


@lru_cache(maxsize=4096)
def best_tiles(job: Job, tiled: bool) -> Tiles:
    """The tiles that take least time, or the one tile that is everything."""
    return Tiles(job, _lengths(job, tiled))


@lru_cache(maxsize=4096)
def _lengths(job: Job, tiled: bool) -> tuple[int, ...]:
    whole = tuple(
        good_length(_whole(size, taps, *span)) for size, taps, span in zip(job.size, job.taps, job.spans, strict=True)
    )
    if not tiled:
        return whole
    choices = [_choices(taps, length) for taps, length in zip(job.taps, whole, strict=True)]
    found = [lengths for lengths in product(*choices) if lengths != whole]
    return min(found, key=lambda lengths: _nanoseconds(job, Tiles(job, lengths)), default=whole)


def _choices(taps: int, whole: int) -> list[int]:
    """Good lengths from a little over the kernel to everything."""
    found, length = [], max(2 * taps, 8)
    while (good := good_length(length)) < whole:
        found.append(good)
        length = good + max(1, good // 2)
    return [*found, whole]


def _whole(size: int, taps: int, start: int, stop: int) -> int:
    """The least length of one transform that keeps outputs start to stop apart from what wraps around."""
    return max(size + taps - 1 - start, stop, size, taps)


def _nanoseconds(job: Job, tiles: Tiles) -> float:
    samples = prod(tiles.lengths)
    numbers = samples * (tiles.count * prod(job.batch) + prod(job.second[: len(job.second) - job.ndim]) / 3)
    step = PER_STEP * log2(max(2, samples)) + PER_SAMPLE
    step += BEYOND_CACHE * max(0.0, log2(max(tiles.lengths) / CACHE))
    if job.ndim > 1 and numbers > CACHE:
        step *= 1.5
    speed = (2 if job.is_complex else 1) * (SINGLE[min(job.ndim, 2)] if job.is_single else 1)
    moved = prod(job.shape) * PER_MOVE * (job.ndim - 0.8) if tiles.count > 1 else 0
    return CALL + (numbers * step + moved) * speed


@lru_cache(maxsize=4096)
def good_length(least: int) -> int:
    """The next length that is a product of 2, 3 and 5: transforms of it are fast, and so their errors are bounded."""
    return scipy.fft.next_fast_len(least, True)  # type: ignore[return-value]
