"""Odd requests: what is accepted means what it says, whatever came before, and what is refused says why."""

import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import torchconv as tc
from torchconv.errors import SettingError, ShapeError, TorchconvError

X, W = torch.randn(2, 4, 8, 8), torch.randn(6, 4, 3, 3)


def refused(call, *words, error=TorchconvError):
    with pytest.raises(error) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_unbatched_inputs_with_tables():
    table = [[1, 0, 0, 1], [0, 1, 0, 0]]
    weight = torch.randn(3, 3, 3)
    expected = tc.conv(X, weight, connections=table)[0]
    torch.testing.assert_close(tc.conv(X[0], weight, connections=table), expected)
    torch.testing.assert_close(tc.conv(X[0], weight, connections=table, stride=(1, 1)), expected)


def test_a_table_that_changes_in_place_is_read_anew():
    table = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0]])
    weight = torch.randn(3, 3, 3)
    before = tc.conv(X, weight, connections=table)
    table[0] = torch.tensor([0, 1, 1, 0])
    assert not torch.equal(tc.conv(X, weight, connections=table), before)


def test_validity_does_not_depend_on_earlier_calls():
    tc.conv(X, W, stride=1)
    for bad in (1.0, True):
        refused(lambda bad=bad: tc.conv(X, W, stride=bad), "stride", "integer")
    for bad in ("no", 2, None):
        refused(lambda bad=bad: tc.conv(X, W, flip=bad), "flip", "True or False")


def test_dtypes_do_not_change_without_a_word():
    for bias in (torch.zeros(6, dtype=torch.float64), torch.zeros(6, dtype=torch.complex64)):
        refused(lambda bias=bias: tc.conv(X, W, bias, padding_mode="reflect", padding=1), "one dtype", "float32")
        refused(lambda bias=bias: tc.conv(X, W, bias), "one dtype")
    refused(lambda: tc.conv_input_grad((8, 8), W.double(), torch.zeros(2, 6, 6, 6)), "one dtype")


