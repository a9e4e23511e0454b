"""Scores of every pixel from a network whose outputs lie on a grid of its own: coarser than the image, or smaller.

Where an output lies in the image follows from the exact receptive fields, by their centres and strides. Networks whose
convolutions are valid see the image mirrored at its borders (Ronneberger et al. 2015, U-Net, section 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ...errors import ShapeError, TorchconvError
from ...network.graph import Network
from ...network.operations import Volume
from ...network.propagation import propagate

MOST_TRIES = 1024  # of further pixels, until a network takes a size
SHARES = (1, 2, 4, 8, 16, 32, 64)  # by which networks that pool want sizes to be divisible


@dataclass(frozen=True)
class PixelAxis:
    """Where the outputs along one axis lie: output j at pixel centre + j * apart, of an input this long."""

    centre: float
    apart: float
    outputs: int
    pixels: int

    @property
    def covered(self) -> tuple[int, int]:
        """The pixels, from the first to one after the last, that are no further from an output than half of `apart`."""
        half = (self.apart - 1) / 2
        last = self.centre + (self.outputs - 1) * self.apart
        return max(0, math.ceil(self.centre - half)), min(self.pixels, math.floor(last + half) + 1)

    def nearest(self) -> Tensor:
        """The pixel nearest to each output, int64."""
        places = self.centre + torch.arange(self.outputs, dtype=torch.float64) * self.apart
        return places.round().long().clamp(0, self.pixels - 1)

    @property
    def plain(self) -> bool:
        """Whether outputs are pixels, so that nothing is to be resampled."""
        return self.apart == 1 and self.centre == int(self.centre)


@dataclass(frozen=True)
class Fitted:
    """How an image of one size is brought into a network: pixels mirrored in front of each axis, and the axes then."""

    low: tuple[int, int]
    axes: tuple[PixelAxis, PixelAxis]

    @property
    def size(self) -> tuple[int, int]:
        """Of what goes into the network."""
        return self.axes[0].pixels, self.axes[1].pixels

    @property
    def covered(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Pixels of what goes into the network that get scores, along each axis."""
        return self.axes[0].covered, self.axes[1].covered


