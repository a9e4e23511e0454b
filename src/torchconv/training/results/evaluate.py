"""How good a trained network is on images it has not learned from: its answers, judged by its objective."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import DataError
from ...language.network_module import NetworkModule
from ...text import some
from ..augmentation import Scaling
from ..data.images import bar
from ..data.labels import PixelLabels
from ..data.parts import Source, Split, Stored
from ..data.source import source as find
from ..objectives import Evaluation, Objective, Prediction
from ..preflight import check_memory
from ..run.run_folder import Run, load


def answers(
    module: NetworkModule,
    objective: Objective,
    scaling: Scaling,
    images: Any,
    augmentation: str = "none",
    progress: bool = False,
) -> Iterator[Tensor]:
    """What a network answers to stored images, batch by batch; leaves the module in evaluation mode.

    augmentation: at test time, as of a recipe. progress: show a bar on a terminal.
    """
    module.eval()
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))

    def ask(found: Tensor) -> Tensor:
        return module.scores(found.to(device))

    with bar("evaluating", len(images), progress) as advance:
        for start in range(0, len(images), objective.at_once):
            part = images[start : start + objective.at_once]
            with torch.inference_mode():
                outputs = objective.outputs(module.network, ask, part, scaling, augmentation)
                found = objective.answers(outputs).cpu()
            yield found.clone()  # a plain tensor, where those made in inference mode are none
            advance(len(part))


def answers_of(run: Run, images: Any, progress: bool = False) -> Iterator[Tensor]:
    """What a run answers to images, scaled and augmented as it is told to."""
    config = run.config
    return answers(run.module, run.objective, config.scaling, images, config.test_time_augmentation, progress)


def evaluate(path: str | Path, name: str | None = None, progress: bool = False) -> Evaluation:
    """A run on the held-out images of the data it was trained on, or on the images of other data.

    name: `digits`, a folder, a parquet file or hf:NAME; None for the data of the training, whose test split is taken,
    or else its validation split. Classes are matched by name. Where other data have bare numbers for classes and the
    run has names, number k is the run's k-th class, if exactly the numbers of all its classes occur.
    progress: show a bar on a terminal. Raises DataError for a run or data that cannot be used, or classes that the run
    does not know.
    """
    return evaluation_of(load(path), name, progress)


def evaluation_of(run: Run, name: str | None = None, progress: bool = False) -> Evaluation:
    """`evaluate` of a run that is loaded."""
    split, samples = known_images(run, name, progress)
    return run.objective.evaluation(split, answers_of(run, samples.images, progress), samples)


def known_images(run: Run, name: str | None, progress: bool = False) -> tuple[str, Stored]:
    """Images a run has not learned from, with the run's numbers of their classes, and a word for where they are from.

    name: as of `evaluate`.
    """
    ignore = str(run.config.settings.get("ignore", ""))
    source = find(run.config.data, ignore) if name is None else find(name)
    if (source.labels is None) != (run.config.labels is None):
        kinds = ("a class for each image", "masks")
        got, expected = (kinds[found is not None] for found in (source.labels, run.config.labels))
        raise DataError(f"data {source.name}", got=got, expected=f"{expected}, as in the training")
    if source.labels is not None and source.labels.numbered and run.config.labels is not None:
        source.labels = PixelLabels.from_dict(run.classes, run.config.labels)  # values mean what they did
        source.classes = run.classes
    numbers = _numbers(source, run.classes)
    split, part = _held_out(source, run)
    if not len(part):
        raise DataError(f"data {source.name}", got="no images to evaluate on", expected="one at least")
    check_memory(run.module.network, len(part))
    samples = source.read(part, run.config.volume, progress)
    run.objective.check_images(run.module.network, source, {split: part}, {split: samples})
    return split, samples.renumbered(numbers)


def _numbers(source: Source, classes: Sequence[str]) -> list[int]:
    """The run's number of each class of the data."""
    place = {known: number for number, known in enumerate(classes)}
    unknown = next((known for known in source.classes if known not in place), None)
    if unknown is None:
        return [place[known] for known in source.classes]
    if source.numbered and source.classes == tuple(str(number) for number in range(len(classes))):
        return list(range(len(classes)))
    raise DataError(f"data {source.name}", got=f"class {unknown}", expected=f"classes of the run: {some(classes)}")


def _held_out(source: Source, run: Run) -> tuple[str, Split]:
    """Images the run has not learned from: by the split of the training, or those of other data."""
    if source.name != run.config.data:
        return source.whole()
    fix = "Which images are new to the network cannot be told; give others with --data."
    parts = run.parts(source, "the training", fix)
    split = "test" if len(parts["test"]) else "validation"
    return split, parts[split]


def predict(
    path: str | Path,
    paths: Sequence[str | Path],
    top: int | None = None,
    out: str | Path | None = None,
    probabilities: bool = False,
    *,
    tile: int | Sequence[int] | None = None,
    memory: int | str | None = None,
) -> Sequence[Prediction]:
    """What a run says of each image file: its likeliest classes, or the class of each of its pixels.

    top: how many classes of an image, by default 3. For a run that gives a class to each pixel: out, a folder for label
    images, and overlays of them; probabilities: also arrays of them, float32 (classes, height, width), as .npy; tile or
    memory: to go through images in tiles, as `torchconv.tiled` does, with the same labels as in one piece, which large
    ones do by themselves; .npy, .zarr and TIFF files of any size are read in parts.
    Raises DataError for a run or an image that cannot be used, SettingError for what is not of this kind of run.
    """
    run = load(path)
    asked = {"top": top, "out": out, "probabilities": probabilities, "tile": tile, "memory": memory}
    return run.objective.predictions(paths, run.config.volume, RunAnswers(run), **asked)


class RunAnswers:
    """The answers of a run to stored images."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __call__(self, images: Any) -> Iterator[Tensor]:
        return answers_of(self.run, images)

    @property
    def mirrors(self) -> bool:
        """Whether the run asks about mirror images too."""
        return self.run.config.test_time_augmentation != "none"

    def module(self) -> nn.Module:
        """The same for one image, as a module from bytes (1, channels, *size)."""
        return AnswerModule(self.run).eval()


class AnswerModule(nn.Module):
    """All that a run does to an image of bytes, from its scaling to the answer."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.network, self.objective = run.module, run.objective
        self.scaling, self.augmentation = run.config.scaling, run.config.test_time_augmentation

    def forward(self, images: Tensor) -> Tensor:
        told = (self.network.network, self.network.scores, images.unbind(), self.scaling, self.augmentation)
        return self.objective.answers(self.objective.outputs(*told))
