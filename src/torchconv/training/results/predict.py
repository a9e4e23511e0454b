"""What a trained network answers to image files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...description.axis import positive
from ..data.images import read_images
from ..objectives import Prediction
from ..run.run_folder import load
from .evaluate import answers_of


def predict(path: str | Path, paths: Sequence[str | Path], top: int = 3) -> list[Prediction]:
    """The likeliest classes of each image file; raises DataError for a run or an image that cannot be used."""
    top = positive("top", top)
    run = load(path)
    found = answers_of(run, read_images(paths, run.config.volume))
    return [run.objective.prediction(image, answer, top) for image, answer in zip(paths, found, strict=True)]