@pytest.mark.parametrize("name", ["auto", "torch", "patches", "matrix", "reference"])
def test_companions_check_their_operands(name):
    grad = torch.zeros(1, 6, 6, 6)
    refused(lambda: tc.conv_weight_grad(X, W.shape, grad, algorithm=name), "one batch")
    refused(lambda: tc.conv_weight_grad(X[:1].double(), W.shape, grad, algorithm=name), "one dtype")
    refused(lambda: tc.conv_weight_grad(X, W, torch.zeros(2, 6, 6, 6)), "weight_size", "shape")
    refused(lambda: tc.conv_input_grad(X, W, torch.zeros(2, 6, 6, 6)), "input_size", "shape")
    one = tc.conv_input_grad((4, 8, 8), W, torch.ones(6, 6, 6), algorithm=name)
    torch.testing.assert_close(one, tc.conv_input_grad((8, 8), W, torch.ones(1, 6, 6, 6))[0], rtol=1e-4, atol=1e-4)
    one = tc.conv_weight_grad(X[0], W.shape, torch.ones(6, 6, 6), algorithm=name)
    torch.testing.assert_close(one, tc.conv_weight_grad(X[:1], W.shape, torch.ones(1, 6, 6, 6)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tc.conv(X.numpy(), W), ["input", "ndarray", "from_numpy"]),
        (lambda: tc.conv(X, W.numpy()), ["weight", "ndarray"]),
        (lambda: tc.conv(X, W, 0.5), ["bias", "float"]),
        (lambda: tc.conv(None, W), ["input", "NoneType"]),
        (lambda: tc.conv(X, W.tolist()), ["weight", "list"]),
        (lambda: tc.nn.Conv2d(4, 6, 3)([1]), ["input", "list"]),
        (lambda: tc.conv(X, W, connections=[1, 0]), ["connections", "table"]),
        (lambda: tc.conv(X, W, connections="abc"), ["connections", "abc"]),
        (lambda: tc.conv(X, W, connections=[[1], [1, 0]]), ["connections", "lengths"]),
        (lambda: tc.conv(X, W, sharing="bogus"), ["sharing", "bogus"]),
        (lambda: tc.conv(X, W, stride={1}), ["{1}", "tuple"]),
        (lambda: tc.conv(X[..., :0], W, padding=3), ["input", "at least one sample"]),
        (lambda: tc.conv(X, W, padding=((1, 2, 3), (1, 2, 3))), ["padding", "pair"]),
        (lambda: tc.nn.Conv1d(4, 6, 3, padding=(1, 2)), ["padding", "((1, 2),)"]),
        (lambda: tc.Convolution(1, 1, 3, ndim=0), ["ndim"]),
        (lambda: tc.Convolution(1, 1, 3, ndim=True), ["ndim"]),
        (lambda: tc.Convolution(1, 1, (3,), bias=False, bias_sharing="bogus"), ["sharing", "bogus"]),
        (lambda: tc.nn.ConvTranspose2d(1, 1, 3, bias="no"), ["bias", "True or False"]),
        (lambda: tc.Convolution(2, 3, (2, 3)).matrix(np.ones((3, 3, 2, 3)), 8), ["weight", "(3, 2, 2, 3)"]),
        (lambda: tc.Convolution.parse(None), ["convolution", "None"]),
        (lambda: tc.Convolution(1, 1, (3, 3)).field((0,)), ["position", "2 axes"]),
        (lambda: tc.nn.ConvTranspose2d(4, 6, 3, stride=2)(X, (1, 2, 3, 16, 16)), ["output_size"]),
        (lambda: tc.nn.ConvTranspose2d(4, 6, 3, stride=2)(X, (15.0, 16)), ["output_size", "15.0"]),
        (lambda: tc.nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=2), ["output_padding", "less than stride"]),
        (
            lambda: tc.nn.ConvTranspose2d(4, 6, 3, stride=2, sharing="none", input_size=8)(X, (18, 18)),
            ["output_size", "unshared"],
        ),
    ],
)
def test_refusals(call, words):
    refused(call, *words)


def test_settings_may_be_arrays_and_numpy_numbers():
    conv = tc.Convolution(np.int64(4), 6, np.array([3, 3]), stride=np.array(2), padding=np.array([[1, 2], [3, 4]]))
    assert conv == tc.Convolution(4, 6, (3, 3), stride=2, padding=((1, 2), (3, 4)), bias=np.bool_(True))
    assert tc.Convolution(1, 1, (3, 3), sharing=np.array([2, 2])) == tc.Convolution(1, 1, (3, 3), sharing=2)
    assert tc.Convolution(1, 1, (1, 1), stride=2, padding="same") == tc.Convolution(1, 1, (1, 1), stride=2)


def test_weights_of_a_matrix_may_be_parameters():
    layer = tc.nn.Conv2d(2, 3, 3).bfloat16()
    assert layer.convolution.matrix(layer.weight, (5, 5)).shape == (27, 50)


def test_large_tables_do_not_flood_messages():
    table = np.random.default_rng(0).random((64, 64)) < 0.5
    layer = tc.nn.Conv2d(64, 64, 3, connections=table)
    assert tc.Convolution.parse(str(layer.convolution)) == layer.convolution
    with pytest.raises(ShapeError) as caught:
        layer(torch.zeros(1, 3, 8, 8))
    assert len(str(caught.value)) < 300


