"""Convolution by fast Fourier transforms: of everything at once, or of overlapping tiles (Stockham 1966, overlap-save).

A transform of length L wraps around: it gives output n plus outputs n - L and n + L. So L need not hold the full
convolution, only keep apart the range that is wanted; "valid" takes no padding at all.
"""

from __future__ import annotations

from functools import lru_cache, partial
from math import expm1, inf, log2, prod
from typing import Any

import numpy as np
import scipy.fft
import torch
from torch import Tensor

from ..compute.algorithms.fft import tiles as tile_planner
from ..compute.native import loader, transforms
from ..compute.planning import machine
from ..compute.tensors import room
from ..compute.weight_cache import Kernels
from .array_ops import AxisWindows, as_tensor, permuted, windows
from .request import Array, MethodPlan, Request

ROUNDINGS = 12  # of one level of a transform, at most
# Taps from which tiles in single precision are nearly as exact as NumPy's sums, whatever the signs of the numbers are:
# up to 3.4 times their error, where transforms of everything need as many as FEWEST_WHOLE, and of several axes MANY.
FEWEST, FEWEST_WHOLE, MANY = 100, 1000, 16
LONGER = 4  # times the taps, that the other operand must be for the kernels' tiles to be worth it


class Tiles:
    """How a request is cut: per axis the windows, the transform's length, and the first good sample of a tile."""

    def __init__(self, request: Request, lengths: tuple[int, ...]) -> None:
        self.lengths, cuts, firsts = lengths, [], []
        for length, size, taps, (start, stop) in zip(lengths, request.size, request.taps, request.spans, strict=True):
            if length >= _whole(size, taps, start, stop):
                cuts.append(AxisWindows(0, 1, stop - start, size))
                firsts.append(start)
            else:
                count, step = tile_planner.cells(stop - start, taps, length)
                cuts.append(AxisWindows(start - taps + 1, count, step, length))
                firsts.append(taps - 1)
        self.cuts = tuple(cuts)
        self.good = (..., *(slice(first, first + cut.step) for first, cut in zip(firsts, cuts, strict=True)))

    @property
    def count(self) -> int:
        """Number of tiles."""
        return prod(cut.count for cut in self.cuts)


def plan(request: Request, tiled: bool) -> MethodPlan:
    """One transform, or transforms of tiles; in double precision where single is less exact than sums are.

    Scalar products add up in many places at once and lose less than transforms do, unless the taps are many. Of sums
    along several axes, one tap after another, the opposite is true.
    """
    name = "overlap" if tiled else "fft"
    cut = _cut(request) if tiled and request.is_plain and request.kind == "float32" and loader.available() else None
    if cut is None:
        fewest = MANY if request.ndim > 1 else FEWEST_WHOLE if not tiled else inf
        request = request.in_double or request if prod(request.taps) < fewest else request
    tiles = Tiles(request, _lengths(request, tiled))
    nanoseconds = _nanoseconds(request, tiles)
    if cut is not None:
        run = partial(_compiled, request, cut)
        nanoseconds = machine.ARRAY_FFT_COMPILED_CALL + nanoseconds * machine.ARRAY_FFT_COMPILED
        return MethodPlan(name, request, nanoseconds * 1e-9, run)
    return MethodPlan(name, request, nanoseconds * 1e-9, partial(_run, request, tiles), error_bound(tiles.lengths))


