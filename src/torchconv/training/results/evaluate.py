"""What a network gets wrong on images whose classes are known: how often which class, and the worst images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from ...errors import DataError
from ...language.build import NetworkModule
from ..augmentation import Scaling
from ..data import source as data
from ..data.images import bar
from ..data.parts import Samples
from ..preflight import check_memory
from ..run import run_folder

MOST = 24


@dataclass(frozen=True)
class Mistakes:
    """Counts (true class, predicted class), and the images that were missed by most, the worst first.

    split: a word for the images. images: uint8 (M, channels, *size). truth, predicted: int64 (M,). probability,
    true_probability: (M,), what the network gave to the class it predicted and to the true one.
    """

    split: str
    confusion: Tensor
    images: Tensor
    truth: Tensor
    predicted: Tensor
    probability: Tensor
    true_probability: Tensor

    @property
    def accuracy(self) -> float:
        """The exact fraction of images that were told right."""
        return int(self.confusion.trace()) / int(self.confusion.sum())

    @classmethod
    def of(cls, probabilities: Tensor, batch: Samples, split: str, most: int = MOST) -> Mistakes:
        """From probabilities (N, classes) for the images of a batch.

        An image is the worse, the less likely the network thought its true class; of equals, the first one is.
        """
        classes = probabilities.shape[1]
        predicted = probabilities.argmax(1)
        wrong = (predicted != batch.labels).nonzero()[:, 0]
        true = probabilities.gather(1, batch.labels[:, None])[:, 0]
        worst = wrong[true[wrong].argsort(stable=True)][:most]
        return cls(
            split=split,
            confusion=count(batch.labels, predicted, classes),
            images=batch.images[worst],
            truth=batch.labels[worst],
            predicted=predicted[worst],
            probability=probabilities[worst, predicted[worst]],
            true_probability=true[worst],
        )


def count(truth: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Counts (true class, predicted class) of classes (N,) and (N,)."""
    return torch.bincount(truth * classes + predicted, minlength=classes**2).view(classes, classes)


MOVED, MOVED_SHARE = 1, 0.25  # pixels, and what the scores of one moved view count


def scores(score: Callable[[Tensor], Tensor], images: Tensor, views: str) -> Tensor:
    """The mean scores of the views of scaled images (N, channels, *size).

    views: image; mirror: also left for right; mirror-shift: both also moved by a pixel, up and left or down and right,
    which together count as much as what was not moved (Jordan 2024, "94% on CIFAR-10", section 3.5).
    """
    if views == "image":
        return score(images)
    sides = [images, images.flip(-1)]
    whole = _mean(score(side) for side in sides)
    if views == "mirror":
        return whole
    moved = _mean(score(one) for side in sides for one in _moved(side))
    return whole * (1 - 2 * MOVED_SHARE) + moved * (2 * MOVED_SHARE)


def _mean(parts: Iterator[Tensor]) -> Tensor:
    found = list(parts)
    return sum(found[1:], found[0]) / len(found)


def _moved(images: Tensor) -> Iterator[Tensor]:
    """Up and left, and down and right, by MOVED pixels; what enters is the image's own reflection."""
    axes = images.ndim - 2
    padded = functional.pad(images, (MOVED, MOVED) * axes, mode="reflect")
    for start in (0, 2 * MOVED):
        yield padded[(..., *(slice(start, start + size) for size in images.shape[2:]))]


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
    """What came out: the confusion matrix counts images by (true class, predicted class).

    top5: share of images whose class is among the five likeliest, where there are more than five classes.
    """

    split: str
    confusion: Tensor
    classes: tuple[str, ...]
    top5: float | None = None

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

    def to_dict(self) -> dict:
        """For JSON."""
        found = {"split": self.split, "images": self.images, "correct": self.correct, "accuracy": self.accuracy}
        if self.top5 is not None:
            found["top5_accuracy"] = self.top5
        rows = [{**asdict(row), "recall": row.recall, "precision": row.precision} for row in self.rows]
        return {**found, "classes": rows, "confusion": self.confusion.tolist()}

    def _row(self, number: int) -> ClassRow:
        mistakes = self.confusion[number].clone()
        mistakes[number] = 0
        worst = int(mistakes.argmax())
        taken = f"{self.classes[worst]} ({int(mistakes[worst])})" if mistakes[worst] > 0 else ""
        counts = self.confusion[number].sum(), self.confusion[number, number], self.confusion[:, number].sum()
        images, correct, predicted = (int(count) for count in counts)
        return ClassRow(self.classes[number], images, correct, predicted - correct, taken)


