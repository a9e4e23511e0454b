"""Grids, everything at once, channels, and learned weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch.autograd import gradcheck

import torchconv as tc
from torchconv.errors import SettingError, ShapeError
from torchconv.nn import ChannelPool, GlobalPool, GridPool1d, GridPool2d, GridPool3d, LearnedPool2d, Maxout, Pool2d


def cell(x, grid, place):
    """The samples of one cell, by the rule of torch's adaptive pooling."""
    for axis, (cells, at) in enumerate(zip(grid, place, strict=True), 2):
        size = x.shape[axis]
        start, end = at * size // cells, -(-(at + 1) * size // cells)
        x = x.narrow(axis, start, end - start)
    return x.flatten(2)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 6)), min_size=1, max_size=3),
    st.sampled_from([("max", None), ("mean", None), ("l2", None), ("lp", 3.0), ("lp", 0.5), ("lp", 20.0)]),
)
def test_each_cell_is_summarised(axes, statistic):
    sizes, grid = zip(*axes, strict=True)
    x = torch.randn(2, 3, *sizes, dtype=torch.float64)
    kind, p = statistic
    found = (GridPool1d, GridPool2d, GridPool3d)[len(sizes) - 1](grid, kind, p)(x)
    assert found.shape == (2, 3, *grid)
    for place in np.ndindex(*grid):
        samples = cell(x, grid, place)
        power = 2 if kind == "l2" else p or 1
        norm = samples.abs().pow(power).sum(2).pow(1 / power)
        expected = {"max": samples.amax(2), "mean": samples.mean(2)}.get(kind, norm)
        torch.testing.assert_close(found[(..., *place)], expected)


@pytest.mark.parametrize("statistic", ["max", "mean", "l2"])
def test_a_pyramid_is_its_levels_side_by_side(statistic):
    x = torch.randn(2, 4, 13, 10)
    found = GridPool2d([(1, 1), (2, 2), (4, 3)], statistic)(x)
    levels = [GridPool2d(grid, statistic)(x).flatten(2) for grid in ((1, 1), (2, 2), (4, 3))]
    assert torch.equal(found, torch.cat(levels, 2))
    assert GridPool2d([(1, 1), (2, 2)], statistic)(torch.randn(2, 4, 31, 7)).shape == (2, 4, 5)


def test_four_quadrants_of_any_image():
    pool = GridPool2d(2)
    assert torch.equal(pool(torch.arange(36.0).reshape(1, 1, 6, 6)).flatten(), torch.tensor([14.0, 17, 32, 35]))
    for size in ((2, 2), (5, 9), (100, 3)):
        assert pool(torch.randn(1, 1, *size)).shape == (1, 1, 2, 2)


@pytest.mark.parametrize("statistic", ["max", "mean", "l2"])
def test_global_pools(statistic):
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    expected = {"max": x.amax((2, 3)), "mean": x.mean((2, 3)), "l2": x.square().sum((2, 3)).sqrt()}[statistic]
    torch.testing.assert_close(GlobalPool(statistic)(x), expected)
    assert gradcheck(GlobalPool(statistic), x)
    assert GlobalPool("l2")(torch.zeros(1, 2, 3, requires_grad=True)).sum().item() == 0


@pytest.mark.parametrize("sizes", [(), (7,), (30, 25)])
def test_maxout_is_the_largest_of_its_pieces(sizes):
    x = torch.randn(3, 12, *sizes)
    assert torch.equal(Maxout(4)(x), x.unflatten(1, (3, 4)).amax(2))
    means = ChannelPool(4, 2, "mean")(x)
    assert means.shape == (3, 5, *sizes)
    torch.testing.assert_close(means[:, 1], x[:, 2:6].mean(1))
    norms = ChannelPool(3, statistic="l2")(x)
    torch.testing.assert_close(norms, x.unflatten(1, (4, 3)).square().sum(2).sqrt())


@pytest.mark.parametrize("channels", [None, 4])
@pytest.mark.parametrize("size", [8, 11])
def test_learned_weights_start_as_the_mean_and_learn(channels, size):
    torch.manual_seed(0)
    x = torch.randn(16, 4, size, size)
    pool = LearnedPool2d(3, 2, 1, channels=channels)
    torch.testing.assert_close(pool(x), Pool2d(3, 2, 1, statistic="mean")(x))
    target = Pool2d(3, 2, 1, statistic="weighted", weight="binomial")
    optimiser = torch.optim.Adam(pool.parameters(), 0.1)
    for _ in range(200):
        optimiser.zero_grad()
        (pool(x) - target(x)).square().mean().backward()
        optimiser.step()
    binomial = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    torch.testing.assert_close(pool.weight.detach(), binomial.expand(pool.weight.shape), atol=2e-3, rtol=0)


