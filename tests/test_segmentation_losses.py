"""Losses of labelled pixels against slow formulas of their papers; pixels without a label count for nothing."""

from __future__ import annotations

import re

import pytest
import torch

from torchconv import segmentation
from torchconv.errors import DataError, SettingError, ShapeError

IGNORED, TERMS = 255, ("cross-entropy", "focal", "dice", "lovasz")


def drawn(classes: int = 4, size: tuple[int, int] = (5, 7)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(classes, (3, *size), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.3] = IGNORED
    return torch.randn(3, classes, *size, generator=generator), labels


def jaccard_extension(errors: list[float], truth: list[bool]) -> float:
    """The Lovasz extension of the Jaccard loss (Berman et al. 2018, equation 9), term by term."""
    order = sorted(range(len(errors)), key=lambda n: -errors[n])
    total, before = 0.0, 0.0
    for count in range(1, len(order) + 1):
        wrong = set(order[:count])
        kept = sum(truth[n] and n not in wrong for n in range(len(truth)))
        union = sum(truth[n] or n in wrong for n in range(len(truth)))
        loss = 1 - kept / union
        total, before = total + errors[order[count - 1]] * (loss - before), loss
    return total


def by_hand(term: str, scores: torch.Tensor, labels: torch.Tensor) -> float:
    """One image: (classes, height, width) and (height, width)."""
    chances = scores.flatten(1).softmax(0).T.tolist()
    known = [(one, label) for one, label in zip(chances, labels.flatten().tolist(), strict=True) if label != IGNORED]
    present = sorted({label for _, label in known})
    if term == "cross-entropy":
        return float(sum(-torch.tensor(one[label]).log() for one, label in known)) / labels.numel()
    if term == "focal":
        return float(sum(-((1 - one[k]) ** 2) * torch.tensor(one[k]).log() for one, k in known)) / labels.numel()
    if term == "dice":
        shares = []
        for k in present:
            both = sum(one[k] for one, label in known if label == k)
            shares.append(1 - 2 * both / (sum(one[k] for one, _ in known) + sum(label == k for _, label in known)))
        return sum(shares) / len(shares)
    found = []
    for k in present:
        truth = [label == k for _, label in known]
        found.append(jaccard_extension([abs(t - one[k]) for t, (one, _) in zip(truth, known, strict=True)], truth))
    return sum(found) / len(found)


@pytest.mark.parametrize("term", TERMS)
def test_each_loss_is_that_of_its_paper(term: str) -> None:
    scores, labels = drawn()
    labels[1][labels[1] == 2] = 0  # an image that lacks a class
    found = segmentation.SegmentationLoss(term)(scores, labels)
    wanted = [by_hand(term, *pair) for pair in zip(scores, labels, strict=True)]
    torch.testing.assert_close(found, torch.tensor(wanted), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("term", TERMS)
def test_ignored_pixels_have_no_gradient_and_an_image_of_them_no_loss(term: str) -> None:
    scores, labels = drawn()
    labels[2] = IGNORED
    scores.requires_grad_()
    found = segmentation.SegmentationLoss(term)(scores, labels)
    (gradient,) = torch.autograd.grad(found.sum(), scores)
    ignored = (labels == IGNORED)[:, None].expand_as(gradient)
    assert gradient.isfinite().all()
    assert gradient[ignored].abs().max() == 0 < gradient[~ignored].abs().max()
    assert found[0] > 0 == found[2]


def test_sums_weights_and_smoothing() -> None:
    scores, labels = drawn()
    both = segmentation.SegmentationLoss("cross-entropy + 0.5*lovasz")(scores, labels)
    alone = [segmentation.SegmentationLoss(term)(scores, labels) for term in ("cross-entropy", "lovasz")]
    torch.testing.assert_close(both, alone[0] + 0.5 * alone[1])
    twice = segmentation.SegmentationLoss(weights=torch.full((4,), 2.0))(scores, labels)
    torch.testing.assert_close(twice, 2 * alone[0])
    assert not segmentation.SegmentationLoss(smoothing=0.2)(scores, labels).allclose(alone[0])


def test_class_weights() -> None:
    masks = [torch.tensor([[0, 0, 0, 1]]), torch.tensor([[0, 0, 2, IGNORED]])]
    shares = torch.tensor([5, 1, 1]) / 7
    balanced = segmentation.class_weights(masks, 3, "balanced")
    torch.testing.assert_close(balanced, 1 / shares / 3)
    median = segmentation.class_weights(masks, 3, "median-frequency")
    frequency = torch.tensor([5 / 7, 1 / 4, 1 / 3])
    torch.testing.assert_close(median * frequency, (median * frequency)[:1].expand(3))
    for kind in ("balanced", "median-frequency", "log", "none"):
        found = segmentation.class_weights(masks, 3, kind)
        assert float((found * shares).sum()) == pytest.approx(1)
    assert segmentation.class_weights(masks, 4, "balanced")[3] == 1
    root = segmentation.class_weights(masks, 3, "balanced:0.5")
    torch.testing.assert_close(root / root[0], (balanced / balanced[0]).sqrt())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cross-entorpy", "Did you mean cross-entropy?"),
        ("dice+", "loss: got 'dice+'"),
        ("x*dice", "got 'x*dice'"),
        ("0*dice", "got '0*dice'"),
    ],
)
def test_unknown_losses(name: str, said: str) -> None:
    with pytest.raises(SettingError, match=re.escape(said)):
        segmentation.SegmentationLoss(name)


def test_unknown_weights_and_sizes() -> None:
    with pytest.raises(SettingError, match="Did you mean balanced"):
        segmentation.class_weights([], 2, "balancd")
    with pytest.raises(SettingError, match="got 'log:x', expected none, balanced"):
        segmentation.class_weights([], 2, "log:x")
    with pytest.raises(ShapeError, match="a label for each of the scores"):
        segmentation.SegmentationLoss()(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 4, dtype=torch.int64))


@pytest.mark.parametrize("name", ["cross-entropy", "focal", "dice", "lovasz"])
def test_labels_that_are_no_classes(name: str) -> None:
    scores, labels = torch.zeros(1, 3, 2, 2), torch.tensor([[[0, 1], [2, 7]]])
    with pytest.raises(DataError, match="got a label 7, expected 0 to 2, or 255"):
        segmentation.SegmentationLoss(name)(scores, labels)
    with pytest.raises(DataError, match=re.escape("got torch.float32, expected integers")):
        segmentation.SegmentationLoss(name)(scores, labels.float())
    with pytest.raises(DataError, match="got a label 7"):
        segmentation.class_weights(labels, 3)


def test_as_many_weights_as_classes() -> None:
    with pytest.raises(ShapeError, match=re.escape("weights: got (2,), expected (3,)")):
        segmentation.SegmentationLoss(weights=torch.ones(2))(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2).long())
