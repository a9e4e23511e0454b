"""What `torchconv train` does where it is not told otherwise: one recipe for each kind of data. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..description.axis import integer, positive
from ..errors import SettingError


@dataclass(frozen=True)
class Recipe:
    """An architecture text and the settings it trains well with.

    epochs, batch_size: integers >= 1. learning_rate: the peak of the one-cycle schedule (Smith, Topin 2018).
    label_smoothing: Szegedy et al. 2016, section 7. weight_decay: AdamW's (Loshchilov, Hutter 2019).
    """

    text: str
    epochs: int
    batch_size: int = 64
    learning_rate: float = 0.01
    label_smoothing: float = 0.1
    weight_decay: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        positive("epochs", self.epochs)
        positive("batch size", self.batch_size)
        if not (0 <= integer("seed", self.seed) < 2**32):
            raise SettingError("seed", got=self.seed, expected="an integer from 0 to 4294967295")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise SettingError("learning rate", got=self.learning_rate, expected="a number above 0")


# Chosen by cross-validation inside the training and validation images (3 mistakes in 1,437), never on the test images.
DIGITS = Recipe(
    "INPUT[8x8x1] - (CONV[32] - NORM - RELU)*2 - POOL - (CONV[64] - NORM - RELU)*2 - POOL"
    " - DROPOUT[0.3] - FC - SOFTMAX",
    epochs=30,
)
FOLDER = Recipe(
    "INPUT[32x32x3] - (CONV[32] - NORM - RELU)*2 - POOL - (CONV[64] - NORM - RELU)*2 - POOL"
    " - (CONV[128] - NORM - RELU)*2 - POOL - DROPOUT[0.3] - FC - SOFTMAX",
    epochs=30,
)
RECIPES = {"digits": DIGITS, "folder": FOLDER}
