"""How good a trained network is on images it has not learned from: its answers, judged by its objective."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from ...description.axis import positive
from ...errors import DataError
from ...language.network_module import NetworkModule
from ...text import some
from ..augmentation import Scaling
from ..data.images import bar, read_images
from ..data.parts import Samples, Source, Split
from ..data.source import source as find
from ..objectives import Evaluation, Objective, Prediction
from ..preflight import check_memory
from ..run.run_folder import Run, load

BATCH = 256
MOVED, MOVED_SHARE = 1, 0.25  # pixels, and what the scores of one moved image count


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


def answers(
    module: NetworkModule,
    objective: Objective,
    scaling: Scaling,
    images: Tensor,
    augmentation: str = "none",
    progress: bool = False,
) -> Tensor:
    """What a network answers to uint8 images (N, channels, *size); leaves the module in evaluation mode.

    augmentation: at test time, as of `scores`. progress: show a bar on a terminal.
    """
    module.eval()
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    parts = []
    with torch.inference_mode(), bar("evaluating", len(images), progress) as advance:
        for part in images.split(BATCH):
            found = scores(module.scores, scaling(part.to(device)), augmentation)
            parts.append(objective.answers(found).cpu())
            advance(len(part))
    return torch.cat(parts).clone()  # a plain tensor, where those made in inference mode are none


def answers_of(run: Run, images: Tensor, progress: bool = False) -> Tensor:
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


def known_images(run: Run, name: str | None, progress: bool = False) -> tuple[str, Samples]:
    """Images a run has not learned from, with the run's numbers of their classes, and a word for where they are from.

    name: as of `evaluate`.
    """
    source = find(run.config.data if name is None else name)
    number = torch.tensor(_numbers(source, run.classes))
    split, part = _held_out(source, run)
    if not len(part):
        raise DataError(f"data {source.name}", got="no images to evaluate on", expected="one at least")
    check_memory(run.module.network, len(part))
    batch = source.read(part, run.config.volume, progress)
    return split, Samples(batch.images, number[batch.labels])


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


def predict(path: str | Path, paths: Sequence[str | Path], top: int = 3) -> list[Prediction]:
    """The likeliest classes of each image file; raises DataError for a run or an image that cannot be used."""
    top = positive("top", top)
    run = load(path)
    found = answers_of(run, read_images(paths, run.config.volume))
    return [run.objective.prediction(image, answer, top) for image, answer in zip(paths, found, strict=True)]
