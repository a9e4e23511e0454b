"""How a folder of images is laid out: a folder for each class, or first one for each split."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from ...errors import DataError
from ...network.operations import Volume
from . import images
from .parts import Samples, Source, Split

SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "eval"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
EXPECTED = "a folder for each class, or train, validation and test, each once, with a folder for each class inside"


def split_folders(root: Path) -> dict[str, Path]:
    """The folders of the splits, where there is a train folder that holds folders; nothing where there are classes.

    A class may be called train, as in car, plane, train. Raises DataError where splits and classes are mixed up.
    """
    folders = subfolders(root)
    splits = {folder: SPLIT_FOLDERS.get(folder.name.lower()) for folder in folders}
    if not any(split == "train" and subfolders(folder) for folder, split in splits.items()):
        named = [folder.name for folder, split in splits.items() if split is not None]
        if named and (len(named) == len(folders) or any(SPLIT_FOLDERS[name.lower()] != "train" for name in named)):
            got = f"folder {', '.join(named)}, and no train folder with a folder for each class"
            raise DataError(f"data {root}", got=got, expected=EXPECTED)
        return {}
    found: dict[str, Path] = {}
    for folder, split in splits.items():
        if split is None or split in found:
            raise DataError(f"data {root}", got=f"folder {folder.name} beside train", expected=EXPECTED)
        found[split] = folder
    return found


def class_files(folder: Path) -> dict[str, list[Path]]:
    """The image files of each class folder, in the order of their names."""
    return {
        readable(entry.name, entry): sorted(
            path
            for path in entry.rglob("*")
            if path.suffix.lower() in images.SUFFIXES and not path.name.startswith(".") and path.is_file()
        )
        for entry in subfolders(folder)
    }


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, in the order of their names, without hidden ones."""
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def tables_hint(folder: Path) -> str:
    """What to do with a folder that holds parquet files in place of images; empty where it does not."""
    found = sorted(path.name for path in folder.glob("*.parquet"))
    first = next((name for name in found if SPLIT_FOLDERS.get(Path(name).stem.lower()) == "train"), *found[:1] or [""])
    return f"Name the file: {folder / first}." if first else ""


def split_files(path: Path) -> dict[str, Path]:
    """A parquet file as train, and its neighbours validation.parquet and test.parquet where it is train.parquet.

    The names are those of folders, val, valid, eval and so on. Raises DataError where two go by one split.
    """
    found = {"train": path}
    if SPLIT_FOLDERS.get(path.stem.lower()) != "train":
        return found
    for other in sorted(path.parent.glob("*")):
        split = SPLIT_FOLDERS.get(other.stem.lower()) if other.suffix.lower() == ".parquet" else None
        if split is None or split == "train":  # another train file is another set
            continue
        if split in found:
            got = f"{found[split].name} and {other.name} beside it"
            raise DataError(f"data {path}", got=got, expected=f"one file for {split}", fix="Move one of them away.")
        found[split] = other
    return found


def readable(name: str, path: Path) -> str:
    """A name that can be written to a file; raises DataError for one that is not UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(f"folder {str(path)!a}", got="a name that is not UTF-8", fix="Rename it.") from None
    return name


class ImageFolder(Source):
    """A folder with a folder of images for each class, or with train/, validation/ and test/ that are such folders.

    What is not split is split by the seed, class by class: a tenth for validation, at least one image, a tenth for the
    test. Files that are no images by their suffix, and hidden ones, are passed over.
    Raises DataError for a folder that is missing or empty, or has fewer than two classes, or a class too few images.
    """

    kind = "folder"

    def __init__(self, path: str | Path) -> None:
        root = Path(path)
        self._root = root.resolve()
        self.name = readable(str(self._root), self._root)
        self._folders = {"train": self._root, **split_folders(self._root)}
        self._files = {name: class_files(folder) for name, folder in self._folders.items()}
        self.classes = tuple(self._files["train"])
        if len(self.classes) < 2:
            got = f"one class only ({self.classes[0]})" if self.classes else "no class folders"
            got = got if any(root.iterdir()) else "an empty folder"
            expected = "at least two folders of images, one for each class, as in pets/cat/1.png"
            raise DataError(f"data {path}", got=got, expected=expected, fix=tables_hint(root))
        for split, files in self._files.items():
            for name, found in files.items():
                self._check_class(split, name, len(found))
        number = {name: label for label, name in enumerate(self.classes)}
        self._given = {
            split: Split.of((path, number[name]) for name, paths in files.items() for path in paths)
            for split, files in self._files.items()
        }

    def _check_class(self, split: str, name: str, count: int) -> None:
        least = 2 if split == "train" and "validation" not in self._files else 1
        where = f"class folder {self._folders[split] / name}"
        if name not in self.classes:
            raise DataError(where, got="a class that is not in train", expected=f"one of {', '.join(self.classes)}")
        if count < least:
            known = ", ".join(suffix[1:] for suffix in images.SUFFIXES)
            raise DataError(where, got=f"{count} images", expected=f"at least {least} ({known})")

    def digest(self) -> str:
        """Of the relative paths and the sizes of files: it changes when one is added, removed, renamed or replaced."""
        found = hashlib.sha256()
        for path in sorted(path for files in self._files.values() for paths in files.values() for path in paths):
            line = f"{path.stat().st_size} {path.relative_to(self._root).as_posix()}\0"
            found.update(line.encode("utf-8", errors="surrogateescape"))
        return found.hexdigest()

    def read(self, part: Split, volume: Volume, progress: bool = False) -> Samples:
        return Samples(images.read_images(part.items, volume, progress), torch.tensor(part.labels, dtype=torch.int64))