class TestWaitingLayers:
    def test_a_partial_load_stays(self):
        whole, waiting = tc.nn.LocallyConnected2d(4, 6, 3, input_size=8), tc.nn.LocallyConnected2d(4, 6, 3)
        waiting.load_state_dict({"weight": whole.weight}, strict=False)
        waiting(X)
        assert torch.equal(waiting.weight, whole.weight)

    def test_weights_of_another_layer_are_refused(self):
        waiting = tc.nn.LocallyConnected2d(4, 6, 3)
        for other in (torch.nn.Conv2d(4, 6, 3), tc.nn.LocallyConnected2d(5, 6, 3, input_size=8)):
            with pytest.raises(RuntimeError, match="size mismatch"):
                waiting.load_state_dict(other.state_dict())
        assert waiting(X).shape == (2, 6, 6, 6)

    def test_a_failed_first_call_leaves_it_waiting(self):
        waiting = tc.nn.LocallyConnected2d(4, 6, 3)
        refused(lambda: waiting(torch.zeros(2, 3, 9, 9)), "batch, 4")
        refused(lambda: waiting(torch.zeros(2, 4, 2, 2)), "window")
        assert waiting(X).shape == (2, 6, 6, 6)

    def test_a_first_call_in_inference_mode_can_be_trained_later(self):
        waiting = tc.nn.LocallyConnected2d(4, 6, 3)
        with torch.inference_mode():
            waiting(X)
        waiting(X).sum().backward()
        assert waiting.weight.grad is not None

    def test_first_calls_from_several_threads(self):
        waiting = tc.nn.LocallyConnected2d(4, 6, 3)
        results = []
        threads = [threading.Thread(target=lambda: results.append(waiting(X))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 4
        assert all(torch.equal(one, results[0]) for one in results)

    def test_transposed_with_an_output_size(self):
        waiting = tc.nn.ConvTranspose1d(2, 3, 3, stride=2, sharing="none")
        assert waiting(torch.zeros(1, 2, 4), (9,)).shape == (1, 3, 9)


def test_settings_of_a_layer_cannot_be_changed():
    layer = tc.nn.Conv2d(4, 6, 3, padding="same", padding_mode="reflect")
    for name in ("padding_mode", "padding", "algorithm", "convolution"):
        with pytest.raises(AttributeError, match=rf"{name} of Conv2d cannot be changed.*new layer"):
            setattr(layer, name, "circular")
    assert (layer.padding, layer.padding_mode, layer.transposed) == ("same", "reflect", False)


def test_a_transposed_layer_shows_torchs_settings():
    settings = {"stride": (2, 3), "padding": (1, 2), "output_padding": (1, 0), "dilation": (1, 2)}
    ours, theirs = (kind(4, 6, 3, **settings) for kind in (tc.nn.ConvTranspose2d, torch.nn.ConvTranspose2d))
    for name in ("stride", "padding", "output_padding", "dilation", "transposed", "kernel_size"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert "stride=2x3, padding=1x2" in repr(ours)


@pytest.mark.parametrize("sharing", ["full", 2, "none"])
def test_hessians_and_batched_gradients(sharing):
    weight = torch.randn(*tc.Convolution(1, 2, (2,), sharing=sharing).weight_shape(4), dtype=torch.float64)
    x = torch.randn(1, 1, 4, dtype=torch.float64, requires_grad=True)

    def loss(a):
        return tc.conv(a, weight, sharing=sharing).pow(3).sum()

    expected = torch.autograd.functional.hessian(loss, x)
    torch.testing.assert_close(torch.func.hessian(loss)(x), expected)
    torch.testing.assert_close(torch.func.jacrev(torch.func.jacrev(loss))(x), expected)
    assert torch.autograd.gradcheck(
        lambda a, w: tc.conv(a, w, sharing=sharing), (x, weight.requires_grad_()), check_batched_grad=True
    )


def test_borders_that_torch_pads_by_itself():
    for mode, size in (("replicate", 20), ("circular", 8)):
        padded = F.pad(X, (size,) * 4, mode=mode)
        torch.testing.assert_close(tc.conv(X, W, padding=size, padding_mode=mode), F.conv2d(padded, W))


def test_precision_is_checked():
    refused(lambda: tc.conv(X, W, precision="low"), "precision", error=SettingError)
