"""Where images and their classes come from: digits, a folder, a parquet file, or the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from ...errors import DataError
from ...text import did_you_mean
from .digits import DIGITS_SPLIT, Digits
from .folder import ImageFolder
from .parts import Batch, Part, Source

__all__ = ["DIGITS_SPLIT", "Batch", "Digits", "ImageFolder", "Part", "Source", "source"]

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
        from .hub import HubImages

        return HubImages(name)
    path = Path(name)
    if path.is_dir():
        return ImageFolder(path)
    if not path.exists():
        got = "no such file" if path.suffix.lower() == ".parquet" else "no such folder"
        raise DataError(f"data {name}", got=got, expected=EXPECTED, fix=did_you_mean(name, ["digits"]))
    if path.suffix.lower() != ".parquet":
        raise DataError(f"data {name}", got="a file", expected=EXPECTED)
    from .parquet import ParquetImages

    return ParquetImages(path)
