"""What every kind of data is turned into: parts of images and classes, and the images of a part as bytes."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from ...network.operations import Volume

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


class Source(Protocol):
    """Data of one kind: what there is, before anything is decoded, and the decoding.

    `numbered` says that the classes are bare numbers, for which the data have no names.
    """

    kind: str
    name: str
    classes: tuple[str, ...]
    numbered: bool

    @property
    def volume(self) -> Volume:
        """What goes into a network whose text does not say it."""
        ...

    def check(self, volume: Volume) -> None:
        """Raise DataError unless the images can have this volume."""

    def parts(self, seed: int) -> dict[str, Split]:
        """The splits; the same for the same seed. Raises DataError where there are too few classes or images."""
        ...

    def whole(self) -> tuple[str, Split]:
        """What a network that was trained on other data is evaluated on, and a word for it: all, test, validation."""
        ...

    def read(self, part: Split, volume: Volume, progress: bool = False) -> Samples:
        """The images of a part; progress: show a bar on a terminal where there are many."""
        ...

    def digest(self) -> str:
        """Changes when the images do; empty for data that cannot change."""
        ...


def _samples(images: np.ndarray, labels: np.ndarray) -> Samples:
    return Samples(torch.from_numpy(images), torch.from_numpy(labels))


class Splits:
    """What folders and tables of images have in common: the splits that are given; `train` is always there."""

    volume = Volume(3, (32, 32))
    _given: dict[str, Split]

    def parts(self, seed: int) -> dict[str, Split]:
        """The given splits, and the others out of the training images, class by class."""
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
        """All images of what is not split; of what is, the test images, or else the validation images."""
        split = next(name for name in ("test", "validation", "train") if name in self._given)
        return "all" if split == "train" else split, self._given[split]


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
