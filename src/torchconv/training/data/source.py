"""A source of images by its name, and scikit-learn's scans of handwritten digits, which need no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...errors import DataError, SettingError
from ...network.operations import Volume
from ...text import did_you_mean
from .folder import SPLIT_FOLDERS, ImageFolder, subfolders
from .mask_folder import MaskFolder, mask_folders
from .parts import SPLITS, Samples, Source, Split

DIGITS_SPLIT = {"train": 1257, "validation": 180, "test": 360}


class Digits(Source):
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
            fix = "Write INPUT[8x8x1], or INPUT alone; without --data the data are digits: give --data for others."
            raise DataError("the INPUT of a network for digits", got=volume, expected=self.volume, fix=fix)

    def parts(self, seed: int = 0) -> dict[str, Split]:
        from sklearn.model_selection import train_test_split

        labels = self._digits().target
        chosen = {"train": np.arange(len(labels))}
        for name in ("test", "validation"):
            rows = chosen["train"]
            split = train_test_split(rows, test_size=DIGITS_SPLIT[name], random_state=0, stratify=labels[rows])
            chosen["train"], chosen[name] = map(np.asarray, split)
        return {name: Split(tuple(chosen[name].tolist()), tuple(labels[chosen[name]].tolist())) for name in SPLITS}

    def whole(self) -> tuple[str, Split]:
        return "test", self.parts()["test"]

    def read(self, part: Split, volume: Volume, progress: bool = False) -> Samples:
        self.check(volume)
        greys = self._digits().images[list(part.items)]  # 0 to 16
        pixels = torch.from_numpy((greys * (255 / 16)).round().astype(np.uint8))
        return Samples(pixels[:, None], torch.tensor(part.labels))

    def digest(self) -> str:
        return ""

    @staticmethod
    def _digits() -> Any:
        from sklearn.datasets import load_digits

        return load_digits()


EXPECTED = "digits, a folder of images and masks or with a folder of images for each class, a FILE.parquet, or hf:NAME"


def source(name: str, ignore: str = "") -> Source:
    """The data of a name; raises DataError where there are none.

    `digits`; the path of a folder with images and masks (`mask_folder.MaskFolder`), or with a folder of images for each
    class (`ImageFolder`); the path of a `.parquet` file, or of a folder that holds one called train; or `hf:NAME` or
    `hf:NAME:CONFIG`, a dataset of the Hugging Face hub. Tables have images and classes (`tabular`) or images and masks
    (`mask_tables`). ignore: labels of masks that are of no class, by names or values with commas between.

    >>> source("digits").classes[:3]
    ('0', '1', '2')
    """
    if not name:
        raise DataError("data", got="an empty name", expected=EXPECTED)
    path = Path(name)
    if name == "digits":
        found: Source = Digits()
    elif name.startswith("hf:"):
        found = _of_hub(name, ignore)
    elif path.is_dir():
        found = _of_folder(path, ignore)
    else:
        is_table = path.suffix.lower() == ".parquet"
        if not is_table or not path.exists():
            got = "a file" if path.exists() else f"no such {'file' if is_table else 'folder'}"
            raise DataError(f"data {name}", got=got, expected=EXPECTED, fix=did_you_mean(name, ["digits"]))
        found = _of_parquet(path, ignore)
    if ignore and found.labels is None:
        raise SettingError("ignore", got=repr(ignore), expected=f"nothing, as data {name} has no masks")
    return found


def _of_folder(path: Path, ignore: str) -> Source:
    if folders := mask_folders(path):
        return MaskFolder(path, folders, ignore)
    tables = [one for one in path.glob("*.parquet") if SPLIT_FOLDERS.get(one.stem.lower()) == "train"]
    if len(tables) == 1 and not subfolders(path):
        return _of_parquet(tables[0], ignore)
    return ImageFolder(path)


def _of_parquet(path: Path, ignore: str) -> Source:
    from .columns import mask_column
    from .tabular import ParquetImages, parquet_tables

    _, files, tables = parquet_tables(path)
    if mask_column(tables["train"]) is None:
        return ParquetImages(path)
    from .mask_tables import ParquetMasks

    return ParquetMasks(path, files, tables, ignore)


def _of_hub(name: str, ignore: str) -> Source:
    from .columns import mask_column
    from .tabular import HubImages, hub_tables

    tables = hub_tables(name)
    if mask_column(tables["train"]) is None:
        return HubImages(name, tables)
    from .mask_tables import MaskTables

    return MaskTables(name, tables, None, ignore)
