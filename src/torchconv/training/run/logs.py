"""Every epoch for TensorBoard and as a table: RUN/logs. Both are written anew from the epochs so far at every start."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from ...errors import DataError
from .new_run import NewRun, write
from .run_folder import LOGS

TABLE = "metrics.csv"
COLUMNS = (
    "epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "learning_rate", "seconds"
)  # fmt: skip


class Logs:
    """The logs of a run that is being written; rows: the epochs that are known already, so that none is there twice."""

    def __init__(self, run: NewRun, rows: Sequence[dict[str, Any]]) -> None:
        self._folder = run.folder(LOGS, TABLE)
        for old in self._folder.glob("events.out.tfevents.*"):
            old.unlink()
        write(self._folder / TABLE, (_line(COLUMNS) + "".join(map(_row, rows))).encode())
        self._writer = SummaryWriter(str(self._folder))
        for row in rows:
            self._scalars(row)

    def add(self, row: dict[str, Any]) -> None:
        """An epoch that has ended."""
        try:
            with (self._folder / TABLE).open("a", encoding="utf-8") as file:
                file.write(_row(row))
            self._scalars(row)
            self._writer.flush()
        except OSError as error:
            raise DataError(f"{self._folder} cannot be written", got=error.strerror) from None

    def close(self) -> None:
        """Finish the files."""
        self._writer.close()

    def _scalars(self, row: dict[str, Any]) -> None:
        for name in COLUMNS[1:-1]:
            split, _, measure = name.partition("_")
            title = name if name == "learning_rate" else f"{measure}/{split}"
            self._writer.add_scalar(title, row[name], row["epoch"])


def _row(row: dict[str, Any]) -> str:
    return _line([row[name] for name in COLUMNS])


def _line(values: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
