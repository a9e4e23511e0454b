"""Advice on pooling: the published formulas, simulated pools, and real accuracies."""

import json
import sys

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from torch.nn import functional

import torchconv as tc
from torchconv.errors import DataError, SettingError, ShapeError, UnsupportedError

PLACES = (1, 2, 5, 16, 100, 3000)


def separability(mean_1, variance_1, mean_2, variance_2):
    return abs(mean_1 - mean_2) / (variance_1**0.5 + variance_2**0.5)


@pytest.mark.parametrize(("ones_1", "ones_2"), [(1, 5), (100, 300), (0, 7), (500, 1000)])
def test_binary_features_follow_the_paper(ones_1, ones_2):
    """Bernoulli features: mean a and variance a (1 - a) / P; of the maximum 1 - (1 - a)^P, times (1 - a)^P."""
    zeros_and_ones = [np.repeat([0, 1], (1000 - ones, ones)) for ones in (ones_1, ones_2)]
    found = tc.pooling_advice(np.concatenate(zeros_and_ones)[:, None], np.repeat([0, 1], 1000), PLACES)
    a, b = ones_1 / 1000, ones_2 / 1000
    for column, places in enumerate(PLACES):
        quiet_a, quiet_b = (1 - a) ** places, (1 - b) ** places
        if max(quiet_a, quiet_b) > 1e-9:  # or nothing varies any more, and rounding decides
            highest = separability(1 - quiet_a, quiet_a * (1 - quiet_a), 1 - quiet_b, quiet_b * (1 - quiet_b))
            np.testing.assert_allclose(found.max[0, column], highest, rtol=1e-6)
        mean = separability(a, a * (1 - a) / places, b, b * (1 - b) / places)
        np.testing.assert_allclose(found.mean[0, column], mean, rtol=1e-9)


def test_exponential_features_follow_the_paper():
    """Rates 1 and 2, as quantiles of many samples: the maximum has mean H(P) / rate and variance H_2(P) / rate^2."""
    quantiles = -np.log1p(-(np.arange(200_000) + 0.5) / 200_000)
    samples = np.concatenate([quantiles, quantiles / 2])[:, None]
    found = tc.pooling_advice(samples, np.repeat([0, 1], 200_000), (1, 4, 64))
    for column, places in enumerate(found.cardinalities):
        mean = sum(1 / k for k in range(1, places + 1))
        variance = sum(1 / k**2 for k in range(1, places + 1))
        expected = separability(mean, variance, mean / 2, variance / 4)
        np.testing.assert_allclose(found.max[0, column], expected, rtol=2e-3)
        np.testing.assert_allclose(found.mean[0, column], places**0.5 / 3, rtol=2e-3)


