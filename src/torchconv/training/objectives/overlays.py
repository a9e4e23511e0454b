"""Pictures of labels: in the colours of the classes, over the image, and side by side with the truth."""

from __future__ import annotations

import torch
from markupsafe import Markup, escape
from torch import Tensor

from ..data.labels import PixelLabels
from .pixel_scores import reduced

WIDEST = 320  # pixels of each of the pictures side by side
SHARE = 0.6  # of the colour of a class over an image


def painted(classes: Tensor, labels: PixelLabels) -> Tensor:
    """Classes (height, width) in their colours, uint8 (3, height, width); pixels of no class are black."""
    table = torch.zeros(256, 3, dtype=torch.uint8)
    table[: len(labels.colours)] = torch.tensor(labels.colours, dtype=torch.uint8)
    return table[classes.long()].permute(2, 0, 1)


def overlay(image: Tensor, classes: Tensor, labels: PixelLabels) -> Tensor:
    """The colours of classes laid over an image uint8 (channels, height, width)."""
    grey = image.float().expand(3, *image.shape[1:])
    return (grey * (1 - SHARE) + painted(classes, labels).float() * SHARE).round().to(torch.uint8)


def beside(image: Tensor, truth: Tensor, predicted: Tensor, labels: PixelLabels) -> Tensor:
    """The image, the true and the predicted classes over it, side by side, uint8 (3, height, 3 * width)."""
    pictures = [image.expand(3, *image.shape[1:]), overlay(image, truth, labels), overlay(image, predicted, labels)]
    height, width = image.shape[1:]
    if width > WIDEST:
        size = max(1, round(height * WIDEST / width)), WIDEST
        pictures = [reduced(one[None].contiguous(), size)[0] for one in pictures]
    return torch.cat(pictures, 2)


def legend(labels: PixelLabels) -> Markup:
    """The colours of the classes with their names, as HTML."""
    parts = [
        Markup('<span class="swatch"><i style="background:rgb({},{},{})"></i>{}</span>').format(*colour, escape(name))
        for name, colour in zip(labels.names, labels.colours, strict=True)
    ]
    return Markup('<div class="legend">{}</div>').format(Markup("").join(parts))
