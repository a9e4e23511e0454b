"""Memory that a step frees is kept for the next one, where the C library can be told to."""

from __future__ import annotations

import ctypes
import errno
import logging
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException

from ..language.build import build
from ..network.graph import Network
from .data.batches import Batches, derived
from .initialisation import IMAGES, prepare
from .objectives.classification import Classifier
from .parallel import Share
from .processes import Environment, Place
from .run.keep import Checkpoints, Keep
from .task import Task

# Numbers of mallopt's settings in glibc's malloc.h.
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4


def keep() -> None:
    """Let glibc keep large freed blocks, which it would hand back to the system and fetch anew, page by page.

    A step on large batches frees and fetches the same gigabyte every time: an epoch of the fast recipe took 65 s, and
    43 to 49 s with this. Nothing happens with another C library.
    """
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, 2**31 - 1)
        mallopt(TOP_PAD, 2**28)


VALIDATION_BATCH = 256
PATIENCE = timedelta(minutes=30)  # of processes for one another
# Steps of fewer multiply-accumulates run on one thread: two would gain a few milliseconds in every second, and lose
# half a minute whenever another program wants one of the cores and each thread must wait for the other.
SMALL_STEP = 2**28


class Bar(RichProgressBar):
    """Lightning's bar, with epochs counted from 1."""

    def _get_train_description(self, current_epoch: int) -> str:
        return f"Epoch {current_epoch + 1}/{self.trainer.max_epochs}".ljust(len(self.validation_description))


def classifier(task: Task) -> Classifier:
    """The network of a task before its first step, the same for the same seed."""
    pl.seed_everything(derived(task.recipe.seed, "weights", 0), workers=True, verbose=False)
    module = build(task.network)
    prepare(module, task.recipe, task.scaling(task.batches["train"].images[:IMAGES]))
    if task.recipe.precision != "32-true":
        module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    share = Share(task.place.rank, task.place.world)
    count = len(Batches(task.batches["train"], task.recipe.batch_size, share, task.recipe.seed))
    return Classifier(module, task.scaling, task.recipe, count * task.recipe.epochs, share)


def fit(task: Task, learner: Classifier, keep: Keep, begun: Path | None, progress: bool) -> None:
    """Train a classifier; begun: the checkpoint to go on from. Raises KeyboardInterrupt for Ctrl-C, and for SIGTERM."""
    keep()
    with _quiet(), _threads(task.network, task.recipe.batch_size // task.place.world):
        trainer = _trainer(task, keep, progress)
        device, stored, seed = trainer.strategy.root_device, task.batches, task.recipe.seed
        share, size = learner.share, task.recipe.batch_size
        handler = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(
                learner,
                Batches(stored["train"], size, share, seed, lambda: trainer.current_epoch, device),
                Batches(stored["validation"], max(VALIDATION_BATCH, task.place.world), share, device=device),
                ckpt_path=begun,
            )
        except SystemExit as stop:
            signal.signal(signal.SIGINT, handler)
            if not isinstance(stop, SIGTERMException) and not isinstance(stop.__context__, KeyboardInterrupt):
                raise BrokenPipeError(errno.EPIPE, "nobody reads the progress") from None  # what rich makes of it
            raise KeyboardInterrupt from None


def _trainer(task: Task, keep: Keep, progress: bool) -> pl.Trainer:
    place = task.place
    return pl.Trainer(
        max_epochs=task.recipe.epochs,
        precision=task.recipe.precision,  # type: ignore[arg-type]
        accelerator="auto",
        devices=place.devices,
        num_nodes=place.nodes,
        strategy=_strategy(place),
        plugins=[Checkpoints(), Environment(place)],
        callbacks=[keep, Bar()] if progress else [keep],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=progress,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def _strategy(place: Place) -> Any:
    if place.world == 1:
        return "auto"
    # statistics are those of all processes already, so that there is nothing to be sent around
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    return DDPStrategy(process_group_backend=backend, timeout=PATIENCE, broadcast_buffers=False)


@contextmanager
def _threads(network: Network, images: int) -> Iterator[None]:
    """One thread for small steps, and what it was afterwards."""
    before = torch.get_num_threads()
    if network.macs * images < SMALL_STEP:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's remarks on devices, workers and loggers: nothing a user of this command could act on."""
    loggers = [logging.getLogger(name) for name in ("lightning", "lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
