"""scikit-learn's scans of handwritten digits, which need no download."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...errors import DataError
from ...network.operations import Volume
from .layout import SPLITS
from .parts import Batch, Part

DIGITS_SPLIT = {"train": 1257, "validation": 180, "test": 360}


class Digits:
    """scikit-learn's 1,797 scans of handwritten digits, 8x8 pixels in 17 greys (Alpaydin, Kaynak 1998, UCI).

    The split is stratified by class and always the same: scikit-learn's train_test_split with random_state=0 takes 360
    for the test, then 180 for the validation, and leaves 1,257.
    """

    kind = "digits"
    name = "digits"
    classes = tuple("0123456789")
    numbered = False
    volume = Volume(1, (8, 8))

    def check(self, volume: Volume) -> None:
        if volume != self.volume:
            raise DataError(
                "the INPUT of a network for digits",
                got=volume,
                expected=self.volume,
                fix="Write INPUT[8x8x1], or INPUT alone; without --data the data are digits: give --data for others.",
            )

    def parts(self, seed: int = 0) -> dict[str, Part]:
        from sklearn.model_selection import train_test_split

        labels = self._digits().target
        rows = np.arange(len(labels))
        rest, test = train_test_split(rows, test_size=DIGITS_SPLIT["test"], random_state=0, stratify=labels)
        train, validation = train_test_split(
            rest, test_size=DIGITS_SPLIT["validation"], random_state=0, stratify=labels[rest]
        )
        chosen = {name: np.asarray(rows) for name, rows in zip(SPLITS, (train, validation, test), strict=True)}
        return {name: Part(tuple(rows.tolist()), tuple(labels[rows].tolist())) for name, rows in chosen.items()}

    def whole(self) -> tuple[str, Part]:
        """The test scans."""
        return "test", self.parts()["test"]

    def read(self, part: Part, volume: Volume, progress: bool = False) -> Batch:
        self.check(volume)
        greys = self._digits().images[list(part.items)]  # 0 to 16
        pixels = torch.from_numpy((greys * (255 / 16)).round().astype(np.uint8))
        return Batch(pixels[:, None], torch.tensor(part.labels))

    def digest(self) -> str:
        return ""

    @staticmethod
    def _digits() -> Any:
        from sklearn.datasets import load_digits

        return load_digits()
