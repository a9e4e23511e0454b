"""What every kind of data is turned into: splits of images and classes, the images of one as bytes, and batches.

All that is drawn follows from the seed and the epoch or step: so a training that goes on after an interruption, or in
several processes, draws what an unbroken one would have drawn.
"""

from __future__ import annotations

import hashlib
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from ...network.operations import Volume
from .images import check_volume

Item = TypeVar("Item")
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Items of one split, by file or by row, and the number of the class of each."""

    items: tuple[Any, ...]
    labels: tuple[int, ...]

    @classmethod
    def of(cls, pairs: Iterable[tuple[Any, int]]) -> Split:
        """Items, each with the number of its class."""
        items, labels = tuple(zip(*pairs, strict=True)) or ((), ())
        return cls(items, labels)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class Samples:
    """Images uint8 (N, channels, *size) and classes int64 (N,)."""

    images: Tensor
    labels: Tensor

    def __reduce__(self) -> Any:
        """By value: shared memory, by which torch hands tensors to other processes, is small in containers."""
        return _samples, (self.images.numpy(), self.labels.numpy())


def _samples(images: np.ndarray, labels: np.ndarray) -> Samples:
    return Samples(torch.from_numpy(images), torch.from_numpy(labels))


class Source(ABC):
    """Data of one kind: what there is, before anything is decoded, and the decoding.

    numbered: whether the classes are bare numbers, for which the data have no names. volume: what goes into a network
    whose text does not say it. _given: the splits that the data have; `train` is always there.
    """

    kind: str
    name: str
    classes: tuple[str, ...]
    numbered = False
    volume = Volume(3, (32, 32))
    _given: dict[str, Split]

    def check(self, volume: Volume) -> None:
        """Raise DataError unless the images can have this volume."""
        check_volume(volume)

    def parts(self, seed: int) -> dict[str, Split]:
        """The given splits, and the others out of the training images, class by class; the same for the same seed.

        Raises DataError where there are too few classes or images.
        """
        chosen: dict[str, list[tuple[Any, int]]] = {name: [] for name in SPLITS}
        classes: dict[int, list[tuple[Any, int]]] = {}
        for split, given in self._given.items():
            for pair in zip(given.items, given.labels, strict=True):
                (classes.setdefault(pair[1], []) if split == "train" else chosen[split]).append(pair)
        for label, pairs in sorted(classes.items()):
            for split, own in shares(pairs, seed + label, self._given).items():
                chosen[split] += own
        return {split: Split.of(pairs) for split, pairs in chosen.items()}

    def whole(self) -> tuple[str, Split]:
        """What a network that was trained on other data is evaluated on, and a word for it: all, test, validation."""
        split = next(name for name in ("test", "validation", "train") if name in self._given)
        return "all" if split == "train" else split, self._given[split]

    @abstractmethod
    def read(self, part: Split, volume: Volume, progress: bool = False) -> Samples:
        """The images of a part; progress: show a bar on a terminal where there are many."""

    @abstractmethod
    def digest(self) -> str:
        """Changes when the images do; empty for data that cannot change."""


def shares(items: Sequence[Item], seed: int, given: Collection[str]) -> dict[str, Sequence[Item]]:
    """The training items of one class shared among the splits that are not given.

    A tenth for validation, at least one; a tenth for the test, unless any split but train is given: who splits the
    data decides about a test.

    >>> {name: len(found) for name, found in shares(range(20), 0, ["train"]).items()}
    {'validation': 2, 'test': 2, 'train': 16}
    """
    order = list(items)
    random.Random(seed).shuffle(order)
    validation = 0 if "validation" in given else max(1, round(len(order) / 10))
    test = 0 if len(given) > 1 else round(len(order) / 10)
    return {
        "validation": order[:validation],
        "test": order[validation : validation + test],
        "train": order[validation + test :],
    }


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
