"""Which columns of a table hold the images and the classes, and the classes as numbers. Tables are hostile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyarrow import types

from ...errors import DataError

IMAGES = ("image", "img", "images", "picture", "photo")
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


def label_column(table: Table) -> str:
    """The column of classes: by its name, or the only one with names of classes, or the only one that could be."""
    found = [field.name for field in table.schema if _holds_labels(field.type)]
    features = _features(table)
    with_names = [name for name in found if _class_names(features.get(name), table, name)]
    for candidates in ([name for name in found if name.lower() in LABELS], with_names, found):
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            found = candidates
            break
    raise _unclear(table, "label", found, "one column of classes, integers or strings")


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
    if types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_binary(kind.field("bytes").type)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
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
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False
