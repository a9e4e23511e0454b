"""Learned pooling: regions against plain loops, selections against optimality conditions, a finding on images."""

import copy
import io
import pickle
from itertools import combinations, pairwise, product

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch.nn import functional

import torchconv as tc
from torchconv.errors import DataError, SettingError, ShapeError
from torchconv.nn.pooling import region_classifier

POOLS = {1: tc.nn.RegionPool1d, 2: tc.nn.RegionPool2d, 3: tc.nn.RegionPool3d}
SIZES = {1: (7,), 2: (5, 6), 3: (3, 4, 5)}


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def by_loops(x, grid, statistic):
    """The definition: for every box of cells, all samples that any of its cells holds."""
    spans = [
        [range(a * n // g, -(-b * n // g)) for a, b in combinations(range(g + 1), 2)]
        for n, g in zip(x.shape[2:], grid, strict=True)
    ]
    pooled = []
    for box in product(*spans):
        samples = torch.stack([x[(slice(None), slice(None), *place)] for place in product(*box)], -1)
        pooled.append(samples.mean(-1) if statistic == "mean" else samples.max(-1).values)
    return torch.stack(pooled, -1)


@pytest.mark.parametrize("statistic", ["mean", "max"])
@pytest.mark.parametrize("grid", [(1,), (3,), (7,), (9,), (2, 3), (5, 1), (4, 4), (2, 2, 3)])
def test_equals_the_definition(grid, statistic):
    x = random(2, 3, *SIZES[len(grid)])
    pool = POOLS[len(grid)](grid, statistic)
    expected = by_loops(x, grid, statistic)
    torch.testing.assert_close(pool(x), expected)
    assert len(pool.regions) == expected.shape[2]
    every = [(channel, region) for channel in range(3) for region in range(expected.shape[2])]
    some = pool.select(every[::3])
    chosen = torch.stack([expected[:, channel, region] for channel, region in some.pairs.tolist()], 1)
    torch.testing.assert_close(some(x), chosen)


def test_a_grid_of_four_has_the_paper_s_hundred_regions():
    pool = tc.nn.RegionPool2d(4)
    assert len(pool.regions) == 100
    assert pool.regions[0] == ((0, 1), (0, 1))
    assert pool.regions[-1] == ((3, 4), (3, 4))
    whole = pool.regions.index(((0, 4), (0, 4)))
    x = random(2, 3, 9, 9)
    assert torch.equal(pool(x)[..., whole], x.amax((2, 3)))


@pytest.mark.parametrize("statistic", ["mean", "max"])
def test_derivatives_and_nan(statistic):
    pool, x = tc.nn.RegionPool2d((2, 3), statistic), random(2, 2, 5, 6)
    for layer in (pool, pool.select([(1, 3), (0, 3), (1, 17)])):
        assert torch.autograd.gradcheck(layer, (x.clone().requires_grad_(),))
        assert torch.autograd.gradgradcheck(layer, (x.clone().requires_grad_(),))
    x[0, 1, 0, 0] = torch.nan
    bad = torch.isnan(pool(x))
    holds = torch.tensor([box[0][0] == 0 and box[1][0] == 0 for box in pool.regions])
    assert torch.equal(bad[0, 1], holds)
    assert bad.sum() == holds.sum()


def test_layers_inside_torch():
    pool, x = tc.nn.RegionPool2d(3), random(3, 2, 6, 7, dtype=torch.float32)
    some = pool.select([(1, 30), (0, 2)])
    assert some.pairs.tolist() == [[0, 2], [1, 30]]
    torch._dynamo.reset()
    for layer in (pool, some):
        compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend="aot_eager")
        for batch in (x, x[:2], x[:, :, 1:, 2:]):
            torch.testing.assert_close(compiled(batch), layer(batch))
        program = torch.export.export(layer, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        torch.testing.assert_close(program.module()(x[:2]), layer(x[:2]))
        assert torch.equal(pickle.loads(pickle.dumps(layer))(x), layer(x))
        torch.testing.assert_close(layer(x[0]), layer(x)[0])
        torch.testing.assert_close(layer(x.bfloat16()).float(), layer(x), rtol=0.02, atol=0.02)
        assert layer(x[:0]).shape == (0, *layer(x).shape[1:])
        assert copy.deepcopy(layer)(x.to("meta")).shape == layer(x).shape
    stored = io.BytesIO()
    torch.save(some.state_dict(), stored)
    stored.seek(0)
    pool.load_state_dict(torch.load(stored, weights_only=True))
    assert torch.equal(pool(x), some(x))
    pool.load_state_dict(tc.nn.RegionPool2d(3).state_dict())
    assert pool(x).shape == (3, 2, 36)


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([[0, 9]], "a region from 0 to 8"),
        ([[0, -1]], "a region from 0 to 8"),
        ([[-1, 0]], "a channel >= 0"),
        ([[0, 1], [0, 1]], "one of them twice"),
        ([[2, 5], [0, 1]], "order of region, then channel"),
        ([[0.5, 1.0]], "got torch.float32, expected integers"),
        ([0, 1], "size mismatch"),
    ],
)
def test_foreign_states_are_refused(pairs, words):
    """Whatever pools other regions than it says; the layer stays as it was."""
    pool = tc.nn.RegionPool2d(2).select([(1, 3)])
    nested = torch.nn.Sequential(torch.nn.ReLU(), pool)
    with pytest.raises(RuntimeError, match=words):
        nested.load_state_dict({"1.pairs": torch.tensor(pairs)})
    x = random(2, 3, 4, 4)
    assert pool.pairs.tolist() == [[1, 3]]
    torch.testing.assert_close(pool(x), tc.nn.RegionPool2d(2)(x)[:, 1:2, 3])


