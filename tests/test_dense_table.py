"""Tables filled up with zeros: as exact as part by part, and as careful where a number is not finite."""

import pytest
import torch

import torchconv as tc
from torchconv.compute.tensors import LARGE, has_numbers, large_like

TABLE = [[1, 1, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]]
EMPTY_ROW = [[1, 1, 0], [0, 0, 0]]


@pytest.fixture
def layer():
    return tc.nn.Conv2d(3, 4, 3, padding=1, connections=TABLE).double()


def test_both_ways_give_the_same(layer):
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    parts = tc.conv(x, layer.weight, layer.bias, padding=1, connections=TABLE, algorithm="torch")
    torch.testing.assert_close(layer(x), parts)
    torch.testing.assert_close(torch.vmap(layer)(x[:, None])[:, 0], parts)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_bad_channel_reaches_only_the_outputs_that_read_it(layer, bad):
    x = torch.randn(1, 3, 6, 6, dtype=torch.float64)
    x[0, 0, 2, 2] = bad
    reached = ~layer(x).isfinite().flatten(2).all(2)[0]
    assert reached.tolist() == [bool(row[0]) for row in TABLE]


def test_a_bad_gradient_reaches_only_the_inputs_that_were_read(layer):
    grad = torch.randn(1, 4, 6, 6, dtype=torch.float64)
    grad[0, 0, 2, 2] = float("nan")
    towards = tc.conv_input_grad((6, 6), layer.weight, grad, padding=1, connections=TABLE)
    assert (~towards.isfinite().flatten(2).all(2)[0]).tolist() == [True, True, False]


def test_numbers_whose_sum_overflows_are_still_right():
    x = torch.full((1, 3, 4, 4), 3e38)
    weight = torch.full((2, 1, 1), 0.25)
    y = tc.conv(x, weight, connections=EMPTY_ROW)
    assert y[0, 0].eq(1.5e38).all()
    assert y[0, 1].eq(0).all()


def test_has_numbers():
    assert has_numbers(torch.ones(1))
    assert not has_numbers(torch.ones(1, device="meta"))
    seen = []
    torch.vmap(lambda x: seen.append(has_numbers(x)) or x)(torch.ones(2))
    assert seen == [False]


def test_large_results_are_ordinary_tensors():
    like = torch.ones(1)
    assert large_like((4,), like) is None
    big = large_like((LARGE // 4, 1), like)
    assert big is not None
    assert (big.shape, big.dtype, big.is_contiguous()) == ((LARGE // 4, 1), torch.float32, True)
