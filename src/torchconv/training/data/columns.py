"""Which columns of a table hold the images and the classes, and the classes as numbers. Tables are hostile."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from pyarrow import types

from ...errors import DataError
from ...network.operations import Volume
from ...text import some
from . import images
from .images import Encoded, Named
from .parts import SPLITS, Samples, Source, Split

IMAGES = ("image", "img", "images", "picture", "photo", "pixel_values")
MASKS = ("mask", "masks", "label", "labels", "annotation", "annotations", "segmentation", "segmentation_mask", "gt")
LABELS = ("label", "labels", "class", "fine_label", "target", "category")
MOST_ROWS = 2**26


@dataclass(frozen=True)
class Table:
    """Rows in a file or a dataset: `place` names it in errors, `column` gives one column in pieces, in order.

    local: whether images may be files of this machine that the rows name by their paths.
    """

    place: str
    schema: pa.Schema
    rows: int
    column: Callable[[str], Iterator[pa.Array]]
    local: bool = False


@dataclass(frozen=True)
class Labels:
    """The class of each row as a number of `names`; numbered: the names are bare numbers, made from the values."""

    names: tuple[str, ...]
    values: np.ndarray
    numbered: bool = False


def image_column(table: Table) -> str:
    """The column of encoded images: bytes, or Hugging Face's struct of bytes and path."""
    found = [field.name for field in table.schema if _holds_images(field.type)]
    named = [name for name in found if name.lower() in IMAGES]
    if len(found) != 1 and len(named) != 1:
        raise _unclear(table, "image", found, "one column of encoded images: binary, or a struct of bytes and path")
    return found[0] if len(found) == 1 else named[0]


def mask_column(table: Table) -> str | None:
    """The column of masks beside that of images; None where there is none, or the classes are numbers or words."""
    found = [field.name for field in table.schema if _holds_images(field.type)]
    masks = [name for name in found if name.lower() in MASKS]
    images = [name for name in found if name.lower() in IMAGES]
    return masks[0] if len(masks) == 1 and len(images) == 1 else None


def label_column(table: Table) -> str:
    """The column of classes: by its name, or the only one with names of classes, or the only one that could be."""
    found = [field.name for field in table.schema if _holds_labels(field.type)]
    features = _features(table)
    with_names = [name for name in found if _class_names(features.get(name), table, name)]
    found = [name for name in found if name.lower() in LABELS] or with_names or found
    if len(found) != 1:
        raise _unclear(table, "label", found, "one column of classes, integers or strings")
    return found[0]


def labels(table: Table) -> Labels:
    """The class of every row; raises DataError for what is empty, null or out of range, with the row."""
    if not 0 < table.rows <= MOST_ROWS:
        raise DataError(f"data {table.place}", got=f"{table.rows} rows", expected=f"1 to {MOST_ROWS}")
    name = label_column(table)
    column = pa.chunked_array(list(table.column(name)))
    if isinstance(column.type, pa.DictionaryType):
        column = column.cast(column.type.value_type)
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        raise _bad_row(table, name, row, "nothing", "a class")
    if types.is_integer(column.type):
        names = _class_names(_features(table).get(name), table, name)
        return _numbers(table, name, column.to_numpy(), names)
    names, values = np.unique(np.asarray(column.to_pylist(), dtype=object), return_inverse=True)
    return Labels(tuple(names.tolist()), values.astype(np.int64))


def _numbers(table: Table, name: str, values: np.ndarray, names: tuple[str, ...]) -> Labels:
    top = len(names) - 1 if names else np.iinfo(np.int64).max
    bad = (values < 0) | (values > top)
    if bad.any():
        row = int(bad.argmax())
        expected = f"a number from 0 to {top}, as there are {len(names)} names" if names else "a number from 0 on"
        raise _bad_row(table, name, row, values[row], expected)
    if names:
        return Labels(names, values.astype(np.int64))
    found, numbers = np.unique(values, return_inverse=True)
    return Labels(tuple(str(value) for value in found), numbers.astype(np.int64), numbered=True)


def _bad_row(table: Table, column: str, row: int, got: object, expected: str) -> DataError:
    fix = "Correct the row, or leave it out."
    return DataError(f"{column} in row {row} of {table.place}", got=got, expected=expected, fix=fix)


def _unclear(table: Table, what: str, found: Sequence[str], expected: str) -> DataError:
    columns = ", ".join(f"{field.name} ({field.type})" for field in table.schema)[:300] or "no columns"
    fix = f'Call the right one of {", ".join(found)} "{what}".' if found else ""
    return DataError(f"data {table.place}: no clear {what} column", got=columns, expected=expected, fix=fix)


def _holds_images(kind: pa.DataType) -> bool:
    if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return types.is_binary(kind) or types.is_large_binary(kind)