def test_inspection():
    """One row; what every unit reads is where its gradient is not 0."""
    pool, x = tc.nn.RegionPool2d((2, 3), "mean"), torch.zeros(1, 2, 5, 7, requires_grad=True)
    for layer in (pool, pool.select([(1, 17), (0, 17), (1, 4)])):
        (_, row) = tc.inspect(layer, (2, 5, 7)).rows
        shape = layer(x).shape[1:]
        assert (row.operation, row.known) == ("meanregionpool", True)
        assert str(row.volume) == "x".join(map(str, shape[::-1]))
        field = tc.receptive_field(layer, (2, 5, 7))
        for unit in product(*map(range, shape)):
            (gradient,) = torch.autograd.grad(layer(x)[(0, *unit)], x)
            spans = [(int(places.min()), int(places.max())) for places in gradient[0].any(0).nonzero().unbind(1)]
            assert [(one.first, one.last) for one in field.of(unit).intervals] == spans
    pruned = tc.inspect(torch.nn.Sequential(layer, torch.nn.Linear(3, 2)), (2, 5, 7))
    assert (pruned.complete, pruned.total_parameters) == (True, 8)


@pytest.mark.parametrize("seed", range(5))
def test_the_proximal_step_is_exact(seed):
    """Against scipy's general minimiser of |v - w|^2 / 2 + t max |v|, as a smooth problem with a bound."""
    weight, threshold = random(4, 3, seed=seed), 0.3 + 0.4 * seed
    found = region_classifier.shrunk(weight, threshold)
    for column in range(3):
        w = weight[:, column].numpy()
        bound = [
            {"type": "ineq", "fun": lambda v: v[-1] - v[:-1]},
            {"type": "ineq", "fun": lambda v: v[-1] + v[:-1]},
        ]

        def value(v, w=w):
            return ((v[:-1] - w) ** 2).sum() / 2 + threshold * v[-1]

        best = minimize(value, np.append(w, abs(w).max()), constraints=bound, method="SLSQP", options={"ftol": 1e-14})
        np.testing.assert_allclose(found[:, column].numpy(), best.x[:-1], atol=1e-5)
    assert region_classifier.norm(found) <= region_classifier.norm(weight)


def made(images=200, seed=0):
    """Images of four channels whose class only the upper half of channel 1 and the last column of channel 2 know."""
    x = random(images, 4, 6, 6, seed=seed, dtype=torch.float32)
    first, second = x[:, 1, :3].mean((1, 2)) * 18**0.5, x[:, 2, :, 4:].mean((1, 2)) * 12**0.5
    return x, (first + second > 0).long() + (first - second > 1).long()


