"""Images of CIFAR-10, or of any parquet files like it, as tensors for the experiments."""

from __future__ import annotations

import torch
from torch import Tensor

from torchconv.network.operations import Volume
from torchconv.training.data.tabular import ParquetImages

VOLUME = Volume(3, (32, 32))
BATCH, TOGETHER = 5000, 128  # images read, and trained with, at a time


def images(path: str, split: str) -> tuple[Tensor, Tensor]:
    """All images of a split, (images, 3, 32, 32) float32 with mean 0 and deviation 1, and their classes."""
    source = ParquetImages(path)
    part = source.parts(0)[split]
    pixels, labels = [], []
    for first in range(0, len(part.items), BATCH):
        some = type(part)(part.items[first : first + BATCH], part.labels[first : first + BATCH])
        batch = source.read(some, VOLUME)
        pixels.append(batch.images)
        labels.append(batch.labels)
    values = torch.cat(pixels).float() / 255
    return (values - 0.47) / 0.25, torch.cat(labels)


def trained(model: torch.nn.Module, x: Tensor, labels: Tensor, epochs: int, rate: float, after=None) -> torch.nn.Module:
    """By Adam with a rate that rises and falls (one cycle); after(model, rate): what is done after every step."""
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.01, fused=True)
    steps = epochs * -(-len(x) // TOGETHER)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in range(epochs):
        for chosen in torch.randperm(len(x)).split(TOGETHER):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[chosen]), labels[chosen]).backward()
            optimizer.step()
            if after is not None:
                after(model, schedule.get_last_lr()[0])
            schedule.step()
    return model


@torch.no_grad()
def accuracy(model: torch.nn.Module, x: Tensor, labels: Tensor) -> float:
    model.eval()
    right = [
        (model(part).argmax(1) == wanted).sum() for part, wanted in zip(x.split(500), labels.split(500), strict=True)
    ]
    model.train()
    return int(sum(right)) / len(labels)
