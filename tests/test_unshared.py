"""Unshared and tiled convolution in C++: at every instruction level, on every kind of shape, within their memory."""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.measure import peak_bytes

import torchconv as tc
from torchconv.compute.algorithms import reference
from torchconv.compute.native import loader
from torchconv.compute.planning.choose import BY_NAME
from torchconv.compute.problem import Problem
from torchconv.compute.tensors import INPUT, OUTPUT, WEIGHT
from torchconv.description.convolution import Convolution

pytestmark = pytest.mark.skipif(not loader.available(), reason="this installation has no compiled kernels")

# in, out, kernel, size, batch, settings: more and fewer than vectors, blocks of images and runs of outputs hold
SHAPES = [
    (3, 5, (3, 3), (9, 7), 2, {"padding": 1}),
    (17, 33, (3, 3), (5, 6), 3, {"padding": 1}),
    (4, 6, (3, 2), (9, 8), 9, {"stride": (2, 3), "padding": ((2, 0), (0, 3)), "groups": 2}),
    (2, 3, (2, 5), (11, 12), 5, {"dilation": (3, 2), "padding": 3}),
    (1, 1, (1, 1), (1, 1), 1, {}),
    (2, 70, (7, 9), (10, 11), 1, {"padding": ((-1, 4), (4, 4))}),
    (6, 4, (3,), (150,), 8, {"stride": 2, "groups": 2}),
    (40, 40, (5,), (40,), 13, {"padding": 2, "dilation": 2}),
    (2, 3, (2, 3, 2), (4, 5, 3), 7, {"padding": 1, "stride": (1, 2, 1)}),
    (4, 4, (2, 2), (6, 5), 2, {"input_dilation": 2}),
    (2, 2, (2, 2), (9, 9), 2, {"stride": 3}),
]
SHARINGS = ["none", 2, 3, ("none", 2), 40]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-13, torch.bfloat16: 0.01}


@pytest.fixture(params=loader.LEVELS)
def level(request):
    before = loader.instructions()
    if loader.use_instructions(request.param) != request.param:
        loader.use_instructions(before)
        pytest.skip("the processor lacks it")
    yield request.param
    loader.use_instructions(before)