def _compiled(request: Request, cut: transforms.TileCut, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Tiles by the C++ kernels of floor 3, in single precision."""
    ((start, stop),) = request.spans
    x, weight = as_tensor(first).view(1, 1, -1), as_tensor(second[::-1]).view(1, 1, -1)
    return transforms.output(cut, x, Kernels(weight, weight.shape), [stop - start]).view(-1).numpy()


def _cut(request: Request) -> transforms.TileCut | None:
    """The kernels' tiles that take least; None where there are none for so many taps."""
    (taps,), ((start, stop),) = request.taps, request.spans
    if not FEWEST <= taps <= request.size[0] / LONGER:
        return None
    limit = room(None, 4 * (request.size[0] + taps + stop - start))
    work = tile_planner.Compiled((stop - start,), (taps,), 1, 1, 1, 1, limit, torch.get_num_threads())
    lengths = work.lengths()
    return None if lengths is None else transforms.TileCut(1, [taps - 1 - start], lengths, work.spectra_room(lengths))


def _run(request: Request, tiles: Tiles, first: Array, second: Array) -> Array:
    over = (tiles.lengths[0], -1) if request.ndim == 1 else (tiles.lengths, tuple(range(-request.ndim, 0)))
    batch = second.shape[: second.ndim - request.ndim]
    forward, inverse = _transforms(first, request, tiles)
    kernel = forward(second.reshape(*batch, *(1,) * request.ndim, *request.taps), *over)
    spectra = forward(windows(first, tiles.cuts), *over)
    if prod(spectra.shape[: len(request.batch)]) == prod(request.batch):
        spectra *= kernel  # fresh memory for large arrays takes longer than the product
    else:
        spectra = spectra * kernel
    y = inverse(spectra, *over)[tiles.good]
    if tiles.count > 1:
        places = len(request.batch)
        order = [place + axis for axis in range(request.ndim) for place in (places, places + request.ndim)]
        y = permuted(y, [*range(places), *order])
    y = y.reshape(*request.batch, *(cut.count * cut.step for cut in tiles.cuts))
    return y[(..., *(slice(size) for size in request.outputs))]


def _transforms(first: Array, request: Request, tiles: Tiles) -> tuple[Any, Any]:
    """Forward and inverse transforms of the last axes, of real or of complex numbers."""
    name = ("fft" if request.is_complex else "rfft") + ("n" if request.ndim > 1 else "")
    if isinstance(first, Tensor):
        return getattr(torch.fft, name), getattr(torch.fft, f"i{name}")
    large = prod(request.batch) * tiles.count * prod(tiles.lengths) >= machine.ARRAY_FFT_LARGE
    return _of_arrays(name, torch.get_num_threads() if large and request.ndim > 1 else 1)


@lru_cache(maxsize=64)
def _of_arrays(name: str, workers: int) -> tuple[Any, Any]:
    forward, inverse = getattr(scipy.fft, name), getattr(scipy.fft, f"i{name}")
    return partial(forward, workers=workers), partial(inverse, workers=workers, overwrite_x=True)


def error_bound(lengths: tuple[int, ...]) -> float:
    """Most that a float64 result is off, for operands whose 2-norms have the product 1.

    Every output is a sum over paths through the butterflies of three transforms, and each level of a path costs at
    most 12 roundings for lengths made of 2, 3 and 5 (radix 2: an addition, a product and a root; radix 3 and 5: their
    sums have up to 7 operations and weights that add up to sqrt(2) more). Then ||a * b|| of circular convolution in
    max norm is at most ||a||_2 ||b||_2. Source: Percival 2003, Rapid multiplication modulo the sum and difference of
    highly composite numbers, theorem 5.1, which has about 5 instead of 12 for radix 2 alone; Higham 2002, Accuracy
    and stability of numerical algorithms, section 24.1.
    """
    levels = sum(log2(max(2, length)) + 1 for length in lengths)
    return expm1((3 * ROUNDINGS * levels + 8) * 2.0**-53)


def _lengths(request: Request, tiled: bool) -> tuple[int, ...]:
    per_axis = zip(request.size, request.taps, request.spans, strict=True)
    whole = tuple(tile_planner.fast_length(_whole(size, taps, *span)) for size, taps, span in per_axis)
    if not tiled:
        return whole
    axes = ((max(2 * taps, 8), length) for taps, length in zip(request.taps, whole, strict=True))

    def cost(lengths: tuple[int, ...]) -> float:
        return _nanoseconds(request, Tiles(request, lengths))

    found = tile_planner.cheapest(axes, cost, finer=2, even=False, fits=lambda lengths: lengths != whole)
    return whole if found is None else found


def _whole(size: int, taps: int, start: int, stop: int) -> int:
    """The least length of one transform that keeps outputs start to stop apart from what wraps around."""
    return max(size + taps - 1 - start, stop, size, taps)


def _nanoseconds(request: Request, tiles: Tiles) -> float:
    samples = prod(tiles.lengths)
    numbers = samples * (
        tiles.count * prod(request.batch) + prod(request.second[: len(request.second) - request.ndim]) / 3
    )
    step = machine.ARRAY_FFT_STEP * log2(max(2, samples)) + machine.ARRAY_FFT_SAMPLE
    step += machine.ARRAY_FFT_BEYOND * max(0.0, log2(max(tiles.lengths) / machine.ARRAY_FFT_CACHE))
    if request.ndim > 1 and numbers > machine.ARRAY_FFT_CACHE:
        step *= 1.5
    single = machine.ARRAY_FFT_SINGLE[min(request.ndim, 2)] if request.is_single else 1
    speed = (2 if request.is_complex else 1) * single
    moved = prod(request.shape) * machine.ARRAY_FFT_MOVE * (request.ndim - 0.8) if tiles.count > 1 else 0
    return machine.ARRAY_FFT_CALL + (numbers * step + moved) * speed
