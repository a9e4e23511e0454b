"""Images batch by batch, in an order that follows from the seed and the epoch alone.

So a training that goes on after an interruption, or in several processes, draws what an unbroken one would have drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from .parts import Samples


def derived(seed: int, purpose: str, number: int) -> int:
    """A number below 2**32 for a purpose and an epoch or step; other ones share nothing with it.

    >>> derived(0, "order", 1) == derived(0, "order", 1), derived(0, "order", 1) == derived(0, "order", 2)
    (True, False)
    """
    return int.from_bytes(hashlib.blake2b(f"{seed} {purpose} {number}".encode(), digest_size=4).digest(), "big")


# images, classes, the images' numbers, and how many images the batch has in all processes together
Minibatch: TypeAlias = "tuple[Tensor, Tensor, Tensor, int]"


class Batches:
    """The images of a split, a batch by one indexing: they lie in memory as bytes, and workers would only copy them.

    size: images of a batch, in all processes together; this one takes each `world`-th, beginning with the `rank`-th.
    seed: None goes through the images in their order; otherwise each epoch has its own order, and a last batch of fewer
    images is left out, which would disturb the statistics of NORM. epoch: tells the number of the epoch that begins.
    device: where the images are kept, if it is a GPU with room for them.
    """

    def __init__(
        self,
        stored: Samples,
        size: int,
        rank: int = 0,
        world: int = 1,
        seed: int | None = None,
        epoch: Callable[[], int] = lambda: 0,
        device: torch.device | None = None,
    ) -> None:
        self.images, self.labels = stored.images, stored.labels
        if device and device.type == "cuda" and self.images.nbytes < torch.cuda.mem_get_info(device)[0] // 4:
            self.images, self.labels = self.images.to(device), self.labels.to(device)
        self.size = min(size, len(self.labels))
        self._own, self._seed, self._epoch = slice(rank, None, world), seed, epoch

    def __len__(self) -> int:
        count = len(self.labels)
        return count // self.size if self._seed is not None else -(-count // self.size)

    def __iter__(self) -> Iterator[Minibatch]:
        order = torch.arange(len(self.labels))
        if self._seed is not None:
            generator = torch.Generator().manual_seed(derived(self._seed, "order", self._epoch()))
            order = torch.randperm(len(order), generator=generator)
        for rows in order.to(self.labels.device).split(self.size)[: len(self)]:
            own = rows[self._own]
            yield self.images[own], self.labels[own], own, len(rows)