def test_learned_weights_have_derivatives():
    pool = LearnedPool2d(2, 1, 1, channels=2, dtype=torch.float64)
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)

    def run(x, logits):
        return torch.func.functional_call(pool, {"logits": logits}, (x,))

    assert gradcheck(run, (x, torch.randn(2, 2, 2, dtype=torch.float64, requires_grad=True)))


def test_built_from_text_as_from_layers():
    x = torch.randn(2, 8, 12, 12)
    pairs = {
        "POOL[2x2, l2]": Pool2d(2, statistic="l2"),
        "POOL[3, binomial, stride=2, padding=1]": Pool2d(3, 2, 1, statistic="weighted", weight="binomial"),
        "POOL[3, lp, p=1.5, stride=2, ceil_mode=yes]": Pool2d(3, 2, statistic="lp", p=1.5, ceil_mode=True),
        "GRIDPOOL[1x1+3x2, mean]": GridPool2d([(1, 1), (3, 2)], "mean"),
        "GLOBALPOOL[lp, p=3]": GlobalPool("lp", 3),
        "MAXOUT[4]": Maxout(4),
        "CHANNELPOOL[2, mean, stride=1]": ChannelPool(2, 1, "mean"),
        "LEARNEDPOOL[3, stride=1, same]": LearnedPool2d(3, 1, "same"),
    }
    for text, layer in pairs.items():
        model = tc.build(f"INPUT[12x12x8] - {text}")
        assert torch.equal(model(x), layer(x)), text
        assert str(model.network.output) == str(tc.inspect(layer, x.shape[1:]).rows[-1].volume), text


BAD = [
    (lambda: GridPool2d((2, 2, 2)), SettingError, "each of 2 axes"),
    (lambda: GridPool2d(0), SettingError, "integer >= 1"),
    (lambda: GridPool2d(2, "weighted"), SettingError, "max, mean, l2, lp"),
    (lambda: GridPool2d(2)(torch.zeros(3)), ShapeError, "batch, channels, size, size"),
    (lambda: GlobalPool()(torch.zeros(2, 3)), ShapeError, "batch, channels"),
    (lambda: GlobalPool("lp"), SettingError, "without p"),
    (lambda: Maxout(5)(torch.zeros(1, 12)), ShapeError, "12 channels.*leave some of them out"),
    (lambda: Maxout(0), SettingError, ">= 1"),
    (lambda: LearnedPool2d(2, channels=3)(torch.zeros(1, 4, 4, 4)), ShapeError, r"\(batch, 3, size, size\)"),
    (lambda: LearnedPool2d(9)(torch.zeros(1, 4, 4, 4)), ShapeError, "larger than the input"),
]


@pytest.mark.parametrize(("request_", "kind", "message"), BAD, ids=range(len(BAD)))
def test_bad_requests(request_, kind, message):
    with pytest.raises(kind, match=message):
        request_()


def test_adaptive_pooling_is_torchs():
    x = torch.randn(2, 3, 17, 11)
    assert torch.equal(GridPool2d((4, 3))(x), F.adaptive_max_pool2d(x, (4, 3)))
    assert torch.equal(GridPool2d(5, "mean")(x), F.adaptive_avg_pool2d(x, 5))


EMPTY = [(GridPool1d(5, one), GridPool1d([(1,), (3,)], one), GridPool1d(1, one)) for one in ("mean", "max", "l2")]


@pytest.mark.parametrize("shape", [(0, 10), (0, 3, 10), (2, 0, 10)])
@pytest.mark.parametrize("layer", [layer for layers in EMPTY for layer in layers], ids=str)
def test_no_channels_and_no_images_have_a_gradient(layer, shape):
    x = torch.ones(shape, requires_grad=True)
    y = layer(x)
    assert y.shape == (*shape[:-1], layer(torch.ones(1, 1, 10)).shape[-1])
    y.sum().backward()
    assert x.grad.shape == shape


def test_no_images_for_the_other_layers():
    x = torch.ones(0, 3, 9)
    assert ChannelPool(3)(x).shape == (0, 1, 9)
    assert tc.nn.Dense((3, 9), (2, 4))(x).shape == (0, 2, 4)