@contextmanager
def using(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    yield
    torch.set_num_threads(before)


def problem(shape, sharing):
    ins, outs, kernel, size, batch, settings = shape
    if isinstance(sharing, tuple):
        sharing = tuple(sharing[n % len(sharing)] for n in range(len(kernel)))
        sharing = "none" if sharing == ("none",) else sharing
    conv = Convolution(ins, outs, kernel, bias=False, sharing=sharing, **settings)
    torch.manual_seed(0)
    x, weight = torch.randn(batch, ins, *size), torch.randn(conv.weight_shape(size))
    return conv, x, weight, torch.randn(batch, outs, *conv.output_size(size))


def algorithm(conv):
    return BY_NAME["unshared" if set(conv.sharing.periods) == {None} else "tiled"]


def operations(one, conv, x, weight, grad):
    return one.output(conv, x, weight), one.input_grad(conv, grad, weight, x.shape[2:]), one.weight_grad(conv, x, grad)


@pytest.mark.parametrize("sharing", SHARINGS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_level_computes_what_patches_do(shape, sharing, level):
    conv, *tensors = problem(shape, sharing)
    for dtype, tolerance in TOLERANCE.items():
        rounded = [tensor.to(dtype) for tensor in tensors]
        expected = operations(BY_NAME["patches"], conv, *(tensor.double() for tensor in rounded))
        for threads in (1, 2):
            with using(threads):
                results = operations(algorithm(conv), conv, *rounded)
            for got, exact in zip(results, expected, strict=True):
                assert got.dtype == dtype
                assert got.shape == exact.shape
                assert abs(got.double() - exact).max() <= tolerance * max(1.0, float(abs(exact).max()))


def test_many_channels_are_cut_into_ever_shorter_parts():
    """Thirteen results of a kernel: their halves, thirds, fourths and fifths are all too much for a unit of work."""
    conv, *tensors = problem((512, 8, (3, 3), (26, 42), 1, {"padding": 1}), 2)
    expected = operations(BY_NAME["phases"], conv, *tensors)
    for got, other in zip(operations(BY_NAME["tiled"], conv, *tensors), expected, strict=True):
        torch.testing.assert_close(got, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("sharing", ["none", 2])
def test_the_definition(sharing, level):
    conv, x, weight, grad = (t.double() if torch.is_tensor(t) else t for t in problem(SHAPES[2], sharing))
    y, dx, dw = operations(algorithm(conv), conv, x, weight, grad)
    np.testing.assert_allclose(y, reference.output(conv, x.numpy(), weight.numpy()), rtol=1e-10)
    np.testing.assert_allclose(dx, reference.input_grad(conv, grad.numpy(), weight.numpy(), x.shape[2:]), rtol=1e-10)
    np.testing.assert_allclose(dw, reference.weight_grad(conv, x.numpy(), grad.numpy()), rtol=1e-10)


@pytest.mark.parametrize("sharing", ["none", 2])
def test_memory_in_another_order(sharing):
    conv, x, weight, grad = problem(SHAPES[1], sharing)
    expected = operations(algorithm(conv), conv, x, weight, grad)
    turned = (x.to(memory_format=torch.channels_last), weight.mT.contiguous().mT, grad.mT.contiguous().mT)
    assert not any(tensor.is_contiguous() for tensor in turned)
    for got, same in zip(operations(algorithm(conv), conv, *turned), expected, strict=True):
        assert torch.equal(got, same)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("sharing", ["none", 2])
def test_the_same_bits_again(sharing, threads):
    conv, *tensors = problem(SHAPES[1], sharing)
    with using(threads):
        first, second = (operations(algorithm(conv), conv, *tensors) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("sharing", ["none", 2])
def test_a_bad_weight_or_gradient_stays_where_it_is_read(sharing, bad, level):
    """Also beyond the end of a row of weights, where a vector of them would reach into the next output's."""
    conv, x, weight, grad = problem((3, 5, (3, 3), (9, 7), 2, {"padding": 1}), sharing)
    place = (4, 4, 2, 0, 0, 0) if sharing == "none" else (0, 0, 2, 0, 0, 0)
    weight[place] = bad
    y = algorithm(conv).output(conv, x, weight)
    assert y[:, [0, 1, 3, 4]].isfinite().all()
    assert not y[:, 2, 4, 4].isfinite().any()
    weight[place] = 1
    grad[0, 1, 4, 4] = bad
    dx = algorithm(conv).input_grad(conv, grad, weight, (9, 7))
    assert not dx[0, :, 3:6, 3:6].isfinite().any()
    dx[0, :, 3:6, 3:6] = 0
    assert dx.isfinite().all()


def test_no_images():
    conv, _, weight, _ = problem(SHAPES[0], "none")
    assert tc.conv(torch.zeros(0, 3, 9, 7), weight, padding=1, sharing="none").shape == (0, 5, 9, 7)
    tiled = torch.randn(2, 2, 5, 3, 3, 3)
    assert tc.conv(torch.zeros(0, 3, 9, 7), tiled, padding=1, sharing=2).shape == (0, 5, 9, 7)
    x, grad = torch.zeros(0, 3, 9, 7), torch.zeros(0, 5, 9, 7)
    assert not BY_NAME["unshared"].weight_grad(conv, x, grad).any()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to measure")
def test_memory_is_that_of_the_tensors():
    """Weights, input and output are not copied: 16 MB beyond what comes out."""
    conv, x, weight, grad = problem((64, 64, (3, 3), (28, 28), 8, {"padding": 1}), "none")
    unshared = algorithm(conv)
    assert peak_bytes(lambda: unshared.output(conv, x, weight)) < grad.nbytes + 16e6
    assert peak_bytes(lambda: unshared.input_grad(conv, grad, weight, (28, 28))) < x.nbytes + 16e6
    assert peak_bytes(lambda: unshared.weight_grad(conv, x, grad)) < weight.nbytes + 16e6


def test_what_declines_says_why():
    unshared = Convolution(2, 2, (3, 3), sharing="none")
    for name, conv, dtype, device, reason in (
        ("unshared", Convolution(2, 2, (3, 3), sharing=2), torch.float32, "cpu", "share"),
        ("tiled", Convolution(2, 2, (3, 3)), torch.float32, "cpu", "one kernel"),
        ("tiled", unshared, torch.float32, "cpu", "kernel of its own"),
        ("unshared", Convolution(2, 2, (1, 1, 1, 1), sharing="none"), torch.float32, "cpu", "3 axes"),
        ("unshared", unshared, torch.complex64, "cpu", "complex64"),
        ("unshared", unshared, torch.float32, "meta", "CPU"),
    ):
        assert reason in BY_NAME[name].declines(Problem(conv, dtype, device))


@pytest.mark.parametrize("sharing", ["none", 2])
def test_estimates_order_the_ways(sharing):
    conv = Convolution(64, 64, (3, 3), padding=1, sharing=sharing)
    made = Problem(conv, torch.float32, "cpu", batch=8, input_size=(28, 28), threads=2)
    for role in (OUTPUT, INPUT, WEIGHT):
        assert 0 < algorithm(conv).seconds(made, role) < BY_NAME["patches"].seconds(made, role)
    assert tc.plan(conv, (8, 64, 28, 28)).algorithm == algorithm(conv).name
