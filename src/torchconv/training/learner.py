"""The training step: images scaled, changed and asked about batch by batch, and averaged weights validated."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics import MeanMetric

from ..language.network_module import NetworkModule, build
from . import optimisation
from .augmentation import Draw
from .data.parts import Batches, Minibatch, derived
from .initialisation import IMAGES, WHITENING_EPOCHS, prepare
from .task import Task


class Learner(pl.LightningModule):
    """The network of a task, the same before its first step for the same seed, and how it learns.

    `averaged` is the network with averaged weights: it is what is validated and kept, because single steps at a high
    learning rate make it good or bad by chance. Lightning's WeightAveraging does not do here: it hands the average out
    at the end only, where the run folder takes it after every epoch, and lookahead goes on from it.
    All that is drawn follows from the seed and the number of the step.
    """

    def __init__(self, task: Task) -> None:
        super().__init__()
        recipe = task.recipe
        pl.seed_everything(derived(recipe.seed, "weights", 0), workers=True, verbose=False)
        self.module = build(task.network)
        images = task.samples["train"].images
        prepare(self.module, recipe, task.scaling(images[:IMAGES]) if isinstance(images, Tensor) else None)
        if recipe.precision != "32-true":
            self.module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.task, self.recipe, self.objective = task, recipe, task.objective
        self._average = optimisation.Average(self.module, recipe.averaging)
        self._prepared = self.objective.preparation(recipe, task.network, task.scaling)
        self._criterion = self.objective.criterion(recipe, task.samples["train"])
        self.steps = len(self.train_batches()) * recipe.epochs
        self.metrics: Any = torch.nn.ModuleDict()
        for split in ("train", "validation"):
            self.metrics[f"{split}_loss"] = MeanMetric()
            self.metrics[f"{split}_{self.objective.score}"] = self.objective.metric()

    @property
    def averaged(self) -> NetworkModule:
        """The network with the averaged weights."""
        return self._average.module

    def train_batches(self, **place: Any) -> Batches:
        """The training images, in another order in each epoch."""
        samples, seed = self.task.samples["train"], self.recipe.seed
        return Batches(samples, self.recipe.batch_size, seed=seed, epoch=lambda: self.current_epoch, **place)

    def on_fit_start(self) -> None:
        """Metrics count in tensors of their own: a new process gets those of the one that started it, as one memory."""
        for metric in self.metrics.values():
            metric.reset()

    def train_dataloader(self) -> Any:
        return self.train_batches(**self._place())

    def val_dataloader(self) -> Any:
        size = max(self.objective.at_once, self.trainer.world_size)
        return Batches(self.task.samples["validation"], size, **self._place())

    def _place(self) -> dict[str, Any]:
        trainer = self.trainer
        return {"rank": trainer.global_rank, "world": trainer.world_size, "device": trainer.strategy.root_device}

    def training_step(self, batch: Minibatch, index: int) -> Tensor:
        samples, rows, whole = batch
        world, rank = self.trainer.world_size, self.trainer.global_rank
        seed = derived(self.recipe.seed, "step", self.trainer.global_step)
        torch.manual_seed(seed)  # the same in all processes: each takes its share of what is drawn for the whole batch
        draw = Draw(whole, slice(rank, None, world), self.device, rows, self.current_epoch)
        images, targets = self._prepared(samples.to(self.device), draw)
        if rank:
            torch.manual_seed(seed + rank)  # for DROPOUT
        outputs = self.module.scores(self._laid_out(images))
        outputs = self.objective.trained(self.module.network, outputs)
        total = self._criterion(outputs, targets)
        self._measure("train", total, outputs, targets)
        return total * (world / whole)  # Lightning's mean over processes makes it the mean over the images

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Whitening's bias has learned enough after some epochs."""
        if self.recipe.whitening and self.current_epoch >= WHITENING_EPOCHS:
            for parameter in optimisation.layers(self.module)[0].parameters():
                parameter.grad = None

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._average.follow(self.module, self.trainer.global_step, self.steps)

    def on_validation_epoch_start(self) -> None:
        """NORM's running statistics are those of the first process, whose weights are kept."""
        if dist.is_initialized():
            for buffer in self.averaged.buffers():
                dist.broadcast(buffer, 0)

    def validation_step(self, batch: Minibatch, index: int) -> None:
        samples = batch[0]
        if len(samples):  # other processes may have taken all of a small batch
            samples = samples.to(self.device)
            targets = self.objective.targets(samples)
            outputs = self.objective.outputs(self.averaged.network, self._ask, samples.images, self.task.scaling)
            self._measure("validation", self.objective.loss(outputs, targets), outputs, targets)

    def _ask(self, images: Tensor) -> Tensor:
        return self.averaged.scores(self._laid_out(images))

    def on_validation_epoch_end(self) -> None:
        name = self.objective.score
        self.log(name, self.objective.value(self.metrics[f"validation_{name}"]), prog_bar=True, logger=False)

    def measured(self) -> dict[str, float]:
        """Losses (nats) and scores of the epoch that has ended, and a fresh start for the next."""
        found = {}
        for name, metric in self.metrics.items():
            found[name] = float(metric.compute()) if isinstance(metric, MeanMetric) else self.objective.value(metric)
            metric.reset()
        return found

    def configure_optimizers(self) -> Any:
        optimizer = optimisation.optimizer(self.module, self.recipe)
        schedule = optimisation.schedule(optimizer, self.recipe, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _laid_out(self, images: Tensor) -> Tensor:
        """With the channels of a pixel side by side, in which order kernels for bfloat16 are twice as fast."""
        fast = self.recipe.precision != "32-true" and images.dim() == 4
        return images.contiguous(memory_format=torch.channels_last) if fast else images

    def _measure(self, split: str, total: Tensor, outputs: Tensor, targets: Tensor) -> None:
        self.metrics[f"{split}_loss"].update(total.detach().float() / len(targets), len(targets))
        self.metrics[f"{split}_{self.objective.score}"].update(outputs.detach(), targets)
