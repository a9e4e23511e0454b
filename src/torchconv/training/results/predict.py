"""Which class an image shows, by a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...description.axis import positive
from ..data import images
from ..run import run_folder
from .evaluate import probabilities


@dataclass(frozen=True)
class Prediction:
    """One image, and its likeliest classes with their probabilities, the likeliest first."""

    image: str
    top: tuple[tuple[str, float], ...]

    def to_dict(self) -> dict:
        """For JSON."""
        name, probability = self.top[0]
        top = [{"class": other, "probability": value} for other, value in self.top]
        return {"image": self.image, "class": name, "probability": probability, "top": top}


def predict(path: str | Path, paths: Sequence[str | Path], top: int = 3) -> list[Prediction]:
    """The likeliest classes of each image file; raises DataError for a run or an image that cannot be used."""
    top = positive("top", top)
    run = run_folder.load(path)
    batch = images.read_images(paths, run.config.volume)
    found = probabilities(run.module, run.config.scaling, batch, views=run.config.views).topk(
        min(top, len(run.classes)), dim=1
    )
    return [
        Prediction(
            str(name), tuple((run.classes[number], value) for number, value in zip(numbers, values, strict=True))
        )
        for name, numbers, values in zip(paths, found.indices.tolist(), found.values.tolist(), strict=True)
    ]
