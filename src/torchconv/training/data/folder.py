"""Images in a folder with a folder for each class."""

from __future__ import annotations

from pathlib import Path

import torch

from ...errors import DataError
from ...network.operations import Volume
from . import images, layout
from .layout import SPLITS
from .parts import Batch, Part, shares


class ImageFolder:
    """A folder with a folder of images for each class, or with train/, validation/ and test/ that are such folders.

    What is not split is split by the seed, class by class: a tenth for validation, at least one image, a tenth for the
    test. Files that are no images by their suffix, and hidden ones, are passed over.
    Raises DataError for a folder that is missing or empty, or has fewer than two classes, or a class too few images.
    """

    kind = "folder"
    numbered = False
    volume = Volume(3, (32, 32))

    def __init__(self, path: str | Path) -> None:
        root = Path(path)
        self._root = root.resolve()
        self.name = layout.readable(str(self._root), self._root)
        self._folders = {"train": self._root, **layout.split_folders(self._root)}
        self._files = {name: layout.class_files(folder) for name, folder in self._folders.items()}
        self.classes = tuple(self._files["train"])
        if len(self.classes) < 2:
            raise DataError(
                f"data {path}",
                got=self._too_few(),
                expected="at least two folders of images, one for each class, as in pets/cat/1.png",
                fix=layout.tables_hint(root),
            )
        for split, files in self._files.items():
            for name, found in files.items():
                self._check_class(split, name, len(found))

    def _too_few(self) -> str:
        if not any(self._root.iterdir()):
            return "an empty folder"
        return f"one class only ({self.classes[0]})" if self.classes else "no class folders"

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
                divided = shares(found, seed + label, self._files) if split == "train" else {split: found}
                for target, paths in divided.items():
                    chosen[target] += [(path, label) for path in paths]
        return {name: _part(pairs) for name, pairs in chosen.items()}

    def whole(self) -> tuple[str, Part]:
        """Every image of a folder that is not split; of one that is, its test images, or else its validation images."""
        split = next(name for name in ("test", "validation", "train") if name in self._files)
        pairs = [(path, self.classes.index(name)) for name, paths in self._files[split].items() for path in paths]
        return "all" if split == "train" else split, _part(pairs)

    def digest(self) -> str:
        files = (path for found in self._files.values() for paths in found.values() for path in paths)
        return layout.digest(self._root, files)

    def read(self, part: Part, volume: Volume, progress: bool = False) -> Batch:
        return Batch(images.read_images(part.items, volume, progress), torch.tensor(part.labels, dtype=torch.int64))


def _part(pairs: list[tuple[Path, int]]) -> Part:
    return Part(tuple(path for path, _ in pairs), tuple(label for _, label in pairs))