def probabilities(
    module: NetworkModule, scaling: Scaling, images: Tensor, progress: bool = False, views: str = "image"
) -> Tensor:
    """Probabilities (N, classes) for uint8 images (N, channels, *size); leaves the module in evaluation mode.

    views: what of an image the network is asked about, as in `views.scores`.
    """
    module.eval()
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    parts = []
    with torch.inference_mode(), bar("evaluating", len(images), progress) as advance:
        for part in images.split(BATCH):
            parts.append(scores(module.scores, scaling(part.to(device)), views).softmax(1).cpu())
            advance(len(part))
    return torch.cat(parts).clone()  # a plain tensor, where those made in inference mode are none


def confusion(module: NetworkModule, scaling: Scaling, batch: Samples, classes: int) -> Tensor:
    """Counts (true class, predicted class) of the images of a batch."""
    return count(batch.labels, probabilities(module, scaling, batch.images).argmax(1), classes)


def evaluate(path: str | Path, name: str | None = None, progress: bool = False) -> Evaluation:
    """A run on the held-out images of the data it was trained on, or on the images of other data.

    name: `digits`, a folder, a parquet file or hf:NAME; None for the data of the training, whose test split is taken,
    or else its validation split. Classes are matched by name. Where other data have bare numbers for classes and the
    run has names, number k is the run's k-th class, if exactly the numbers of all its classes occur.
    progress: show a bar on a terminal. Raises DataError for a run or data that cannot be used, or classes that the run
    does not know.
    """
    run = run_folder.load(path)
    split, batch = known_images(run, name, progress)
    found = probabilities(run.module, run.config.scaling, batch.images, progress, run.config.views)
    classes = len(run.classes)
    matrix = count(batch.labels, found.argmax(1), classes)
    top5 = None
    if classes > 5:
        top5 = float((found.topk(5, dim=1).indices == batch.labels[:, None]).any(1).double().mean())
    return Evaluation(split, matrix, run.classes, top5)


def mistakes(run: run_folder.Run, progress: bool = False) -> Mistakes:
    """What a run gets wrong on the held-out images of its data; raises DataError where they are not to be had."""
    split, batch = known_images(run, None, progress)
    return Mistakes.of(
        probabilities(run.module, run.config.scaling, batch.images, progress, run.config.views), batch, split
    )


def known_images(run: run_folder.Run, name: str | None, progress: bool = False) -> tuple[str, Samples]:
    """Images a run has not learned from, with the run's numbers of their classes, and a word for where they are from.

    name: as of `evaluate`.
    """
    source = data.source(run.config.data if name is None else name)
    number = torch.tensor(_numbers(source, run.classes))
    split, part = _held_out(source, run)
    if not len(part):
        raise DataError(f"data {source.name}", got="no images to evaluate on", expected="one at least")
    check_memory(run.module.network, len(part))
    batch = source.read(part, run.config.volume, progress)
    return split, Samples(batch.images, number[batch.labels])


def _numbers(source: data.Source, classes: Sequence[str]) -> list[int]:
    """The run's number of each class of the data."""
    place = {known: number for number, known in enumerate(classes)}
    unknown = next((known for known in source.classes if known not in place), None)
    if unknown is None:
        return [place[known] for known in source.classes]
    if source.numbered and source.classes == tuple(str(number) for number in range(len(classes))):
        return list(range(len(classes)))
    raise DataError(f"data {source.name}", got=f"class {unknown}", expected=f"classes of the run: {_some(classes)}")


def _held_out(source: data.Source, run: run_folder.Run) -> tuple[str, data.Part]:
    """Images the run has not learned from: by the split of the training, or those of other data."""
    if source.name != run.config.data:
        return source.whole()
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
