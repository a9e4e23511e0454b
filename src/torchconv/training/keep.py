"""What stays of a training while it goes on: the best weights so far, and the metrics of every epoch."""

from __future__ import annotations

import math
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from ..errors import DataError
from .classifier import Classifier
from .new_run import NewRun


class Keep(Callback):
    """Keeps the weights that are best on the validation images, and writes the metrics, after every epoch."""

    def __init__(self, run: NewRun) -> None:
        self.run = run
        self.epochs: list[dict[str, float]] = []
        self.best_epoch: int | None = None
        self.start = time.perf_counter()

    @property
    def best(self) -> dict[str, float]:
        """The row of the best epoch."""
        return self.epochs[(self.best_epoch or 1) - 1]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        row = {"epoch": len(self.epochs) + 1, **pl_module.measured()}
        row["seconds"] = round(time.perf_counter() - self.start, 3)
        bad = next((name for name in ("train", "validation") if not math.isfinite(row[f"{name}_loss"])), None)
        if bad is not None:
            raise DataError(
                f"the loss of epoch {row['epoch']} is no number any more",
                got=f"{row[f'{bad}_loss']} on the {bad} images",
                expected="a finite one",
                fix=f"Lower --learning-rate {pl_module.recipe.learning_rate:g}.",
            )
        self.epochs.append(row)
        # of equals, which are common with few validation images, the later one has learned at a lower rate
        if self.best_epoch is None or row["validation_accuracy"] >= self.best["validation_accuracy"]:
            self.run.weights(pl_module.averaged)
            self.best_epoch = len(self.epochs)
        self.write()

    def write(self, **final: Any) -> None:
        """Write what has been measured so far."""
        self.run.metrics({"epochs": self.epochs, "best_epoch": self.best_epoch, **final})
