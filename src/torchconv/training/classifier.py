"""A network that learns to tell classes apart, as a Lightning module."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy

from ..translate.build import NetworkModule
from .preparation import Augmentation, Scaling
from .recipes import Recipe

DECAY = 0.98  # of the averaged weights, once there have been enough steps to average over


class Classifier(pl.LightningModule):
    """Cross entropy on the scores of a built network, images scaled and augmented batch by batch.

    Batches are (uint8 images (N, channels, *size), classes (N,)). AdamW under a one-cycle schedule. `averaged` is the
    network with the weights' exponential moving average (Polyak, Juditsky 1992): it is what is validated and kept,
    because single steps at a high learning rate make it good or bad by chance.
    """

    def __init__(
        self, module: NetworkModule, scaling: Scaling, recipe: Recipe, augmentation: Augmentation | None = None
    ) -> None:
        super().__init__()
        self.module = module
        self._average = AveragedModel(module, avg_fn=_moved, use_buffers=True)
        self.scaling = scaling
        self.recipe = recipe
        self.augmentation = augmentation or Augmentation()
        classes = module.network.output.channels
        self.metrics = torch.nn.ModuleDict()
        for split in ("train", "validation"):
            self.metrics[f"{split}_loss"] = MeanMetric()
            self.metrics[f"{split}_accuracy"] = MulticlassAccuracy(classes, average="micro", validate_args=False)

    @property
    def averaged(self) -> NetworkModule:
        """The network with the averaged weights."""
        module = self._average.module
        assert isinstance(module, NetworkModule)
        return module

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        images, labels = batch
        scores = self.module.scores(self.augmentation(self.scaling(images)))
        loss = functional.cross_entropy(scores, labels, label_smoothing=self.recipe.label_smoothing)
        self._measure("train", loss, scores, labels)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._average.update_parameters(self.module)

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        images, labels = batch
        scores = self.averaged.scores(self.scaling(images))
        self._measure("validation", functional.cross_entropy(scores, labels), scores, labels)

    def on_validation_epoch_end(self) -> None:
        self.log("accuracy", self._metric("validation_accuracy").compute(), prog_bar=True, logger=False)

    def measured(self) -> dict[str, float]:
        """Losses (nats) and accuracies of the epoch that has ended, and a fresh start for the next."""
        found = {name: self._value(self._metric(name)) for name in self.metrics}
        for name in self.metrics:
            self._metric(name).reset()
        return found

    @staticmethod
    def _value(metric: Metric) -> float:
        """An accuracy as the exact fraction, without the noise of float32."""
        if isinstance(metric, MulticlassAccuracy):
            return int(metric.tp) / int(metric.tp + metric.fn)  # pyright: ignore
        return float(metric.compute())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.module.parameters(), weight_decay=self.recipe.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.recipe.learning_rate, total_steps=max(steps, 2))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _measure(self, split: str, loss: Tensor, scores: Tensor, labels: Tensor) -> None:
        self._metric(f"{split}_loss").update(loss.detach(), len(labels))
        self._metric(f"{split}_accuracy").update(scores.detach(), labels)

    def _metric(self, name: str) -> Metric:
        metric = self.metrics[name]
        assert isinstance(metric, Metric)
        return metric


def _moved(average: Tensor, current: Tensor, steps: Any) -> Tensor:
    """A step of the moving average, short-sighted while there are few steps."""
    decay = min(DECAY, (1 + int(steps)) / (10 + int(steps)))
    return average + (current - average) * (1 - decay)
