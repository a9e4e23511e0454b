"""Images in parquet files, as Hugging Face writes them and as anyone else may."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import DataError
from . import folder
from .columns import Table, TableImages

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
        resolved = Path(path).resolve()
        folder.readable(str(resolved), resolved)
        self._files = folder.split_files(resolved)
        super().__init__(str(resolved), {split: table(file) for split, file in self._files.items()})

    def whole(self) -> tuple:
        """Every row of the file that was named, whatever lies beside it."""
        return "all", self._given["train"]

    def digest(self) -> str:
        """Of the sizes and the footers, which say how long each column of images and classes is."""
        found = hashlib.sha256()
        for split, path in self._files.items():
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
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        reason = str(getattr(error, "strerror", None) or error).partition("\n")[0][:200]
        raise DataError(
            f"data {path} cannot be read", got=reason, expected="a whole parquet file", fix="Get or write it again."
        ) from None
