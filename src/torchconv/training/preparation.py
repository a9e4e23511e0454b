"""Between stored images and the network: scaling, and light changes while training, both on whole batches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


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


@dataclass(frozen=True)
class Augmentation:
    """Each training image a little turned, scaled, sheared and shifted, anew every time it is seen.

    degrees: largest rotation. scale, shear: largest relative change. shift: largest move in pixels.
    What enters at the border is the border's own value repeated.
    """

    degrees: float = 12.0
    scale: float = 0.12
    shear: float = 0.15
    shift: float = 1.0

    def __call__(self, images: Tensor) -> Tensor:
        """(N, channels, height, width) to the same shape; draws from torch's own generator."""
        count, _, height, width = images.shape
        draw = torch.rand(6, count, device=images.device) * 2 - 1
        angle = draw[0] * math.radians(self.degrees)
        across, down = 1 + draw[1] * self.scale, 1 + draw[2] * self.scale
        shear = draw[3] * self.shear
        cos, sin = torch.cos(angle), torch.sin(angle)
        matrix = torch.stack(
            [
                torch.stack([cos * across, (shear - sin) * across, draw[4] * 2 * self.shift / width], 1),
                torch.stack([sin * down, cos * down, draw[5] * 2 * self.shift / height], 1),
            ],
            1,
        )
        grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
        return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
