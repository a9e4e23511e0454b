"""A source of images by its name, and scikit-learn's scans of handwritten digits, which need no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...errors import DataError
from ...network.operations import Volume
from ...text import did_you_mean
from .folder import ImageFolder
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


EXPECTED = "digits, a folder with a folder of images for each class, a FILE.parquet, or hf:NAME"


def source(name: str) -> Source:
    """The data of a name; raises DataError where there are none.

    `digits`; the path of a folder with a folder of images for each class (`ImageFolder`); the path of a `.parquet` file
    (`parquet.ParquetImages`); or `hf:NAME` or `hf:NAME:CONFIG`, a dataset of the Hugging Face hub (`hub.HubImages`).

    >>> source("digits").classes[:3]
    ('0', '1', '2')
    """
    if not name:
        raise DataError("data", got="an empty name", expected=EXPECTED)
    if name == "digits":
        return Digits()
    if name.startswith("hf:"):
        from .tabular import HubImages

        return HubImages(name)
    path = Path(name)
    if path.is_dir():
        return ImageFolder(path)
    is_table = path.suffix.lower() == ".parquet"
    if not is_table or not path.exists():
        got = "a file" if path.exists() else f"no such {'file' if is_table else 'folder'}"
        raise DataError(f"data {name}", got=got, expected=EXPECTED, fix=did_you_mean(name, ["digits"]))
    from .tabular import ParquetImages

    return ParquetImages(path)
