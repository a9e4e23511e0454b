"""What a network can be trained for: its target, loss, metric, and what is said of its answers.

`Objective` is what a training, an evaluation, a prediction and a report ask; `classification.Classification` is the one
there is: one class for each image. Another one, such as a class for each pixel, is a class beside it and a line in
`run.run_folder.objective`. Nothing here is public.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from torch import Tensor

from ...network.graph import Network
from ..data.parts import Samples

if TYPE_CHECKING:
    from torchmetrics import Metric

__all__: list[str] = []

HeadsAndRows: TypeAlias = "tuple[Sequence[str], Sequence[Sequence[object]]]"  # heads and rows


@dataclass(frozen=True)
class Section:
    """A part of the report: a sentence, a figure, a table, and images with their captions; what is empty is left out.

    images: address, what it shows in words, and the caption: strong, beside it, and below.
    """

    title: str
    text: str
    figure: Any = ""
    table: HeadsAndRows | None = None
    images: Sequence[tuple[str, str, str, str, str]] = ()


class Prediction(Protocol):
    """The answer to one image, as a table and for JSON."""

    @property
    def table(self) -> HeadsAndRows: ...

    def to_dict(self) -> Mapping[str, Any]: ...


class Evaluation(Prediction, Protocol):
    """How good the answers to the images of a split are."""

    split: str

    @property
    def score(self) -> float:
        """The number that counts, 0 to 1, the exact fraction."""
        ...

    @property
    def headline(self) -> str:
        """The score and what it is made of, in a line or two."""
        ...

    def sections(self) -> Sequence[Section]:
        """What a report shows of it."""
        ...


class Objective(ABC):
    """What a network learns of images with these classes; `score` names the metric that decides which epoch is best."""

    score: str

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)

    @abstractmethod
    def check(self, network: Network, place: str, data: str) -> None:
        """Raise ShapeError where the outputs of a network are no answers; place, data: for the message."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """The sum over the images of a batch, in nats."""

    @abstractmethod
    def metric(self) -> Metric:
        """A fresh metric for outputs and targets."""

    @abstractmethod
    def value(self, metric: Metric) -> float:
        """The score that a metric has come to, over all processes."""

    @abstractmethod
    def answers(self, outputs: Tensor) -> Tensor:
        """What the outputs of a network say."""

    @abstractmethod
    def evaluation(self, split: str, answers: Tensor, samples: Samples) -> Evaluation:
        """How good answers are."""

    @abstractmethod
    def prediction(self, image: str | Path, answer: Tensor, top: int) -> Prediction:
        """The answer to one image in words; top: how many alternatives."""
