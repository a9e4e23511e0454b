"""One class for each image: cross entropy, accuracy, and which classes are mistaken for which."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from ...description.axis import positive
from ...drawing import charts
from ...errors import SettingError, ShapeError
from ...network.graph import Network
from ...network.operations import Volume
from ...text import percent
from ..augmentation import Augmentation, Draw, Scaling, resized
from ..data.images import read_images
from ..data.parts import Samples
from ..recipes import PROGRESSIVE_SIZE, Recipe
from . import Answering, Ask, HeadsAndRows, Objective, Preparation, Section

if TYPE_CHECKING:
    from torchmetrics import Metric

MOST_WORST, MOST_PAIRS = 24, 10
MOVED, MOVED_SHARE = 1, 0.25  # pixels, and what the scores of one moved image count


@dataclass(frozen=True)
class ClassRow:
    """One class: its images, those classified correctly, others taken for it, and what it is mostly mistaken for."""

    name: str
    images: int
    correct: int
    false_alarms: int
    mistaken_for: str

    @property
    def recall(self) -> float:
        """Correct ones of the images of the class; 0 without images."""
        return self.correct / max(self.images, 1)

    @property
    def precision(self) -> float:
        """Correct ones of the images taken for the class; 0 if there are none."""
        return self.correct / max(self.correct + self.false_alarms, 1)


@dataclass(frozen=True)
class Mistakes:
    """Misclassified images, the worst first: those whose true class the network thought least likely.

    images: uint8 (M, channels, *size). truth, predicted: int64 (M,). probability, true_probability: (M,), what the
    network gave to the class it predicted and to the true one.
    """

    images: Tensor
    truth: Tensor
    predicted: Tensor
    probability: Tensor
    true_probability: Tensor

    @classmethod
    def of(cls, probabilities: Tensor, samples: Samples, most: int = MOST_WORST) -> Mistakes:
        """From probabilities (N, classes); of equally bad ones, the first come first."""
        predicted = probabilities.argmax(1)
        wrong = (predicted != samples.labels).nonzero()[:, 0]
        true = probabilities.gather(1, samples.labels[:, None])[:, 0]
        worst = wrong[true[wrong].argsort(stable=True)][:most]
        chosen = predicted[worst]
        return cls(samples.images[worst], samples.labels[worst], chosen, probabilities[worst, chosen], true[worst])


@dataclass(frozen=True)
class ClassEvaluation:
    """What came out: the confusion matrix counts images by (true class, predicted class).

    top5: share of images whose class is among the five likeliest, where there are more than five classes.
    """

    split: str
    confusion: Tensor
    classes: tuple[str, ...]
    top5: float | None = None
    mistakes: Mistakes | None = None

    @classmethod
    def of(cls, split: str, probabilities: Tensor, samples: Samples, classes: Sequence[str]) -> ClassEvaluation:
        """From probabilities (N, classes) for some images."""
        count, top5 = probabilities.shape[1], None
        matrix = torch.bincount(samples.labels * count + probabilities.argmax(1), minlength=count**2)
        if count > 5:
            likeliest = probabilities.topk(5, dim=1).indices
            top5 = float((likeliest == samples.labels[:, None]).any(1).double().mean())
        return cls(split, matrix.view(count, count), tuple(classes), top5, Mistakes.of(probabilities, samples))

    @property
    def images(self) -> int:
        """Number of images."""
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        """Number of images classified correctly."""
        return int(self.confusion.trace())

    @property
    def accuracy(self) -> float:
        """Share of images classified correctly, 0 to 1."""
        return self.correct / self.images

    score = accuracy

    @property
    def rows(self) -> list[ClassRow]:
        """One for each class, in the order of the scores."""
        wrong = self.confusion.clone().fill_diagonal_(0)
        columns = self.confusion.diagonal(), wrong.sum(1), wrong.sum(0), *wrong.max(1)
        counts = zip(self.classes, *(column.tolist() for column in columns), strict=True)
        return [
            ClassRow(name, right + missed, right, alarms, f"{self.classes[worst]} ({most})" if most else "")
            for name, right, missed, alarms, most, worst in counts
        ]

    @property
    def headline(self) -> str:
        found = f"accuracy {self.accuracy:.4f}: {self.correct} of {self.images} images ({self.split})"
        return found if self.top5 is None else f"{found}\namong the five likeliest {self.top5:.4f}"

    @property
    def table(self) -> HeadsAndRows:
        """A row for each class."""
        rows = [
            (row.name, row.images, row.correct, f"{row.recall:.3f}", f"{row.precision:.3f}", row.mistaken_for)
            for row in self.rows
        ]
        return ("class", "images", "correct", "recall", "precision", "mostly mistaken for"), rows

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = {"split": self.split, "images": self.images, "correct": self.correct, "accuracy": self.accuracy}
        if self.top5 is not None:
            found["top5_accuracy"] = self.top5
        rows = [{**asdict(row), "recall": row.recall, "precision": row.precision} for row in self.rows]
        return {**found, "classes": rows, "confusion": self.confusion.tolist()}

    def sections(self) -> list[Section]:
        """The confusion matrix with the commonest mistakes, and the worst mistakes."""
        counts, names = self.confusion.tolist(), self.classes
        shown = charts.most_confused(counts)
        matrix = [[counts[row][column] for column in shown] for row in shown]
        pairs = [(value, row, column) for row, values in enumerate(counts) for column, value in enumerate(values)]
        wrong = sorted((pair for pair in pairs if pair[0] and pair[1] != pair[2]), key=lambda pair: -pair[0])
        text = f"{self.images - self.correct:,} of {self.images:,} images ({self.split}) are misclassified."
        text += " True classes go down, predicted ones across."
        if len(shown) < len(names):
            text += f" The {len(shown)} of {len(names)} classes with most mistakes are shown."
        rows = [(names[row], names[column], value) for value, row, column in wrong[:MOST_PAIRS]]
        table = (("class", "taken for", "images"), rows) if rows else None
        found = [Section("What it mistakes for what", text, charts.confusion(matrix, [names[n] for n in shown]), table)]
        if worst := self._worst():
            text = "Images whose true class seemed least likely to the network: what it took each for, and what it is."
            found.append(Section("The worst mistakes", text, images=worst))
        return found

    def _worst(self) -> list[tuple[str, str, str, str, str]]:
        found = self.mistakes
        if found is None:
            return []
        true, taken = ([self.classes[number] for number in part.tolist()] for part in (found.truth, found.predicted))
        chances = ([percent(value) for value in part.tolist()] for part in (found.probability, found.true_probability))
        return [
            (charts.png(image), f"{name}, taken for {other}", other, wrong, f"is {name} {right}")
            for image, name, other, wrong, right in zip(found.images, true, taken, *chances, strict=True)
        ]


@dataclass(frozen=True)
class ClassPrediction:
    """One image, and its likeliest classes with their probabilities, the likeliest first."""

    image: str
    top: tuple[tuple[str, float], ...]

    @property
    def table(self) -> HeadsAndRows:
        """A row for each class."""
        rows = [("" if n else self.image, name, f"{value:.4f}") for n, (name, value) in enumerate(self.top)]
        return ("image", "class", "probability"), rows

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        name, probability = self.top[0]
        top = [{"class": other, "probability": value} for other, value in self.top]
        return {"image": self.image, "class": name, "probability": probability, "top": top}


class Classification(Objective):
    """The network has a score for each class; the loss is cross entropy, smoothed by labels while training."""

    score = "accuracy"

    def check(self, network: Network, place: str, data: str) -> None:
        wanted = Volume(len(self.classes))
        if network.output == wanted:
            return
        if network.output.size:
            got, expected = f"an output of {network.output}", "one row of scores for each image"
            raise ShapeError("training needs a classifier", got=got, expected=expected, fix="End with GLOBALPOOL - FC.")
        raise ShapeError(
            f"the last layer of {place}",
            got=f"a volume {network.output}",
            expected=f"{len(self.classes)} scores, one for each class of {data}",
            fix=f"End with FC[{len(self.classes)}] or FC, and SOFTMAX if you like.",
        )

    def accept(self, recipe: Recipe) -> None:
        plains = {"loss": "cross-entropy", "class_weights": "none", "targets": "pixels", "crop": "", "resolution": 1.0}
        for name, plain in plains.items():
            if (value := getattr(recipe, name)) != plain:
                expected = f"{plain or 'none'}, as the data have a class for each image"
                raise SettingError(name.replace("_", " "), got=repr(value), expected=expected)
        Augmentation.named(recipe.augmentation)

    def preparation(self, recipe: Recipe, network: Network, scaling: Scaling) -> Preparation:
        augmentation = Augmentation.named(recipe.augmentation, seed=recipe.seed)
        smaller = round(recipe.progressive_resizing * recipe.epochs)  # epochs

        return partial(_prepared, augmentation, smaller, scaling)

    def criterion(self, recipe: Recipe, samples: Samples) -> Callable[[Tensor, Tensor], Tensor]:
        return partial(functional.cross_entropy, label_smoothing=recipe.label_smoothing, reduction="sum")

    def outputs(
        self, network: Network, ask: Ask, images: Tensor, scaling: Scaling, augmentation: str = "none"
    ) -> Tensor:
        return scores(ask, scaling(images), augmentation)

    def targets(self, samples: Samples) -> Tensor:
        return samples.labels

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets, reduction="sum")

    def metric(self) -> Metric:
        from torchmetrics.classification import MulticlassAccuracy  # which evaluation and prediction need not wait for

        return MulticlassAccuracy(len(self.classes), average="micro", validate_args=False)

    def value(self, metric: Metric) -> float:
        """The exact fraction, without the noise of float32."""
        with metric.sync_context():
            return int(metric.tp) / int(metric.tp + metric.fn)  # pyright: ignore

    def answers(self, outputs: Tensor) -> Tensor:
        """Probabilities (N, classes)."""
        return outputs.softmax(1)

    def evaluation(self, split: str, answers: Iterable[Tensor], samples: Samples) -> ClassEvaluation:
        return ClassEvaluation.of(split, torch.cat(list(answers)), samples, self.classes)

    def predictions(
        self,
        paths: Sequence[str | Path],
        volume: Volume,
        answered: Answering,
        *,
        top: int | None = None,
        **asked: Any,
    ) -> list[ClassPrediction]:
        for name, value in asked.items():
            if value not in (None, False):
                fix = "It is for networks that give a class to each pixel."
                raise SettingError(name, got=value, expected="none, as each image gets one class", fix=fix)
        most = min(3 if top is None else positive("top", top), len(self.classes))
        found = torch.cat(list(answered(read_images(paths, volume)))).topk(most)
        pairs = zip(found.indices.tolist(), found.values.tolist(), strict=True)
        named = [tuple((self.classes[number], value) for number, value in zip(*pair, strict=True)) for pair in pairs]
        return [ClassPrediction(str(path), one) for path, one in zip(paths, named, strict=True)]


def _prepared(
    augmentation: Augmentation, smaller: int, scaling: Scaling, samples: Samples, draw: Draw
) -> tuple[Tensor, Tensor]:
    """Scaled and changed images, in the first epochs smaller ones, and their classes."""
    images = augmentation.changed(scaling(samples.images), draw)
    return resized(images, PROGRESSIVE_SIZE) if draw.epoch < smaller else images, samples.labels


def scores(score: Callable[[Tensor], Tensor], images: Tensor, augmentation: str = "none") -> Tensor:
    """The mean scores of scaled images (N, channels, *size) and of the changes of them that a recipe asks about.

    augmentation: none; mirror: also left for right; mirror-shift: both also moved by a pixel, up and left or down and
    right, which together count as much as what was not moved (Jordan 2024, "94% on CIFAR-10", section 3.5).
    """
    if augmentation == "none":
        return score(images)
    sides = [images, images.flip(-1)]
    whole = torch.stack([score(side) for side in sides]).mean(0)
    if augmentation == "mirror":
        return whole
    moved = torch.stack([score(one) for side in sides for one in _moved(side)]).mean(0)
    return whole * (1 - 2 * MOVED_SHARE) + moved * (2 * MOVED_SHARE)


def _moved(images: Tensor) -> Iterator[Tensor]:
    """Up and left, and down and right, by MOVED pixels; what enters is the image's own reflection."""
    axes = images.ndim - 2
    padded = functional.pad(images, (MOVED, MOVED) * axes, mode="reflect")
    for start in (0, 2 * MOVED):
        yield padded[(..., *(slice(start, start + size) for size in images.shape[2:]))]
