"""What a network can be trained for: its target, loss, metric, and what is said of its answers.

`Objective` is what a training, an evaluation, a prediction and a report ask. Another one is a class beside these and a
line in `run.run_folder.objective`. Nothing here is public.

classification   one class for each image
segmentation     a class for each pixel; `pixel_scores` finds the scores of pixels where outputs lie on a grid of their
                 own, `segment_evaluation` and `overlays` say and show how good they are, `label_images` writes them
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from torch import Tensor, nn

from ...language.architecture import Architecture
from ...network.graph import Network
from ...network.operations import Volume
from ..augmentation import Draw, Scaling
from ..data.parts import Source, Split
from ..recipes import Recipe

if TYPE_CHECKING:
    from torchmetrics import Metric

__all__: list[str] = []

HeadsAndRows: TypeAlias = "tuple[Sequence[str], Sequence[Sequence[object]]]"  # heads and rows


@dataclass(frozen=True)
class Section:
    """A part of the report: a sentence, a figure, a table, and images with their captions; what is empty is left out.

    images: address, what it shows in words, and the caption: strong, beside it, and below. wide: of large
    pictures the address, what it shows, and the caption.
    """

    title: str
    text: str
    figure: Any = ""
    table: HeadsAndRows | None = None
    images: Sequence[tuple[str, str, str, str, str]] = ()
    wide: Sequence[tuple[str, str, str]] = ()


class Prediction(Protocol):
    """The answer to one image, as a table and for JSON."""

    @property
    def table(self) -> HeadsAndRows: ...

    def to_dict(self) -> Mapping[str, Any]: ...


class Answering(Protocol):
    """What gives the answers of a network to stored images; mirrors: asked about their mirror images too."""

    @property
    def mirrors(self) -> bool: ...

    def __call__(self, images: Any, /) -> Iterable[Tensor]: ...

    def module(self) -> nn.Module:
        """The same for one image of bytes (1, channels, *size), with all that is done before and after the network."""
        ...


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


Ask: TypeAlias = Callable[[Tensor], Tensor]  # from images (N, channels, *size) to what a network says of them
Preparation: TypeAlias = Callable[[Any, Draw], "tuple[Tensor, Tensor]"]  # from samples to scaled images, and targets


class Objective(ABC):
    """What a network learns of images with these classes; `score` names the metric that decides which epoch is best.

    called: the same for people, where it is not its name. at_once: how many images are asked about together, when
    nothing is learned.
    """

    score: str
    called = ""
    at_once = 256

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)

    @abstractmethod
    def accept(self, recipe: Recipe) -> None:
        """Raise SettingError for settings of a recipe that would be without effect, or have none of their values."""

    @abstractmethod
    def check(self, network: Network, place: str, data: str) -> None:
        """Raise ShapeError where the outputs of a network are no answers; place, data: for the message."""

    def network(self, architecture: Architecture, source: Source, recipe: Recipe) -> Network:
        """The network of a text on data, for training."""
        volume = architecture.input or source.volume
        source.check(volume)
        return architecture.network(volume, len(source.classes))

    def check_images(self, network: Network, source: Source, parts: Mapping[str, Split], samples: Any) -> None:
        """Raise ShapeError naming an image that the network cannot take; those of one size were made to fit."""
        return

    @abstractmethod
    def preparation(self, recipe: Recipe, network: Network, scaling: Scaling) -> Preparation:
        """How training samples become what the network learns from, with all that is drawn."""

    def trained(self, network: Network, outputs: Tensor) -> Tensor:
        """What a network says of a batch that was prepared, where the targets are."""
        return outputs

    @abstractmethod
    def criterion(self, recipe: Recipe, samples: Any) -> Callable[[Tensor, Tensor], Tensor]:
        """The loss of a training on samples: of outputs and targets, the sum over the images of a batch."""

    @abstractmethod
    def outputs(self, network: Network, ask: Ask, images: Any, scaling: Scaling, augmentation: str = "none") -> Tensor:
        """What a network says of stored images, in the form in which targets are; augmentation: at test time."""

    @abstractmethod
    def targets(self, samples: Any) -> Tensor:
        """What the outputs should be."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """How far outputs are from targets, the sum over the images, in nats; the same for every recipe."""

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
    def evaluation(self, split: str, answers: Iterable[Tensor], samples: Any) -> Evaluation:
        """How good answers are, batch by batch of the samples in their order."""

    @abstractmethod
    def predictions(
        self, paths: Sequence[str | Path], volume: Volume, answered: Answering, **asked: Any
    ) -> Sequence[Prediction]:
        """The answers to image files; answered: gives the answers to stored images. asked: what the caller said.

        Raises SettingError for a request that has no meaning here.
        """
