"""Kernels of low rank: as exact as direct sums, chosen where they pay, and left where the numbers say otherwise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import torchconv as tc
from torchconv.compute.algorithms.separable import Separable, decomposed
from torchconv.compute.native import loader
from torchconv.compute.planning import choose
from torchconv.compute.problem import Problem
from torchconv.compute.tensors import INPUT, OUTPUT, WEIGHT
from torchconv.compute.weight_cache import CACHE

SEPARABLE = choose.BY_NAME["separable"]
LINE = torch.arange(31, dtype=torch.float64) - 15
ROWS, COLUMNS = torch.meshgrid(LINE, LINE, indexing="ij")
DISTANCE = (ROWS**2 + COLUMNS**2) / (2 * 5**2)

FILTERS = {  # and their ranks
    "Gaussian": (torch.exp(-DISTANCE), 1),
    "box": (torch.ones(31, 31, dtype=torch.float64), 1),
    "derivative of a Gaussian": (ROWS * torch.exp(-DISTANCE), 1),
    "Laplacian of a Gaussian": ((DISTANCE - 1) * torch.exp(-DISTANCE), 2),
    "Gabor": (torch.cos(0.3 * ROWS + 0.7 * COLUMNS) * torch.exp(-DISTANCE), 2),
    "noise": (torch.randn(31, 31, generator=torch.Generator().manual_seed(0), dtype=torch.float64), 31),
}


def one_channel(kernel: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    return (kernel / kernel.abs().sum())[None, None].to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FILTERS)
def test_ranks(name, dtype):
    kernel, rank = FILTERS[name]
    factors = decomposed(tc.Convolution(1, 1, (31, 31)), one_channel(kernel, dtype), 31)
    assert factors is not None
    assert factors.rank == rank


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("name", FILTERS)
def test_errors_stay_within_what_precision_allows(name, positive):
    weight = one_channel(FILTERS[name][0])
    x = torch.randn(1, 1, 80, 90, generator=torch.Generator().manual_seed(1))
    x = x.abs() if positive else x
    exact = torch.conv2d(x.double(), weight.double())
    direct = torch.zeros(exact.numel())
    for term, tap in zip(torch.nn.functional.unfold(x, 31)[0], weight.flatten(), strict=True):
        direct += term * tap
    direct = direct.reshape(exact.shape)
    errors = [float((y - exact).abs().max()) for y in (direct, tc.conv(x, weight, algorithm="separable"))]
    assert errors[1] <= 4 * errors[0]


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((6, 4, 5, 7), {}),
        ((6, 4, 7, 5), {"groups": 2}),
        ((8, 1, 5, 5), {"groups": 8}),
        ((16, 1, 5, 5), {"groups": 8, "stride": 2}),
        ((2, 4, 5, 5), {"groups": 2, "dilation": (1, 2), "padding": (2, 3)}),
        ((1, 8, 5, 5), {"padding": "same"}),
        ((3, 8, 4, 5), {"input_dilation": 2, "padding_mode": "reflect", "padding": 1}),
    ],
)
def test_banks_of_kernels(shape, settings):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=generator, dtype=torch.float64)
    low = weight[..., :1] * torch.randn(shape[-1], generator=generator, dtype=torch.float64)
    x = torch.randn(2, 4 * settings.get("groups", 1) if shape[1] == 4 else 8, 14, 15, generator=generator).double()
    for one in (weight, low):
        assert weight.shape[1] * settings.get("groups", 1) == x.shape[1]
        found, expected = (tc.conv(x, one, algorithm=name, **settings) for name in ("separable", "patches"))
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
        pair = (tc.conv_input_grad((14, 15), one, expected, algorithm=a, **settings) for a in ("separable", "patches"))
        torch.testing.assert_close(*pair, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
def test_scales(scale):
    x, weight = torch.randn(1, 2, 9, 9, dtype=torch.float64), torch.randn(3, 2, 5, 5, dtype=torch.float64)
    weight[0] *= scale
    found, expected = (tc.conv(x, weight, algorithm=name) for name in ("separable", "torch"))
    for channel in range(3):
        size = float(expected[:, channel].abs().max())
        torch.testing.assert_close(found[:, channel] / size, expected[:, channel] / size, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_weight_is_left_to_torch(bad):
    x, weight = torch.randn(1, 2, 9, 9), torch.randn(3, 2, 5, 5)
    weight[1, 0, 2, 2] = bad
    found, expected = (tc.conv(x, weight, algorithm=name) for name in ("separable", "torch"))
    assert torch.equal(found.isfinite(), expected.isfinite())
    assert torch.equal(found[:, 0], expected[:, 0])


def problem(stays: bool, size: int = 1024) -> Problem:
    conv = tc.Convolution(1, 1, (31, 31), padding=15)
    return Problem(conv, torch.float32, "cpu", "auto", 1, (size, size), 2, frozen_weight=stays)


needs_kernels = pytest.mark.skipif(not loader.available(), reason="this installation has no compiled kernels")


@needs_kernels
def test_auto_looks_only_at_weights_that_stay():
    assert not any(isinstance(choose.choose(problem(False))[role], Separable) for role in (OUTPUT, INPUT, WEIGHT))
    choice = choose.choose(problem(True))
    assert [isinstance(choice[role], Separable) for role in (OUTPUT, INPUT, WEIGHT)] == [True, True, False]
    assert not isinstance(choose.choose(problem(True, 40)).output, Separable)


@needs_kernels
def test_auto_takes_the_rank_that_pays():
    x = torch.randn(1, 1, 700, 700)
    smooth, rough = one_channel(FILTERS["Gaussian"][0]), one_channel(FILTERS["noise"][0])
    named = {name: tc.conv(x, smooth, padding=15, algorithm=name) for name in ("separable", "fft")}
    assert all(torch.equal(tc.conv(x, smooth, padding=15), named["separable"]) for _ in range(3))
    assert torch.equal(tc.conv(x, rough, padding=15), tc.conv(x, rough, padding=15, algorithm="fft"))
    learning = tc.conv(x, smooth.clone().requires_grad_(), padding=15)
    assert torch.equal(learning, named["fft"])
    torch.testing.assert_close(named["separable"], named["fft"], rtol=1e-5, atol=1e-6)


@needs_kernels
def test_auto_notices_that_a_filter_is_no_longer_smooth():
    x, weight = torch.randn(1, 1, 700, 700), one_channel(FILTERS["Gaussian"][0])
    for _ in range(3):
        tc.conv(x, weight, padding=15)
    weight.data.copy_(one_channel(FILTERS["noise"][0]))
    for _ in range(3):
        y = tc.conv(x, weight, padding=15)
        assert torch.equal(y, tc.conv(x, weight.clone(), padding=15, algorithm="fft"))


def test_factors_are_found_once(monkeypatch):
    CACHE.forget()
    x, weight = torch.randn(1, 1, 64, 64), one_channel(FILTERS["Gaussian"][0])
    calls, svd = [], torch.linalg.svd
    monkeypatch.setattr(torch.linalg, "svd", lambda *given, **words: (calls.append(1), svd(*given, **words))[1])
    for _ in range(5):
        tc.conv(x, weight, algorithm="separable")
    assert len(calls) == 2  # of a weight that is seen for the first time nothing is kept
    CACHE.forget()


@pytest.mark.parametrize(
    ("conv", "dtype", "reason"),
    [
        (tc.Convolution(2, 2, (5, 5), sharing=2), torch.float32, "serve all positions"),
        (tc.Convolution(2, 2, (5,)), torch.float32, "2 axes"),
        (tc.Convolution(2, 2, (5, 5, 5)), torch.float32, "no decomposition is exact"),
        (tc.Convolution(2, 2, (5, 5)), torch.bfloat16, "not as exact"),
    ],
)
def test_reasons(conv, dtype, reason):
    assert reason in SEPARABLE.declines(Problem(conv, dtype, "cpu"))


def test_gradients_of_a_filter_that_stays():
    x, weight = torch.randn(1, 1, 40, 40, dtype=torch.float64), one_channel(FILTERS["Gaussian"][0], torch.float64)
    for learning in (False, True):
        weight.requires_grad_(learning)
        operands = [x.requires_grad_(), *([weight] if learning else [])]
        found, expected = (
            torch.autograd.grad(tc.conv(x, weight, padding=3, algorithm=name).square().sum(), operands)
            for name in ("separable", "torch")
        )
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other)
