"""Sources of tables: parquet files, as Hugging Face writes them and as anyone else may, and datasets of its hub."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import DataError
from . import folder
from .columns import Table, TableImages, label_column
from .folder import SPLIT_FOLDERS
from .images import quiet

ROWS = 1024
MOST_FOOTER = 64 * 2**20


class ParquetImages(TableImages):
    """A parquet file with a column of encoded images and a column of classes.

    Images are binary, or structs of bytes and path; classes are strings, or integers whose names may be in the schema.
    Beside a train.parquet, validation.parquet (or val, valid, eval) and test.parquet are its other splits; what is not
    there is split off by the seed, class by class, as of a folder.
    Raises DataError for a file or a label that cannot be used, naming the row.
    """

    kind = "parquet"

    def __init__(self, path: str | Path) -> None:
        name, self._files, tables = parquet_tables(path)
        super().__init__(name, tables)

    def whole(self) -> tuple:
        """Every row of the file that was named, whatever lies beside it."""
        return "all", self._given["train"]

    def digest(self) -> str:
        """Of the sizes and the footers, which say how long each column of images and classes is."""
        return parquet_digest(self._files)


def parquet_tables(path: str | Path) -> tuple[str, dict[str, Path], dict[str, Table]]:
    """The name of a parquet file, the file of each split, and what it holds."""
    resolved = Path(path).resolve()
    folder.readable(str(resolved), resolved)
    files = folder.split_files(resolved)
    return str(resolved), files, {split: table(file) for split, file in files.items()}


def parquet_digest(files: Mapping[str, Path]) -> str:
    """Changes when parquet files do: of their sizes and their footers, which say how long each column is."""
    found = hashlib.sha256()
    for split, path in files.items():
        found.update(f"{split} {path.stat().st_size}\0".encode())
        found.update(_footer(path))
    return found.hexdigest()


def table(path: Path) -> Table:
    """What a parquet file holds; raises DataError for one that is none or torn."""
    with _explained(path), pq.ParquetFile(path) as file:
        return Table(str(path), file.schema_arrow, file.metadata.num_rows, lambda name: _column(path, name))


def _column(path: Path, name: str) -> Iterator[pa.Array]:
    with _explained(path), pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=ROWS, columns=[name]):
            yield batch.column(batch.schema.get_field_index(name))


def _footer(path: Path) -> bytes:
    """The last part of a file, whose length stands in front of its last four bytes."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 8))
        length = min(int.from_bytes(file.read(4), "little"), MOST_FOOTER, size)
        file.seek(max(0, size - 8 - length))
        return file.read()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """What Arrow raises for a file that it cannot read, as one line."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        reason = str(getattr(error, "strerror", None) or error).partition("\n")[0][:200]
        fix = "Get or write it again."
        raise DataError(f"data {path} cannot be read", got=reason, expected="a whole parquet file", fix=fix) from None


NAME = re.compile(r"hf:(\w[\w.-]*(?:/\w[\w.-]*)?)(?::(\w[\w.+-]*))?", re.ASCII)


class HubImages(TableImages):
    """A dataset of the hub: hf:NAME, or hf:NAME:CONFIG where it has several, as in hf:uoft-cs/cifar10.

    It is downloaded once, by Hugging Face's `datasets` and into its cache, and is there without a network afterwards.
    Its train, validation and test are the splits; what is not there is split off by the seed, class by class, as of a
    folder. A test without classes (all of them -1) is left out.
    Raises DataError for a name that is none, and what cannot be downloaded or has no images and classes.
    """

    kind = "hub"

    def __init__(self, name: str, tables: Mapping[str, Table] | None = None) -> None:
        found = hub_tables(name) if tables is None else tables
        super().__init__(
            name, {split: one for split, one in found.items() if split == "train" or not _without_classes(one)}
        )


def hub_tables(name: str) -> dict[str, Table]:
    """The tables of a dataset of the hub by their splits; raises DataError for a name that is none."""
    found = NAME.fullmatch(name)
    if found is None or ".." in name:
        expected = "hf:NAME or hf:NAME:CONFIG, as in hf:uoft-cs/cifar10"
        raise DataError(f"data {name}", got="no name of a dataset", expected=expected)
    splits: dict[str, Table] = {}
    loaded = _load(name, *found.groups())
    for split, rows in loaded.items():
        known = SPLIT_FOLDERS.get(str(split).lower())
        if known and known not in splits:
            splits[known] = _table(f"{name} ({split})", rows)
    if "train" not in splits:
        got = f"splits {', '.join(map(str, loaded))}"
        raise DataError(f"data {name}", got=got, expected="one that is called train")
    return splits


def _load(name: str, path: str, config: str | None) -> Any:
    """The splits of a dataset, from the hub or the cache."""
    import datasets

    try:
        with quiet(logging.CRITICAL, "huggingface_hub", "datasets"):  # a line for every attempt; the error says it
            return datasets.load_dataset(path, config)
    except Exception as error:  # of any kind: the network's, the hub's, a reader's
        reason = re.sub(r"\s+", " ", str(error) or type(error).__name__)[:300]
        expected = "a dataset of the Hugging Face hub, and a network or its copy in the cache"
        fix = "Look the name up at the hub; a parquet file of it on this machine will do as well."
        raise DataError(f"data {name} cannot be loaded", got=reason, expected=expected, fix=fix) from error


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
