"""What a network gets wrong on images whose classes are known: how often which class, and the worst images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.parts import Batch

MOST = 24


@dataclass(frozen=True)
class Mistakes:
    """Counts (true class, predicted class), and the images that were missed by most, the worst first.

    split: a word for the images. images: uint8 (M, channels, *size). truth, predicted: int64 (M,). probability,
    true_probability: (M,), what the network gave to the class it predicted and to the true one.
    """

    split: str
    confusion: Tensor
    images: Tensor
    truth: Tensor
    predicted: Tensor
    probability: Tensor
    true_probability: Tensor

    @property
    def accuracy(self) -> float:
        """The exact fraction of images that were told right."""
        return int(self.confusion.trace()) / int(self.confusion.sum())

    @classmethod
    def of(cls, probabilities: Tensor, batch: Batch, split: str, most: int = MOST) -> Mistakes:
        """From probabilities (N, classes) for the images of a batch.

        An image is the worse, the less likely the network thought its true class; of equals, the first one is.
        """
        classes = probabilities.shape[1]
        predicted = probabilities.argmax(1)
        wrong = (predicted != batch.labels).nonzero()[:, 0]
        true = probabilities.gather(1, batch.labels[:, None])[:, 0]
        worst = wrong[true[wrong].argsort(stable=True)][:most]
        return cls(
            split=split,
            confusion=count(batch.labels, predicted, classes),
            images=batch.images[worst],
            truth=batch.labels[worst],
            predicted=predicted[worst],
            probability=probabilities[worst, predicted[worst]],
            true_probability=true[worst],
        )


def count(truth: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Counts (true class, predicted class) of classes (N,) and (N,)."""
    return torch.bincount(truth * classes + predicted, minlength=classes**2).view(classes, classes)
