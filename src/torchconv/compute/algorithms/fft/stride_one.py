"""Strides and dilations as more channels and more images: every convolution with them is one of steps of 1.

A stride of s: outputs read windows s apart, so the input's s phases become channels of an input s times as short
(space to depth). A dilation of d: the outputs of one phase read one phase of the input, so phases become images.
Both are rearrangements, whose adjoints are the same rearrangements backwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ....description import shapes
from ....description.convolution import Convolution
from ... import padding

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class StrideOne:
    """How input, kernel and output of a convolution become those of a valid one with steps of 1, and back.

    kernel, size, outputs: per axis, of the convolution with steps of 1. images: phases that join the batch.
    """

    groups: int
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: Pairs  # of the input
    tails: Pairs  # of the kernel: zeros up to a multiple of the stride
    kernel: tuple[int, ...]
    size: tuple[int, ...]
    outputs: tuple[int, ...]  # of the convolution itself

    @classmethod
    def of(cls, conv: Convolution, input_size: Sequence[int]) -> StrideOne:
        """For a convolution whose axes have a stride or a dilation, not both, and no input dilation."""
        outputs = shapes.output_sizes(conv.axes, input_size)
        kernel, size, pads = [], [], []
        for axis, length, count in zip(conv.axes, input_size, outputs, strict=True):
            taps = shapes.repeats(axis.kernel, axis.stride)
            windows = shapes.repeats(count, axis.dilation)
            low, _ = shapes.padding(axis, length)
            kernel.append(taps)
            size.append(windows + taps - 1)
            pads.append((low, size[-1] * axis.stride * axis.dilation - low - length))
        tails = tuple((0, taps * axis.stride - axis.kernel) for taps, axis in zip(kernel, conv.axes, strict=True))
        return cls(conv.groups, conv.stride, conv.dilation, tuple(pads), tails, tuple(kernel), tuple(size), outputs)

    @property
    def is_plain(self) -> bool:
        """Whether the convolution has steps of 1 already, so that there is nothing to do but to pad."""
        return max(*self.stride, *self.dilation) == 1

    @property
    def windows(self) -> tuple[int, ...]:
        """Outputs per axis of the convolution with steps of 1."""
        return tuple(size - taps + 1 for size, taps in zip(self.size, self.kernel, strict=True))

    def input(self, x: Tensor) -> Tensor:
        """(batch, in, *size) to (batch * images, in * phases, *size)."""
        x = padding.pad(x, self.pads)
        return _split(_split_images(x, self.dilation), self.stride, self.size)

    def input_back(self, x: Tensor) -> Tensor:
        """The adjoint of `input`."""
        x = _join_images(_join(x, self.stride), self.dilation)
        return padding.unpad(x, self.pads)

    def weight(self, weight: Tensor) -> Tensor:
        """(out, in // groups, *kernel) to (out, in // groups * phases, *kernel)."""
        return _split(padding.pad(weight, self.tails), self.stride, self.kernel)

    def weight_back(self, weight: Tensor) -> Tensor:
        """The adjoint of `weight`."""
        return padding.unpad(_join(weight, self.stride), self.tails)

    def output(self, y: Tensor) -> Tensor:
        """(batch * images, out, *windows) to (batch, out, *output size)."""
        return y if max(self.dilation) == 1 else padding.pad(_join_images(y, self.dilation), self._surplus())

    def output_back(self, grad: Tensor) -> Tensor:
        """The adjoint of `output`."""
        return grad if max(self.dilation) == 1 else _split_images(padding.unpad(grad, self._surplus()), self.dilation)

    def _surplus(self) -> Pairs:
        whole = (windows * step for windows, step in zip(self.windows, self.dilation, strict=True))
        return tuple((0, count - size) for count, size in zip(self.outputs, whole, strict=True))


def _split(x: Tensor, steps: Sequence[int], size: Sequence[int]) -> Tensor:
    """(n, c, *(size * steps)) to (n, c * steps, *size): the phases of a channel follow one another."""
    if max(steps) == 1:
        return x
    ndim = len(steps)
    x = x.reshape(*x.shape[:2], *(number for pair in zip(size, steps, strict=True) for number in pair))
    x = x.permute(0, 1, *(3 + 2 * axis for axis in range(ndim)), *(2 + 2 * axis for axis in range(ndim)))
    return x.flatten(1, 1 + ndim)


def _join(x: Tensor, steps: Sequence[int]) -> Tensor:
    """The inverse of `_split`."""
    if max(steps) == 1:
        return x
    ndim, size = len(steps), x.shape[2:]
    x = x.reshape(x.shape[0], -1, *steps, *size)
    x = x.permute(0, 1, *(place for axis in range(ndim) for place in (2 + ndim + axis, 2 + axis)))
    return x.reshape(*x.shape[:2], *(n * step for n, step in zip(size, steps, strict=True)))


def _split_images(x: Tensor, steps: Sequence[int]) -> Tensor:
    """(n, c, *(size * steps)) to (n * steps, c, *size): every steps-th sample is an image of its own."""
    if max(steps) == 1:
        return x
    ndim = len(steps)
    sizes = [number for length, step in zip(x.shape[2:], steps, strict=True) for number in (length // step, step)]
    x = x.reshape(*x.shape[:2], *sizes)
    x = x.permute(0, *(3 + 2 * axis for axis in range(ndim)), 1, *(2 + 2 * axis for axis in range(ndim)))
    return x.flatten(0, ndim)


def _join_images(x: Tensor, steps: Sequence[int]) -> Tensor:
    """The inverse of `_split_images`."""
    if max(steps) == 1:
        return x
    ndim, channels, size = len(steps), x.shape[1], x.shape[2:]
    x = x.reshape(-1, *steps, channels, *size)
    x = x.permute(0, 1 + ndim, *(place for axis in range(ndim) for place in (2 + ndim + axis, 1 + axis)))
    return x.reshape(x.shape[0], channels, *(n * step for n, step in zip(size, steps, strict=True)))
