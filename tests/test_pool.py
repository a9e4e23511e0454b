"""Pooling: equal to its definition, to torch where torch has it, with derivatives of any order, and clear refusals."""

from __future__ import annotations

import copy
import io
import pickle
from contextlib import contextmanager, nullcontext
from math import inf, nan

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch.autograd import gradcheck, gradgradcheck

import torchconv as tc
from pools import poolings, reference
from torchconv.compute.native import loader
from torchconv.compute.planning import machine
from torchconv.compute.pooling import torch_backend
from torchconv.description.pooling import Pooling
from torchconv.errors import SettingError, ShapeError
from torchconv.nn import Pool, Pool1d, Pool2d, Pool3d

LEVELS = loader.LEVELS[: loader.LEVELS.index(loader.best_instructions()) + 1] if loader.available() else ()


WAYS = {
    "lines": {"POOL_PLANES": 2**60, "POOL_SHORT": 0},
    "planes": {"POOL_PLANES": 0, **dict.fromkeys(("POOL_SMALL", "POOL_NARROW", "POOL_MEDIUM", "POOL_WIDE"), 2**60)},
}


@contextmanager
def computed(way):
    """By one way of the C++ kernels, where torch's functions or the other way would be taken."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "POOL_FEW", {})
        for name, value in WAYS[way].items():
            patch.setattr(machine, name, value)
        yield


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("level", LEVELS or ["torch"])
def test_every_pooling_is_its_definition(level, way):
    before = loader.instructions() if LEVELS else None
    if LEVELS:
        loader.use_instructions(level)

    @settings(max_examples=40, deadline=None)
    @given(poolings())
    def check(case):
        pooling, size = case
        x = torch.randn(2, 2, *size, dtype=torch.float64)
        expected = reference(x.numpy(), pooling)
        np.testing.assert_allclose(Pool(pooling)(x), expected, rtol=1e-9, atol=1e-12)
        by_torch = BY_TORCH.get(pooling.kind, torch_backend.average)
        np.testing.assert_allclose(by_torch(x, pooling), expected, rtol=1e-9, atol=1e-12)
        many = x.float().repeat(9, *[1] * (x.ndim - 1))  # more planes than a vector has lanes, and some over
        np.testing.assert_allclose(
            Pool(pooling)(many), np.tile(expected, (9, *[1] * (x.ndim - 1))), rtol=2e-4, atol=1e-5
        )

    try:
        with computed(way):
            check()
    finally:
        if LEVELS:
            loader.use_instructions(before)


@settings(max_examples=60, deadline=None)
@given(poolings(), st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_all_ways_have_the_same_gradients(case, dtype):
    pooling, size = case
    x = torch.randn(5, 7, *size).to(dtype)
    grads = {}
    for way in (*WAYS, None):
        leaf = x.clone().requires_grad_()
        with computed(way) if way else nullcontext():
            y = Pool(pooling)(leaf) if way else BY_TORCH.get(pooling.kind, torch_backend.average)(leaf, pooling)
        y.backward(torch.linspace(-1, 1, y.numel()).view_as(y).to(dtype))
        grads[way] = leaf.grad.double()
    tolerance = {torch.float32: 1e-4, torch.float64: 1e-10, torch.bfloat16: 0.06}[dtype]
    torch.testing.assert_close(grads["lines"], grads["planes"], rtol=tolerance, atol=tolerance)
    if dtype != torch.bfloat16:  # which torch's functions add up in
        torch.testing.assert_close(grads["planes"], grads[None], rtol=tolerance, atol=tolerance)


def _norm(x, pooling):
    return torch_backend.norm(x, pooling, lambda powers: torch_backend.total(powers, pooling))


BY_TORCH = {"max": torch_backend.largest, "lp": _norm}


@settings(max_examples=40, deadline=None)
@given(poolings((1, 2)), st.sampled_from(list(WAYS)))
def test_derivatives(case, way):
    pooling, size = case
    with computed(way):
        x = torch.randn(1, 2, *size, dtype=torch.float64).requires_grad_()
        assert gradcheck(Pool(pooling), x, atol=1e-4, rtol=1e-3, check_forward_ad=pooling.weights is None)
        assert gradgradcheck(Pool(pooling), x, atol=1e-3, rtol=1e-3)


TORCHS = [
    (Pool1d(3, 2), torch.nn.MaxPool1d(3, 2)),
    (Pool2d(2), torch.nn.MaxPool2d(2)),
    (Pool2d(3, 2, 1), torch.nn.MaxPool2d(3, 2, 1)),
    (Pool2d((3, 2), (2, 1), (1, 0), dilation=(1, 2)), torch.nn.MaxPool2d((3, 2), (2, 1), (1, 0), dilation=(1, 2))),
    (Pool2d(3, 2, ceil_mode=True), torch.nn.MaxPool2d(3, 2, ceil_mode=True)),
    (Pool3d(2), torch.nn.MaxPool3d(2)),
    (Pool1d(3, 2, 1, statistic="mean"), torch.nn.AvgPool1d(3, 2, 1, count_include_pad=False)),
    (Pool2d(3, 2, 1, statistic="mean", count_include_pad=True), torch.nn.AvgPool2d(3, 2, 1)),
    (
        Pool2d(3, 2, 1, statistic="mean", ceil_mode=True, count_include_pad=True),
        torch.nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    ),
    (
        Pool2d(3, 2, 1, statistic="mean", ceil_mode=True),
        torch.nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
    ),
    (Pool3d(2, 1, statistic="mean"), torch.nn.AvgPool3d(2, 1)),
    (Pool2d(2, statistic="l2"), torch.nn.LPPool2d(2, 2)),
    (Pool1d(3, 1, statistic="lp", p=4), torch.nn.LPPool1d(4, 3, 1)),
]


@pytest.mark.parametrize(("ours", "theirs"), TORCHS, ids=str)
@pytest.mark.parametrize("size", [9, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_same_as_torch(ours, theirs, size, dtype):
    torch.manual_seed(0)
    ndim = ours.pooling.ndim
    if dtype == torch.bfloat16 and ndim == 3:
        pytest.skip("torch adds up this gradient in bfloat16 itself, and is off by more than its rounding")
    xs = [torch.randn(3, 8, *(size - n for n in range(ndim))).to(dtype).requires_grad_() for _ in range(2)]
    xs[1].data.copy_(xs[0].data)
    found, expected = ours(xs[0]), theirs(xs[1])
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    grad = torch.randn_like(expected)
    found.backward(grad)
    expected.backward(grad)
    torch.testing.assert_close(xs[0].grad, xs[1].grad, rtol=tolerance, atol=5 * tolerance)


@pytest.mark.parametrize("size", [6, 40])
def test_the_gradient_of_a_tie_goes_to_the_first(size):
    x = torch.zeros(2, 3, size, size, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    Pool2d(3, 2, 1)(x).sum().backward()
    F.max_pool2d(y, 3, 2, 1).sum().backward()
    assert torch.equal(x.grad, y.grad)


@pytest.mark.parametrize("size", [8, 48])
@pytest.mark.parametrize("p", [0.5, 1, 1.5, 2, 3, 4, 7])
def test_powers_of_negative_and_zero_numbers(p, size):
    x = -torch.rand(2, 8, size, size, dtype=torch.float64)
    x[..., :4, :] = 0
    x.requires_grad_()
    y = Pool2d(2, statistic="lp", p=p)(x)
    windows = F.unfold(x.detach().abs(), 2, stride=2).reshape(2, 8, 4, -1)
    torch.testing.assert_close(y.detach().flatten(2), windows.pow(p).sum(2).pow(1 / p))
    y.sum().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad[..., :4, :] == 0).all()
    assert (x.grad[..., 4:, :] < 0).all()


@pytest.mark.parametrize("p", [2, 3, 4, 10, 60])
def test_powers_neither_overflow_nor_vanish(p):
    x = torch.tensor([1e-3, 2e-3, 1e-3, 3e3, 4e3, 0.0]).repeat(8, 1, 8)[:, None].expand(8, 40, 1, 48)
    found = Pool2d((1, 3), statistic="lp", p=p)(x)
    expected = F.lp_pool2d(x.double(), float(p), (1, 3)) if p < 60 else None
    if expected is not None:
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)
    assert found.min() >= 2e-3
    large = Pool2d((1, 3), statistic="l2")(torch.full((2, 40, 20, 48), 1e25))
    torch.testing.assert_close(large, torch.full_like(large, 3**0.5 * 1e25))


@pytest.mark.parametrize("statistic", ["max", "mean", "l2", "weighted"])
@pytest.mark.parametrize("size", [9, 45])
@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_what_is_not_finite_reaches_only_its_windows(statistic, size, value):
    pool = Pool2d(3, 2, 1, statistic=statistic, weight="binomial" if statistic == "weighted" else None)
    x = torch.randn(2, 16, size, size)
    clean = pool(x)
    x[1, 3, 4, 5] = value
    changed = ~torch.isclose(pool(x), clean)
    reads = torch.zeros_like(changed)
    reads[1, 3, 2, 2:4] = True  # rows 3 to 5 are windows 2, columns 3 to 5 and 5 to 7 windows 2 and 3
    if statistic == "max" and value == -inf:
        assert not (changed & ~reads).any()
    else:
        assert torch.equal(changed, reads)


def test_padding_is_no_data_unless_asked():
    x = -torch.ones(1, 1, 4, 4) * 5
    for statistic in ("max", "mean"):
        assert torch.equal(Pool2d(2, padding=1, statistic=statistic)(x), torch.full((1, 1, 3, 3), -5.0))
    blurred = Pool2d(3, 1, 1, statistic="weighted", weight="gaussian")(x)
    torch.testing.assert_close(blurred, x)
    assert Pool2d(2, padding=1, count_include_pad=True)(x)[0, 0, 0, 0] == 0
    assert Pool2d(2, padding=1, statistic="mean", count_include_pad=True)(x)[0, 0, 0, 0] == -1.25


@pytest.mark.parametrize("size", [7, 64])
def test_weights_of_any_form(size):
    x = torch.randn(2, 8, size, size)
    row = torch.tensor([1.0, 2.0, 1.0])
    full = torch.outer(row, row)
    pools = [
        Pool2d(3, 2, 1, statistic="weighted", weight=weight)
        for weight in (full, row, [row.tolist(), row.tolist()], "binomial", full.numpy() * 7)
    ]
    expected = pools[0](x)
    for pool in pools[1:]:
        torch.testing.assert_close(pool(x), expected)
    kernel = (full / 16).expand(8, 1, 3, 3)
    ones = torch.ones(1, 8, size, size)
    torch.testing.assert_close(
        expected, F.conv2d(x, kernel, None, 2, 1, 1, 8) / F.conv2d(ones, kernel, None, 2, 1, 1, 8)
    )
    uneven = torch.rand(3, 3)
    assert Pooling(3, statistic="weighted", weight=uneven, ndim=2).factors() is None
    torch.testing.assert_close(
        Pool2d(3, statistic="weighted", weight=uneven)(x),
        F.conv2d(x, (uneven / uneven.sum()).expand(8, 1, 3, 3), None, 3, 0, 1, 8),
    )


def test_equal_poolings_are_equal():
    assert Pooling(2, statistic="l2", ndim=2) == Pooling((2, 2), statistic="lp", p=2)
    assert Pooling(3, statistic="weighted", weight=[2, 2, 2], ndim=1) == Pooling((3,), statistic="mean")
    assert hash(Pooling(2, ndim=2)) == hash(Pooling((2, 2), (2, 2)))
    assert Pooling(2, 1, ndim=1, ceil_mode=True) == Pooling(2, 1, ndim=1)  # with steps of 1 there is nothing to round
    assert Pooling(2, ndim=2) != Pooling(2, ndim=2, statistic="mean")


def test_weights_by_a_row_for_each_axis():
    row, column = [1.0, 2.0], [1.0, 2.0, 1.0]
    for kernel, rows in [((2, 3), (row, column)), ((3, 2), (column, row)), ((2, 3, 2), (row, column, row))]:
        whole = np.einsum("i,j,k->ijk" if len(rows) == 3 else "i,j->ij", *rows)
        assert Pooling(kernel, statistic="weighted", weight=rows) == Pooling(kernel, statistic="weighted", weight=whole)
    table = [[1.0, 2.0], [3.0, 5.0]]  # as many rows as axes: still the window itself
    assert Pooling(2, statistic="weighted", weight=table, ndim=2).full_weight().tolist() == table


BAD = [
    (lambda: Pool2d(5)(torch.zeros(1, 1, 4, 4)), ShapeError, r"5x5.*window is larger.*got 4 samples.*at least 5"),
    (lambda: Pool2d(2, padding=2)(torch.zeros(1, 1, 4, 4)), ShapeError, r"padding only.*Use less padding"),
    (lambda: Pool2d(2, statistic="lp", p=0), SettingError, r"got 0, expected a number > 0"),
    (lambda: Pool2d(2, statistic="lp", p=-1.5), SettingError, r"got -1.5, expected a number > 0"),
    (lambda: Pool2d(2, statistic="lp", p=inf), SettingError, r'Use statistic="max"'),
    (lambda: Pool2d(2, statistic="lp"), SettingError, r"without p"),
    (lambda: Pool2d(2, p=2), SettingError, r'"max" with p=2'),
    (lambda: Pool2d(2, statistic="median"), SettingError, r"median.*one of max, mean, l2, lp, weighted"),
    (lambda: Pool2d(2, statistic="weighted"), SettingError, r"without a weight"),
    (lambda: Pool2d(2, statistic="weighted", weight=[1, -1]), SettingError, r"sum of 0"),
    (lambda: Pool2d(2, statistic="weighted", weight=[1, 2, 3]), SettingError, r"numbers of shape \(2, 2\)"),
    (lambda: Pool2d(2, statistic="weighted", weight="round"), SettingError, r"binomial or gaussian"),
    (lambda: Pool2d(2, padding=-1, ceil_mode=True), SettingError, r"cuts samples off"),
    (lambda: Pool2d(2)(torch.zeros(4, 4)), ShapeError, r"\(batch, channels, size, size\)"),
    (lambda: Pool2d(2, statistic="mean")(torch.zeros(1, 1, 4, 4, dtype=torch.int64)), SettingError, r"int64"),
    (lambda: Pool2d(2)(np.zeros((1, 1, 4, 4))), SettingError, r"torch.from_numpy"),
    (lambda: Pool2d((2, 2, 2)), SettingError, r"one size for each of 2 axes"),
]


@pytest.mark.parametrize(("request_", "kind", "message"), BAD, ids=range(len(BAD)))
def test_bad_requests(request_, kind, message):
    with pytest.raises(kind, match=message):
        request_()


def test_integers_have_a_maximum():
    x = torch.arange(16).reshape(1, 1, 4, 4)
    assert Pool2d(2, padding=1)(x).flatten().tolist() == [0, 2, 3, 8, 10, 11, 12, 14, 15]


EVERY = [
    Pool2d(3, 2, 1),
    Pool2d(3, 2, (((0, 1), (1, 0)))),
    Pool2d(2, statistic="mean", ceil_mode=True),
    Pool2d(3, 2, 1, dilation=2, statistic="mean"),
    Pool2d(3, 2, 1, statistic="l2"),
    Pool2d(2, statistic="lp", p=1.5),
    Pool2d(2, statistic="lp", p=8),
    Pool2d(3, 2, 1, statistic="weighted", weight="binomial"),
    tc.nn.GridPool2d((2, 3), "max"),
    tc.nn.GridPool2d([(1, 1), (3, 3)], "mean"),
    tc.nn.GlobalPool("l2"),
    tc.nn.Maxout(4),
    tc.nn.ChannelPool(4, 2, "mean"),
    tc.nn.LearnedPool2d(3, 2, 1),
    tc.nn.LearnedPool2d(2, channels=8),
]


@pytest.mark.parametrize("pool", EVERY, ids=str)
def test_composability(pool):
    torch.manual_seed(0)
    x = torch.randn(2, 8, 24, 21)
    expected = pool(x)
    for twin in (copy.deepcopy(pool), pickle.loads(pickle.dumps(pool))):
        assert torch.equal(twin(x), expected)
    close = {"rtol": 1e-5, "atol": 1e-5}
    compiled = torch.compile(pool, fullgraph=True, backend="eager")(x)
    torch.testing.assert_close(compiled, expected, **close)
    exported = torch.export.export(torch.nn.Sequential(pool), (x,)).module()(x)
    torch.testing.assert_close(exported, expected, **close)
    mapped = torch.func.vmap(pool)(x[None].repeat(3, 1, 1, 1, 1))
    torch.testing.assert_close(mapped[1], expected, **close)
    torch.testing.assert_close(pool(x.contiguous(memory_format=torch.channels_last)), expected, **close)
    assert copy.deepcopy(pool).to("meta")(x.to("meta")).shape == expected.shape
    with torch.autocast("cpu", torch.bfloat16):
        assert pool(x).shape == expected.shape
    buffer = io.BytesIO()
    torch.save(pool.state_dict(), buffer)
    pool.load_state_dict(torch.load(io.BytesIO(buffer.getvalue()), weights_only=True))
    gradient = torch.func.grad(lambda x: pool(x).square().sum())(x)
    x.requires_grad_()
    pool(x).square().sum().backward()
    torch.testing.assert_close(gradient, x.grad, **close)


@pytest.mark.parametrize("number", [0, 2, 4, 7, 11])
def test_onnx(number, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pool, x = EVERY[number], torch.randn(2, 8, 24, 21)
    path = tmp_path / "pool.onnx"
    torch.onnx.export(torch.nn.Sequential(pool), (x,), path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path)
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(found, pool(x).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_one_and_two_threads_agree(seed):
    torch.manual_seed(seed)
    x = torch.randn(5, 7, 33, 31)
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            y = x.clone().requires_grad_()
            for pool in [*EVERY[:5], EVERY[7]]:
                pool(y).square().sum().backward()
            found.append(y.grad)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)


def test_an_empty_batch_and_no_batch():
    for pool in EVERY[:8]:
        assert pool(torch.zeros(0, 8, 24, 21)).shape[0] == 0
        assert pool(torch.ones(8, 24, 21)).shape == pool(torch.ones(1, 8, 24, 21)).shape[1:]


@pytest.mark.parametrize("statistic", ["max", "mean", "l2"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("length", [2, 16])  # by torch's functions, and by the kernels
def test_narrow_numbers_of_every_rank(rank, dtype, statistic, length):
    x = torch.randn(2, 8, *[length] * rank, dtype=dtype)
    pool = (tc.nn.Pool1d, tc.nn.Pool2d, tc.nn.Pool3d)[rank - 1](2, statistic=statistic)
    y = pool(x.requires_grad_())
    torch.testing.assert_close(y, pool(x.float()).to(dtype), rtol=0.02, atol=0.02)
    assert torch.autograd.grad(y.sum(), x)[0].dtype == dtype