def test_simulated_pools():
    """Three classes of few samples: 200,000 pools of 6 are drawn from each, and pooled."""
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((3, 20)) ** 3 + np.array([[0.0], [0.5], [1.5]])
    found = tc.pooling_advice(samples.reshape(60, 1), np.repeat(["a", "b", "c"], 20), [6])
    drawn = np.stack([rng.choice(one, (200_000, 6)) for one in samples])
    for statistic, ours in ((drawn.max(2), found.max), (drawn.mean(2), found.mean)):
        mean, variance = statistic.mean(1), statistic.var(1)
        pairs = [separability(mean[i], variance[i], mean[j], variance[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
        np.testing.assert_allclose(ours[0, 0], np.mean(pairs), rtol=0.01)


def test_features_are_treated_alike_and_apart(monkeypatch):
    rng = np.random.default_rng(1)
    maps, labels = rng.exponential(size=(30, 5, 3, 4)), rng.integers(0, 3, 30)
    whole = tc.pooling_advice(maps, labels)
    assert whole.cardinalities == (1, 2, 4, 8, 12)
    monkeypatch.setattr("torchconv.nn.pooling.advice.AT_ONCE", 1)
    parts = tc.pooling_advice(torch.from_numpy(maps), torch.from_numpy(labels))
    flat = np.moveaxis(maps, 1, -1).reshape(-1, 5)
    rows = tc.pooling_advice(flat, np.repeat(labels, 12), whole.cardinalities)
    alone = tc.pooling_advice(maps[:, 3:4] * 7 + 2, labels)
    for name in ("max", "mean"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name))
        np.testing.assert_allclose(getattr(rows, name), getattr(whole, name))
        np.testing.assert_allclose(getattr(alone, name)[0], getattr(whole, name)[3])


def test_what_never_varies():
    features = np.array([[0.0, 5.0, 1.0], [0.0, 5.0, 1.0], [0.0, 6.0, 2.0], [0.0, 6.0, 1.0]])
    found = tc.pooling_advice(features, [0, 0, 1, 1], [4])
    assert found.max[0, 0] == found.mean[0, 0] == 0
    assert np.isinf(found.max[1, 0])
    assert np.isinf(found.mean[1, 0])
    assert found.recommend(4) == ("mean", "mean", "max")
    assert -1 <= found.preference(4) <= 1


def test_rare_features_want_larger_pools():
    """The paper's prediction: for max pooling there is a best cardinality, and it is larger the rarer a feature is."""
    ones = np.array([[1, 4], [10, 40], [100, 400]])
    features = np.stack([np.concatenate([np.repeat([0, 1], (1000 - n, n)) for n in pair]) for pair in ones], 1)
    found = tc.pooling_advice(features, np.repeat([0, 1], 1000), [2**power for power in range(14)])
    best = [found.cardinalities[column] for column in found.max.argmax(1)]
    assert 1 < best[2] < best[1] < best[0] < 2**13
    assert (np.diff(found.mean, axis=1) > 0).all()
    assert found.recommend(1) == ("mean",) * 3  # one draw is its own mean and maximum


def test_draws_from_an_image():
    """Simulated: pools of 6 from one image at a time. Constant images are not averaged out."""
    rng = np.random.default_rng(3)
    maps = rng.standard_normal((2, 10, 1, 8)) + rng.standard_normal((2, 10, 1, 1)) + np.arange(2)[:, None, None, None]
    labels = np.repeat([0, 1], 10)
    found = tc.pooling_advice(maps.reshape(20, 1, 8), labels, [6], draws="image")
    images, places = rng.integers(0, 10, (400_000, 1)), rng.integers(0, 8, (400_000, 6))
    drawn = np.stack([one[:, 0][images, places] for one in maps])
    for statistic, ours in ((drawn.max(2), found.max), (drawn.mean(2), found.mean)):
        mean, variance = statistic.mean(1), statistic.var(1)
        np.testing.assert_allclose(ours[0, 0], separability(mean[0], variance[0], mean[1], variance[1]), rtol=0.01)
    constant = np.repeat(rng.standard_normal((20, 1, 1)), 8, 2)
    still = tc.pooling_advice(constant, labels, [1, 100], draws="image")
    np.testing.assert_allclose(still.mean[0, 1], still.mean[0, 0])


def test_reports(tmp_path):
    found = tc.pooling_advice(np.arange(12.0).reshape(6, 2), [0, 0, 0, 1, 1, 1], [1, 300])
    lines = str(found).splitlines()
    assert [line.split()[0] for line in lines] == ["cardinality", "1", "300"]
    assert len({len(line) for line in lines}) == 1
    assert json.loads(json.dumps(found.to_dict()))["max"] == found.max.tolist()
    with pytest.raises(ValueError, match="read-only"):
        found.max[0, 0] = 1
    with pytest.raises(AttributeError):
        found.max = found.mean
    pytest.importorskip("matplotlib")
    found.draw(tmp_path / "advice.svg")
    assert "separability of the classes" in (tmp_path / "advice.svg").read_text()


def test_without_matplotlib(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UnsupportedError, match="no matplotlib"):
        tc.pooling_advice(np.eye(4), [0, 0, 1, 1]).draw(tmp_path / "advice.png")


def predicted_and_gained(maps, labels, train):
    """The advice for pools of three sizes, and what max pooling really gains over mean pooling."""
    advice = tc.pooling_advice(maps[:train], labels[:train], [4, 16, 64])
    for side in (2, 4, 8):
        scores = []
        for pool in (functional.max_pool2d, functional.avg_pool2d):
            rows = pool(maps, side).flatten(1)
            rows = ((rows - rows[:train].mean(0)) / (rows[:train].std(0) + 1e-3)).numpy()
            model = RidgeClassifier(100).fit(rows[:train], labels[:train])
            scores.append(model.score(rows[train:], labels[train:]))
        yield advice.preference(side**2), scores[0] - scores[1]


def test_predicts_accuracies_on_digits():
    """What the advice prefers and what training gains are ranked alike, over thresholds and pools; five seeds."""
    digits, correlations = load_digits(), []
    for seed in range(5):
        rng = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(digits.images), generator=rng)
        images, labels = torch.from_numpy(digits.images / 16).float()[order, None], digits.target[order]
        words = torch.randn(12, 1, 3, 3, generator=rng)
        responses = functional.conv2d(images, words - words.mean((2, 3), keepdim=True), padding=1)
        binary = [(responses > responses.quantile(level)).float() for level in (0.5, 0.8, 0.95)]
        graded = [(responses - level).clamp(min=0) for level in (0, 0.5, 1)]
        pairs = [pair for maps in binary + graded for pair in predicted_and_gained(maps, labels, 800)]
        correlations.append(spearmanr(*zip(*pairs, strict=True)).statistic)
    assert min(correlations) > 0.3, correlations


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ((np.zeros(4), [0, 1, 0, 1]), ShapeError, r"features: got shape \(4,\)"),
        ((np.zeros((4, 0)), [0, 1, 0, 1]), ShapeError, "none of them 0"),
        ((np.full((2, 1), np.nan), [0, 1]), DataError, "NaN or Inf"),
        ((np.zeros((2, 1), complex), [0, 1]), DataError, "expected real numbers"),
        ((np.array([["a"], ["b"]]), [0, 1]), DataError, "expected real numbers"),
        ((np.zeros((4, 1)), [0, 1]), ShapeError, "labels: got shape .2,., expected one for each of 4"),
        ((np.zeros((2, 1)), [1, 1]), DataError, "got 1 class"),
        ((np.zeros((2, 1)), [1, np.nan]), DataError, "labels: got NaN"),
        ((np.zeros((2, 1)), [0, 1], []), SettingError, "at least one"),
        ((np.zeros((2, 1)), [0, 1], [0]), SettingError, "cardinality: got 0"),
        ((np.zeros((2, 1)), [0, 1], 4), SettingError, "cardinalities: got 4"),
        ((np.zeros((2, 1)), [0, 1], None, "pixels"), SettingError, "draws: got 'pixels'"),
        ((np.zeros((2, 1)), [0, 1], [2**33]), SettingError, "up to 1000000000"),
    ],
)
def test_refusals(arguments, kind, words):
    with pytest.raises(kind, match=words):
        tc.pooling_advice(*arguments)


def test_a_cardinality_that_was_not_asked_for():
    with pytest.raises(SettingError, match=r"got 3, expected one of \[1, 2\]"):
        tc.pooling_advice(np.eye(4), [0, 0, 1, 1], [1, 2]).recommend(3)
