"""Between stored images and the network: scaling, and changes while training, both on whole batches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .augmentation import Augmentation

__all__ = ["Augmentation", "Scaling", "shrunk"]


def shrunk(images: Tensor, share: float) -> Tensor:
    """Images (N, channels, height, width) with sides of this share, at least of one pixel; without aliases."""
    size = [max(1, round(side * share)) for side in images.shape[2:]]
    return functional.interpolate(images, size, mode="bilinear", antialias=True)


@dataclass(frozen=True)
class Scaling:
    """Bytes to numbers with mean 0 and variance 1 over the training images, channel by channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, images: Tensor) -> Scaling:
        """From uint8 images (N, channels, *size); a channel without any contrast keeps its scale."""
        sums, squares = [], []
        for channel in range(images.shape[1]):
            counts = torch.bincount(images[:, channel].reshape(-1), minlength=256).double()
            values = torch.arange(256, dtype=torch.float64) / 255
            sums.append(float((counts * values).sum() / counts.sum()))
            squares.append(float((counts * values**2).sum() / counts.sum()))
        spread = [math.sqrt(max(square - mean**2, 0)) for mean, square in zip(sums, squares, strict=True)]
        return cls(tuple(sums), tuple(value if value > 1e-6 else 1.0 for value in spread))

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (N, channels, *size) to float32 of the same shape."""
        shape = (1, -1) + (1,) * (images.dim() - 2)
        mean = torch.tensor(self.mean, device=images.device).view(shape)
        std = torch.tensor(self.std, device=images.device).view(shape)
        return (images.float() / 255 - mean) / std
