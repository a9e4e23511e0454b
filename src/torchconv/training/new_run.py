"""Writing a run folder: under temporary names that are then renamed, so that no file is ever half there."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors

from ..errors import DataError
from .images import write_image
from .run_folder import CLASSES, CONFIG, METRICS, TEXT, WEIGHTS, Config


class _Taken(DataError):
    """Another program made the folder in between."""


class NewRun:
    """A run folder that is being written. `discard` takes away all that it made.

    existing: whether an empty folder that is there already will do.
    """

    def __init__(self, path: Path, existing: bool = True) -> None:
        if existing:
            self.check(path)
        existing = existing and path.exists()
        self.path = path
        self._written: list[Path] = []
        self._made = [folder for folder in (path, *path.parents) if not folder.exists()]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(exist_ok=existing)
        except FileExistsError:
            raise _Taken(f"run folder {path}", got="a folder that has just been made", expected="a new one") from None
        except OSError as error:
            raise DataError(f"run folder {path}", got=error.strerror, expected="a folder that can be made") from None

    @staticmethod
    def check(path: Path) -> None:
        """Raise DataError where there is something already."""
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise DataError(
                f"run folder {path}", got="a folder that is not empty" if path.is_dir() else "a file",
                expected="a new or empty folder", fix="Give --out another name.",
            )  # fmt: skip

    @classmethod
    def next_free(cls, kind: str, parent: Path = Path("runs")) -> NewRun:
        """runs/digits-1, or the next number that is free."""
        number = 1
        while True:
            path = parent / f"{kind}-{number}"
            if not path.exists():
                try:
                    return cls(path, existing=False)
                except _Taken:
                    pass
            number += 1

    def describe(self, config: Config, text: str, classes: tuple[str, ...]) -> None:
        """Write what is known before the training."""
        self._json(CONFIG, asdict(config))
        self._json(CLASSES, list(classes))
        self._write(TEXT, (text + "\n").encode())

    def weights(self, module: torch.nn.Module) -> None:
        """Write the weights, in place of older ones."""
        state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
        self._write(WEIGHTS, save_tensors(state, metadata={"format": "pt"}))

    def metrics(self, metrics: dict[str, Any]) -> None:
        """Write the metrics, in place of older ones."""
        self._json(METRICS, metrics)

    def example(self, name: str, pixels: torch.Tensor) -> None:
        """Write an image into examples/."""
        folder = self.path / "examples"
        if not folder.exists():
            folder.mkdir()
            self._written.append(folder)
        self._written.append(folder / f"{name}.png")
        write_image(folder / f"{name}.png", pixels)

    def discard(self) -> None:
        """Remove what was written, the folder, and the parents that were made for it; leave what others wrote."""
        for path in reversed(self._written):
            with suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        for folder in self._made:
            with suppress(OSError):
                folder.rmdir()

    def _json(self, name: str, value: Any) -> None:
        self._write(name, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())

    def _write(self, name: str, content: bytes) -> None:
        temporary = self.path / f".{name}.tmp"
        self._written.append(self.path / name)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path / name)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise DataError(f"{self.path / name} cannot be written", got=error.strerror) from None
