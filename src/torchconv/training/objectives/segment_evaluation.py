"""How good labels of pixels are: intersection over union, accuracy, what is taken for what, and the worst images."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ...drawing import charts
from ...segmentation.losses import IGNORED
from ..data.labels import PixelLabels
from ..data.parts import MaskedSamples
from . import HeadsAndRows, Section
from .overlays import beside, legend

MOST_WORST, MOST_EXAMPLES, MOST_PAIRS = 6, 3, 10


def union_shares(confusion: Tensor) -> Tensor:
    """Intersection over union of each class, from counts (true class, predicted class); NaN of those nowhere."""
    right, counts = confusion.diagonal().double(), confusion.double()
    return right / (counts.sum(0) + counts.sum(1) - right)


def mean_iou(confusion: Tensor) -> float:
    """The mean intersection over union, of the classes that are somewhere; 0 where there is none."""
    shares = union_shares(confusion)
    shares = shares[~shares.isnan()]
    return float(shares.mean()) if len(shares) else 0.0


@dataclass(frozen=True)
class PixelClassRow:
    """One class: its pixels, intersection over union, recall, precision, and what it is mostly mistaken for."""

    name: str
    pixels: int
    iou: float
    recall: float
    precision: float
    mistaken_for: str


@dataclass(frozen=True)
class Labelled:
    """One image with its true and its predicted classes, uint8 (height, width), and how good they are."""

    number: int
    score: float
    image: Tensor
    truth: Tensor
    predicted: Tensor


@dataclass(frozen=True)
class SegmentEvaluation:
    """What came out: the confusion matrix counts pixels by (true class, predicted class), without those of no class."""

    split: str
    images: int
    confusion: Tensor
    labels: PixelLabels
    worst: tuple[Labelled, ...] = ()
    examples: tuple[Labelled, ...] = ()

    @classmethod
    def of(
        cls, split: str, answers: Iterable[Tensor], samples: MaskedSamples, labels: PixelLabels
    ) -> SegmentEvaluation:
        """From probabilities (1, classes, height, width) of each image, one after another."""
        from torchmetrics.functional.classification import multiclass_confusion_matrix

        count, total = len(labels.names), torch.zeros(len(labels.names), len(labels.names), dtype=torch.int64)
        worst: list[tuple[float, int, Labelled]] = []
        spaced = {round(number * (len(samples) - 1) / max(1, MOST_EXAMPLES - 1)) for number in range(MOST_EXAMPLES)}
        examples = []
        for number, answer in enumerate(answers):
            predicted, truth = answer[0].argmax(0).to(torch.uint8), samples.labels[number]
            own = multiclass_confusion_matrix(
                predicted.long()[None], truth.long()[None], count, ignore_index=IGNORED, validate_args=False
            )
            total += own
            # of the classes that the image has: one false pixel of another class would count as much as a lost one
            seen = own.sum(1) > 0
            score = float(union_shares(own)[seen].mean()) if seen.any() else 1.0
            one = Labelled(number, score, samples.images[number], truth, predicted)
            heapq.heappush(worst, (-score, -number, one))
            if len(worst) > MOST_WORST:
                heapq.heappop(worst)
            if number in spaced:
                examples.append(one)
        ordered = tuple(one for _, _, one in sorted(worst, key=lambda found: (-found[0], -found[1])))
        return cls(split, len(samples), total, labels, ordered, tuple(examples))

    @property
    def pixels(self) -> int:
        """Number of pixels that have a class."""
        return int(self.confusion.sum())

    @property
    def pixel_accuracy(self) -> float:
        """Share of these pixels whose class is right, 0 to 1."""
        return int(self.confusion.trace()) / max(1, self.pixels)

    @property
    def mean_iou(self) -> float:
        """Intersection over union, the mean over the classes, 0 to 1."""
        return mean_iou(self.confusion)

    score = mean_iou

    @property
    def rows(self) -> list[PixelClassRow]:
        """One for each class."""
        wrong, shares = self.confusion.clone().fill_diagonal_(0), union_shares(self.confusion).nan_to_num(0).tolist()
        found = []
        for number, name in enumerate(self.labels.names):
            right, pixels = int(self.confusion[number, number]), int(self.confusion[number].sum())
            most, other = wrong[number].max(0)
            mistaken = f"{self.labels.names[int(other)]} ({int(most) / pixels:.0%})" if most else ""
            taken = int(self.confusion[:, number].sum())
            row = PixelClassRow(name, pixels, shares[number], right / max(1, pixels), right / max(1, taken), mistaken)
            found.append(row)
        return found

    @property
    def headline(self) -> str:
        count = f"{len(self.labels.names)} classes, {self.images} images ({self.split})"
        return (
            f"mean IoU {self.mean_iou:.4f}: {count}\npixel accuracy {self.pixel_accuracy:.4f}: {self.pixels:,} pixels"
        )

    @property
    def table(self) -> HeadsAndRows:
        """A row for each class."""
        rows = [
            (row.name, row.pixels, f"{row.iou:.3f}", f"{row.recall:.3f}", f"{row.precision:.3f}", row.mistaken_for)
            for row in self.rows
        ]
        return ("class", "pixels", "IoU", "recall", "precision", "mostly mistaken for"), rows

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = {"split": self.split, "images": self.images, "pixels": self.pixels, "mean_iou": self.mean_iou}
        rows = [asdict(row) for row in self.rows]
        accuracy = {"pixel_accuracy": self.pixel_accuracy}
        return {**found, **accuracy, "classes": rows, "confusion": self.confusion.tolist()}

    def sections(self) -> list[Section]:
        """IoU of each class, the confusion matrix, some images, and the worst of them."""
        names = self.labels.names
        text = (
            f"{self.pixel_accuracy:.1%} of {self.pixels:,} pixels of {self.images:,} images ({self.split}) are right."
        )
        found = [Section("Each class", text, table=self.table)]
        shown = charts.most_confused(self.confusion.tolist())
        matrix = self.confusion[shown][:, shown].tolist()
        pairs = self._commonest()
        text = "True classes go down, predicted ones across; a cell says how many percent of the true class."
        if len(shown) < len(names):
            text += f" The {len(shown)} of {len(names)} classes with most mistakes are shown."
        figure = charts.confusion(matrix, [names[number] for number in shown], shares=True)
        table = (("class", "taken for", "share of its pixels"), pairs) if pairs else None
        found.append(Section("What it takes for what", text, figure, table))
        key = legend(self.labels)
        for title, rows in (("Some images", self.examples), ("The worst images", self.worst)):
            text = "The image, the true classes, and the predicted ones; black pixels are of no class."
            if rows:
                found.append(Section(title, text, key, wide=self._wide(rows)))
        return found

    def _commonest(self) -> list[tuple[str, str, str]]:
        shares = self.confusion.double() / self.confusion.sum(1, keepdim=True).clamp(min=1)
        shares.fill_diagonal_(0)
        found, names = [], self.labels.names
        for place in shares.flatten().argsort(descending=True, stable=True)[:MOST_PAIRS].tolist():
            row, column = divmod(place, len(names))
            if shares[row, column] > 0:
                found.append((names[row], names[column], f"{float(shares[row, column]):.1%}"))
        return found

    def _wide(self, rows: Sequence[Labelled]) -> list[tuple[str, str, str]]:
        found = []
        for one in rows:
            caption = f"image {one.number + 1}: mean IoU of its classes {one.score:.3f}"
            shown = beside(one.image, one.truth, one.predicted, self.labels)
            found.append((charts.jpeg(shown), f"{caption}: image, truth, prediction", caption))
        return found
