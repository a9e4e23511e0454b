"""The journal of a tiled inference: which tiles are finished, so that a later process goes on after the last of them.

A folder beside the result: job.json says which job it is, and each process adds lines to a file of its own, one for
each tile, with a check sum. A line that was torn is no line; a tile whose values are not there is not finished.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import torch
from torch import Tensor

from ...errors import DataError
from ...text import write_atomically

JOB, LINES = "job.json", ".lines"
State: TypeAlias = "dict[str, tuple[Tensor, ...]]"  # what tiles say of statistics of the whole image


class Journal:
    """Finished tiles of each pass: `(pass, tile)`, with what it says: the check sum of its values, or statistics."""

    def __init__(self, folder: Path | None) -> None:
        self.folder, self.ours = folder, False
        self.found: dict[tuple[int, int], Any] = {}
        self.file: Any = None

    def open(self, job: Mapping[str, Any], there: bool) -> bool:
        """Whether there are tiles of this job; else an empty journal. there: the result that it speaks of exists.

        Raises DataError for a journal of another job.
        """
        if self.folder is None:
            return False
        path = self.folder / JOB
        known = _json(path.read_text(errors="replace")) if path.exists() else None
        if known is not None and there:
            self._check(known, json.loads(json.dumps(job)))
            self.read()
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True, exist_ok=True)
        self.ours = True
        return known is not None and there

    def begin(self, job: Mapping[str, Any]) -> None:
        """From now on there is a job to go on with."""
        if self.folder is not None and not (self.folder / JOB).exists():
            write_atomically(self.folder / JOB, json.dumps(job))

    def _check(self, known: Any, job: dict[str, Any]) -> None:
        differ = [name for name in job if not isinstance(known, dict) or known.get(name) != job[name]]
        if differ:
            what, got = f"{self.folder} holds unfinished tiles of another job", f"another {differ[0]}"
            raise DataError(what, got=got, expected="this one", fix="Remove that folder, or give another out=.")

    def read(self) -> None:
        """All that processes have written so far."""
        for path in sorted(self.folder.glob(f"*{LINES}")) if self.folder else ():
            for line in path.read_text(errors="replace").splitlines():
                text, _, check = line.rpartition(" ")
                if check == f"{zlib.crc32(text.encode()):08x}" and isinstance(record := _json(text), list):
                    number, tile, said = record
                    self.found[number, tile] = said

    def add(self, number: int, tile: int, said: Any) -> None:
        """A tile is finished."""
        self.found[number, tile] = said
        if self.folder is None:
            return
        if self.file is None:
            self.file = (self.folder / f"{uuid4().hex}{LINES}").open("ab", buffering=0)
        text = json.dumps([number, tile, said])
        line = f"{text} {zlib.crc32(text.encode()):08x}\n".encode()
        if self.file.write(line) != len(line):  # the disk is full
            self.file.write(b"\n")
            raise OSError(28, os.strerror(28))

    def close(self) -> None:
        """Nothing more is added."""
        if self.file is not None:
            self.file.close()
            self.file = None

    def remove(self) -> None:
        """The job is complete, or has not begun; the journal of another job stays."""
        self.close()
        if self.folder is not None and self.ours:
            shutil.rmtree(self.folder, ignore_errors=True)


def check_sum(values: Any) -> int:
    """Of an array's values, in their order."""
    return zlib.crc32(values.tobytes() if not values.flags.c_contiguous else memoryview(values).cast("B"))


def packed(state: State) -> Any:
    """Statistics for JSON, which keeps every bit of a float64."""
    return {name: [[str(one.dtype), one.tolist()] for one in tensors] for name, tensors in state.items()}


def unpacked(said: Any) -> State:
    """Statistics from JSON."""
    return {
        name: tuple(torch.tensor(values, dtype=getattr(torch, kind.removeprefix("torch."))) for kind, values in rows)
        for name, rows in said.items()
    }


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
