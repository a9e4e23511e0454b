"""Writing a run folder: under temporary names that are then renamed, so that no file is ever half there."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors

from ...errors import DataError
from ...text import write_atomically
from ..data.images import write_image
from .run_folder import CLASSES, CONFIG, EXAMPLES, LOGS, METRICS, REPORT, TEXT, WEIGHTS, Config

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


class _Taken(DataError):
    """Another program made the folder in between."""


class Unwritable(DataError):
    """The disk is full, or does not let this program write."""


class NewRun:
    """A run folder that is being written, by one program at a time until `release`. `discard` takes away what it made.

    existing: whether an empty folder that is there already will do.
    Raises DataError for a folder that cannot be made, or that another program trains into.
    """

    def __init__(self, path: Path, existing: bool = True) -> None:
        if existing:
            self.check(path)
        self.path, self.fresh = path, True
        self._made = [folder for folder in (path, *path.parents) if not folder.exists()]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(exist_ok=existing and path not in self._made)
        except OSError as error:
            raised = _Taken if isinstance(error, FileExistsError) and path.parent.is_dir() else DataError
            raise raised(f"run folder {path}", got=error.strerror, expected="a folder that can be made") from None
        self._lock = lock(path)

    @classmethod
    def again(cls, path: Path) -> NewRun:
        """A run folder to go on with; nothing in it is ever discarded."""
        run = cls.__new__(cls)
        run.path, run.fresh, run._made, run._lock = path, False, [], lock(path)
        for torn in path.glob(".*.tmp"):  # of a program that was killed
            torn.unlink(missing_ok=True)
        return run

    def release(self) -> None:
        """Let other programs use the folder."""
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None

    @staticmethod
    def check(path: Path) -> None:
        """Raise DataError where there is something already."""
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            got, expected = "a folder that is not empty" if path.is_dir() else "a file", "a new or empty folder"
            raise DataError(f"run folder {path}", got=got, expected=expected, fix="Give --out another name.")

    @classmethod
    def next_free(cls, data: str, parent: Path = Path("runs")) -> NewRun:
        """runs/pets-1 for the data pets, or the next number that is free."""
        number = 0
        while True:
            number += 1
            path = parent / f"{run_name(data)}-{number}"
            if not path.exists():
                with suppress(_Taken):
                    return cls(path, existing=False)

    def describe(self, config: Config, text: str, classes: tuple[str, ...]) -> None:
        """Write what is known before the training; config.json last, with which the folder is a run."""
        self._json(CLASSES, list(classes))
        write(self.path / TEXT, text + "\n")
        self._json(CONFIG, asdict(config))

    def weights(self, module: torch.nn.Module) -> None:
        """Write the weights, in place of older ones."""
        state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
        write(self.path / WEIGHTS, save_tensors(state, metadata={"format": "pt"}))

    def metrics(self, metrics: dict[str, Any]) -> None:
        """Write the metrics, in place of older ones."""
        self._json(METRICS, metrics)

    def example(self, name: str, pixels: torch.Tensor) -> None:
        """Write an image into examples/."""
        (self.path / EXAMPLES).mkdir(exist_ok=True)
        write_image(self.path / EXAMPLES / f"{name}.png", pixels)

    def discard(self) -> None:
        """Remove what was written, the folder, and the parents that were made for it; leave what others wrote."""
        if not self.fresh:
            return
        for name in (LOGS, EXAMPLES):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in (CONFIG, TEXT, CLASSES, WEIGHTS, METRICS, REPORT):
            (self.path / name).unlink(missing_ok=True)
        for folder in self._made:
            with suppress(OSError):
                folder.rmdir()

    def _json(self, name: str, value: Any) -> None:
        write(self.path / name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def run_name(data: str) -> str:
    """What a run is called after its data; a file called train after its folder.

    >>> run_name("digits"), run_name("/home/me/my pets"), run_name("cifar10/train.parquet"), run_name("hf:mnist:plain")
    ('digits', 'my-pets', 'cifar10', 'mnist')
    """
    path = Path(data.split(":")[1] if data.startswith("hf:") else data)
    name = path.name
    if path.suffix.lower() == ".parquet":
        name = path.parent.name if path.stem.lower() in ("train", "training") else path.stem
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"


def write(path: Path, content: bytes | memoryview | str) -> None:
    """Write a file in one step: what was there before stays until all of the new one is on the disk.

    Raises DataError where that is not possible.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        raise Unwritable(f"{path} cannot be written", got=error.strerror) from None


def lock(path: Path) -> int | None:
    """Hold a folder until the descriptor is closed, or the program ends in whatever way; None where that cannot be.

    Raises DataError where another program holds it.
    """
    if fcntl is None:
        return None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return descriptor
    except OSError as error:
        os.close(descriptor)
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            return None  # a file system without locks
    got = "another training that writes into it"
    raise DataError(f"run folder {path}", got=got, expected="none", fix="Wait until it ends.")
