"""Parts of images and of their masks, cut out alike: random scale, place and mirror image, from one draw for both."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..segmentation.losses import IGNORED
from .augmentation import Draw
from .data.parts import MaskedSamples
from .objectives.pixel_scores import reduced, reflected


@dataclass(frozen=True)
class Crops:
    """Batches of images and masks of one size, out of images of any sizes.

    size: of a crop, in pixels of the resolution, which is a share of the sides of images. inside: the pixels of a crop
    along each axis for which a network has scores; the image is there, as far as it goes, and its own mirror image
    around it. scale: smallest and largest factor of the sides, drawn evenly on a logarithmic scale. aspect: largest
    relative change of the width to the height. flip: whether every second one is mirrored.
    Masks take the nearest pixel, and what enters from outside is of no class.
    """

    size: tuple[int, int]
    inside: tuple[tuple[int, int], tuple[int, int]]
    resolution: float = 1.0
    scale: tuple[float, float] = (1.0, 1.0)
    aspect: float = 0.0
    flip: bool = False

    def __call__(self, samples: MaskedSamples, draw: Draw) -> tuple[Tensor, Tensor]:
        """Images uint8 (N, channels, *size), and classes uint8 (N, *size)."""
        factors, wider, down, right, turned = draw.uniform(5).double().tolist()
        images, masks = [], []
        low, high = (math.log(bound) for bound in self.scale)
        for image, mask, factor, wide, *place, side in zip(
            samples.images, samples.labels, factors, wider, down, right, turned, strict=True
        ):
            sides = math.exp(low + factor * (high - low)) * self.resolution
            half = (2 * wide - 1) * math.log1p(self.aspect) / 2
            cut = self._cut(image, mask, (sides * math.exp(-half), sides * math.exp(half)), place)
            image, mask = (one.flip(-1) for one in cut) if self.flip and side < 0.5 else cut
            images.append(image)
            masks.append(mask)
        return torch.stack(images), torch.stack(masks)

    def _cut(
        self, image: Tensor, mask: Tensor, factors: tuple[float, float], place: list[float]
    ) -> tuple[Tensor, Tensor]:
        """One part; factors: pixels of it in one of the image. place: 0 to 1, from the first to the last that fits."""
        rows, columns = (self._window(axis, mask.shape[axis], factors[axis], place[axis]) for axis in range(2))
        found = image
        for axis, (first, length) in enumerate((rows, columns), 1):
            if first >= 0 and first + length <= image.shape[axis]:
                found = found.narrow(axis, first, length)
            else:
                places = reflected(torch.arange(first, first + length, device=image.device), image.shape[axis])
                found = found.index_select(axis, places)
        found = reduced(found[None], self.size)[0]
        nearest = [self._nearest(axis, *window, mask.device) for axis, window in enumerate((rows, columns))]
        there = [(own >= 0) & (own < length) for own, length in zip(nearest, mask.shape, strict=True)]
        taken = (own.clamp(0, length - 1) for own, length in zip(nearest, mask.shape, strict=True))
        down, across = taken
        cut = mask.index_select(0, down).index_select(1, across)
        return found, cut.masked_fill(~(there[0][:, None] & there[1]), IGNORED)

    def _window(self, axis: int, length: int, factor: float, place: float) -> tuple[int, int]:
        """First pixel and number of them in an image of this length; where it is outside, the mirror image is taken."""
        first, last = self.inside[axis]
        inner = max(1, round((last - first) / factor))
        room = length - inner
        start = min(0, room) + min(int(place * (abs(room) + 1)), abs(room))
        before, after = round(first / factor), round((self.size[axis] - last) / factor)
        return start - before, before + inner + after

    def _nearest(self, axis: int, first: int, length: int, device: torch.device) -> Tensor:
        """The pixel of the image that is nearest to each one of the crop."""
        middles = (torch.arange(self.size[axis], device=device, dtype=torch.float64) + 0.5) * (length / self.size[axis])
        return first + middles.floor().long().clamp(max=length - 1)
