"""Losses of scores and labels of pixels, image by image; unlabelled ones count for nothing. Most are kornia's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import DataError, SettingError, ShapeError
from ..text import did_you_mean, install

IGNORED = 255  # the label of pixels that are of no class; the largest one of a byte
LOSSES = ("cross-entropy", "focal", "dice", "lovasz")
WEIGHTS = ("none", "balanced", "median-frequency", "log")


class SegmentationLoss(torch.nn.Module):
    """How far scores (N, classes, *size) are from labels (N, *size), a number for each image, (N,).

    name: `cross-entropy`, `focal` (Lin et al. 2017, gamma 2), `dice` (Milletari et al. 2016), `lovasz` (Berman et al.
        2018, over the classes that an image has), or a sum of them, as in "cross-entropy+0.5*lovasz".
    weights: (classes,), what pixels of each class count in cross entropy and focal. smoothing: of the labels, in cross
        entropy (Szegedy et al. 2016, section 7). ignore: the label of pixels that count for nothing.
    Cross entropy and focal are means over the pixels of an image, those that are ignored counted as 0, so that every
    pixel of all images counts the same.
    Raises SettingError for a name that is none of these, ShapeError for sizes that do not fit, DataError for labels
    that are no classes.

    >>> scores, labels = torch.zeros(1, 4, 2, 2), torch.tensor([[[0, 1], [2, 255]]])
    >>> SegmentationLoss("cross-entropy")(scores, labels) / torch.tensor(4.0).log()
    tensor([0.7500])
    """

    def __init__(
        self, name: str = "cross-entropy", weights: Tensor | None = None, smoothing: float = 0.0, ignore: int = IGNORED
    ) -> None:
        super().__init__()
        self.name, self.smoothing, self.ignore = name, smoothing, ignore
        self.terms = _terms(name)
        self.register_buffer("weights", weights, persistent=False)
        self.weights: Tensor | None

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        """The loss of each image."""
        if scores.shape[2:] != labels.shape[1:] or len(scores) != len(labels):
            expected = f"{(len(scores), *scores.shape[2:])}, a label for each of the scores"
            raise ShapeError("labels", got=tuple(labels.shape), expected=expected)
        if self.weights is not None and tuple(self.weights.shape) != (scores.shape[1],):
            raise ShapeError("weights", got=tuple(self.weights.shape), expected=f"({scores.shape[1]},), one per class")
        check_integers(labels)
        with torch.autocast(scores.device.type, enabled=False):
            try:
                return self._sum(scores.float(), labels.long())
            except Exception:  # torch and kornia say it each in their own way
                check_labels(labels, scores.shape[1], self.ignore)
                raise

    def _sum(self, scores: Tensor, labels: Tensor) -> Tensor:
        found = [share * getattr(self, f"_{term.replace('-', '_')}")(scores, labels) for share, term in self.terms]
        return torch.stack(found).sum(0)

    def _cross_entropy(self, scores: Tensor, labels: Tensor) -> Tensor:
        found = functional.cross_entropy(
            scores, labels, self.weights, ignore_index=self.ignore, reduction="none", label_smoothing=self.smoothing
        )
        return found.flatten(1).mean(1)

    def _focal(self, scores: Tensor, labels: Tensor) -> Tensor:
        from kornia.losses import focal_loss

        found = focal_loss(scores, labels, alpha=None, weight=self.weights, ignore_index=self.ignore)
        return found.sum(1).flatten(1).mean(1)

    def _dice(self, scores: Tensor, labels: Tensor) -> Tensor:
        from kornia.losses import dice_loss

        pairs = (self._labelled(*pair) for pair in zip(scores, labels, strict=True))
        return torch.stack([_or_nothing(dice_loss, *pair, average="macro") for pair in pairs])

    def _lovasz(self, scores: Tensor, labels: Tensor) -> Tensor:
        from kornia.losses import lovasz_softmax_loss

        found = []
        for one, own in zip(scores, labels, strict=True):
            seen, known = self._labelled(one, own)
            present = torch.bincount(known.flatten(), minlength=len(one)) > 0
            # kornia means over all classes; an image says nothing about how well others are found
            share = present * (len(one) / present.sum().clamp(min=1))
            found.append(_or_nothing(lovasz_softmax_loss, seen, known, weight=share.to(one.dtype)))
        return torch.stack(found)

    def _labelled(self, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The pixels of one image that have a label, as an image of one column."""
        known = labels.flatten() != self.ignore
        return scores.flatten(1)[:, known][None, :, :, None], labels.flatten()[known][None, :, None]


