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
from ...segmentation.losses import IGNORED
from .images import check_volume
from .labels import PixelLabels

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

    def __len__(self) -> int:
        return len(self.labels)

    def __reduce__(self) -> Any:
        """By value: shared memory, by which torch hands tensors to other processes, is small in containers."""
        return _samples, (self.images.numpy(), self.labels.numpy())

    @property
    def nbytes(self) -> int:
        """Bytes of the images."""
        return self.images.nbytes

    def take(self, rows: Tensor) -> Samples:
        """Those of these numbers."""
        return Samples(self.images[rows], self.labels[rows])

    def to(self, device: torch.device) -> Samples:
        """On another device."""
        return Samples(self.images.to(device), self.labels.to(device))

    def renumbered(self, numbers: Sequence[int]) -> Samples:
        """With numbers[k] in place of class k."""
        return Samples(self.images, torch.tensor(numbers)[self.labels])


def _samples(images: np.ndarray, labels: np.ndarray) -> Samples:
    return Samples(torch.from_numpy(images), torch.from_numpy(labels))


@dataclass(frozen=True)
class MaskedSamples:
    """Images uint8 (channels, height, width), each of its own size, and the class of each pixel, uint8 (height, width).

    A pixel of no class has the label IGNORED.
    """

    images: Sequence[Tensor]
    labels: Sequence[Tensor]

    def __len__(self) -> int:
        return len(self.labels)

    def __reduce__(self) -> Any:
        return _masked, ([one.numpy() for one in self.images], [one.numpy() for one in self.labels])

    @property
    def nbytes(self) -> int:
        """Bytes of the images."""
        return sum(one.nbytes for one in self.images)

    def take(self, rows: Tensor) -> MaskedSamples:
        """Those of these numbers."""
        return MaskedSamples([self.images[row] for row in rows.tolist()], [self.labels[row] for row in rows.tolist()])

    def to(self, device: torch.device) -> MaskedSamples:
        """On another device."""
        return MaskedSamples([one.to(device) for one in self.images], [one.to(device) for one in self.labels])

    def renumbered(self, numbers: Sequence[int]) -> MaskedSamples:
        """With numbers[k] in place of class k."""
        table = torch.full((256,), IGNORED, dtype=torch.uint8)
        table[: len(numbers)] = torch.tensor(numbers, dtype=torch.uint8)
        return MaskedSamples(self.images, [table[one.long()] for one in self.labels])


def _masked(images: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> MaskedSamples:
    return MaskedSamples([torch.from_numpy(one) for one in images], [torch.from_numpy(one) for one in labels])


Stored: TypeAlias = Samples | MaskedSamples


class Source(ABC):
    """Data of one kind: what there is, before anything is decoded, and the decoding.

    numbered: whether the classes are bare numbers, for which the data have no names. labels: how masks say the classes
    of pixels; None where each image has a class. volume: what goes into a network whose text does not say it.
    _given: the splits that the data have; `train` is always there.
    """

    kind: str
    name: str
    classes: tuple[str, ...]
    numbered = False
    labels: PixelLabels | None = None
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

    def place(self, item: Any) -> str:
        """What an image is called in errors."""
        return f"image {item} of {self.name}"

    def whole(self) -> tuple[str, Split]:
        """What a network that was trained on other data is evaluated on, and a word for it: all, test, validation."""
        split = next(name for name in ("test", "validation", "train") if name in self._given)
        return "all" if split == "train" else split, self._given[split]

    @abstractmethod
    def read(self, part: Split, volume: Volume, progress: bool = False) -> Stored:
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


Minibatch: TypeAlias = "tuple[Any, Tensor, int]"  # samples, their numbers, and how many are in all processes together


class Batches:
    """The samples of a split, a batch by one indexing: they lie in memory as bytes, and workers would only copy them.

    size: images of a batch, in all processes together; this one takes each `world`-th, beginning with the `rank`-th.
    seed: None goes through the images in their order; otherwise each epoch has its own order, and a last batch of fewer
    images is left out, which would disturb the statistics of NORM. epoch: tells the number of the epoch that begins.
    device: where the images are kept, if it is a GPU with room for them.
    """

    def __init__(
        self,
        stored: Stored,
        size: int,
        rank: int = 0,
        world: int = 1,
        seed: int | None = None,
        epoch: Callable[[], int] = lambda: 0,
        device: torch.device | None = None,
    ) -> None:
        self.stored = stored
        if device and device.type == "cuda" and stored.nbytes < torch.cuda.mem_get_info(device)[0] // 4:
            self.stored = stored.to(device)
        self.size = min(size, len(stored))
        self._own, self._seed, self._epoch = slice(rank, None, world), seed, epoch

    def __len__(self) -> int:
        count = len(self.stored)
        return count // self.size if self._seed is not None else -(-count // self.size)

    def __iter__(self) -> Iterator[Minibatch]:
        order = torch.arange(len(self.stored))
        if self._seed is not None:
            generator = torch.Generator().manual_seed(derived(self._seed, "order", self._epoch()))
            order = torch.randperm(len(order), generator=generator)
        for rows in order.split(self.size)[: len(self)]:
            own = rows[self._own]
            yield self.stored.take(own), own, len(rows)
