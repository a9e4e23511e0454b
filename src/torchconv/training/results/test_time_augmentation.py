"""What of an image a network is asked about: the image alone, or also its mirror image, or both moved a little."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor
from torch.nn import functional

MOVED, MOVED_SHARE = 1, 0.25  # pixels, and what the scores of one moved view count


def scores(score: Callable[[Tensor], Tensor], images: Tensor, views: str) -> Tensor:
    """The mean scores of the views of scaled images (N, channels, *size).

    views: image; mirror: also left for right; mirror-shift: both also moved by a pixel, up and left or down and right,
    which together count as much as what was not moved (Jordan 2024, "94% on CIFAR-10", section 3.5).
    """
    if views == "image":
        return score(images)
    sides = [images, images.flip(-1)]
    whole = _mean(score(side) for side in sides)
    if views == "mirror":
        return whole
    moved = _mean(score(one) for side in sides for one in _moved(side))
    return whole * (1 - 2 * MOVED_SHARE) + moved * (2 * MOVED_SHARE)


def _mean(parts: Iterator[Tensor]) -> Tensor:
    found = list(parts)
    return sum(found[1:], found[0]) / len(found)


def _moved(images: Tensor) -> Iterator[Tensor]:
    """Up and left, and down and right, by MOVED pixels; what enters is the image's own reflection."""
    axes = images.ndim - 2
    padded = functional.pad(images, (MOVED, MOVED) * axes, mode="reflect")
    for start in (0, 2 * MOVED):
        yield padded[(..., *(slice(start, start + size) for size in images.shape[2:]))]
