"""Image classification datasets of the Hugging Face hub, by name."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from ...errors import DataError
from .columns import Table, TableImages, label_column
from .folder import SPLIT_FOLDERS
from .images import quiet

NAME = re.compile(r"hf:(\w[\w.-]*(?:/\w[\w.-]*)?)(?::(\w[\w.+-]*))?", re.ASCII)
ROWS = 1024


class HubImages(TableImages):
    """A dataset of the hub: hf:NAME, or hf:NAME:CONFIG where it has several, as in hf:uoft-cs/cifar10.

    It is downloaded once, by Hugging Face's `datasets` and into its cache, and is there without a network afterwards.
    Its train, validation and test are the splits; what is not there is split off by the seed, class by class, as of a
    folder. A test without classes (all of them -1) is left out.
    Raises DataError for a name that is none, and what cannot be downloaded or has no images and classes.
    """

    kind = "hub"

    def __init__(self, name: str) -> None:
        found = NAME.fullmatch(name)
        if found is None or ".." in name:
            expected = "hf:NAME or hf:NAME:CONFIG, as in hf:uoft-cs/cifar10"
            raise DataError(f"data {name}", got="no name of a dataset", expected=expected)
        splits: dict[str, Table] = {}
        loaded = _load(name, *found.groups())
        for split, rows in loaded.items():
            known = SPLIT_FOLDERS.get(str(split).lower())
            if known and known not in splits:
                table = _table(f"{name} ({split})", rows)
                if known == "train" or not _without_classes(table):
                    splits[known] = table
        if "train" not in splits:
            got = f"splits {', '.join(map(str, loaded))}"
            raise DataError(f"data {name}", got=got, expected="one that is called train")
        super().__init__(name, splits)


def _load(name: str, path: str, config: str | None) -> Any:
    """The splits of a dataset, from the hub or the cache."""
    import datasets

    try:
        with quiet(logging.CRITICAL, "huggingface_hub", "datasets"):  # a line for every attempt; the error says it
            return datasets.load_dataset(path, config)
    except Exception as error:  # of any kind: the network's, the hub's, a reader's
        reason = re.sub(r"\s+", " ", str(error) or type(error).__name__)[:300]
        raise DataError(
            f"data {name} cannot be loaded",
            got=reason,
            expected="a dataset of the Hugging Face hub, and a network or its copy in the cache",
            fix="Look the name up at the hub; a parquet file of it on this machine will do as well.",
        ) from error


def _table(place: str, rows: Any) -> Table:
    def column(name: str) -> Iterator[pa.Array]:
        for piece in rows.select_columns([name]).with_format("arrow").iter(batch_size=ROWS):
            yield from piece.column(name).chunks

    return Table(place, rows.features.arrow_schema, len(rows), column, local=True)


def _without_classes(table: Table) -> bool:
    name = label_column(table)
    if not table.rows or not pa.types.is_integer(table.schema.field(name).type):
        return False
    return all((np.asarray(piece) == -1).all() for piece in table.column(name))  # null becomes NaN, which is not -1
