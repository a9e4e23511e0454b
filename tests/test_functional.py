"""`tc.conv` and its companions: against torch, in every shape of a request, and refusing clearly."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import torchconv as tc
from torchconv.compute.planning.choose import BY_NAME
from torchconv.compute.problem import Problem
from torchconv.errors import SettingError, ShapeError, UnsupportedError

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("settings", [{}, {"stride": 2}, {"padding": 1}, {"dilation": 2, "padding": 2}, {"groups": 2}])
def test_ordinary_convolutions_are_torchs_to_the_bit(ndim, settings):
    x = torch.randn(2, 4, *(7,) * ndim)
    weight, bias = torch.randn(6, 4 // settings.get("groups", 1), *(3,) * ndim), torch.randn(6)
    assert torch.equal(tc.conv(x, weight, bias, **settings), CONV[ndim](x, weight, bias, **settings))
    assert torch.equal(tc.conv(x[0], weight, bias, **settings), CONV[ndim](x[0], weight, bias, **settings))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("stride", [1, 2])
def test_borders_are_torchs(mode, stride):
    module = torch.nn.Conv2d(3, 4, (3, 5), stride=stride, padding=(1, 2), padding_mode=mode)
    x = torch.randn(2, 3, 8, 9)
    y = tc.conv(x, module.weight, module.bias, stride=stride, padding=(1, 2), padding_mode=mode)
    torch.testing.assert_close(y, module(x))


def test_a_border_may_be_wider_than_the_input():
    x, weight = torch.randn(1, 1, 3, dtype=torch.float64), torch.randn(1, 1, 4, dtype=torch.float64)
    for mode, theirs in (("reflect", "reflect"), ("circular", "wrap"), ("replicate", "edge")):
        padded = torch.from_numpy(np.pad(x[0, 0].numpy(), (7, 5), mode=theirs))[None, None]
        y = tc.conv(x, weight, padding=((7, 5),), padding_mode=mode)
        torch.testing.assert_close(y, F.conv1d(padded, weight))


def test_each_axis_may_have_its_own_border():
    x, weight = torch.randn(1, 1, 6, 7), torch.randn(1, 1, 3, 3)
    padded = F.pad(F.pad(x, (1, 1, 0, 0), mode="circular"), (0, 0, 1, 1), mode="replicate")
    y = tc.conv(x, weight, padding=1, padding_mode=("replicate", "circular"))
    torch.testing.assert_close(y, F.conv2d(padded, weight))


def test_flip_is_the_convolution_of_mathematics():
    a, b = torch.randn(1, 1, 6), torch.randn(1, 1, 4)
    expected = np.convolve(a[0, 0], b[0, 0])
    np.testing.assert_allclose(tc.conv(a, b, padding="full", flip=True)[0, 0], expected, rtol=1e-5)


# Those that take one kernel for all positions and many channels, in float64.
_PLAIN = Problem(tc.Convolution(4, 6, (3, 2)), torch.float64, "cpu")
ORDINARY = [name for name, algorithm in BY_NAME.items() if algorithm.declines(_PLAIN) is None]


@pytest.mark.parametrize("settings", [{}, {"stride": 2, "padding": 1}, {"dilation": 2}, {"groups": 2}])
@pytest.mark.parametrize("name", ["auto", *ORDINARY])
def test_companions_are_those_of_torch_nn_grad(name, settings):
    x = torch.randn(2, 4, 6, 5, dtype=torch.float64)
    weight = torch.randn(6, 4 // settings.get("groups", 1), 3, 2, dtype=torch.float64)
    grad = torch.randn_like(F.conv2d(x, weight, **settings))
    asked = {**settings, "algorithm": name}
    expected = torch.nn.grad.conv2d_input(x.shape, weight, grad, **settings)
    torch.testing.assert_close(tc.conv_input_grad(x.shape, weight, grad, **asked), expected)
    torch.testing.assert_close(tc.conv_input_grad((6, 5), weight, grad, **asked), expected)
    expected = torch.nn.grad.conv2d_weight(x, weight.shape, grad, **settings)
    torch.testing.assert_close(tc.conv_weight_grad(x, weight.shape, grad, **asked), expected)


def test_companions_with_flip_table_and_borders_are_the_gradients():
    table = [[1, 1, 0], [0, 1, 1]]
    asked = {"padding": 2, "padding_mode": "reflect", "connections": table, "flip": True, "sharing": 2}
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 2, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    y = tc.conv(x, weight, **asked)
    grad = torch.randn_like(y)
    towards_x, towards_weight = torch.autograd.grad(y, (x, weight), grad)
    torch.testing.assert_close(tc.conv_input_grad(x.shape, weight, grad, **asked), towards_x)
    torch.testing.assert_close(tc.conv_weight_grad(x, weight.shape, grad, **asked), towards_weight)


def test_a_table_that_is_groups_takes_weights_in_both_shapes():
    x, weight = torch.randn(1, 4, 8), torch.randn(6, 2, 3)
    table = np.kron(np.eye(2), np.ones((3, 2)))
    expected = F.conv1d(x, weight, groups=2)
    torch.testing.assert_close(tc.conv(x, weight, connections=table), expected)
    torch.testing.assert_close(tc.conv(x, weight.reshape(12, 3), connections=table), expected)


def test_biases_of_three_kinds():
    x, weight = torch.randn(1, 2, 5, 6), torch.randn(3, 2, 3, 3)
    y = tc.conv(x, weight, padding=1)
    full, tiled, regional = torch.randn(3), torch.randn(2, 2, 3), torch.randn(5, 6, 3)
    torch.testing.assert_close(tc.conv(x, weight, full, padding=1), y + full[:, None, None])
    rows, columns = torch.arange(5) % 2, torch.arange(6) % 2
    expected = y + tiled[rows][:, columns].movedim(-1, 0)
    torch.testing.assert_close(tc.conv(x, weight, tiled, padding=1, bias_sharing=2), expected)
    expected = y + regional.movedim(-1, 0)
    torch.testing.assert_close(tc.conv(x, weight, regional, padding=1, bias_sharing="none"), expected)


def test_tiled_with_period_one_is_shared_and_with_the_output_size_unshared():
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    weight = torch.randn(4, 4, 5, 3, 3, 3, dtype=torch.float64)
    unshared = tc.conv(x, weight, sharing="none")
    torch.testing.assert_close(tc.conv(x, weight, sharing=4), unshared, rtol=1e-12, atol=1e-12)
    shared = tc.conv(x, weight[0, 0])
    assert torch.equal(tc.conv(x, weight[:1, :1].squeeze((0, 1)), sharing=1), shared)
    torch.testing.assert_close(tc.conv(x, weight[0, 0].expand_as(weight), sharing="none"), shared)


def test_more_axes_than_torch_has():
    x, weight = torch.randn(1, 2, 3, 4, 3, 4, dtype=torch.float64), torch.randn(3, 2, 2, 2, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(tc.conv(x, weight), tc.conv(x, weight, algorithm="matrix"))


def test_settings_may_be_lists_and_arrays():
    x, weight = torch.randn(1, 2, 6, 6), torch.randn(2, 3, 3)
    y = tc.conv(x, weight, stride=[2, 1], padding=[[1, 0], [0, 1]], connections=torch.eye(2))
    assert y.shape == (1, 2, 3, 5)


def test_empty_batches_and_both_layouts():
    weight, unshared = torch.randn(4, 3, 3, 3), torch.randn(4, 4, 4, 3, 3, 3)
    assert tc.conv(torch.zeros(0, 3, 6, 6), weight).shape == (0, 4, 4, 4)
    assert tc.conv(torch.zeros(0, 3, 6, 6), unshared, sharing="none").shape == (0, 4, 4, 4)
    x = torch.randn(2, 3, 6, 6)
    last = x.contiguous(memory_format=torch.channels_last)
    for name in ("torch", "torch-channels-last", "patches"):
        torch.testing.assert_close(tc.conv(last, weight, algorithm=name), F.conv2d(x, weight), rtol=1e-4, atol=1e-4)
    assert tc.conv(x, weight, algorithm="torch-channels-last").is_contiguous()  # as torch's own: x.view works on it


@pytest.mark.parametrize("name", ["torch", "torch-channels-last", "depthwise", "fft"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_results_lie_in_memory_as_what_is_given(name: str, layout: torch.memory_format):
    if BY_NAME[name].declines(Problem(tc.Convolution(4, 4, (5, 5), groups=4), torch.float32, "cpu")):
        pytest.skip("without kernels")
    x = torch.randn(2, 4, 9, 9).contiguous(memory_format=layout).requires_grad_()
    weight = torch.randn(4, 1, 5, 5)
    y = tc.conv(x, weight, groups=4, padding=2, algorithm=name)
    (grad,) = torch.autograd.grad(y, x, torch.randn(2, 4, 9, 9).contiguous(memory_format=layout))
    assert y.is_contiguous(memory_format=layout)
    assert name == "torch-channels-last" or grad.is_contiguous(memory_format=layout)  # torch differentiates that one


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x, w: tc.conv(x[:, :2], w), ShapeError, ["input", "3->4, 3x3", "(1, 2, 8, 8)", "batch, 3"]),
        (lambda x, w: tc.conv(x[:, :2], w, padding="same", stride=2), ShapeError, ["input", "batch, 3"]),
        (lambda x, w: tc.conv(x[..., :2], w), ShapeError, ["window", "axis 1", "2 samples"]),
        (lambda x, w: tc.conv(x, w[0]), ShapeError, ["weight", "(3, 3, 3)"]),
        (lambda x, w: tc.conv(x, w, torch.zeros(3)), ShapeError, ["bias", "(3,)", "(4,)"]),
        (lambda x, w: tc.conv(x, w.double()), ShapeError, ["float32", "float64"]),
        (lambda x, w: tc.conv(x, w, stride=0), SettingError, ["stride", "0"]),
        (lambda x, w: tc.conv(x, w, algorithm="magic"), SettingError, ["algorithm", "magic", "patches"]),
        (lambda x, w: tc.conv(x, w, precision="low"), SettingError, ["precision", "low", "fast"]),
        (
            lambda x, w: tc.conv(x, torch.randn(2, 2, 4, 3, 3, 3), sharing=2, algorithm="torch"),
            UnsupportedError,
            ["declines"],
        ),
        (
            lambda x, w: tc.conv(x, torch.randn(5, 5, 4, 3, 3, 3), sharing="none"),
            ShapeError,
            ["weight", "(6, 6, 4, 3, 3, 3)"],
        ),
        (
            lambda x, w: tc.conv_input_grad((2, 3, 8, 8), w, torch.zeros(1, 4, 6, 6)),
            ShapeError,
            ["input_size", "(1, 3, 8, 8)"],
        ),
        (lambda x, w: tc.conv_input_grad((8, 8), w, torch.zeros(1, 4, 5, 6)), ShapeError, ["grad_output", "(6, 6)"]),
        (lambda x, w: tc.conv_weight_grad(x, (4, 3, 3, 3), torch.zeros(1, 5, 6, 6)), ShapeError, ["grad_output"]),
        (
            lambda x, w: tc.conv_weight_grad(x, (4, 3, 3, 3), torch.zeros(1, 4, 6, 6), pad=1),
            TypeError,
            ["pad", "padding"],
        ),
    ],
)
def test_bad_requests_are_refused_with_the_request(call, error, words):
    with pytest.raises(error) as caught:
        call(torch.randn(1, 3, 8, 8), torch.randn(4, 3, 3, 3))
    assert all(word in str(caught.value) for word in words), str(caught.value)
