"""The reference loops against libraries that do not know them."""

import numpy as np
import scipy.signal
import torch
import torch.nn.functional as F

from torchconv.compute.algorithms import reference
from torchconv.description.convolution import Convolution

rng = np.random.default_rng(0)


def test_against_scipy():
    image, kernel = rng.normal(size=(1, 1, 5, 6)), rng.normal(size=(1, 1, 3, 2))
    for mode in ("valid", "full"):
        got = reference.output(Convolution(1, 1, (3, 2), padding=mode), image, kernel)
        assert np.allclose(got[0, 0], scipy.signal.correlate2d(image[0, 0], kernel[0, 0], mode))


def test_against_torch():
    x, weight, grad = (torch.randn(*shape, dtype=torch.float64) for shape in ((2, 4, 7, 6), (6, 2, 3, 2), (2, 6, 4, 5)))
    settings = {"stride": (2, 1), "padding": (1, 0), "groups": 2}
    conv = Convolution(4, 6, (3, 2), bias=False, **settings)
    assert np.allclose(reference.output(conv, x.numpy(), weight.numpy()), F.conv2d(x, weight, **settings))
    towards_input = torch.nn.grad.conv2d_input(x.shape, weight, grad, **settings)
    assert np.allclose(reference.input_grad(conv, grad.numpy(), weight.numpy(), (7, 6)), towards_input)
    towards_weight = torch.nn.grad.conv2d_weight(x, weight.shape, grad, **settings)
    assert np.allclose(reference.weight_grad(conv, x.numpy(), grad.numpy()), towards_weight)


def test_transposed_against_torch():
    x, weight = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(3, 2, 3, dtype=torch.float64)
    expected = F.conv_transpose1d(x, weight, stride=2, padding=1, output_padding=1)
    conv = Convolution(3, 2, (3,), padding=((1, 2),), input_dilation=2, bias=False)
    assert np.allclose(reference.output(conv, x.numpy(), weight.transpose(0, 1).flip(-1).numpy()), expected)


def test_unshared_by_hand():
    conv = Convolution(1, 1, (2,), sharing="none", bias=False)
    weight = np.array([[[[1.0, 10.0]]], [[[2.0, 20.0]]]])
    assert reference.output(conv, np.array([[[1.0, 2.0, 3.0]]]), weight).tolist() == [[[21.0, 64.0]]]