def _holds_labels(kind: pa.DataType) -> bool:
    kind = kind.value_type if isinstance(kind, pa.DictionaryType) else kind
    return types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind)


def _features(table: Table) -> dict:
    """What Hugging Face writes about the columns; nothing where there is none, or it cannot be read."""
    try:
        found = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _class_names(feature: object, table: Table, column: str) -> tuple[str, ...]:
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel" or not feature.get("names"):
        return ()
    names = feature["names"]
    good = isinstance(names, list) and all(isinstance(name, str) and _is_unicode(name) for name in names)
    if not good or len(set(names)) < len(names):
        got = f"names {str(names)[:60]!a}"
        raise DataError(f"column {column} of {table.place}", got=got, expected="a list of different names")
    return tuple(names)


def _is_unicode(name: str) -> bool:
    return name.encode(errors="ignore").decode() == name


class TableImages(Source):
    """Images in the rows of tables, one table for each split that is given; `train` is always there.

    Items are numbers of rows, counted on from table to table. Classes are the names in the train table's schema, or
    the different strings or numbers of its label column; those of other tables are found among them by name.
    """

    def __init__(self, name: str, tables: Mapping[str, Table]) -> None:
        self.name = name
        self._tables = {split: tables[split] for split in SPLITS if split in tables}
        self._columns = {split: image_column(table) for split, table in self._tables.items()}
        found = {split: labels(table) for split, table in self._tables.items()}
        self.classes = found["train"].names
        self.numbered = found["train"].numbered
        self._labels = {split: self._numbers(split, own) for split, own in found.items()}
        ends = np.cumsum([table.rows for table in self._tables.values()]).tolist()
        self._given = {
            split: Split(tuple(range(end - len(own), end)), tuple(own.tolist()))
            for (split, own), end in zip(self._labels.items(), ends, strict=True)
        }

    def _numbers(self, split: str, own: Labels) -> np.ndarray:
        """The classes of a split by the numbers of the train table's."""
        place = {name: number for number, name in enumerate(self.classes)}
        unknown = [own.names[number] for number in np.unique(own.values) if own.names[number] not in place]
        if unknown:
            where, got = f"data {self._tables[split].place}", f"class {unknown[0]} that is not in train"
            raise DataError(where, got=got, expected=f"one of {some(self.classes)}")
        return np.array([place.get(name, -1) for name in own.names], dtype=np.int64)[own.values]

    def parts(self, seed: int) -> dict[str, Split]:
        train = self._tables["train"]
        if len(self.classes) < 2:
            got = f"one class only ({', '.join(self.classes)})"
            raise DataError(f"data {train.place}", got=got, expected="at least two classes")
        least = 1 if "validation" in self._tables else 2
        counts = np.bincount(self._labels["train"], minlength=len(self.classes))
        if (counts < least).any():
            number = int((counts < least).argmax())
            what, got = f"class {self.classes[number]} of {train.place}", f"{counts[number]} images"
            fix = "Add images of it, or leave the class out."
            raise DataError(what, got=got, expected=f"at least {least}", fix=fix)
        return super().parts(seed)

    def digest(self) -> str:
        found = hashlib.sha256()
        for split, table in self._tables.items():
            found.update(f"{split} {table.rows} {self.classes}\0".encode())
            found.update(self._labels[split].tobytes())
        return found.hexdigest()

    def read(self, part: Split, volume: Volume, progress: bool = False) -> Samples:
        order = np.argsort(np.asarray(part.items, dtype=np.int64), kind="stable")
        rows = np.asarray(part.items, dtype=np.int64)[order]
        found = images.decode(self._encoded(rows), len(rows), volume, progress)
        places = torch.empty(len(rows), dtype=torch.int64)
        places[torch.from_numpy(order)] = torch.arange(len(rows))
        # files hold the rows in their own order, and are read once from the start to the end
        return Samples(found[places], torch.tensor(part.labels, dtype=torch.int64))

    def _encoded(self, rows: np.ndarray) -> Iterator[Named]:
        """The name and the bytes of the image in each of some rows, which are in order."""
        first = 0
        for split, table in self._tables.items():
            own = rows[(rows >= first) & (rows < first + table.rows)] - first
            first += table.rows
            yield from encoded_images(table, self._columns[split], own)


def encoded_images(table: Table, column: str, rows: np.ndarray, what: str = "image") -> Iterator[Named]:
    """The name and the bytes of what stands in a column in some rows, which are in order."""
    if not len(rows):
        return
    start, done = 0, 0
    for piece in table.column(column):
        for row in rows[(rows >= start) & (rows < start + len(piece))]:
            where = f"{what} in row {row} of {table.place}"
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
