"""The expected error of every algorithm, against float64, in parts of the direct algorithm's: sums term by term."""

from __future__ import annotations

import pytest
import torch

import oracles
import torchconv as tc
from torchconv.compute.algorithms import TABLE
from torchconv.compute.algorithms.base import PRECISIONS
from torchconv.compute.native import loader
from torchconv.compute.planning.choose import BY_NAME, ROLES
from torchconv.compute.planning.measure import Bench
from torchconv.compute.problem import Problem

TABLES = (torch.arange(128).reshape(16, 8) % 3 > 0).numpy()
CASES = [
    (tc.Convolution(3, 16, (3, 3), padding=1), 2, (32, 32)),
    (tc.Convolution(64, 64, (3, 3), padding=1), 2, (12, 12)),
    (tc.Convolution(128, 128, (3, 3), padding=1), 1, (6, 6)),
    (tc.Convolution(16, 16, (7, 7), padding=3), 2, (20, 20)),
    (tc.Convolution(32, 32, (31, 31), padding=15, groups=32), 2, (14, 14)),
    (tc.Convolution(64, 64, (7, 7), padding=3, groups=64), 2, (28, 28)),
    (tc.Convolution(64, 64, (3, 3), padding=1, groups=64), 2, (28, 28)),
    (tc.Convolution(1, 1, (31, 31), padding="same"), 1, (64, 64)),
    (tc.Convolution(2, 2, (256,), padding="same"), 2, (2000,)),
    (tc.Convolution(1, 1, (400,)), 1, (8000,)),
    (tc.Convolution(32, 32, (9,), padding=4, groups=32), 2, (500,)),
    (tc.Convolution(4, 4, (5, 5, 5), padding=2), 2, (12, 12, 12)),
    (tc.Convolution(16, 16, (5, 5), padding=2, stride=2), 2, (40, 40)),
    (tc.Convolution(16, 16, (5, 5), padding=4, dilation=2), 2, (30, 30)),
    (tc.Convolution(32, 32, (3, 3), padding=1, sharing="none"), 8, (14, 14)),
    (tc.Convolution(16, 16, (5, 5), padding=2, sharing=2), 4, (20, 20)),
    (tc.Convolution(16, 16, (5, 5), padding=2, sharing=4), 4, (20, 20)),
    (tc.Convolution(8, 16, (5, 5), padding=2, connections=TABLES), 2, (24, 24)),
    (tc.Convolution(128, 128, (1, 1)), 2, (14, 14)),
]


@pytest.fixture(scope="module")
def worst() -> dict[str, float]:
    """The largest error of each algorithm over all cases and operations."""
    found = dict.fromkeys(BY_NAME, 0.0)
    for conv, batch, size in CASES:
        problem = Problem(conv, torch.float32, "cpu", "bf16", batch, size, torch.get_num_threads())
        bench = Bench(problem)
        for role in ROLES:
            exact = oracles.direct(bench, role, torch.float64)
            direct = float((oracles.direct(bench, role, torch.float32).double() - exact).abs().max())
            for one in TABLE:
                if one.declines(problem) is None and (one.name != "reference" or problem.macs < 2e6):
                    error = float((bench.run(one, role).double() - exact).abs().max())
                    found[one.name] = max(found[one.name], error / direct)
    return found


@pytest.mark.parametrize("algorithm", TABLE, ids=lambda one: one.name)
def test_errors_are_what_is_said(algorithm, worst: dict[str, float]) -> None:
    if worst[algorithm.name] == 0 and not loader.available():
        pytest.skip("this installation has no compiled kernels")
    assert 0 < worst[algorithm.name] <= algorithm.error
    assert algorithm.error <= 8 * worst[algorithm.name], "so large that it says nothing"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_only_what_a_precision_allows_is_open(precision: str) -> None:
    for conv, batch, size in CASES:
        problem = Problem(conv, torch.float32, "cpu", precision, batch, size)
        for one in TABLE:
            assert one.declines(problem) is not None or one.error <= PRECISIONS[precision]


def test_a_plan_says_its_error() -> None:
    conv = tc.Convolution(128, 128, (3, 3))
    exact = tc.plan(conv, (8, 128, 30, 30))
    assert exact.expected_error == BY_NAME["torch"].error <= PRECISIONS["auto"]
    assert "precision auto: errors up to 4 times the direct algorithm's, 2 expected" in exact.explain()
    if loader.available():
        fast = tc.plan(conv, (8, 128, 30, 30), precision="fast")
        assert fast.expected_error == BY_NAME["winograd"].error <= PRECISIONS["fast"]
        assert fast.explain().splitlines()[1].startswith("precision fast: errors up to 32 times")
