"""A class for each pixel: losses of masks, mean intersection over union, label images."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from ...errors import SettingError, ShapeError, TorchconvError
from ...language.architecture import Architecture
from ...network.graph import Network
from ...network.operations import Volume
from ...segmentation.losses import IGNORED, SegmentationLoss, class_weights
from ..augmentation import Augmentation, Draw, Scaling
from ..crops import Crops
from ..data.labels import PixelLabels
from ..data.parts import MaskedSamples, Source, Split
from ..recipes import Recipe
from . import Answering, Ask, Objective, Preparation
from .label_images import SegmentPrediction, predictions
from .pixel_scores import SHARES, PixelScores, resampled
from .segment_evaluation import SegmentEvaluation, mean_iou

if TYPE_CHECKING:
    from torchmetrics import Metric

CROP = re.compile(r"(\d{1,5})x(\d{1,5})")
ALONE = ("affine", "shift")  # steps that would change the images and not their masks


class Segmentation(Objective):
    """The network has scores for each class on a grid; every pixel gets those of its place.

    labels: what masks say. settings: those of the recipe.
    """

    score = "mean_iou"
    called = "mean IoU"
    at_once = 1

    def __init__(self, labels: PixelLabels, settings: Mapping[str, Any]) -> None:
        super().__init__(labels.names)
        self.labels, self._resolution = labels, float(settings.get("resolution", 1.0))
        self._grid_only = settings.get("targets") == "outputs"
        self._pixels: PixelScores | None = None

    def pixels(self, network: Network) -> PixelScores:
        """Where the outputs of a network lie in images."""
        if self._pixels is None or self._pixels.source != network:
            self._pixels = PixelScores(network, self._resolution)
        return self._pixels

    def accept(self, recipe: Recipe) -> None:
        for name, plain in (("whitening", False), ("progressive_resizing", 0)):
            if (value := getattr(recipe, name)) != plain:
                expected = f"{plain}, as the data have a class for each pixel"
                raise SettingError(name.replace("_", " "), got=value, expected=expected)
        if recipe.test_time_augmentation == "mirror-shift":
            expected = "none or mirror, as the data have a class for each pixel"
            raise SettingError("test time augmentation", got=recipe.test_time_augmentation, expected=expected)
        SegmentationLoss(recipe.loss)
        class_weights((), 1, recipe.class_weights)
        if (recipe.crop and (found := CROP.fullmatch(recipe.crop)) is None) or (
            recipe.crop and min(map(int, found.groups())) < 1
        ):
            expected = "height x width in pixels, as in 160x160"
            raise SettingError("crop", got=repr(recipe.crop), expected=expected)
        _steps(recipe)

    def check(self, network: Network, place: str, data: str) -> None:
        output, count = network.output, len(self.classes)
        if len(output.size) != 2:
            got, expected = f"an output of {output}", "a grid of scores"
            raise ShapeError("training on masks", got=got, expected=expected, fix=f"End with CONV[{count}, 1x1].")
        if output.channels != count:
            raise ShapeError(
                f"the last layer of {place}",
                got=f"{output.channels} channels",
                expected=f"{count}, one for each class of {data}",
                fix=f"End with CONV[{count}, 1x1].",
            )

    def network(self, architecture: Architecture, source: Source, recipe: Recipe) -> Network:
        """The network, on an input for which it has scores of a crop at least; the text's own size is only shown."""
        channels, own = source.volume.channels, architecture.input
        source.check(source.volume)
        found = CROP.fullmatch(recipe.crop)
        size = tuple(map(int, found.groups())) if found else source.volume.size
        if not found:
            size = tuple(max(1, round(length * recipe.resolution)) for length in size)
        candidates = [tuple(-(-length // share) * share for length in size) for share in SHARES]
        drifting: list[Network] = []
        errors: list[TorchconvError] = []
        for tried in [*candidates, *([own.size] if own else [])]:
            try:
                network = architecture.network(Volume(channels, tried), len(self.classes))
                if len(network.output.size) != 2:
                    return network  # which `check` refuses
                pixels = PixelScores(network)
                fitted = pixels.fitted(size[0], size[1])
            except TorchconvError as error:
                errors.append(error)
                continue
            found = network.on(Volume(channels, fitted.size))
            if pixels.aligned or fitted.low == (0, 0):
                return found
            drifting.append(found)  # branches of valid networks meet at their own places in some sizes only
        if not drifting:
            raise errors[0]
        return drifting[0]

    def check_images(self, network: Network, source: Source, parts: Mapping[str, Split], samples: Any) -> None:
        """Raise ShapeError naming the first image that is asked about as a whole and that the network cannot take."""
        pixels = self.pixels(network)
        for split in samples:
            for number, image in enumerate(samples[split].images if split != "train" else ()):
                try:
                    pixels.fitted(*pixels.reduced_size(image.shape[1:]))
                except ShapeError as error:
                    where = source.place(parts[split].items[number])
                    raise ShapeError(where, got=error.got, expected=error.expected, fix=error.fix) from None

    def preparation(self, recipe: Recipe, network: Network, scaling: Scaling) -> Preparation:
        crops, augmentation = _steps(recipe)
        height, width = network.input.size
        axes = self.pixels(network).axes_of(height, width)
        made = crops(size=(height, width), inside=(axes[0].covered, axes[1].covered))
        places = [torch.arange(*axis.covered) for axis in axes]
        if self._grid_only:
            places = [axis.nearest() for axis in axes]
        return partial(_prepared, made, augmentation, scaling, places)

    def trained(self, network: Network, outputs: Tensor) -> Tensor:
        if self._grid_only:
            return outputs
        axes = self.pixels(network).axes_of(*network.input.size)
        return resampled(outputs, axes, [axis.covered for axis in axes])

    def criterion(self, recipe: Recipe, samples: MaskedSamples) -> Callable[[Tensor, Tensor], Tensor]:
        weights = None
        if recipe.class_weights != "none":
            weights = class_weights(samples.labels, len(self.classes), recipe.class_weights)
        loss = SegmentationLoss(recipe.loss, weights, recipe.label_smoothing)
        return partial(_summed, loss)

    def outputs(
        self, network: Network, ask: Ask, images: Sequence[Tensor], scaling: Scaling, augmentation: str = "none"
    ) -> Tensor:
        """Scores of every pixel of images of one size, (N, classes, height, width)."""
        pixels, stored = self.pixels(network), torch.stack(list(images))
        found = pixels(lambda shown: ask(scaling(shown)), stored)
        if augmentation == "none":
            return found
        mirrored = pixels(lambda shown: ask(scaling(shown)), stored.flip(-1))
        return (found + mirrored.flip(-1)) / 2

    def targets(self, samples: MaskedSamples) -> Tensor:
        return torch.stack(list(samples.labels)).long()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        found = functional.cross_entropy(outputs, targets, ignore_index=IGNORED, reduction="none")
        return found.flatten(1).mean(1).sum()

    def metric(self) -> Metric:
        from torchmetrics.classification import MulticlassConfusionMatrix

        return MulticlassConfusionMatrix(len(self.classes), ignore_index=IGNORED, validate_args=False)

    def value(self, metric: Metric) -> float:
        with metric.sync_context():
            return mean_iou(metric.confmat)  # pyright: ignore

    def answers(self, outputs: Tensor) -> Tensor:
        """Probabilities (N, classes, height, width)."""
        return outputs.softmax(1)

    def evaluation(self, split: str, answers: Iterable[Tensor], samples: MaskedSamples) -> SegmentEvaluation:
        return SegmentEvaluation.of(split, answers, samples, self.labels)

    def predictions(
        self,
        paths: Sequence[str | Path],
        volume: Volume,
        answered: Answering,
        *,
        top: int | None = None,
        out: str | Path | None = None,
        probabilities: bool = False,
        **tiles: Any,
    ) -> list[SegmentPrediction]:
        if top is not None:
            fix = "It is for networks that give one class to an image."
            raise SettingError("top", got=top, expected="none, as each pixel gets its class", fix=fix)
        return predictions(paths, volume.channels, answered, self.labels, out, probabilities, **tiles)


def _prepared(
    crops: Crops,
    augmentation: Augmentation,
    scaling: Scaling,
    places: Sequence[Tensor],
    samples: MaskedSamples,
    draw: Draw,
) -> tuple[Tensor, Tensor]:
    """Scaled and changed crops, and the classes of those of their pixels, by places on both axes, that are learned."""
    images, masks = crops(samples, draw)
    down, across = (one.to(masks.device) for one in places)
    return augmentation.changed(scaling(images), draw), masks[:, down[:, None], across].long()


def _summed(loss: SegmentationLoss, outputs: Tensor, targets: Tensor) -> Tensor:
    return loss.to(outputs.device)(outputs, targets).sum()


def _steps(recipe: Recipe) -> tuple[Callable[..., Crops], Augmentation]:
    """What changes images and masks alike, and what changes the colours of images alone."""
    parts = [] if recipe.augmentation == "none" else recipe.augmentation.split("-")
    alike: dict[str, Any] = {}
    others = []
    for part in parts:
        word, _, amount = part.partition(":")
        if word in ALONE or word in alike:
            got = f"{word} twice" if word in alike else f"{word}, which masks do not follow"
            expected = "none, or some of scale, aspect, flip, colour, cutout, each once, joined by -"
            raise SettingError("augmentation", got=got, expected=expected)
        if word in SHARED:
            alike[word] = SHARED[word](part, amount)
        else:
            others.append(part)
    augmentation = Augmentation.named("-".join(others) or "none", seed=recipe.seed)
    return partial(Crops, resolution=recipe.resolution, **alike), augmentation


def _scale(part: str, amount: str) -> tuple[float, float]:
    """Smallest and largest factor: "2" is 0.5 to 2, "0.75:2" says both."""
    found = _numbers(
        part, amount or "2", "a factor above 1, or the smallest and the largest, as in scale:2, scale:0.75:2"
    )
    low, high = found if len(found) == 2 else (1 / found[0], found[0])
    if len(found) > 2 or not 0.05 <= low <= high <= 20:
        raise SettingError("augmentation", got=part, expected="factors from 0.05 to 20, the smallest first")
    return low, high


def _aspect(part: str, amount: str) -> float:
    expected = "a share from 0 to 1, as in aspect:0.1"
    found = _numbers(part, amount or "0.1", expected)
    if len(found) != 1 or found[0] > 1:
        raise SettingError("augmentation", got=part, expected=expected)
    return found[0]


def _flip(part: str, amount: str) -> bool:
    if amount:
        raise SettingError("augmentation", got=part, expected="flip alone")
    return True


def _numbers(part: str, amount: str, expected: str) -> list[float]:
    try:
        found = [float(one) for one in amount.split(":")]
    except ValueError:
        found = []
    if not found or not all(one > 0 for one in found):  # nor is NaN
        raise SettingError("augmentation", got=part, expected=expected)
    return found


SHARED = {"scale": _scale, "aspect": _aspect, "flip": _flip}  # what images and masks follow alike
