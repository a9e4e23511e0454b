"""What stays of a training while it goes on: a checkpoint, the best weights so far, logs, and every epoch's metrics.

Lightning writes what it needs to go on, through `Checkpoints`: whole or not at all, which its ModelCheckpoint does not
promise, nor that the weights and the metrics in a folder belong to one epoch. Logs are Lightning's.
"""

from __future__ import annotations

import io
import json
import math
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from ...errors import DataError
from ..learner import Learner
from ..task import Task
from .new_run import NewRun, write
from .run_folder import LOGS, METRICS, TEXT, differing, read_file

FORMAT = 1
CHECKPOINT = "checkpoint.ckpt"
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
        """A checkpoint that `Keep.again` has read before, or weights from a process that the launcher has started."""
        return torch.load(path, map_location="cpu", weights_only=True)

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint."""
        Path(path).unlink(missing_ok=True)


def read(path: Path) -> dict[str, Any]:
    """A checkpoint on the CPU; raises DataError for one that is torn, foreign or newer."""
    content = io.BytesIO(read_file(path))
    try:
        found = torch.load(content, map_location="cpu", weights_only=True)
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


class Keep(Callback):
    """Keeps, after every epoch, all it takes to go on, and the weights that are best on the validation images.

    run: None in a process that leaves the writing to another one; path: the run folder, as long as there is one.

    The checkpoint is written first, and all else follows from it: the weights of its last epoch are in it, and those of
    a better, earlier one were on the disk before it was written. So `again` mends whatever was interrupted.
    """

    def __init__(self, run: NewRun | None, path: Path, task: Task) -> None:
        self.run, self.path, self.recipe = run, path, task.recipe
        self._score = f"validation_{task.objective.score}"
        self.epochs: list[dict[str, float]] = []
        self.best_epoch: int | None = None
        self._begun = time.perf_counter()
        self._loggers: list[Logger] = []

    @property
    def seconds(self) -> float:
        """Of training, without those between an interruption and the resume."""
        return time.perf_counter() - self._begun

    @property
    def complete(self) -> bool:
        """Whether all epochs are over, or enough of them without a better validation."""
        patience = self.recipe.patience
        stalled = patience is not None and len(self.epochs) - _improved(self.epochs, self._score) >= patience
        return len(self.epochs) >= self.recipe.epochs or stalled

    def again(self, learner: Learner) -> Path | None:
        """Take up the epochs of the checkpoint, and write what follows from it; None without a checkpoint."""
        path = self.path / CHECKPOINT
        if not path.exists():
            return None
        found = read(path)
        if unlike := differing(found["state_dict"], learner):
            raise DataError(f"{path} is of another network", got=unlike[0], expected=f"that of {TEXT}", fix=AGAIN)
        self.epochs = list(found[STATE]["epochs"])
        self.best_epoch = found[STATE]["best_epoch"]
        self._begun -= self.epochs[-1]["seconds"]
        if self.run is not None:
            if self.best_epoch == len(self.epochs):
                learner.load_state_dict(found["state_dict"])
                self.run.weights(learner.averaged)
            self.write()
        return path

    def reread(self) -> None:
        """Take up what another process of this training has written."""
        with suppress(OSError, ValueError, LookupError, TypeError):
            found = json.loads((self.path / METRICS).read_bytes())
            self.epochs, self.best_epoch = found["epochs"], found["best_epoch"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the logs anew from the epochs so far, so that none is there twice."""
        if self.run is not None and trainer.is_global_zero:
            shutil.rmtree(self.path / LOGS, ignore_errors=True)
            place = {"save_dir": self.path, "name": "", "version": LOGS}
            self._loggers = [CSVLogger(**place, flush_logs_every_n_steps=1), TensorBoardLogger(**place)]
            for row in self.epochs:
                self._log(row)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.end()

    def end(self) -> None:
        """Finish the logs."""
        for logger in self._loggers[1:]:
            logger.experiment.close()  # type: ignore[attr-defined]
        self._loggers = []

    def _log(self, row: dict[str, float]) -> None:
        table, board = self._loggers
        step = int(row["epoch"])
        try:
            table.log_metrics(row, step)
            board.log_metrics({_title(name): row[name] for name in row if name not in ("epoch", "seconds")}, step)
            board.experiment.flush()  # type: ignore[attr-defined]
        except OSError as error:
            raise DataError(f"{self.path / LOGS} cannot be written", got=error.strerror) from None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[STATE] = {"format": FORMAT, "epochs": self.epochs, "best_epoch": self.best_epoch}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Learner)
        row = {"epoch": len(self.epochs) + 1, **pl_module.measured()}
        row["learning_rate"] = trainer.optimizers[0].param_groups[0]["lr"]
        row["seconds"] = round(self.seconds, 3)
        bad = next((name for name in ("train", "validation") if not math.isfinite(row[f"{name}_loss"])), None)
        if bad is not None:
            what, got = f"the loss of epoch {row['epoch']}", f"{row[f'{bad}_loss']} on the {bad} images"
            fix = f"Lower --learning-rate {self.recipe.learning_rate:g}."
            raise DataError(f"{what} is no number any more", got=got, expected="a finite one", fix=fix)
        # of equals, which are common with few validation images, the later one has learned at a lower rate
        better = self.best_epoch is None or row[self._score] >= self.epochs[self.best_epoch - 1][self._score]
        self.epochs.append(row)
        self.best_epoch = len(self.epochs) if better else self.best_epoch
        trainer.save_checkpoint(self.path / CHECKPOINT)
        if self.run is not None and trainer.is_global_zero:
            if better:
                self.run.weights(pl_module.averaged)
            self.write()
            self._log(row)
        trainer.should_stop = trainer.should_stop or self.complete

    def write(self, **final: Any) -> None:
        """Write what has been measured so far."""
        if self.run is not None:
            self.run.metrics({"epochs": self.epochs, "best_epoch": self.best_epoch, **final})


def _title(name: str) -> str:
    """Under which TensorBoard shows a column: the curves of one measure in one plot."""
    split, _, measure = name.partition("_")
    return name if name == "learning_rate" else f"{measure}/{split}"


def _improved(rows: list[dict[str, float]], score: str) -> int:
    """The last epoch, from 1, that was better on the validation images than all before, of equal ones by its loss."""
    best, epoch = (-math.inf, -math.inf), 0
    for row in rows:
        if (found := (row[score], -row["validation_loss"])) > best:
            best, epoch = found, int(row["epoch"])
    return epoch