def test_the_solution_is_optimal():
    """The subgradient conditions of the L(1,inf) problem, computed by autograd at the solution."""
    x, labels = made()
    learned = tc.nn.RegionClassifier(4, 3, 3, "mean", strength=0.05, ridge=0.01).double()
    learned.fit(x.double(), labels, steps=5000, tolerance=1e-13)
    loss = functional.cross_entropy(learned(x.double()), labels) + 0.005 * learned.weight.square().sum()
    by_weight, by_bias = torch.autograd.grad(loss, [learned.weight, learned.bias])
    assert by_bias.abs().max() < 1e-6
    weight, used = learned.weight.detach(), learned.weight.detach().any(0)
    assert 0 < used.sum() < 60
    assert by_weight[:, ~used].abs().sum(0).max() <= 0.05 + 1e-6
    assert (by_weight[:, used].abs().sum(0) - 0.05).abs().max() < 1e-5
    largest = weight.abs().amax(0)
    inner = used & (weight.abs() < largest - 1e-6)
    assert by_weight[inner].abs().max() < 1e-5
    on_top = used & (weight.abs() >= largest - 1e-9)
    assert (by_weight[on_top] * weight[on_top].sign() < 1e-6).all()


def test_selects_what_matters_and_prunes():
    x, labels = made(1000)
    learned = tc.nn.RegionClassifier(4, 3, 2, "mean").fit(x, labels, strength=0.1)
    upper, right = learned.pool.regions.index(((0, 1), (0, 2))), learned.pool.regions.index(((0, 2), (1, 2)))
    assert {(1, upper), (2, right)} <= set(learned.selected)
    assert {channel for channel, _ in learned.selected} == {1, 2}
    small = learned.prune()
    torch.testing.assert_close(small(x), learned(x), rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in small.parameters()) == 3 * len(learned.selected) + 3
    fresh = tc.nn.RegionClassifier(4, 3, 2, "mean")
    fresh.load_state_dict(learned.state_dict())
    assert torch.equal(fresh(x), learned(x))


def test_strength_goes_from_nothing_to_everything():
    x, labels = made()
    learned = tc.nn.RegionClassifier(4, 3, 2, "mean")
    top = learned.largest_strength(x, labels)
    counts = [len(learned.fit(x, labels, strength=share * top).selected) for share in (1.001, 0.98, 0.3, 0)]
    assert counts[0] == 0
    assert counts[1] == 1
    assert counts[1] < counts[2] < counts[3] == 36
    with pytest.raises(SettingError, match=r"none selected\. Fit with less strength"):
        learned.fit(x, labels, strength=1.1 * top).prune()


def test_only_fitting_changes_a_classifier():
    x, labels = made()
    learned = tc.nn.RegionClassifier(4, 3, 2, "mean").fit(x, labels, strength=0.05)
    before = learned(x)
    learned.largest_strength(3 * x + 1, labels)
    with pytest.raises(DataError, match="NaN or Inf"):
        learned.fit(x / 0, labels)
    assert torch.equal(learned(x), before)


def test_any_training_loop():
    """Plain gradient steps with shrink_ come to the same objective as fit, and penalty says what it is."""
    x, labels = made(80)
    learned = tc.nn.RegionClassifier(4, 3, 2, "mean", strength=0.05, ridge=0.1).fit(x, labels, tolerance=1e-8)

    def objective(layer):
        return functional.cross_entropy(layer(x), labels) + layer.penalty()

    by_hand = copy.deepcopy(learned)
    with torch.no_grad():
        by_hand.weight.zero_()
        by_hand.bias.zero_()
    for _ in range(400):
        ridge = 0.05 * by_hand.weight.square().sum()
        by_hand.zero_grad()
        (functional.cross_entropy(by_hand(x), labels) + ridge).backward()
        with torch.no_grad():
            for parameter in by_hand.parameters():
                parameter -= 0.1 * parameter.grad
        by_hand.shrink_(0.1)
    torch.testing.assert_close(objective(by_hand), objective(learned), rtol=1e-3, atol=1e-4)
    assert set(by_hand.selected) == set(learned.selected)


def test_progress_and_momentum_never_lose():
    x, labels = made(80)
    seen = []
    tc.nn.RegionClassifier(4, 3, 2).fit(x, labels, strength=0.01, progress=lambda *step: seen.append(step))
    assert seen[-1][1] < seen[0][1]
    assert all(later <= earlier for (_, earlier), (_, later) in pairwise(seen))


