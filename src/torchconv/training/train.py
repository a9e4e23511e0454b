"""Training: data and a text in, a run folder out."""

from __future__ import annotations

import errno
import logging
import platform
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lightning
import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import RichProgressBar
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Sampler, SequentialSampler, TensorDataset

from .. import __version__
from ..errors import ShapeError
from ..language.parser import parse
from ..network.graph import Network
from ..network.operations import Volume
from ..translate.build import build
from . import data
from .classifier import Classifier
from .evaluate import confusion
from .keep import Keep
from .limits import check_memory, explained
from .new_run import NewRun
from .preparation import Scaling
from .recipes import RECIPES, Recipe
from .run_folder import WEIGHTS, Config, load_weights

VALIDATION_BATCH = 256
# Steps of fewer multiply-accumulates run on one thread: two would gain a few milliseconds in every second, and lose
# half a minute whenever another program wants one of the cores and each thread must wait for the other.
SMALL_STEP = 2**28


@dataclass(frozen=True)
class Result:
    """What a training came to. Accuracies are shares from 0 to 1; test_accuracy is None without test images."""

    path: Path
    best_epoch: int
    validation_accuracy: float
    test_accuracy: float | None
    parameters: int
    model_bytes: int
    seconds: float


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a training; the message says what was kept."""


def train(
    name: str = "digits", text: str | None = None, out: str | Path | None = None, progress: bool = True, **settings: Any
) -> Result:
    """Train a network on `digits` or a folder of images per class, and keep the best weights in a run folder.

    text: an architecture; None takes the recipe's. settings: fields of `Recipe`, in place of the recipe's.
    out: a new or empty folder; None takes the next free one under runs/. progress: show a bar.
    The same seed gives the same weights on one machine's CPU with the same number of threads.
    Raises TextError, ShapeError, SettingError or DataError before anything is written.
    """
    if out is not None:
        NewRun.check(Path(out))
    source = data.source(name)
    recipe = RECIPES[source.kind]
    recipe = replace(recipe, text=recipe.text if text is None else text, **settings)
    network, canonical = _network(recipe.text, source)
    parts = source.parts(recipe.seed)
    if source.kind == "folder":
        recipe = recipe.fitted(len(parts["train"]), settings)
    check_memory(network, sum(len(part) for part in parts.values()))
    batches = {split: source.read(part, network.input) for split, part in parts.items() if len(part)}
    pl.seed_everything(recipe.seed, workers=True, verbose=False)
    scaling = Scaling.of(batches["train"].images)
    classifier = Classifier(build(network), scaling, recipe)
    run = NewRun(Path(out)) if out is not None else NewRun.next_free(source.kind)
    keep = Keep(run)
    try:
        run.describe(_config(source, parts, network, scaling, recipe), canonical, source.classes)
        if source.kind == "digits":
            for number, example in enumerate(source.classes):  # to try `torchconv predict` on
                run.example(example, batches["test"].images[batches["test"].labels == number][0])
        _fit(classifier, batches, keep, progress)
        return _finish(classifier, batches, keep, len(source.classes))
    except BaseException:
        if keep.best_epoch is None:
            run.discard()
        raise


def _network(text: str, source: data.Source) -> tuple[Network, str]:
    """The network of a text on this data, and the canonical text."""
    architecture = parse(text)
    volume = architecture.input or source.volume
    source.check(volume)
    network = architecture.network(volume, len(source.classes))
    if network.output != Volume(len(source.classes)):
        raise ShapeError(
            f"the last layer of {architecture}",
            got=f"a volume {network.output}",
            expected=f"{len(source.classes)} scores, one for each class of {source.name}",
            fix=f"End with FC[{len(source.classes)}] or FC, and SOFTMAX if you like.",
        )
    return network, str(architecture)


def _config(
    source: data.Source, parts: dict[str, data.Part], network: Network, scaling: Scaling, recipe: Recipe
) -> Config:
    settings = asdict(recipe)
    settings.pop("text")  # it has a file of its own
    versions = {"torchconv": __version__, "torch": torch.__version__, "lightning": lightning.__version__}
    return Config(
        data=source.name,
        data_kind=source.kind,
        images={name: len(part) for name, part in parts.items()},
        input=str(network.input),
        mean=list(scaling.mean),
        std=list(scaling.std),
        settings=settings,
        files=source.digest(),
        versions={**versions, "python": platform.python_version()},
    )


def _fit(classifier: Classifier, batches: dict[str, data.Batch], keep: Keep, progress: bool) -> None:
    size = classifier.recipe.batch_size
    with _quiet(), _threads(classifier), explained():
        trainer = pl.Trainer(
            max_epochs=classifier.recipe.epochs,
            accelerator="auto",
            devices=1,
            callbacks=[keep, RichProgressBar()] if progress else [keep],
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=progress,
            num_sanity_val_steps=0,
        )
        handler = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(
                classifier,
                _loader(batches["train"], size, True),
                _loader(batches["validation"], VALIDATION_BATCH, False),
            )
        except SystemExit as stop:
            signal.signal(signal.SIGINT, handler)
            if not isinstance(stop.__context__, KeyboardInterrupt):  # what rich makes of a reader that is gone
                raise BrokenPipeError(errno.EPIPE, "nobody reads the progress") from None
            if keep.best_epoch is not None:
                keep.write(interrupted=True)
            raise Interrupted(_kept(keep)) from None


def _kept(keep: Keep) -> str:
    if keep.best_epoch is None:
        return "interrupted before the end of the first epoch; nothing was kept"
    return f"interrupted after {len(keep.epochs)} epochs; the best weights so far are kept in {keep.run.path}"


def _loader(batch: data.Batch, size: int, train: bool) -> DataLoader:
    """Whole batches by one indexing each: the images lie in memory as bytes, and workers would only copy them."""
    stored = TensorDataset(batch.images, batch.labels)
    size = min(size, len(stored))
    order: Sampler = RandomSampler(stored) if train else SequentialSampler(stored)
    # a last batch of very few images would disturb the statistics of NORM
    return DataLoader(
        stored, sampler=BatchSampler(order, size, drop_last=train and len(stored) > size), batch_size=None
    )


def _finish(classifier: Classifier, batches: dict[str, data.Batch], keep: Keep, classes: int) -> Result:
    """Test the best weights, and write down all that came out."""
    seconds = time.perf_counter() - keep.start
    weights = keep.run.path / WEIGHTS
    load_weights(classifier.averaged, weights)
    accuracy = None
    if "test" in batches:
        counts = confusion(classifier.averaged, classifier.scaling, batches["test"], classes)
        accuracy = int(counts.trace()) / int(counts.sum())
    result = Result(
        path=keep.run.path,
        best_epoch=keep.best_epoch or 0,
        validation_accuracy=keep.best["validation_accuracy"],
        test_accuracy=accuracy,
        parameters=classifier.module.network.parameters,
        model_bytes=weights.stat().st_size,
        seconds=round(seconds, 3),
    )
    keep.write(final={name: value for name, value in asdict(result).items() if name != "path"})
    return result


@contextmanager
def _threads(classifier: Classifier) -> Iterator[None]:
    """One thread for small steps, and what it was afterwards."""
    before = torch.get_num_threads()
    if classifier.module.network.macs * classifier.recipe.batch_size < SMALL_STEP:
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
