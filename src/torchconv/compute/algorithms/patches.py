"""Gathered patches times matrices: one batched product over the kernels, whatever they are shared by.

Along an axis, output `p` uses kernel `p % period`: outputs are split into (repeat, phase), where
p = repeat * period + phase.
All windows are one strided view of the padded input; a single copy lines them up, and each kernel is one matrix of a
batched product. Unshared: a kernel per position, one repeat. Tiled: `period` kernels. Ordinary: one kernel, im2col.

Source: Chellapilla, Puri, Simard 2006, High performance convolutional neural networks for document processing,
section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from ...description import shapes
from ...description.convolution import Convolution
from .. import padding
from ..problem import Problem
from ..tensors import INPUT, large_like
from .base import Algorithm


@dataclass(frozen=True)
class Grid:
    """How the outputs of one convolution are split, for one input size.

    phases, repeats, outputs: per axis. pads: zeros put around the input so that every split is full.
    """

    conv: Convolution
    phases: tuple[int, ...]
    repeats: tuple[int, ...]
    outputs: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, conv: Convolution, input_size: Sequence[int]) -> Grid:
        phases, repeats, outputs, pads = [], [], [], []
        for axis, size, period in zip(conv.axes, input_size, conv.sharing.periods, strict=True):
            windows = shapes.output_size(axis, size)
            phase = windows if period is None else period
            repeat = shapes.repeats(windows, phase)
            low = shapes.padding(axis, size)[0]
            reach = (repeat * phase - 1) * axis.stride + axis.span
            phases.append(phase)
            repeats.append(repeat)
            outputs.append(windows)
            pads.append((low, reach - low - shapes.dilated(axis, size)))
        return cls(conv, tuple(phases), tuple(repeats), tuple(outputs), tuple(pads))

    @property
    def kernels(self) -> int:
        """Number of kernels, each for every group."""
        return prod(self.phases) * self.conv.groups

    @property
    def rows_inside(self) -> bool:
        """Whether a kernel serves many positions, so that these should lie side by side in memory."""
        return prod(self.repeats) > 1

    def patches(self, x: Tensor) -> Tensor:
        """Every window as a row: (kernels, batch * repeats, in // groups * taps)."""
        ndim, groups = self.conv.ndim, self.conv.groups
        view = padding.pad(padding.spread(x, self.conv.input_dilation), self.pads)
        view = view.unflatten(1, (groups, self.conv.in_channels // groups))
        for number, axis in enumerate(self.conv.axes):
            place = 3 + 2 * number
            view = view.unfold(place, axis.span, axis.stride)[..., :: axis.dilation]
            view = view.unflatten(place, (self.repeats[number], self.phases[number]))
        # batch, group, channel, (repeat, phase) per axis, tap per axis
        repeats, phases = [3 + 2 * n for n in range(ndim)], [4 + 2 * n for n in range(ndim)]
        taps = list(range(3 + 2 * ndim, 3 + 3 * ndim))
        rows, columns = [0, *repeats], [2, *taps]
        inner = [*columns, *rows] if self.rows_inside else [*rows, *columns]
        sizes = (self.columns, self.rows(x.shape[0])) if self.rows_inside else (self.rows(x.shape[0]), self.columns)
        lined_up = view.permute(*phases, 1, *inner).reshape(self.kernels, *sizes)
        return lined_up.transpose(1, 2) if self.rows_inside else lined_up

    @property
    def columns(self) -> int:
        """Numbers in one window."""
        return self.conv.in_channels // self.conv.groups * prod(self.conv.kernel_size)

    def rows(self, batch: int) -> int:
        """Windows that share a kernel."""
        return batch * prod(self.repeats)

    def unpatch(self, patches: Tensor, batch: int, input_size: Sequence[int]) -> Tensor:
        """The adjoint of `patches`: windows added up where they overlap, axis after axis."""
        conv, ndim = self.conv, self.conv.ndim
        channels = conv.in_channels // conv.groups
        split = patches.reshape(*self.phases, conv.groups, batch, *self.repeats, channels, *conv.kernel_size)
        group, rows, taps = ndim, ndim + 1, 2 * ndim + 3
        triples = [place for n in range(ndim) for place in (rows + 1 + n, n, taps + n)]
        rest = [rows, group, rows + 1 + ndim]
        if self.rows_inside:
            total = _overlap_added(split.permute(*rest, *triples), conv, 3).flatten(1, 2)
        else:
            total = _overlap_added(split.permute(*triples, *rest), conv, 0)
            total = total.permute(ndim, ndim + 1, ndim + 2, *range(ndim)).flatten(1, 2)
        return padding.unspread(padding.unpad(total, self.pads), conv.input_dilation)

    def matrices(self, weight: Tensor) -> Tensor:
        """The kernels as (kernels, out // groups, in // groups * taps)."""
        return weight.reshape(self.kernels, self.conv.out_channels // self.conv.groups, self.columns)

    def lines(self, y: Tensor) -> Tensor:
        """Outputs (batch, out, *size) as (kernels, batch * repeats, out // groups)."""
        ndim, split = self.conv.ndim, list(zip(self.repeats, self.phases, strict=True))
        whole = (repeat * phase for repeat, phase in split)
        y = padding.pad(y, [(0, size - own) for size, own in zip(whole, self.outputs, strict=True)])
        y = y.unflatten(1, (self.conv.groups, -1))
        for number, pair in enumerate(split):
            y = y.unflatten(3 + 2 * number, pair)
        repeats, phases = [3 + 2 * n for n in range(ndim)], [4 + 2 * n for n in range(ndim)]
        rows, outs = self.rows(y.shape[0]), y.shape[2]
        if self.rows_inside:
            return y.permute(*phases, 1, 2, 0, *repeats).reshape(self.kernels, outs, rows).transpose(1, 2)
        return y.permute(*phases, 1, 0, *repeats, 2).reshape(self.kernels, rows, outs)

    def unlines(self, lines: Tensor, batch: int) -> Tensor:
        """The inverse of `lines`."""
        conv, ndim = self.conv, self.conv.ndim
        split = lines.reshape(*self.phases, conv.groups, batch, *self.repeats, conv.out_channels // conv.groups)
        places = [place for n in range(ndim) for place in (ndim + 2 + n, n)]
        y = split.permute(ndim + 1, ndim, 2 * ndim + 2, *places).flatten(1, 2)
        for number in range(ndim):
            y = y.flatten(2 + number, 3 + number)
        surplus = [(0, size - whole) for size, whole in zip(self.outputs, y.shape[2:], strict=True)]
        return padding.pad(y, surplus).contiguous()


class Patches(Algorithm):
    """One batched matrix product over the kernels."""

    name: ClassVar[str] = "patches"
    error: ClassVar[float] = 3.0

    def workspace(self, problem: Problem, role: str) -> int:
        """All windows, once more in part where they are added up, the padded input and outputs in another order."""
        conv, grid = problem.convolution, Grid.of(problem.convolution, problem.sizes)
        patches = grid.kernels * grid.rows(problem.batch) * grid.columns
        if role == INPUT:
            last = max(conv.kernel_size[-1], 2)
            patches = patches * last // (last - 1) + (0 if conv.sharing.is_full else patches)
        padded = zip(conv.axes, problem.sizes, grid.pads, strict=True)
        inputs = prod((shapes.dilated(axis, size) + sum(pair) for axis, size, pair in padded), start=problem.batch)
        inputs *= conv.in_channels
        outputs = problem.batch * conv.out_channels * prod(grid.repeats) * prod(grid.phases)
        return (patches + inputs + 2 * outputs) * problem.dtype.itemsize

    def output(self, conv: Convolution, x: Tensor, weight: Tensor) -> Tensor:
        grid = Grid.of(conv, x.shape[2:])
        product = _times(grid.patches(x), grid.matrices(weight).transpose(1, 2), grid.rows_inside)
        return grid.unlines(product, x.shape[0])

    def input_grad(self, conv: Convolution, grad: Tensor, weight: Tensor, input_size: Sequence[int]) -> Tensor:
        grid = Grid.of(conv, input_size)
        patches = _times(grid.lines(grad), grid.matrices(weight), grid.rows_inside)
        return grid.unpatch(patches, grad.shape[0], input_size)

    def weight_grad(self, conv: Convolution, x: Tensor, grad: Tensor) -> Tensor:
        grid = Grid.of(conv, x.shape[2:])
        lines, patches = grid.lines(grad).transpose(1, 2).contiguous(), grid.patches(x)
        memory = large_like((grid.kernels, lines.shape[1], grid.columns), x)
        matrices = torch.bmm(lines, patches, out=memory)
        outputs = shapes.output_sizes(conv.axes, x.shape[2:])
        return matrices.reshape(shapes.weight_shape(conv.axes, conv.channels, conv.sharing, outputs))


def _times(a: Tensor, b: Tensor, rows_inside: bool) -> Tensor:
    """a @ b, written so that its rows lie side by side in memory if they are to."""
    return torch.bmm(b.transpose(1, 2), a.transpose(1, 2)).transpose(1, 2) if rows_inside else torch.bmm(a, b)


def _overlap_added(split: Tensor, conv: Convolution, first: int) -> Tensor:
    """(repeat, phase, tap) of each axis, from dimension `first` on, to the samples of the padded input."""
    for number in reversed(range(conv.ndim)):
        axis, place = conv.axes[number], first + 3 * number
        windows = split.flatten(place, place + 1)
        reach = (windows.shape[place] - 1) * axis.stride
        shape = [*windows.shape[:place], reach + axis.span, *windows.shape[place + 2 :]]
        total = windows.new_zeros(shape)
        for tap in range(axis.kernel):
            start = tap * axis.dilation
            here = (*[slice(None)] * place, slice(start, start + reach + 1, axis.stride))
            total[here] += windows.select(place + 1, tap)
        split = total
    return split
