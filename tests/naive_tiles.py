"""A model in tiles, done slowly and independently of the package: one convolution, and maybe its mean taken away.

It has the face of `torchconv.convert.tiled.model.TiledModel`, so that what is around that can be tested on its own.
"""

from __future__ import annotations

import itertools

from torch import nn
from torch.nn import functional

from torchconv.errors import SettingError


class Centred(nn.Module):
    """An odd convolution with zero padding, less the mean of each channel over the whole image."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x):
        y = self.conv(x)
        return y - y.mean((2, 3), keepdim=True)


class NaiveTiles:
    """One convolution of odd kernel and "same" padding in tiles."""

    def __init__(self, model, input_shape, tile, *, statistics=None, output=None, dtype=None):
        self.centred = isinstance(model, Centred)
        self.conv = model.conv if self.centred else model
        self.halo = self.conv.kernel_size[0] // 2
        if self.centred and statistics is None:
            raise SettingError("a layer that needs the whole image", got="Centred")
        self.input_shape, self.output_shape = (
            tuple(input_shape),
            (input_shape[0], self.conv.out_channels, *input_shape[2:]),
        )
        self.output_dtype, self.passes, self.mean = self.conv.weight.dtype, 1 + self.centred, None
        rows, columns = (
            [slice(start, min(start + step, length)) for start in range(0, length, step)]
            for length, step in zip(input_shape[2:], tile, strict=True)
        )
        whole = tuple(slice(0, length) for length in self.output_shape[:2])
        self.tiles = tuple((*whole, *part) for part in itertools.product(rows, columns))

    calls, constants = (), {}

    def input_box(self, box):
        size = self.input_shape
        inner = (
            slice(max(0, a.start - self.halo), min(n, a.stop + self.halo))
            for a, n in zip(box[2:], size[2:], strict=True)
        )
        return (slice(0, size[0]), slice(0, size[1]), *inner)

    def workspace_bytes(self, box):
        return 4 * (box[2].stop - box[2].start) * (box[3].stop - box[3].start) * self.output_shape[1]

    def _conv(self, box, read):
        reads, pads = self.input_box(box), []
        for axis in (3, 2):
            low = self.halo - (box[axis].start - reads[axis].start)
            pads += [low, self.halo - (reads[axis].stop - box[axis].stop)]
        weight = self.conv.weight
        return functional.conv2d(functional.pad(read(reads).to(weight.dtype), pads), weight, self.conv.bias)

    def compute(self, box, read):
        y = self._conv(box, read)
        return y if not self.centred else y - self.mean

    def statistics_boxes(self, number):
        return tuple(self.input_box(box) for box in self.tiles)

    def accumulate(self, number, tile_index, read):
        y = self._conv(self.tiles[tile_index], read).double()
        return {"sum": (y.sum((2, 3), keepdim=True),)}

    def merge(self, number, one, other):
        return {"sum": (one["sum"][0] + other["sum"][0],)}

    def finish(self, number, state):
        self.mean = (state["sum"][0] / (self.output_shape[2] * self.output_shape[3])).to(self.conv.weight.dtype)


def conv(inputs=3, outputs=4, kernel=5):
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2).requires_grad_(False).eval()
