"""A network that learns to tell classes apart, as a Lightning module."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy

from ...language.build import NetworkModule
from .. import optimisation
from ..augmentation import Augmentation, Scaling, shrunk
from ..data.batches import Cut, derived
from ..parallel import Share, shared
from ..recipes import Recipe


class Classifier(pl.LightningModule):
    """Cross entropy on the scores of a built network, images scaled and augmented batch by batch.

    steps: of the whole training. share: what this process has of every batch. `averaged` is the network with averaged
    weights: it is what is validated and kept, because single steps at a high learning rate make it good or bad by
    chance. All that is drawn follows from the seed and the number of the step.
    """

    def __init__(
        self, module: NetworkModule, scaling: Scaling, recipe: Recipe, steps: int = 1, share: Share | None = None
    ) -> None:
        super().__init__()
        self.module = module
        self._average = optimisation.Average(module, recipe.averaging)
        self.scaling = scaling
        self.recipe = recipe
        self.steps = steps
        self.share = share or Share()
        self.augmentation = Augmentation.named(recipe.augmentation, seed=recipe.seed)
        shared(module, self.share)
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

    def training_step(self, batch: Cut, index: int) -> Tensor:
        images, labels, rows, whole = batch
        torch.manual_seed(derived(self.recipe.seed, "step", self.trainer.global_step))
        self.share.whole = whole
        images = self.augmentation(
            self.scaling(images), indices=rows, epoch=self.current_epoch, whole=whole, rows=self.share.rows
        )
        if self.current_epoch < round(self.recipe.shrunk_share * self.recipe.epochs):
            images = shrunk(images, self.recipe.shrunk_size)
        scores = self.module.scores(self._laid_out(images), any_size=True)
        smoothing = self.recipe.label_smoothing
        total = functional.cross_entropy(scores, labels, label_smoothing=smoothing, reduction="sum")
        self._measure("train", total, scores, labels)
        return total * (self.share.world / whole)  # Lightning's mean over processes makes it the mean over the images

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Whitening's bias has learned enough after some epochs."""
        if self.recipe.whitening and self.current_epoch >= self.recipe.whitening_epochs:
            for parameter in optimisation.layers(self.module)[0].parameters():
                parameter.grad = None

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._average.follow(self.module, self.trainer.global_step, self.steps)

    def validation_step(self, batch: Cut, index: int) -> None:
        images, labels, *_ = batch
        if len(labels):  # other processes may have taken all of a small batch
            scores = self.averaged.scores(self._laid_out(self.scaling(images)))
            self._measure("validation", functional.cross_entropy(scores, labels, reduction="sum"), scores, labels)

    def on_validation_epoch_end(self) -> None:
        self.log("accuracy", self._value(self._metric("validation_accuracy")), prog_bar=True, logger=False)

    def measured(self) -> dict[str, float]:
        """Losses (nats) and accuracies of the epoch that has ended, and a fresh start for the next."""
        found = {name: self._value(self._metric(name)) for name in self.metrics}
        for name in self.metrics:
            self._metric(name).reset()
        return found

    @staticmethod
    def _value(metric: Metric) -> float:
        """Over all processes; an accuracy as the exact fraction, without the noise of float32."""
        if isinstance(metric, MulticlassAccuracy):
            with metric.sync_context():
                return int(metric.tp) / int(metric.tp + metric.fn)  # pyright: ignore
        return float(metric.compute())

    def configure_optimizers(self) -> Any:
        optimizer = optimisation.optimizer(self.module, self.recipe)
        schedule = optimisation.schedule(optimizer, self.recipe, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _laid_out(self, images: Tensor) -> Tensor:
        """With the channels of a pixel side by side, in which order kernels for bfloat16 are twice as fast."""
        fast = self.recipe.precision != "32-true" and images.dim() == 4
        return images.contiguous(memory_format=torch.channels_last) if fast else images

    def _measure(self, split: str, total: Tensor, scores: Tensor, labels: Tensor) -> None:
        self._metric(f"{split}_loss").update(total.detach().float() / len(labels), len(labels))
        self._metric(f"{split}_accuracy").update(scores.detach(), labels)

    def _metric(self, name: str) -> Metric:
        metric = self.metrics[name]
        assert isinstance(metric, Metric)
        return metric