def check_integers(labels: Tensor) -> None:
    """Raise DataError for labels that are no integers."""
    if labels.dtype.is_floating_point or labels.dtype.is_complex or labels.dtype == torch.bool:
        raise DataError("labels", got=str(labels.dtype), expected="integers, the number of a class for each pixel")


def check_labels(labels: Tensor, classes: int, ignore: int = IGNORED) -> None:
    """Raise DataError where a label is neither a class nor the one that counts for nothing."""
    check_integers(labels)
    wrong = labels[(labels != ignore) & ((labels < 0) | (labels >= classes))]
    if wrong.numel():
        expected = f"0 to {classes - 1}, or {ignore} for pixels of no class"
        raise DataError("labels", got=f"a label {int(wrong.flatten()[0])}", expected=expected)


def _or_nothing(loss: Callable[..., Tensor], scores: Tensor, labels: Tensor, **options: Any) -> Tensor:
    """The loss of an image; 0 for one of which no pixel has a label."""
    return loss(scores, labels, **options) if labels.numel() else scores.sum()


def _terms(name: str) -> tuple[tuple[float, str], ...]:
    """The terms of a loss, each with its factor."""
    expected = f"{', '.join(LOSSES)}, or a sum of them, as in cross-entropy+0.5*lovasz"
    found = []
    for part in str(name).split("+"):
        factor, star, term = part.strip().rpartition("*")
        try:
            share = float(factor) if star else 1.0
        except ValueError:
            share = -1.0
        if term.strip() not in LOSSES or not 0 < share < 1e6:
            fix = did_you_mean(term.strip(), LOSSES) if term.strip() not in LOSSES else ""
            raise SettingError("loss", got=repr(name), expected=expected, fix=fix)
        found.append((share, term.strip()))
    try:
        import kornia  # noqa: F401
    except ImportError:
        if any(term != "cross-entropy" for _, term in found):
            raise DataError(f"loss {name}", got="no kornia", expected="it", fix=install("train")) from None
    return tuple(found)


def class_weights(
    labels: Iterable[Tensor], classes: int, kind: str = "median-frequency", ignore: int = IGNORED
) -> Tensor:
    """What pixels of each class should count, (classes,), so that the mean over all pixels is 1.

    labels: those of each image, integers of any shape. kind: `balanced`, one by the pixels of a class;
    `median-frequency`, one by its share of the pixels of those images that have it (Eigen, Fergus 2015, section 6.3.2);
    `log`, 1 / log(1.02 + its share of all pixels) (Paszke et al. 2016, ENet, section 5.2); `none`. "balanced:0.5" takes
    the square root of the weights, and so on: rare classes count less. A class without any pixel counts 1.
    Raises SettingError for another kind, DataError for labels that are no classes.

    >>> class_weights([torch.tensor([0, 0, 0, 1])], 2, "balanced")
    tensor([0.6667, 2.0000])
    """
    word, power = _weights(kind)
    counts, around = torch.zeros(2, classes, dtype=torch.float64)
    for one in labels:
        check_labels(one, classes, ignore)
        own = torch.bincount(one[one != ignore].flatten().long(), minlength=classes).double()
        counts, around = counts + own, around + own.sum() * (own > 0)
    seen, share = counts > 0, counts / counts.sum().clamp(min=1)
    if word == "balanced":
        weights = 1 / share
    elif word == "median-frequency":
        weights = around / counts
    else:
        weights = 1 / (1.02 + share).log() if word == "log" else torch.ones_like(share)
    weights = weights**power
    weights = weights.where(seen, 0) / (weights.where(seen, 0) * share).sum().clamp(min=1e-300)
    return weights.where(seen, 1).float()


def _weights(kind: str) -> tuple[str, float]:
    """The word of a kind of class weights, and the power they are raised to."""
    word, colon, amount = str(kind).partition(":")
    try:
        power = float(amount) if colon else 1.0
    except ValueError:
        power = 0.0
    if word not in WEIGHTS or not 0 < power <= 2:
        expected = f"{', '.join(WEIGHTS)}, and where you like a power from 0 to 2, as in balanced:0.5"
        fix = did_you_mean(word, WEIGHTS) if word not in WEIGHTS else ""
        raise SettingError("class weights", got=repr(kind), expected=expected, fix=fix)
    return word, power
