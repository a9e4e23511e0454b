"""What stays of a training while it goes on: a checkpoint, the best weights so far, and the metrics of every epoch."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from ...errors import DataError
from ..objectives.classification import Classifier
from ..recipes import Recipe
from .checkpoint import FORMAT, NAME, STATE, check, read
from .logs import Logs
from .new_run import NewRun


class Keep(Callback):
    """Keeps, after every epoch, all it takes to go on, and the weights that are best on the validation images.

    run: None in a process that leaves the writing to another one; path: the run folder, as long as there is one.

    The checkpoint is written first, and all else follows from it: the weights of its last epoch are in it, and those of
    a better, earlier one were on the disk before it was written. So `again` mends whatever was interrupted.
    """

    def __init__(self, run: NewRun | None, path: Path, recipe: Recipe) -> None:
        self.run, self.path, self.recipe = run, path, recipe
        self.epochs: list[dict[str, float]] = []
        self.best_epoch: int | None = None
        self._begun = time.perf_counter()
        self._logs: Logs | None = None

    @property
    def best(self) -> dict[str, float]:
        """The row of the best epoch."""
        return self.epochs[(self.best_epoch or 1) - 1]

    @property
    def seconds(self) -> float:
        """Of training, without those between an interruption and the resume."""
        return time.perf_counter() - self._begun

    @property
    def complete(self) -> bool:
        """Whether all epochs are over, or enough of them without a better validation."""
        patience = self.recipe.patience
        stalled = patience is not None and len(self.epochs) - _improved(self.epochs) >= patience
        return len(self.epochs) >= self.recipe.epochs or stalled

    def again(self, classifier: Classifier) -> Path | None:
        """Take up the epochs of the checkpoint, and write what follows from it; None without a checkpoint."""
        path = self.path / NAME
        if not path.exists():
            return None
        found = read(path)
        check(found, classifier, path)
        self.epochs = list(found[STATE]["epochs"])
        self.best_epoch = found[STATE]["best_epoch"]
        self._begun -= self.epochs[-1]["seconds"]
        if self.run is not None:
            if self.best_epoch == len(self.epochs):
                classifier.load_state_dict(found["state_dict"])
                self.run.weights(classifier.averaged)
            self.write()
        return path

    def begin(self) -> None:
        """Start the logs, with the epochs so far."""
        self._logs = None if self.run is None else Logs(self.run, self.epochs)

    def end(self) -> None:
        """Finish the logs."""
        if self._logs is not None:
            self._logs.close()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[STATE] = {"format": FORMAT, "epochs": self.epochs, "best_epoch": self.best_epoch}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        row = {"epoch": len(self.epochs) + 1, **pl_module.measured()}
        row["learning_rate"] = trainer.optimizers[0].param_groups[0]["lr"]
        row["seconds"] = round(self.seconds, 3)
        bad = next((name for name in ("train", "validation") if not math.isfinite(row[f"{name}_loss"])), None)
        if bad is not None:
            raise DataError(
                f"the loss of epoch {row['epoch']} is no number any more",
                got=f"{row[f'{bad}_loss']} on the {bad} images",
                expected="a finite one",
                fix=f"Lower --learning-rate {self.recipe.learning_rate:g}.",
            )
        # of equals, which are common with few validation images, the later one has learned at a lower rate
        better = self.best_epoch is None or row["validation_accuracy"] >= self.best["validation_accuracy"]
        self.epochs.append(row)
        self.best_epoch = len(self.epochs) if better else self.best_epoch
        trainer.save_checkpoint(self.path / NAME)
        if self.run is not None:
            if better:
                self.run.weights(pl_module.averaged)
            self.write()
        if self._logs is not None:
            self._logs.add(row)
        trainer.should_stop = trainer.should_stop or self.complete

    def write(self, **final: Any) -> None:
        """Write what has been measured so far."""
        if self.run is not None:
            self.run.metrics({"epochs": self.epochs, "best_epoch": self.best_epoch, **final})


def _improved(rows: list[dict[str, float]]) -> int:
    """The last epoch, from 1, that was better on the validation images than all before, of equal ones by its loss."""
    best, epoch = (-math.inf, -math.inf), 0
    for row in rows:
        if (found := (row["validation_accuracy"], -row["validation_loss"])) > best:
            best, epoch = found, int(row["epoch"])
    return epoch
