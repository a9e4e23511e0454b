"""Whether max or mean pooling separates classes better, feature by feature, from the features' statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ...description.axis import plain, positive
from ...errors import DataError, SettingError, ShapeError, UnsupportedError
from ...text import install

AT_ONCE = 2**24  # numbers of one class that are sorted at a time
MOST_PLACES = 10**9
ROUNDING = 1e-9
SOURCES = ("class", "image")


@dataclass(frozen=True, eq=False)
class Advice:
    """How well max and mean pooling separate the classes, by feature and by the number of places pooled.

    cardinalities: how many places are pooled, ascending. max, mean: separability of the classes after pooling with
    each, (features, cardinalities) float64, in sums of two standard deviations; it can be inf, where nothing varies.
    """

    cardinalities: tuple[int, ...]
    max: np.ndarray
    mean: np.ndarray

    def recommend(self, cardinality: int) -> tuple[str, ...]:
        """ "max" or "mean" for each feature, whichever separates better; "mean" where both do alike.

        Raises SettingError for a cardinality that was not asked for.
        """
        return tuple("max" if one else "mean" for one in self._for_max(self._column(cardinality)))

    def preference(self, cardinality: int) -> float:
        """How much better max separates than mean, relative to the better one, -1 to 1; the features' median."""
        column = self._column(cardinality)
        high, low = self.max[:, column], self.mean[:, column]
        best = np.maximum(high, low)
        with np.errstate(invalid="ignore"):  # inf beats any number by 1; inf and inf, 0 and 0 are alike
            gap = np.where(high == low, 0.0, np.where(np.isinf(best), np.sign(high - low), (high - low) / best))
        return float(np.median(gap))

    @property
    def summary(self) -> str:
        """A table of the medians over the features, a row for each cardinality."""
        rows = [("cardinality", "max", "mean", "features for max", "advice")]
        for column, cardinality in enumerate(self.cardinalities):
            share = self._for_max(column).mean()
            high, mean = (f"{np.median(values[:, column]):.3f}" for values in (self.max, self.mean))
            rows.append((str(cardinality), high, mean, f"{share:.0%}", "max" if share > 0.5 else "mean"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary

    def to_dict(self) -> dict[str, Any]:
        """Plain values of everything, for JSON."""
        return {"cardinalities": list(self.cardinalities), "max": self.max.tolist(), "mean": self.mean.tolist()}

    def draw(self, path: str | Path) -> None:
        """Save both separabilities against the cardinality, median and quartiles of the features, by matplotlib."""
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise UnsupportedError("a drawing of the advice", got="no matplotlib", fix=install("draw")) from error
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.add_subplot(xlabel="places pooled", ylabel="separability of the classes", xscale="log")
        for name, values in (("max", self.max), ("mean", self.mean)):
            low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
            axes.plot(self.cardinalities, middle, marker="o", label=name)
            axes.fill_between(self.cardinalities, low, high, alpha=0.2)
        axes.legend()
        figure.savefig(path)

    def _for_max(self, column: int) -> np.ndarray:
        """Which features max separates better, by more than rounding."""
        return self.max[:, column] > self.mean[:, column] * (1 + ROUNDING)

    def _column(self, cardinality: int) -> int:
        wanted = positive("cardinality", cardinality)
        if wanted not in self.cardinalities:
            fix = "Name it in pooling_advice(..., cardinalities=...)."
            raise SettingError("cardinality", got=wanted, expected=f"one of {list(self.cardinalities)}", fix=fix)
        return self.cardinalities.index(wanted)


def pooling_advice(
    features: Any, labels: Any, cardinalities: Sequence[int] | None = None, draws: str = "class"
) -> Advice:
    """How well max and mean pooling over P places separate the classes, for each feature, and which to take.

    features: tensor or array (images, channels, *size), or (samples, channels). labels: (images,). cardinalities: the
    P's; powers of two up to the number of places if None.

    The model of a pool is P independent draws: from all places of all images of a class, as in the paper, or, with
    draws="image", from the places of one image of the class, because those are alike, and then the mean of a large
    pool still varies from image to image. The largest draw is distributed by the P-th power of the cumulative
    distribution, taken from the sorted samples, exactly; the variance of the mean is divided by P. The separability of
    two classes is |mu_1 - mu_2| / (sigma_1 + sigma_2), and of more the mean over the pairs; 0 where nothing differs.

    Raises ShapeError, DataError or SettingError for sizes that do not fit, NaN, a single class or bad settings.
    Source: Boureau, Ponce, LeCun 2010, A theoretical analysis of feature pooling in visual recognition, "Pooling
    binary features" (a feature that fires at a rate a: the mean has variance a (1 - a) / P, the maximum has mean
    1 - (1 - a)^P and variance (1 - (1 - a)^P) (1 - a)^P) and "Pooling continuous sparse codes" (exponential features).

    >>> import numpy as np
    >>> binary = np.repeat([0, 1, 0, 1], (98, 2, 90, 10))
    >>> graded = np.append(np.linspace(0, 1, 100), np.linspace(0, 1.2, 100))
    >>> pooling_advice(np.stack([binary, graded], 1), np.repeat([0, 1], 100), (1, 30)).recommend(30)
    ('mean', 'max')
    """
    if draws not in SOURCES:
        raise SettingError("draws", got=repr(draws), expected=f"one of {', '.join(SOURCES)}")
    samples = _samples(features)
    classes = _classes(labels, len(samples))
    if cardinalities is None:
        places = samples.shape[2] if samples.shape[2] > 1 else 64
        cardinalities = sorted({*(2**power for power in range(places.bit_length())), places})
    wanted = _cardinalities(cardinalities)
    step = max(1, AT_ONCE // int(max(np.bincount(classes)) * samples.shape[2]))
    starts = range(0, samples.shape[1], step)
    found = np.concatenate([_separability(samples[:, at : at + step], classes, wanted, draws) for at in starts], 1)
    found.flags.writeable = False
    return Advice(wanted, *found)


def _separability(samples: np.ndarray, classes: np.ndarray, wanted: tuple[int, ...], draws: str) -> np.ndarray:
    """Of max and of mean pooling, (2, channels, cardinalities)."""
    moments = []
    for number in range(classes.max() + 1):
        own = np.moveaxis(samples[classes == number], 1, 0)
        moments.append(_moments(own if draws == "image" else own.reshape(len(own), 1, -1), wanted))
    total, pairs = np.zeros_like(moments[0][0]), list(combinations(moments, 2))
    for (mean_1, sigma_1), (mean_2, sigma_2) in pairs:
        gap = np.abs(mean_1 - mean_2)
        with np.errstate(divide="ignore", invalid="ignore"):
            total += np.where(gap > 0, gap / (sigma_1 + sigma_2), 0.0)
    return total / len(pairs)


def _moments(samples: np.ndarray, wanted: tuple[int, ...]) -> np.ndarray:
    """Mean and deviation of the maximum and of the mean of P draws from a group: (2, 2, channels, cardinalities).

    samples: (channels, groups, members). Groups are as likely as one another: their variances are averaged, and the
    variance of their means is added.
    """
    ranked = np.sort(samples.astype(np.float64), axis=2)
    steps = np.arange(ranked.shape[2] + 1) / ranked.shape[2]
    found = []
    for places in wanted:
        weights = np.diff(steps**places)  # the chance that the largest of the draws is the i-th smallest sample
        highest = ranked @ weights
        means = np.stack([highest, ranked.mean(2)])
        variances = np.stack([(ranked - highest[:, :, None]) ** 2 @ weights, ranked.var(2) / places])
        found.append([means.mean(2), np.sqrt(variances.mean(2) + means.var(2))])
    return np.moveaxis(np.array(found), 0, -1)


def _samples(features: Any) -> np.ndarray:
    """(images, channels, places) of finite numbers."""
    found = _array(features)
    if found.dtype.kind not in "fiub":
        raise DataError("features", got=f"an array of {found.dtype}", expected="real numbers")
    if found.ndim < 2 or not found.size:
        expected = "(images, channels, *size) or (samples, channels), none of them 0"
        raise ShapeError("features", got=f"shape {found.shape}", expected=expected)
    found = found.reshape(*found.shape[:2], -1)
    if not np.isfinite(found).all():
        raise DataError("features", got="NaN or Inf", expected="finite numbers")
    return found


def _classes(labels: Any, images: int) -> np.ndarray:
    """Each image's class as a number from 0 on."""
    found = _array(labels)
    if found.shape != (images,):
        raise ShapeError("labels", got=f"shape {found.shape}", expected=f"one for each of {images} images")
    if found.dtype.kind == "f" and np.isnan(found).any():
        raise DataError("labels", got="NaN", expected="a class for every image")
    names, classes = np.unique(found, return_inverse=True)
    if len(names) < 2:
        raise DataError("labels", got=f"{len(names)} class", expected="two classes or more, to tell apart")
    return classes


def _array(value: Any) -> np.ndarray:
    """A tensor, wherever it is and of whatever type, or an array, as an array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() and value.itemsize < 4 else value).numpy()
    return np.asarray(value)


def _cardinalities(given: Any) -> tuple[int, ...]:
    values = plain(given)
    if not isinstance(values, list):
        raise SettingError("cardinalities", got=repr(given), expected="a sequence of integers >= 1")
    found = tuple(sorted({positive("cardinality", value) for value in values}))
    if not found or found[-1] > MOST_PLACES:
        raise SettingError("cardinalities", got=values, expected=f"at least one, up to {MOST_PLACES}")
    return found
