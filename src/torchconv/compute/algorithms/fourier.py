"""Overlap-save: the input in tiles, transformed, multiplied point by point, transformed back (Stockham 1966).

A tile of `length` samples gives length - kernel + 1 outputs; neighbouring tiles overlap by kernel - 1 samples. Between
the transforms, every frequency is one product of matrices over the channels. The arithmetic grows with the logarithm of
the kernel and not with its size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, prod
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...description.convolution import Convolution
from .. import borders, cost, layouts
from ..memory import all_finite, has_numbers, room
from ..native import library, transforms
from ..roles import INPUT, OUTPUT, WEIGHT
from . import tile_costs, tiling
from .base import Algorithm, Problem
from .stride_one import StrideOne
from .tile_costs import Work
from .tiling import Tiling
from .torch_kernels import TorchKernels

_DIRECT = TorchKernels()
FEWEST_TAPS = 20  # below it torch's kernels are hardly beaten
CALLS, CALL = 60e-6, 30e-6  # seconds of the calls it makes whatever the size: of torch, and of the C++ kernels
NARROW = (torch.bfloat16, torch.float16)  # computed in float32
COMPILED = (torch.float32, *NARROW)  # types that the C++ kernels serve


class Fourier(Algorithm):
    """Fast Fourier transforms of tiles, the tile chosen by the arithmetic it costs."""

    name: ClassVar[str] = "fft"
    error: ClassVar[float] = 3.0

    def declines(self, problem: Problem) -> str | None:
        conv = problem.convolution
        if not conv.sharing.is_full:
            return "transforms have one kernel for all positions"
        if conv.ndim > 3:
            return "it transforms 1 to 3 axes"
        if problem.dtype not in (torch.float32, torch.float64, *NARROW):
            return f"torch has no transform of {problem.dtype} here"
        if max(conv.input_dilation) > 1:
            return "zeros between the samples are not transformed"
        if any(axis.stride > 1 and axis.dilation > 1 for axis in conv.axes):
            return "stride and dilation on one axis"
        if torch.compiler.is_compiling():
            return "its tiles depend on sizes that a compiler may leave open"
        return None

    def may_pay(self, convolution: Convolution, precision: str) -> bool:
        return prod(convolution.kernel_size) >= FEWEST_TAPS

    def seconds(self, problem: Problem, role: str) -> float:
        conv = problem.convolution
        if problem.device != "cpu" or conv.channels.rows is not None:
            return inf
        steps = StrideOne.of(conv, problem.sizes)
        if prod(steps.kernel) < FEWEST_TAPS:
            return inf
        images, ins = problem.batch * prod(conv.dilation), conv.in_channels * prod(conv.stride)
        room = problem.room - _around(conv, steps, problem.batch, problem.sizes, problem.dtype)
        work = Work(steps.windows, steps.kernel, images, ins, conv.out_channels, conv.groups, room, problem.threads)
        lengths = _compiled(work, role) if problem.dtype in COMPILED else None
        if lengths is not None:
            moved = 0 if steps.is_plain else work.bytes / 4 / cost.TOUCH
            return (work.seconds(lengths, role) + moved) / cost.cores(problem.threads) + CALL
        sizes = steps.windows, steps.kernel, images, ins, conv.out_channels, conv.groups
        one = tiling.least_seconds(*sizes, room // _wide(problem.dtype).itemsize)
        return (one + problem.channels_last * problem.numbers / cost.TOUCH) / cost.cores(problem.threads) + CALLS

    def workspace(self, problem: Problem, role: str) -> int:
        """The spectra of the kernels and of so many tiles as fit into the room; around them what steps rearrange."""
        conv, sizes, dtype = problem.convolution, problem.sizes, problem.dtype
        steps = StrideOne.of(conv, sizes)
        around = _around(conv, steps, problem.batch, sizes, dtype)
        images, ins = problem.batch * prod(conv.dilation), conv.in_channels * prod(conv.stride)
        room = problem.room - around
        if dtype in COMPILED and problem.device == "cpu":
            work = Work(steps.windows, steps.kernel, images, ins, conv.out_channels, conv.groups, room, problem.threads)
            if (lengths := _compiled(work, role)) is not None:
                return around + work.workspace(lengths, role)
        size = _wide(dtype).itemsize
        return around + size * _tiling(steps, images, ins, conv.out_channels, role, room // size).workspace

    def output(self, conv: Convolution, x: Tensor, weight: Tensor) -> Tensor:
        steps = StrideOne.of(conv, x.shape[2:])
        room = self._room(conv, steps, x, x.shape[2:])
        cut = _cut(conv, steps, x, OUTPUT, room)
        if cut is None:
            y = steps.output(_correlate(steps.input(x), steps.weight(weight), conv.groups, room))
        else:
            images = x if steps.is_plain else steps.input(x)
            y = steps.output(_narrowed(transforms.output, x.dtype, cut, images, steps.weight(weight), steps.windows))
        return y if all_finite(y) else _DIRECT.output(conv, x, weight)

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        steps = StrideOne.of(conv, input_size)
        room = self._room(conv, steps, grad, input_size)
        cut = _cut(conv, steps, grad, INPUT, room)
        if cut is None:
            around = borders.pad(steps.output_back(grad), [(taps - 1, taps - 1) for taps in steps.kernel])
            turned = layouts.swapped(layouts.flipped(steps.weight(weight), conv.ndim), conv.groups, conv.ndim)
            result = steps.input_back(_correlate(around, turned, conv.groups, room))
        else:
            cells, kernels, size = (
                steps.output_back(grad),
                steps.weight(weight),
                input_size if steps.is_plain else steps.size,
            )
            result = _narrowed(transforms.input_grad, grad.dtype, cut, cells, kernels, size)
            result = result if steps.is_plain else steps.input_back(result)
        return result if all_finite(result) else _DIRECT.input_grad(conv, grad, weight, input_size)

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        steps = StrideOne.of(conv, x.shape[2:])
        room = self._room(conv, steps, x, x.shape[2:])
        cut = _cut(conv, steps, x, WEIGHT, room)
        if cut is None:
            result = _weight_grad(steps.input(x), steps.output_back(grad), steps.kernel, conv.groups, room)
        else:
            images, cells = x if steps.is_plain else steps.input(x), steps.output_back(grad)
            result = _narrowed(transforms.weight_grad, x.dtype, cut, images, cells, steps.kernel)
        result = steps.weight_back(result)
        return result if all_finite(result) else _DIRECT.weight_grad(conv, x, grad)

    def _room(self, conv: Convolution, steps: StrideOne, array: Tensor, size: Sequence[int]) -> int:
        """Bytes for spectra in an operation on an array of this type and batch."""
        batch, dtype = array.shape[0], array.dtype
        numbers = batch * (conv.in_channels * prod(size) + conv.out_channels * prod(steps.outputs))
        arrays = (numbers + prod(conv.weight_shape())) * _wide(dtype).itemsize
        return room(self.limit, arrays) - _around(conv, steps, batch, size, dtype)


def _compiled(work: Work, role: str) -> tuple[int, ...] | None:
    """The tiles for the C++ kernels; None where they do not serve."""
    return (
        tile_costs.cheapest(work, WEIGHT if role == WEIGHT else OUTPUT)
        if len(work.kernel) <= 2 and library.available()
        else None
    )


def _around(conv: Convolution, steps: StrideOne, batch: int, size: Sequence[int], dtype: torch.dtype) -> int:
    """Bytes of input and output as more channels and images, and in the type of the transforms."""
    narrow = dtype in NARROW
    numbers = 0
    if not steps.is_plain:
        ins, outs = conv.in_channels * prod(conv.stride), conv.out_channels
        numbers = (1 + narrow) * prod(conv.dilation) * (ins * prod(steps.size) + outs * prod(steps.windows))
    if narrow:
        numbers += conv.in_channels * prod(size) + conv.out_channels * prod(steps.outputs)
    return batch * numbers * _wide(dtype).itemsize


def _tiling(steps: StrideOne, images: int, ins: int, outs: int, role: str, room: int) -> Tiling:
    """The tiles of torch's transforms: the gradient of the input is a correlation, too, with zeros around."""
    size, kernel, groups = steps.size, steps.kernel, steps.groups
    if role == INPUT:
        size = tuple(length + 2 * (taps - 1) for length, taps in zip(steps.windows, kernel, strict=True))
        ins, outs = outs, ins
    return Tiling.of((images, ins, *size), (outs, ins // groups, *kernel), groups, room)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in NARROW else dtype


def _cut(conv: Convolution, steps: StrideOne, array: Tensor, role: str, room: int) -> transforms.Cut | None:
    """How the C++ kernels cut up this request, for an array of it; None where they do not serve."""
    if array.device.type != "cpu" or array.dtype not in COMPILED or not has_numbers(array):
        return None
    images, ins = array.shape[0] * prod(conv.dilation), conv.in_channels * prod(conv.stride)
    threads = torch.get_num_threads()
    work = Work(steps.windows, steps.kernel, images, ins, conv.out_channels, conv.groups, room, threads)
    lengths = _compiled(work, role)
    low = [pair[0] if steps.is_plain else 0 for pair in steps.pads]
    return None if lengths is None else transforms.Cut(conv.groups, low, lengths, work.spectra_room(lengths))


def _narrowed(operation: Callable[..., Tensor], dtype: torch.dtype, cut: transforms.Cut, *operands: Any) -> Tensor:
    """An operation of the C++ kernels, which compute in float32."""
    return operation(cut, *(one.float() if isinstance(one, Tensor) else one for one in operands)).to(dtype)


def _correlate(x: Tensor, weight: Tensor, groups: int, room: int) -> Tensor:
    """The valid correlation with steps of 1: (n, in, *size) and (out, in // groups, *kernel) to (n, out, *windows)."""
    if x.dtype in NARROW:
        return _correlate(x.float(), weight.float(), groups, room).to(x.dtype)
    tiling = Tiling.of(tuple(x.shape), tuple(weight.shape), groups, room // x.element_size())
    kernels = tiling.spectra(weight.unflatten(0, (groups, -1))).conj()  # (groups, out, in, *frequencies)
    if len(x) <= tiling.images:
        return tiling.windows(_outputs(tiling.spectra(tiling.tiles(x)), kernels, tiling))
    y = x.new_empty(len(x), len(weight), *tiling.outputs)
    for part, place in zip(tiling.parts(x), tiling.parts(y), strict=True):
        place.copy_(tiling.windows(_outputs(tiling.spectra(tiling.tiles(part)), kernels, tiling)))
    return y


def _weight_grad(x: Tensor, grad: Tensor, kernel: Sequence[int], groups: int, room: int) -> Tensor:
    """The adjoint of `_correlate` towards the weights."""
    if x.dtype in NARROW:
        return _weight_grad(x.float(), grad.float(), kernel, groups, room).to(x.dtype)
    outs, ins = grad.shape[1], x.shape[1] // groups
    tiling = Tiling.of(tuple(x.shape), (outs, ins, *kernel), groups, room // x.element_size())
    total = None
    for images, grads in zip(tiling.parts(x), tiling.parts(grad), strict=True):
        found = _products(tiling.spectra(tiling.tiles(images)), tiling.spectra(tiling.cells(grads)).conj(), tiling)
        total = found if total is None else total + found
    assert total is not None
    return tiling.kernels(total).flatten(0, 1)


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
    groups = tiling.groups
    count, tiles, points = x.shape[0], prod(tiling.counts), x.shape[-tiling.ndim :]
    x = x.reshape(count, groups, -1, tiles, prod(points))
    grad = grad.reshape(count, groups, -1, tiles, prod(points))
    if x.shape[2] == grad.shape[2] == 1:
        return (x * grad).sum((0, 3)).reshape(groups, 1, 1, *points)
    rows = grad.permute(4, 1, 2, 0, 3).flatten(3)  # (points, groups, out, n * tiles)
    columns = x.permute(4, 1, 0, 3, 2).flatten(2, 3)  # (points, groups, n * tiles, in)
    return (rows @ columns).permute(1, 2, 3, 0).reshape(groups, grad.shape[2], x.shape[2], *points)
