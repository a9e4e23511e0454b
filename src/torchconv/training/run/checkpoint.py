"""The checkpoint of a training: all that Lightning needs to go on, written after every epoch, whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO

from ...errors import DataError
from .new_run import write

FORMAT = 1
NAME = "checkpoint.ckpt"
STATE = "torchconv"  # what the run folder says of the epochs so far; the rest is Lightning's
AGAIN = "Remove it to start from the beginning with the same --resume."


class Checkpoints(CheckpointIO):
    """How Lightning writes and reads its checkpoints: in one step, and without running what a file may hold."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint in place of the one before; raises DataError where there is no room."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write(Path(path), content.getbuffer())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint; raises DataError."""
        return read(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint."""
        Path(path).unlink(missing_ok=True)


def read(path: Path) -> dict[str, Any]:
    """A checkpoint on the CPU; raises DataError for one that is torn, foreign or newer."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read", got=error.strerror) from None
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # of any kind, as the bytes may be any
        reason = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
        raise DataError(f"{path} is torn or no checkpoint", got=reason, fix=AGAIN) from None
    state = found.get(STATE) if isinstance(found, dict) else None
    if not isinstance(state, dict) or not isinstance(found.get("state_dict"), dict):
        raise DataError(f"{path} is no checkpoint of torchconv train", got="another file", fix=AGAIN)
    if state.get("format") != FORMAT:
        got, expected = f"format {state.get('format')}", f"format {FORMAT}"
        raise DataError(f"{path} is of another torchconv", got=got, expected=expected, fix="Update torchconv.")
    epochs = state.get("epochs")
    if not isinstance(epochs, list) or not epochs or state.get("best_epoch") not in range(1, len(epochs) + 1):
        raise DataError(f"{path} is damaged", got="no epochs", fix=AGAIN)
    return found


def check(found: dict[str, Any], module: torch.nn.Module, path: Path) -> None:
    """Raise DataError where a checkpoint is not of this network."""
    saved, needed = found["state_dict"], module.state_dict()
    for name in {**needed, **saved}:
        shapes = [tuple(state[name].shape) if name in state else "nothing" for state in (saved, needed)]
        if shapes[0] != shapes[1]:
            got, expected = f"{name} {shapes[0]}", f"{shapes[1]} as the text says"
            raise DataError(f"{path} is of another network", got=got, expected=expected, fix=AGAIN)
