"""How good a trained network is on images whose classes are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import DataError
from ..translate.build import NetworkModule
from . import data, run_folder
from .preparation import Scaling

BATCH = 256


@dataclass(frozen=True)
class ClassRow:
    """One class: its images, those told correctly, others taken for it, and what it is mostly mistaken for."""

    name: str
    images: int
    correct: int
    false_alarms: int
    mistaken_for: str

    @property
    def recall(self) -> float:
        """Correct ones of the images of the class; 0 without images."""
        return self.correct / self.images if self.images else 0.0

    @property
    def precision(self) -> float:
        """Correct ones of the images taken for the class; 0 if there are none."""
        return self.correct / (self.correct + self.false_alarms) if self.correct + self.false_alarms else 0.0


@dataclass(frozen=True)
class Evaluation:
    """What came out: the confusion matrix counts images by (true class, predicted class)."""

    split: str
    confusion: Tensor
    classes: tuple[str, ...]

    @property
    def images(self) -> int:
        """Number of images."""
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        """Number of images told correctly."""
        return int(self.confusion.trace())

    @property
    def accuracy(self) -> float:
        """Share of images told correctly, 0 to 1."""
        return self.correct / self.images

    @property
    def rows(self) -> list[ClassRow]:
        """One for each class, in the order of the scores."""
        return [self._row(number) for number in range(len(self.classes))]

    def _row(self, number: int) -> ClassRow:
        mistakes = self.confusion[number].clone()
        mistakes[number] = 0
        worst = int(mistakes.argmax())
        taken = f"{self.classes[worst]} ({int(mistakes[worst])})" if mistakes[worst] > 0 else ""
        counts = self.confusion[number].sum(), self.confusion[number, number], self.confusion[:, number].sum()
        images, correct, predicted = (int(count) for count in counts)
        return ClassRow(self.classes[number], images, correct, predicted - correct, taken)


def probabilities(module: NetworkModule, scaling: Scaling, images: Tensor) -> Tensor:
    """Probabilities (N, classes) for uint8 images (N, channels, *size); leaves the module in evaluation mode."""
    module.eval()
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    with torch.inference_mode():
        parts = [module.scores(scaling(part.to(device))).softmax(1).cpu() for part in images.split(BATCH)]
    return torch.cat(parts)


def confusion(module: NetworkModule, scaling: Scaling, batch: data.Batch, classes: int) -> Tensor:
    """Counts (true class, predicted class) of the images of a batch."""
    predicted = probabilities(module, scaling, batch.images).argmax(1)
    return torch.bincount(batch.labels * classes + predicted, minlength=classes**2).view(classes, classes)


def evaluate(path: str | Path, name: str | None = None) -> Evaluation:
    """A run on the held-out images of the data it was trained on, or on the images of other data.

    name: `digits` or a folder; None for the data of the training, whose test split is taken, or else its validation
    split. Raises DataError for a run or data that cannot be used, or classes that the run does not know.
    """
    run = run_folder.load(path)
    source = data.source(run.config.data if name is None else name)
    unknown = [known for known in source.classes if known not in run.classes]
    if unknown:
        raise DataError(
            f"data {source.name}", got=f"class {unknown[0]}", expected=f"classes of the run: {_some(run.classes)}"
        )
    split, part = _held_out(source, run)
    batch = source.read(part, run.config.volume)
    number = torch.tensor([run.classes.index(known) for known in source.classes])
    batch = data.Batch(batch.images, number[batch.labels])
    return Evaluation(split, confusion(run.module, run.config.scaling, batch, len(run.classes)), run.classes)


def _held_out(source: data.Source, run: run_folder.Run) -> tuple[str, data.Part]:
    """Images the run has not learned from: by the split of the training, or all of another folder."""
    if source.name != run.config.data:
        if isinstance(source, data.ImageFolder):
            return "all", source.all_files()
        return "test", source.parts(0)["test"]
    parts = source.parts(int(run.config.settings.get("seed", 0)))
    counts = {name: len(part) for name, part in parts.items()}
    moved = source.digest() != run.config.files
    if counts != run.config.images or source.classes != run.classes or moved:
        raise DataError(
            f"data {source.name} has changed since the training",
            got="other names or sizes of its files" if counts == run.config.images else counts,
            expected="the files of the training" if counts == run.config.images else run.config.images,
            fix="Which images are new to the network cannot be told; give others with --data.",
        )
    split = "test" if counts["test"] else "validation"
    return split, parts[split]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
