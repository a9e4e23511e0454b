"""Stick figures: parts that look alike, with as many things beside them that look the same and are no parts."""

from __future__ import annotations

import torch
from torch import Tensor

PARTS = ("head", "left hand", "right hand", "left foot", "right foot")
FROM_NECK = ((-5, 0), (2, -7), (2, 7), (13, -4), (13, 4))  # rows and columns
SIZE, SPREAD = (40, 40), 1.3  # of the picture; of the places, in pixels


def figures(count: int, seed: int, distractors: int = 4) -> tuple[Tensor, Tensor]:
    """Pictures (count, 1, *SIZE), and the places (count, parts, 2) of their parts.

    A head is a ring, hands are crosses, feet are bars; so left and right look the same, and so do the distractors.
    """
    drawn = torch.Generator().manual_seed(seed)
    neck = torch.tensor([8, 10]) + torch.randint(0, 18, (count, 1, 2), generator=drawn) * torch.tensor([0.8, 1.1])
    offsets = torch.tensor(FROM_NECK).float() + SPREAD * torch.randn(count, len(PARTS), 2, generator=drawn)
    low, high = torch.tensor([2, 2]), torch.tensor(SIZE) - 3
    places = (neck + offsets).round().long().clamp(low, high)
    pictures = 0.1 * torch.randn(count, 1, *SIZE, generator=drawn)
    others = torch.stack([torch.randint(2, size - 2, (count, distractors), generator=drawn) for size in SIZE], -1)
    kinds = torch.randint(0, len(PARTS), (count, distractors), generator=drawn)
    for image, own, more, kind in zip(pictures, places, others, kinds, strict=True):
        for part, (row, column) in [*enumerate(own), *zip(kind.tolist(), more, strict=True)]:
            image[0, row - 2 : row + 3, column - 2 : column + 3] += _sign(part)
    return pictures, places


def _sign(part: int) -> Tensor:
    sign = torch.zeros(5, 5)
    if part == 0:
        sign[:], sign[1:4, 1:4] = 1, 0
    elif part < 3:
        sign[2], sign[:, 2] = 1, 1
    else:
        sign[1:4] = 1
    return sign


def found(scores: Tensor, places: Tensor, within: float = 2) -> float:
    """How many parts are found so near to their places, by the largest score; from 0 to 1."""
    best = scores.flatten(2).argmax(2)
    rows = torch.stack([best // scores.shape[3], best % scores.shape[3]], -1)
    return float(((rows - places).float().norm(dim=-1) <= within).float().mean())
