"""What `torchconv train` does where it is not told otherwise: one recipe for each kind of data. No torch."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

from ..description.axis import integer, positive
from ..errors import SettingError

MOST_EPOCHS, MOST_BATCH, MOST_RATE = 1_000_000, 2**31 - 1, 100
FEWEST_STEPS = 300


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
        for name, value, most in (("epochs", self.epochs, MOST_EPOCHS), ("batch size", self.batch_size, MOST_BATCH)):
            if positive(name, value) > most:
                raise SettingError(name, got=value, expected=f"an integer from 1 to {most}")
        if not (0 <= integer("seed", self.seed) < 2**32):
            raise SettingError("seed", got=self.seed, expected="an integer from 0 to 4294967295")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise SettingError("learning rate", got=self.learning_rate, expected="a number above 0")
        if self.learning_rate > MOST_RATE:
            raise SettingError("learning rate", got=self.learning_rate, expected=f"at most {MOST_RATE}")

    def fitted(self, images: int, given: Collection[str]) -> Recipe:
        """For few images: smaller batches, and epochs until there are 300 steps, where neither is given.

        >>> FOLDER.fitted(10_000, ()) == FOLDER, FOLDER.fitted(24, ()).batch_size, FOLDER.fitted(24, ()).epochs
        (True, 3, 38)
        """
        # two at least: one image alone has no statistics for NORM
        batch = self.batch_size if "batch_size" in given else min(self.batch_size, max(2, images // 8))
        enough = math.ceil(FEWEST_STEPS / max(1, images // batch))
        epochs = self.epochs if "epochs" in given else max(self.epochs, enough)
        return replace(self, batch_size=batch, epochs=epochs)


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
