"""Images and classes in the columns of tables, wherever the tables come from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from ...errors import DataError
from ...network.operations import Volume
from . import images
from .columns import Labels, Table, image_column, labels
from .images import Encoded
from .layout import SPLITS
from .parts import Batch, Part, shares


class TableImages:
    """Images in the rows of tables, one table for each split that is given; `train` is always there.

    Items are numbers of rows, counted on from table to table. Classes are the names in the train table's schema, or
    the different strings or numbers of its label column; those of other tables are found among them by name.
    """

    kind = "table"
    volume = Volume(3, (32, 32))

    def __init__(self, name: str, tables: Mapping[str, Table]) -> None:
        self.name = name
        self._tables = {split: tables[split] for split in SPLITS if split in tables}
        self._columns = {split: image_column(table) for split, table in self._tables.items()}
        found = {split: labels(table) for split, table in self._tables.items()}
        self.classes = found["train"].names
        self.numbered = found["train"].numbered
        self._labels = {split: self._numbers(split, own) for split, own in found.items()}

    def _numbers(self, split: str, own: Labels) -> np.ndarray:
        """The classes of a split by the numbers of the train table's."""
        place = {name: number for number, name in enumerate(self.classes)}
        unknown = [own.names[number] for number in np.unique(own.values) if own.names[number] not in place]
        if unknown:
            known = ", ".join(self.classes[:10]) + (", ..." if len(self.classes) > 10 else "")
            where = f"data {self._tables[split].place}"
            raise DataError(where, got=f"class {unknown[0]} that is not in train", expected=f"one of {known}")
        return np.array([place.get(name, -1) for name in own.names], dtype=np.int64)[own.values]

    def check(self, volume: Volume) -> None:
        images.check_volume(volume)

    def parts(self, seed: int) -> dict[str, Part]:
        train = self._tables["train"]
        if len(self.classes) < 2:
            got = f"one class only ({', '.join(self.classes)})"
            raise DataError(f"data {train.place}", got=got, expected="at least two classes")
        least = 1 if "validation" in self._tables else 2
        counts = np.bincount(self._labels["train"], minlength=len(self.classes))
        if (counts < least).any():
            number = int((counts < least).argmax())
            raise DataError(
                f"class {self.classes[number]} of {train.place}",
                got=f"{counts[number]} images",
                expected=f"at least {least}",
                fix="Add images of it, or leave the class out.",
            )
        chosen: dict[str, list[int]] = {split: [] for split in SPLITS}
        for number in range(len(self.classes)):
            rows = np.flatnonzero(self._labels["train"] == number).tolist()
            for split, own in shares(rows, seed + number, self._tables).items():
                chosen[split] += own
        for split in self._tables:
            if split != "train":
                chosen[split] = self._rows(split)
        return {split: self._part(rows) for split, rows in chosen.items()}

    def whole(self) -> tuple[str, Part]:
        """Every row of what is not split; of what is, the test, or else the validation."""
        split = next(name for name in ("test", "validation", "train") if name in self._tables)
        return "all" if split == "train" else split, self._part(self._rows(split))

    def digest(self) -> str:
        found = hashlib.sha256()
        for split, table in self._tables.items():
            found.update(f"{split} {table.rows} {self.classes}\0".encode())
            found.update(self._labels[split].tobytes())
        return found.hexdigest()

    def read(self, part: Part, volume: Volume, progress: bool = False) -> Batch:
        order = np.argsort(np.asarray(part.items, dtype=np.int64), kind="stable")
        rows = np.asarray(part.items, dtype=np.int64)[order]
        found = images.decode(self._encoded(rows), len(rows), volume, progress)
        places = torch.empty(len(rows), dtype=torch.int64)
        places[torch.from_numpy(order)] = torch.arange(len(rows))
        # files hold the rows in their own order, and are read once from the start to the end
        return Batch(found[places], torch.tensor(part.labels, dtype=torch.int64))

    def _rows(self, split: str) -> list[int]:
        start = 0
        for other, table in self._tables.items():
            if other == split:
                return list(range(start, start + table.rows))
            start += table.rows
        raise KeyError(split)

    def _part(self, rows: list[int]) -> Part:
        values = np.concatenate(list(self._labels.values()))
        return Part(tuple(rows), tuple(values[rows].tolist()))

    def _encoded(self, rows: np.ndarray) -> Iterator[tuple[str, Encoded]]:
        """The name and the bytes of the image in each of some rows, which are in order."""
        first = 0
        for split, table in self._tables.items():
            own = rows[(rows >= first) & (rows < first + table.rows)] - first
            first += table.rows
            yield from _images(table, self._columns[split], own)


def _images(table: Table, column: str, rows: np.ndarray) -> Iterator[tuple[str, Encoded]]:
    if not len(rows):
        return
    start, done = 0, 0
    for piece in table.column(column):
        for row in rows[(rows >= start) & (rows < start + len(piece))]:
            where = f"image in row {row} of {table.place}"
            yield where, _bytes(table, where, piece, int(row) - start)
            done += 1
        start += len(piece)
        if done == len(rows):
            return
    got = f"{start} rows in column {column}"
    raise DataError(f"data {table.place}", got=got, expected=f"{table.rows}", fix="Make the file again.")


def _bytes(table: Table, where: str, piece: pa.Array, row: int) -> Encoded:
    """The bytes of an image, or the path of one where that may be followed."""
    if not isinstance(piece, pa.StructArray):
        content = piece[row]
    else:
        content = piece.field("bytes")[row] if piece[row].is_valid else pa.scalar(None)
        if not content.is_valid and table.local and piece[row].is_valid and piece.type.get_field_index("path") >= 0:
            path = piece.field("path")[row].as_py()
            if path and Path(path).is_file():
                return Path(path)
    if not content.is_valid:
        raise DataError(where, got="no bytes", expected="an encoded image", fix="Leave the row out.")
    return content.as_py()
