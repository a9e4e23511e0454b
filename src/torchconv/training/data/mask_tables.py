"""Tables with a column of images and a column of masks, as Hugging Face writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from .columns import Table, encoded_images, image_column, mask_column
from .masks import MaskSource, Pair
from .parts import SPLITS
from .tabular import parquet_digest


class MaskTables(MaskSource):
    """Images and masks in the rows of tables, one for each split that is given. Items are numbers of rows."""

    def __init__(self, name: str, tables: Mapping[str, Table], folder: Path | None, ignore: str = "") -> None:
        self._tables = {split: tables[split] for split in SPLITS if split in tables}
        self._columns = {split: (image_column(table), mask_column(table)) for split, table in self._tables.items()}
        given, first = {}, 0
        for split, table in self._tables.items():
            given[split] = range(first, first + table.rows)
            first += table.rows
        super().__init__(name, given, folder, ignore)

    def encoded(self, items: Sequence[int]) -> Iterator[Pair]:
        """Files hold the rows in their own order, and are read once from the start to the end for those in order."""
        rows = np.asarray(items, dtype=np.int64)
        order = np.argsort(rows, kind="stable")
        found = self._in_order(rows[order])
        if (np.diff(rows) > 0).all():
            yield from found
        else:
            kept = list(found)
            yield from (kept[place] for place in np.argsort(order))

    def _in_order(self, rows: np.ndarray) -> Iterator[Pair]:
        first = 0
        for split, table in self._tables.items():
            own = rows[(rows >= first) & (rows < first + table.rows)] - first
            first += table.rows
            image, mask = self._columns[split]
            assert mask is not None
            yield from zip(encoded_images(table, image, own), encoded_images(table, mask, own, "mask"), strict=True)

    def digest(self) -> str:
        found = hashlib.sha256()
        for split, table in self._tables.items():
            found.update(f"{split} {table.rows} {self.classes}\0".encode())
        return found.hexdigest()


class ParquetMasks(MaskTables):
    """A parquet file of images and masks, with its other splits beside it."""

    def __init__(self, path: Path, files: Mapping[str, Path], tables: Mapping[str, Table], ignore: str = "") -> None:
        self._files, resolved = files, Path(path).resolve()
        super().__init__(str(resolved), tables, resolved.parent, ignore)

    def whole(self) -> tuple:
        """Every row of the file that was named, whatever lies beside it."""
        return "all", self._given["train"]

    def digest(self) -> str:
        return parquet_digest(self._files)