class PixelScores:
    """What a network says of every pixel: (N, classes, height, width) scores for images of that height and width.

    resolution: share of the sides of an image at which the network looks at it; the scores are enlarged again.
    """

    def __init__(self, network: Network, resolution: float = 1.0) -> None:
        self.source, self.network, self.resolution = network, network.without_softmax(), resolution
        self._known: dict[tuple[int, int], Fitted] = {}
        self._inputs: dict[tuple[int, int], tuple[PixelAxis, PixelAxis]] = {}
        self._notes = tuple(note for one in propagate(self.network) for note in one.notes)

    @property
    def aligned(self) -> bool:
        """Whether branches of the network meet around the same places in its own input."""
        return not self._notes

    def __call__(self, ask: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Scores of images (N, channels, height, width), bytes or numbers; ask: the network's of images as they are."""
        size = tuple(images.shape[2:])
        smaller = self.reduced_size(size)  # of numbers: torch rounds bytes on the way, which tiles could not follow
        shown = images if smaller == size else reduced(images.float(), smaller)
        fitted = self.fitted(*shown.shape[2:])
        scores = ask(mirrored(shown, fitted))
        starts = zip(fitted.low, shown.shape[2:], strict=True)
        scores = resampled(scores.float(), fitted.axes, [(low, low + length) for low, length in starts])
        if scores.shape[2:] == size:
            return scores
        return functional.interpolate(scores, size, mode="bilinear")

    def reduced_size(self, size: Sequence[int]) -> tuple[int, int]:
        """The size at which the network looks at an image of a size."""
        height, width = (max(1, round(length * self.resolution)) for length in size)
        return height, width

    def fitted(self, height: int, width: int) -> Fitted:
        """How an image of this size is brought into the network; raises ShapeError where it takes no size near it."""
        size = height, width
        if size not in self._known:
            self._known[size] = self._fitted(*size)
        return self._known[size]

    def _fitted(self, height: int, width: int) -> Fitted:
        """The smallest size that gives scores of all pixels of an image of this size; raises ShapeError for none."""
        direct = self._axes(height, width)
        if direct is not None and all(axis.covered == (0, axis.pixels) for axis in direct):
            return Fitted((0, 0), direct)
        own = self._sound_axes()
        around = [(axis.covered[0], axis.pixels - axis.covered[1]) for axis in own]
        sizes = [self._length(axis, length, *around[axis]) for axis, length in enumerate((height, width))]
        axes = self._axes(sizes[0], sizes[1])
        if axes is None:
            raise ShapeError(f"an image of {height}x{width} pixels", got="no size near it that the network takes")
        return Fitted((around[0][0], around[1][0]), axes)

    def _length(self, number: int, length: int, low: int, high: int) -> int:
        """The first length of an axis at which all of an image's pixels, from `low` on, have scores, as they lie there.

        low, high: pixels around the image that only help the others, in the network's own input.
        """
        own, sound = list(self.network.input.size), self._sound_axes()[number]
        least = length + low + high
        for tried in range(least, least + MOST_TRIES):
            height, width = (tried, own[1]) if number == 0 else (own[0], tried)
            found = self._axes(height, width, alike=True)
            if found is not None:
                axis = found[number]
                same = (axis.centre, axis.apart) == (sound.centre, sound.apart)
                if same and axis.covered[0] <= low and low + length <= axis.covered[1]:
                    return tried
        got = f"{length} pixels on axis {number}"
        expected = f"a size that the network takes, as it takes {self.network.input}"
        raise ShapeError(
            "an image for the network", got=got, expected=expected, fix="Resize it, or train another text."
        )

    def axes_of(self, height: int, width: int) -> tuple[PixelAxis, PixelAxis]:
        """Where outputs lie in an input of a size that the network takes."""
        size = height, width
        if size not in self._inputs:
            found = self._axes(height, width)
            assert found is not None
            self._inputs[size] = found
        return self._inputs[size]

    def _sound_axes(self) -> tuple[PixelAxis, PixelAxis]:
        """Where outputs lie in the network's own input."""
        height, width = self.network.input.size
        return self.axes_of(height, width)

    def _axes(self, height: int, width: int, alike: bool = False) -> tuple[PixelAxis, PixelAxis] | None:
        """Where the outputs of an input of a size lie; None where the network does not take it.

        alike: also where branches do not meet as they do in the network's own input.
        """
        try:
            network = self.network.with_weights_on(Volume(self.network.input.channels, (height, width)))
            outputs = network.output.size
        except TorchconvError:
            return None
        fields = list(propagate(network, goal=network.nodes[-1].name))
        if alike and self._notes != tuple(note for one in fields for note in one.notes):
            return None
        found, last = [], fields[-1]
        for axis, pixels in enumerate((height, width)):
            way = last.field.aligned[axis]
            if way is None or way.dim != axis + 2:  # as behind global pooling: the grid is laid over the whole image
                apart = pixels / outputs[axis]
                found.append(PixelAxis((apart - 1) / 2, apart, outputs[axis], pixels))
            else:
                one = way.progression
                found.append(PixelAxis(float(one.centre), float(one.stride), outputs[axis], pixels))
        return found[0], found[1]


def reduced(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images of another size, without aliases; bytes stay bytes."""
    if tuple(images.shape[2:]) == size:
        return images
    images = images if images.device.type == "cpu" or images.is_floating_point() else images.float()
    return functional.interpolate(images, size, mode="bilinear", antialias=True)


def mirrored(images: Tensor, fitted: Fitted) -> Tensor:
    """Images with their mirror images around them, as large as the network takes them."""
    pairs = [
        (low, length - low - own) for low, length, own in zip(fitted.low, fitted.size, images.shape[2:], strict=True)
    ]
    if not any(map(any, pairs)):
        return images
    if all(0 <= side < own for pair, own in zip(pairs, images.shape[2:], strict=True) for side in pair):
        numbers = images if images.is_floating_point() else images.float()
        return functional.pad(numbers, (*pairs[1], *pairs[0]), mode="reflect")  # whose reach is known, for tiles
    for axis, (low, length) in enumerate(zip(fitted.low, fitted.size, strict=True), 2):
        places = reflected(torch.arange(-low, length - low, device=images.device), images.shape[axis])
        images = images.index_select(axis, places)
    return images


def reflected(places: Tensor, length: int) -> Tensor:
    """Places on an axis without end, mirrored into 0 to length - 1; the border pixels are there once."""
    around = max(1, 2 * (length - 1))
    turned = places.remainder(around)
    return torch.minimum(turned, around - turned) if length > 1 else torch.zeros_like(places)


def resampled(scores: Tensor, axes: Sequence[PixelAxis], ranges: Sequence[tuple[int, int]]) -> Tensor:
    """Scores on a network's grid to those of pixels, from the first to before the last on each axis, linearly."""
    for dim, (axis, (first, last)) in enumerate(zip(axes, ranges, strict=True), 2):
        start = axis.centre - (axis.apart - 1) / 2
        if axis.plain:
            scores = scores.narrow(dim, first - int(start), last - first)
        elif axis.apart == int(axis.apart) and start == int(start):
            scores = _enlarged(scores, dim, int(axis.apart), first - int(start), last - int(start))
        else:
            scores = _interpolated(scores, dim, axis, first, last)
    return scores


def _enlarged(scores: Tensor, dim: int, apart: int, first: int, last: int) -> Tensor:
    """Scores that each stand in the middle of so many pixels: as torch enlarges, which tiles know the reach of."""
    sizes = [length * (apart if axis == dim else 1) for axis, length in enumerate(scores.shape)][2:]
    before, after = max(0, -first), max(0, last - sizes[dim - 2])
    scores = functional.interpolate(scores, sizes, mode="bilinear")
    if before or after:
        sides = (before, after, 0, 0) if dim == 3 else (0, 0, before, after)
        scores = functional.pad(scores, sides, mode="replicate")
    return scores.narrow(dim, first + before, last - first)


def _interpolated(scores: Tensor, dim: int, axis: PixelAxis, first: int, last: int) -> Tensor:
    places = (torch.arange(first, last, device=scores.device) - axis.centre) / axis.apart
    places = places.clamp(0, axis.outputs - 1)
    before = places.floor().long().clamp(max=max(0, axis.outputs - 2))
    share = (places - before).to(scores.dtype).view(-1, *[1] * (scores.dim() - dim - 1))
    after = (before + 1).clamp(max=axis.outputs - 1)
    return torch.lerp(scores.index_select(dim, before), scores.index_select(dim, after), share)