def test_grafting_takes_the_best_first():
    x, labels = made()
    learned = tc.nn.RegionClassifier(4, 3, 2, "mean", ridge=0.01)
    learned.graft(x, labels, count=2, at_once=1)
    assert len(learned.selected) == 2
    assert {channel for channel, _ in learned.selected} == {1, 2}
    assert len(learned.graft(x, labels, count=7, at_once=3).selected) == 7


def test_learned_regions_beat_the_pyramid():
    """The paper's finding, on digits: as many features, selected, do better than a spatial pyramid; five seeds."""
    digits = load_digits()
    images = torch.from_numpy(digits.images / 16).float()[:, None]
    words = random(6, 9, seed=1, dtype=torch.float32).view(6, 1, 3, 3)
    words = (words - words.mean((1, 2, 3), keepdim=True)) / words.flatten(1).norm(dim=1).view(6, 1, 1, 1)
    maps = functional.relu(functional.conv2d(images, words))
    labels, gains = torch.from_numpy(digits.target).long(), []
    pyramid = [((0, 4), (0, 4)), *product(((0, 2), (2, 4)), repeat=2)]
    for seed in range(5):
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        train, test = order[:600], order[600:]
        learned = tc.nn.RegionClassifier(6, 10, 4, "max", ridge=0.003)
        learned.graft(maps[train], labels[train], count=30, at_once=2)
        assert len(learned.selected) == 6 * len(pyramid)
        fixed = learned.pool.select((code, learned.pool.regions.index(box)) for code in range(6) for box in pyramid)
        scores = []
        for pool in (fixed, learned.prune()[0]):
            rows = StandardScaler().fit(pool(maps[train])).transform(pool(maps))
            scores.append(LogisticRegression(C=0.1).fit(rows[train], labels[train]).score(rows[test], labels[test]))
        gains.append(scores[1] - scores[0])
    assert min(gains) > 0.01, gains


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: tc.nn.RegionPool2d(0), SettingError, "grid: got 0"),
        (lambda: tc.nn.RegionPool2d(2, "median"), SettingError, "statistic: got 'median'"),
        (lambda: tc.nn.RegionPool2d(2)(torch.zeros(3, 3)), ShapeError, "input: got shape"),
        (lambda: tc.nn.RegionPool2d(2).select([]), SettingError, "got none"),
        (lambda: tc.nn.RegionPool2d(2).select([(0, 1), (0, 1)]), SettingError, "one of them twice"),
        (lambda: tc.nn.RegionPool2d(2).select([(0, 9)]), SettingError, "a region from 0 to 8"),
        (lambda: tc.nn.RegionPool2d(2).select([(3, 0)])(torch.zeros(1, 2, 4, 4)), ShapeError, "at least 4 channels"),
        (lambda: tc.nn.RegionClassifier(0, 2), SettingError, "channels: got 0"),
        (lambda: tc.nn.RegionClassifier(3, 2, (2, 2, 2, 2)), SettingError, "axes of the grid: got 4"),
        (lambda: tc.nn.RegionClassifier(3, 2, strength=-1), SettingError, "strength: got -1"),
        (lambda: tc.nn.RegionClassifier(3, 2)(torch.zeros(1, 4, 4, 4)), ShapeError, "4 channels"),
        (lambda: tc.nn.RegionClassifier(3, 2).prune(), SettingError, "none selected"),
        (lambda: fitted(labels=torch.tensor([0, 1])), ShapeError, "one for each of 4 images"),
        (lambda: fitted(labels=torch.tensor([0, 1, 2, 0])), DataError, "got 0 to 2, expected 0 to 1"),
        (lambda: fitted(labels=torch.rand(4)), DataError, "expected integers"),
        (lambda: fitted(labels=list("abba")), DataError, "labels: got list, expected integers"),
        (lambda: fitted(x=torch.full((4, 3, 4, 4), torch.nan)), DataError, "NaN or Inf"),
        (lambda: fitted(steps=0), SettingError, "steps: got 0"),
        (lambda: tc.nn.RegionClassifier(3, 2, 1).graft(*GOOD, count=4), SettingError, "at most 3"),
    ],
)
def test_refusals(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


GOOD = (torch.zeros(4, 3, 4, 4), torch.tensor([0, 1, 1, 0]))


def fitted(x=GOOD[0], labels=GOOD[1], **settings):
    return tc.nn.RegionClassifier(3, 2, 2).fit(x, labels, **settings)
