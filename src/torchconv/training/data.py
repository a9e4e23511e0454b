"""Where images and their classes come from: the embedded digits, or a folder with a folder for each class."""

from __future__ import annotations

import difflib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError
from ..network.operations import Volume
from . import images, layout
from .layout import SPLITS

DIGITS_SPLIT = {"train": 1257, "validation": 180, "test": 360}


@dataclass(frozen=True)
class Part:
    """Items of one split, by file or by row, and the number of the class of each."""

    items: tuple[Any, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class Batch:
    """Images uint8 (N, channels, *size) and classes int64 (N,)."""

    images: Tensor
    labels: Tensor


class Source(Protocol):
    """Data of one kind: what there is, before anything is decoded, and the decoding."""

    kind: str
    name: str
    classes: tuple[str, ...]

    @property
    def volume(self) -> Volume:
        """What goes into a network whose text does not say it."""
        ...

    def check(self, volume: Volume) -> None:
        """Raise DataError unless the images can have this volume."""

    def parts(self, seed: int) -> dict[str, Part]:
        """The splits; the same for the same seed."""
        ...

    def read(self, part: Part, volume: Volume) -> Batch:
        """The images of a part."""
        ...

    def digest(self) -> str:
        """Changes when the images do; empty for data that cannot change."""
        ...


def source(name: str) -> Source:
    """`digits`, or the path of a folder of images per class; raises DataError for anything else.

    >>> source("digits").classes[:3]
    ('0', '1', '2')
    """
    if not name:
        raise DataError(
            "data", got="an empty name", expected="digits, or a folder with a folder of images for each class"
        )
    return Digits() if name == "digits" else ImageFolder(name)


class Digits:
    """scikit-learn's 1,797 scans of handwritten digits, 8x8 pixels in 17 greys (Alpaydin, Kaynak 1998, UCI).

    The split is stratified by class and always the same: scikit-learn's train_test_split with random_state=0 takes 360
    for the test, then 180 for the validation, and leaves 1,257.
    """

    kind = "digits"
    name = "digits"
    classes = tuple("0123456789")
    volume = Volume(1, (8, 8))

    def check(self, volume: Volume) -> None:
        if volume != self.volume:
            raise DataError(
                "the INPUT of a network for digits",
                got=volume,
                expected=self.volume,
                fix="Write INPUT[8x8x1], or INPUT alone.",
            )

    def parts(self, seed: int = 0) -> dict[str, Part]:
        from sklearn.model_selection import train_test_split

        labels = self._digits().target
        rows = np.arange(len(labels))
        rest, test = train_test_split(rows, test_size=DIGITS_SPLIT["test"], random_state=0, stratify=labels)
        train, validation = train_test_split(
            rest, test_size=DIGITS_SPLIT["validation"], random_state=0, stratify=labels[rest]
        )
        chosen = {name: np.asarray(rows) for name, rows in zip(SPLITS, (train, validation, test), strict=True)}
        return {name: Part(tuple(rows.tolist()), tuple(labels[rows].tolist())) for name, rows in chosen.items()}

    def read(self, part: Part, volume: Volume) -> Batch:
        self.check(volume)
        greys = self._digits().images[list(part.items)]  # 0 to 16
        pixels = torch.from_numpy((greys * (255 / 16)).round().astype(np.uint8))
        return Batch(pixels[:, None], torch.tensor(part.labels))

    def digest(self) -> str:
        return ""

    @staticmethod
    def _digits() -> Any:
        from sklearn.datasets import load_digits

        return load_digits()


class ImageFolder:
    """A folder with a folder of images for each class, or with train/, validation/ and test/ that are such folders.

    What is not split is split by the seed, class by class: a tenth for validation, at least one image, a tenth for the
    test. Files that are no images by their suffix, and hidden ones, are passed over.
    Raises DataError for a folder that is missing or empty, or has fewer than two classes, or a class too few images.
    """

    kind = "folder"
    volume = Volume(3, (32, 32))

    def __init__(self, path: str | Path) -> None:
        root = Path(path)
        if not root.is_dir():
            got = "a file" if root.exists() else "no such folder"
            close = difflib.get_close_matches(str(path).lower(), ["digits"])
            raise DataError(
                f"data {path}",
                got=got,
                expected="digits, or a folder with a folder of images for each class",
                fix="Did you mean digits?" if close else "",
            )
        self._root = root.resolve()
        self.name = layout.readable(str(self._root), self._root)
        self._folders = {"train": self._root, **layout.split_folders(self._root)}
        self._files = {name: layout.class_files(folder) for name, folder in self._folders.items()}
        self.classes = tuple(self._files["train"])
        if len(self.classes) < 2:
            got = f"one class only ({self.classes[0]})" if self.classes else "no class folders"
            if not any(root.iterdir()):
                got = "an empty folder"
            raise DataError(
                f"data {path}",
                got=got,
                expected="at least two folders of images, one for each class, as in pets/cat/1.png",
            )
        for split, files in self._files.items():
            for name, found in files.items():
                self._check_class(split, name, len(found))

    def _check_class(self, split: str, name: str, count: int) -> None:
        least = 2 if split == "train" and "validation" not in self._files else 1
        where = f"class folder {self._folders[split] / name}"
        if name not in self.classes:
            raise DataError(where, got="a class that is not in train", expected=f"one of {', '.join(self.classes)}")
        if count < least:
            known = ", ".join(suffix[1:] for suffix in images.SUFFIXES)
            raise DataError(where, got=f"{count} images", expected=f"at least {least} ({known})")

    def check(self, volume: Volume) -> None:
        images.check_volume(volume)

    def parts(self, seed: int) -> dict[str, Part]:
        chosen: dict[str, list[tuple[Path, int]]] = {name: [] for name in SPLITS}
        for split, files in self._files.items():
            for name, found in files.items():
                label = self.classes.index(name)
                shares = self._shares(found, seed + label) if split == "train" else {split: found}
                for target, paths in shares.items():
                    chosen[target] += [(path, label) for path in paths]
        return {
            name: Part(tuple(path for path, _ in pairs), tuple(label for _, label in pairs))
            for name, pairs in chosen.items()
        }

    def _shares(self, files: Sequence[Path], seed: int) -> dict[str, Sequence[Path]]:
        """Files of one class shared among the splits that have no folder of their own."""
        order = list(files)
        random.Random(seed).shuffle(order)
        validation = 0 if "validation" in self._files else max(1, round(len(order) / 10))
        test = 0 if len(self._files) > 1 else round(len(order) / 10)  # who splits by folders decides about a test
        return {
            "validation": order[:validation],
            "test": order[validation : validation + test],
            "train": order[validation + test :],
        }

    def all_files(self) -> Part:
        """Every image of a folder that is not split; of one that is, its test images, or else its validation images."""
        split = next(name for name in ("test", "validation", "train") if name in self._files)
        pairs = [(path, self.classes.index(name)) for name, paths in self._files[split].items() for path in paths]
        return Part(tuple(path for path, _ in pairs), tuple(label for _, label in pairs))

    def digest(self) -> str:
        files = (path for found in self._files.values() for paths in found.values() for path in paths)
        return layout.digest(self._root, files)

    def read(self, part: Part, volume: Volume) -> Batch:
        return Batch(images.read_images(part.items, volume), torch.tensor(part.labels))
