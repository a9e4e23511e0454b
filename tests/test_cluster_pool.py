"""Dynamic pooling: against plain loops, a finding of its paper on real images, and all that a layer must survive."""

import copy
import io
import pickle
import sys
from itertools import product

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

import torchconv as tc
from torchconv.errors import DataError, SettingError, ShapeError

POOLS = {1: tc.nn.ClusterPool1d, 2: tc.nn.ClusterPool2d, 3: tc.nn.ClusterPool3d}
SIZES = {1: (7,), 2: (5, 6), 3: (3, 4, 5)}


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def fitted(ndim=2, clusters=4, channels=3, grid=1, statistic="mean", dtype=torch.float64):
    pool = POOLS[ndim](clusters, grid, statistic, dtype=dtype)
    return pool.fit(random(6, channels, *SIZES[ndim], dtype=dtype))


def by_loops(pool, features, codes):
    """The definition, one place at a time; cells are those of torch's adaptive pooling."""
    size, channels = features.shape[2:], codes.shape[1]
    out = torch.zeros(len(codes), pool.clusters, channels, *pool.grid, dtype=codes.dtype)
    for image, cell in product(range(len(codes)), product(*map(range, pool.grid))):
        found = {}
        spans = [range(at * n // g, -(-(at + 1) * n // g)) for at, n, g in zip(cell, size, pool.grid, strict=True)]
        for place in product(*spans):
            distance = [(features[(image, slice(None), *place)] - center).norm() for center in pool.centers]
            nearest = min(range(pool.clusters), key=lambda k: distance[k])
            found.setdefault(nearest, []).append(codes[(image, slice(None), *place)])
        for cluster, members in found.items():
            rows = torch.stack(members)
            pooled = rows.mean(0) if pool.statistic == "mean" else rows.max(0).values
            out[(image, cluster, slice(None), *cell)] = pooled
    return out.flatten(1, 2)


@pytest.mark.parametrize("statistic", ["mean", "max"])
@pytest.mark.parametrize(("ndim", "grid"), [(1, 1), (1, 3), (2, 1), (2, (2, 4)), (3, (1, 2, 3))])
def test_equals_the_definition(ndim, grid, statistic):
    pool = fitted(ndim, grid=grid, statistic=statistic)
    features, codes = random(3, 3, *SIZES[ndim], seed=1), random(3, 2, *SIZES[ndim], seed=2)
    torch.testing.assert_close(pool(features, codes), by_loops(pool, features, codes))
    torch.testing.assert_close(pool(features), by_loops(pool, features, features))


@pytest.mark.parametrize("grid", [1, 2, 3, (2, 5), 7])
def test_one_cluster_is_spatial_pooling(grid):
    x = random(4, 3, 5, 6)
    for statistic, peer in (("mean", functional.adaptive_avg_pool2d), ("max", functional.adaptive_max_pool2d)):
        pool = tc.nn.ClusterPool2d(1, grid, statistic, dtype=torch.float64).fit(x)
        torch.testing.assert_close(pool(x), peer(x, grid))


def test_channel_order_and_empty_clusters():
    pool = tc.nn.ClusterPool1d(2).fit(torch.tensor([[[0.0, 10.0]]]))
    low, high = (int(pool.assign(torch.full((1, 1), value))) for value in (0.0, 10.0))
    codes = torch.tensor([[1.0, 3.0], [-5.0, -7.0]])
    pooled = pool(torch.tensor([[9.0, 11.0]]), codes).view(2, 2)
    assert pooled[high].tolist() == [2.0, -6.0]
    assert pooled[low].tolist() == [0.0, 0.0]
    peak = tc.nn.ClusterPool1d(2, statistic="max")
    peak.load_state_dict(pool.state_dict())
    assert peak(torch.tensor([[9.0, 11.0]]), codes).view(2, 2)[high].tolist() == [3.0, -5.0]


def test_far_from_the_origin():
    """Centres a million standard deviations from 0: x'c - |c|^2 / 2 as it stands would lose all digits of float32."""
    near = fitted(dtype=torch.float32)
    x = random(4, 3, 5, 6, seed=3, dtype=torch.float32)
    far = copy.deepcopy(near)
    far.centers += 4096
    agree = (far.assign(x + 4096) == near.assign(x)).float().mean()
    assert agree > 0.98


@pytest.mark.parametrize("statistic", ["mean", "max"])
def test_derivatives(statistic):
    pool = fitted(grid=(2, 2), statistic=statistic)
    features, codes = random(2, 3, 5, 6, seed=4), random(2, 2, 5, 6, seed=5).requires_grad_()
    assert torch.autograd.gradcheck(lambda codes: pool(features, codes), (codes,))
    assert torch.autograd.gradgradcheck(lambda codes: pool(features, codes), (codes,))


def test_nan_stays_in_its_cell():
    pool, x = fitted(grid=(1, 2)), random(2, 3, 4, 4, seed=6)
    x[0, 1, 0, 0] = torch.nan
    bad = torch.isnan(pool(x)).view(2, 4, 3, 1, 2)
    assert bad.nonzero().tolist() == [[0, 0, 1, 0, 0]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_types(dtype):
    pool, x = fitted(grid=2, dtype=torch.float32), random(2, 3, 8, 8, seed=7).to(dtype)
    found = pool(x)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), by_loops(pool, x.double(), x.double()), rtol=1e-2, atol=1e-2)


def test_half_precision_adds_in_float32():
    """4,096 ones and a half: bfloat16 alone would stop at 256."""
    ones = torch.ones(1, 1, 64, 64, dtype=torch.bfloat16)
    pool = tc.nn.ClusterPool2d(1).fit(ones.float())
    assert pool(ones).item() == 1


def test_shapes_of_batches():
    pool, x = fitted(grid=2), random(3, 3, 5, 6, seed=8)
    torch.testing.assert_close(pool(x[1]), pool(x)[1])
    assert pool(x[:0]).shape == (0, 12, 2, 2)
    torch.testing.assert_close(pool(x.contiguous(memory_format=torch.channels_last)), pool(x))


def test_large_batches_in_parts(monkeypatch):
    pool, x = fitted(), random(7, 3, 5, 6, seed=9)
    whole, pooled = pool.assign(x), pool(x)
    monkeypatch.setattr("torchconv.nn.pooling.cluster_pool.MOST_OUTPUTS", 3 * 4 * 3)
    monkeypatch.setattr("torchconv.nn.pooling.cluster_pool.MOST_SCORES", 2 * 4 * 30)
    assert torch.equal(pool.assign(x), whole)
    assert torch.equal(pool(x), pooled)


def test_fitting_is_repeatable():
    batches = [random(2, 3, 4, 4, seed=number) for number in range(4)]
    pools = [tc.nn.ClusterPool2d(5).fit(iter(batches), seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(pools[0].centers, pools[1].centers)
    assert not torch.equal(pools[0].centers, pools[2].centers)
    assert pools[0].centers.dtype == torch.float32


def test_fitting_finds_clusters():
    """Four heaps far apart: their means are the centres, from one tensor as from small batches."""
    heaps = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])
    x = (heaps.repeat(200, 1) + 0.1 * random(800, 2, dtype=torch.float32)).view(100, 8, 2).transpose(1, 2)
    for batches in (x, x.split(10)):
        centers = tc.nn.ClusterPool1d(4).fit(batches, seed=2).centers
        assert torch.cdist(heaps, centers).min(1).values.max() < 0.15


def test_first_batches_may_be_small():
    assert tc.nn.ClusterPool1d(4).fit(random(1, 2, 1, seed=seed) for seed in range(6)).fitted


def test_states():
    pool, x = fitted(grid=2, dtype=torch.float32), random(2, 3, 5, 6, seed=1, dtype=torch.float32)
    stored = io.BytesIO()
    torch.save(pool.state_dict(), stored)
    stored.seek(0)
    fresh = tc.nn.ClusterPool2d(4, 2)
    fresh.load_state_dict(torch.load(stored, weights_only=True))
    for other in (fresh, copy.deepcopy(pool), pickle.loads(pickle.dumps(pool))):
        assert torch.equal(other(x), pool(x))
    fresh.load_state_dict(tc.nn.ClusterPool2d(4).state_dict())
    assert not fresh.fitted
    with pytest.raises(RuntimeError, match="size mismatch"):
        tc.nn.ClusterPool2d(5).load_state_dict(pool.state_dict())
    with pytest.raises(RuntimeError, match=r"centers: got NaN or Inf, expected finite numbers"):
        fresh.load_state_dict({"centers": torch.full((4, 3), torch.nan)})
    assert not fresh.fitted
    with pytest.raises(RuntimeError, match="size mismatch"):
        fresh.load_state_dict({"centers": torch.zeros(4)})
    nested = torch.nn.Sequential(torch.nn.ReLU(), tc.nn.ClusterPool2d(4, 2))
    nested.load_state_dict({"1.centers": pool.centers})
    assert torch.equal(nested[1].centers, pool.centers)


@pytest.mark.parametrize("statistic", ["mean", "max"])
def test_compiled_and_exported(statistic):
    """Batches of any number; another size is compiled anew, because cells are tables of the size."""
    pool = fitted(grid=2, statistic=statistic, dtype=torch.float32)
    inputs = [random(*shape, dtype=torch.float32) for shape in ((2, 3, 5, 6), (4, 3, 5, 6), (3, 3, 7, 4))]
    torch._dynamo.reset()
    compiled = torch.compile(pool, fullgraph=True, dynamic=True, backend="aot_eager")
    for x in inputs:
        torch.testing.assert_close(compiled(x), pool(x))
    program = torch.export.export(pool, (inputs[0],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.testing.assert_close(program.module()(inputs[1]), pool(inputs[1]))


def test_inside_torch():
    pool, x = fitted(grid=2, dtype=torch.float32), random(2, 3, 5, 6, seed=1, dtype=torch.float32)
    torch.testing.assert_close(torch.vmap(pool)(x), pool(x))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(pool.assign(x), copy.deepcopy(pool).assign(x))
    assert copy.deepcopy(pool).to("meta")(x.to("meta")).shape == (2, 12, 2, 2)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: tc.nn.ClusterPool2d(0), SettingError, "clusters: got 0"),
        (lambda: tc.nn.ClusterPool2d(2.5), SettingError, "clusters: got 2.5"),
        (lambda: tc.nn.ClusterPool2d(2, (1, 2, 3)), ShapeError, "grid: got"),
        (lambda: tc.nn.ClusterPool2d(2, 0), SettingError, "grid: got 0"),
        (lambda: tc.nn.ClusterPool2d(2, statistic="sum"), SettingError, "statistic: got 'sum'"),
        (lambda: tc.nn.ClusterPool2d(2)(torch.zeros(1, 3, 4, 4)), SettingError, "no centres yet. Call fit"),
        (lambda: fitted()(torch.zeros(1, 5, 4, 4)), ShapeError, "5 channels .* expected .batch, 3"),
        (lambda: fitted()(torch.zeros(4, 4)), ShapeError, r"features: got shape \(4, 4\)"),
        (lambda: fitted()(torch.zeros(1, 3, 0, 4)), ShapeError, "at least one"),
        (lambda: fitted()(torch.zeros(1, 3, 4, 4, dtype=torch.int64)), SettingError, r"\.float\(\)"),
        (lambda: fitted()(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 2, 4)), ShapeError, "codes: got shape"),
        (lambda: fitted()(torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 4)), ShapeError, "codes: got shape"),
        (lambda: tc.nn.ClusterPool2d(9).fit(torch.zeros(1, 3, 2, 2)), DataError, "got 4 descriptors, expected >= 9"),
        (lambda: tc.nn.ClusterPool2d(9).fit(None), ShapeError, "features to cluster: got NoneType"),
        (lambda: tc.nn.ClusterPool2d(9).fit(torch.zeros(0, 3, 2, 2)), DataError, "got 0 descriptors"),
        (lambda: tc.nn.ClusterPool2d(9).fit([]), DataError, "got 0 descriptors"),
        (lambda: tc.nn.ClusterPool2d(2).fit(torch.full((1, 3, 2, 2), torch.nan)), DataError, "NaN or Inf"),
        (lambda: tc.nn.ClusterPool2d(2).fit(torch.zeros(1, 3, 2, 2), seed=-1), SettingError, "seed: got -1"),
        (lambda: tc.nn.ClusterPool2d(2).fit(np.zeros((1, 3, 2, 2))), ShapeError, "features: got ndarray"),
        (
            lambda: tc.nn.ClusterPool2d(2).fit([torch.ones(1, 3, 2, 2), torch.ones(1, 4, 2, 2)]),
            ShapeError,
            "4 channels",
        ),
    ],
)
def test_refusals(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(DataError, match=r'pip install "\.\[train\]"'):
        tc.nn.ClusterPool2d(2).fit(torch.zeros(1, 3, 2, 2))


class Coded(torch.nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.code, self.pool = torch.nn.Conv2d(3, 5, 3, padding=1), pool

    def forward(self, x):
        return self.pool(x, self.code(x))


def test_inspection():
    """One row: comparing with four centres is 4 multiply-accumulates a value; a unit reads its cell."""
    plain, pool = tc.nn.ClusterPool2d(4, 3, "max"), fitted(grid=3)
    for model, channels in ((plain, 3), (pool, 3), (Coded(pool), 5)):
        row = tc.inspect(model, (3, 8, 7)).rows[-1]
        title = "maxclusterpool" if model is plain else "meanclusterpool"
        assert (row.operation, str(row.volume)) == (title, f"3x3x{4 * channels}")
        assert (row.macs, row.parameters, row.known, row.equivariant) == (4 * 3 * 8 * 7, 0, True, "no")
    field, peer = (tc.receptive_field(model, (3, 8, 7)) for model in (pool, torch.nn.AdaptiveAvgPool2d(3)))
    assert (field.size, field.stride) == (peer.size, peer.stride)
    coded = tc.receptive_field(Coded(pool), (3, 8, 7))
    for cell in product(range(3), range(3)):
        assert field.of((7, *cell)) == peer.of((0, *cell))
        assert field.of((7, *cell)) != coded.of((7, *cell))  # codes have read their neighbours
    with pytest.raises(ShapeError, match="got a volume 8x8x4, expected 3 channels"):
        tc.inspect(pool, (4, 8, 8))
    with pytest.raises(ShapeError, match="expected 2 axes and channels"):
        tc.inspect(plain, (8,))


def _patch_codes(images, words):
    """Descriptors, 3x3 patches of each place, and codes after Coates et al. 2011: how much nearer than the mean."""
    patches = functional.unfold(images, 3).unflatten(2, (6, 6))
    patches = patches - patches.mean(1, keepdim=True)
    distance = torch.cdist(patches.flatten(2).transpose(1, 2), words)
    codes = (distance.mean(2, keepdim=True) - distance).clamp(min=0)
    return patches, codes.transpose(1, 2).unflatten(2, (6, 6))


def _accuracy(pooled, labels, train):
    scaled = (pooled - pooled[:train].mean(0)) / (pooled[:train].std(0) + 1e-3)
    model = LogisticRegression(C=0.01, max_iter=300).fit(scaled[:train], labels[:train])
    return model.score(scaled[train:], labels[train:])


def test_small_dictionaries_gain_from_clusters():
    """The paper's finding: with the same few codes, pooling within clusters beats pooling over whole cells; five seeds.

    A dictionary of clusters times as many codes is better still: see benchmarks/results/learned_pooling.txt.
    """
    digits = load_digits()
    images = torch.from_numpy(digits.images / 16).float()[:, None]
    gains = []
    for seed in range(5):
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        shuffled, labels = images[order], digits.target[order]
        words = tc.nn.ClusterPool2d(8).fit(_patch_codes(shuffled[:1000], torch.zeros(1, 9))[0], seed).centers
        patches, codes = _patch_codes(shuffled, words)
        scores = {}
        for clusters in (1, 8):
            pool = tc.nn.ClusterPool2d(clusters, 2, "max").fit(patches[:1000], seed=seed + 10)
            scores[clusters] = _accuracy(pool(patches, codes).flatten(1).numpy(), labels, 1000)
        gains.append(scores[8] - scores[1])
    assert min(gains) > 0.02, gains
