"""The description: numbers of course notes (CS231n) and papers, equality, text, and clear refusals."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given

from laws import problems
from torchconv.description.convolution import Convolution
from torchconv.errors import SettingError, ShapeError, TextError, TorchconvError

# LeNet-5's table I: the inputs that each of C3's 16 maps reads.
C3 = [
    *([i, (i + 1) % 6, (i + 2) % 6] for i in range(6)),
    *([i, (i + 1) % 6, (i + 2) % 6, (i + 3) % 6] for i in range(6)),
    *([i, (i + 1) % 6, (i + 3) % 6, (i + 4) % 6] for i in range(3)),
    list(range(6)),
]
TABLE = np.array([[source in row for source in range(6)] for row in C3])


def test_numbers_of_the_notes():
    conv = Convolution(3, 10, (5, 5), stride=1, padding=2)
    assert conv.parameters() == 760
    assert conv.output_size((32, 32)) == (32, 32)
    neuron = Convolution(3, 1, (5, 5))
    assert (int(np.prod(neuron.weight_shape())), neuron.bias_shape()) == (75, (1,))
    first = Convolution(3, 96, (11, 11), stride=4)  # AlexNet's first layer, as CS231n counts it
    assert first.output_size((227, 227)) == (55, 55)
    assert first.parameters() == 34_944


def test_lenet():
    c3 = Convolution(6, 16, (5, 5), connections=TABLE)
    assert c3.parameters() == 1_516
    assert c3.connection_count((14, 14)) == 151_600
    assert c3.macs((14, 14)) == 150_000
    c1 = Convolution(1, 6, (5, 5), sharing="none")
    assert c1.parameters((32, 32)) == 122_304
    assert Convolution(1, 6, (5, 5)).parameters() == 156


@pytest.mark.parametrize(("size", "output"), [(4, 2), (6, 3)])
def test_stride_that_does_not_fit_is_legal_and_reported(size, output):
    conv = Convolution(1, 1, (3,), stride=2, padding=1)
    assert conv.output_size(size) == (output,)
    (fit,) = conv.fit(size)
    assert not fit.exact
    assert fit.remainder == 1
    assert "1 of" in str(fit)
    for padding in fit.paddings:
        assert Convolution(1, 1, (3,), stride=2, padding=(padding,)).fit(size)[0].remainder == 0


def test_unread_input_is_named():
    (fit,) = Convolution(1, 1, (2,), stride=4).fit(11)
    assert fit.unread == ((2, 3), (6, 7), (10, 10))
    assert Convolution(1, 1, (3,), stride=2).fit(7)[0].exact


def test_equal_maps_are_equal_and_hash_equal():
    grouped = Convolution(4, 4, (3,), groups=2)
    table = np.kron(np.eye(2), np.ones((2, 2)))
    pairs = [
        (grouped, Convolution(4, 4, (3,), connections=table)),
        (Convolution(4, 4, (3,), groups=4), Convolution(4, 4, (3,), connections=np.eye(4))),
        (Convolution(4, 2, (3,)), Convolution(4, 2, (3,), connections=np.ones((2, 4)))),
        (Convolution(1, 1, (3,)), Convolution(1, 1, 3, sharing=1, ndim=1)),
        (Convolution(1, 1, (3, 3), sharing=(2, 2)), Convolution(1, 1, (3, 3), sharing=2)),
        (Convolution(1, 1, (3,), padding="same"), Convolution(1, 1, (3,), padding=1)),
        (Convolution(1, 1, (3,), padding="full"), Convolution(1, 1, (3,), padding=((2, 2),))),
        (Convolution(1, 1, (1,), dilation=3), Convolution(1, 1, (1,))),
        (Convolution(1, 1, (3,), padding_mode="reflect"), Convolution(1, 1, (3,))),
        (Convolution(1, 1, (3,), bias=False, bias_sharing="none"), Convolution(1, 1, (3,), bias=False)),
    ]
    for one, other in pairs:
        assert one == other
        assert hash(one) == hash(other)
    assert grouped != Convolution(4, 4, (3,), groups=4)
    assert Convolution(1, 1, (3,)) != Convolution(1, 1, (3,), stride=2)


@given(problems())
def test_text_and_pickle_are_inverse(problem):
    conv, _ = problem
    assert Convolution.parse(str(conv)) == conv
    assert eval(repr(conv), {"Convolution": Convolution}) == conv
    assert pickle.loads(pickle.dumps(conv)) == conv


@given(problems())
def test_macs_are_the_products_of_the_matrix(problem):
    conv, size = problem
    listed = conv.entries(size)
    assert conv.macs(size) == len(listed.rows)
    if all(axis.boundary == "zeros" for axis in conv.axes):
        assert conv.macs(size) == conv.matrix(np.ones(conv.weight_shape(size)), size).nnz


def test_transposed_layer_by_exact_count():
    # The layer of which tools report 524,288, 131,072 and 262,144 multiply-adds.
    conv = Convolution(8, 8, (4, 4), padding=2, input_dilation=2, bias=False)
    assert conv.output_size((16, 16)) == (32, 32)
    assert conv.macs((16, 16)) == conv.matrix(np.ones(conv.weight_shape()), (16, 16)).nnz
    assert conv.macs_ignoring_borders((16, 16)) == 8 * 8 * 16 * 16 * 4 * 4


def test_shapes_of_weights_and_biases():
    assert Convolution(4, 6, (3, 3), groups=2).weight_shape() == (6, 2, 3, 3)
    assert Convolution(4, 6, (3, 3), sharing=(2, 1)).weight_shape() == (2, 1, 6, 4, 3, 3)
    assert Convolution(4, 6, (3, 3), sharing="none").weight_shape((8, 9)) == (6, 7, 6, 4, 3, 3)
    assert Convolution(6, 16, (5, 5), connections=TABLE).weight_shape() == (60, 5, 5)
    assert Convolution(6, 16, (5, 5), connections=TABLE, sharing=2).weight_shape() == (2, 2, 60, 5, 5)
    assert Convolution(1, 2, (3,), bias_sharing="none").bias_shape(8) == (6, 2)
    assert Convolution(1, 2, (3,), sharing=2, bias_sharing="full").bias_shape() == (2,)
    assert Convolution(1, 2, (3,), sharing=2).bias_shape() == (2, 2)
    assert Convolution(1, 2, (3,), bias=False).bias_shape() == ()


@pytest.mark.parametrize(
    ("arguments", "settings", "words"),
    [
        ((3, 8, 3), {}, ["kernel_size", "ndim"]),
        ((3, 8, (3, 0)), {}, ["kernel_size", "0", ">= 1"]),
        ((3, 8, (3,)), {"stride": 0}, ["stride", "0"]),
        ((3, 8, (3,)), {"stride": 1.5}, ["stride", "1.5", "integer"]),
        ((3, 8, (3,)), {"stride": True}, ["stride", "True"]),
        ((3, 8, (3, 3)), {"stride": (1, 2, 3)}, ["stride", "(1, 2, 3)", "2 axes"]),
        ((3, 8, (3,)), {"padding": "some"}, ["padding", "some", "same"]),
        ((3, 8, (3,)), {"padding_mode": "mirror"}, ["padding_mode", "mirror", "reflect"]),
        ((3, 8, (3,)), {"groups": 2}, ["groups", "2", "in_channels=3"]),
        ((3, 8, (3,)), {"connections": np.ones((3, 8))}, ["connections", "(3, 8)", "(8, 3)"]),
        ((2, 2, (3,)), {"connections": np.ones((2, 2)), "groups": 2}, ["groups", "connections"]),
        ((2, 2, (3,)), {"connections": [[0, 0], [0, 0]]}, ["connections", "without a connection"]),
        ((2, 2, (3,)), {"connections": [[0, 2], [0, 1]]}, ["connections", "boolean"]),
        ((2, 2, (3,)), {"sharing": "tiled"}, ["sharing", "tiled", "period"]),
        ((2, 2, (3,)), {"sharing": 0}, ["sharing", "0"]),
        ((2, 2, (3,)), {"bias": 1}, ["bias", "True or False"]),
    ],
)
def test_bad_settings_are_refused_with_the_request(arguments, settings, words):
    with pytest.raises(SettingError) as caught:
        Convolution(*arguments, **settings)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_bad_sizes_are_refused_with_the_request():
    conv = Convolution(1, 1, (5, 5), dilation=2)
    with pytest.raises(ShapeError, match=r"axis 1.*8 samples.*at least 9"):
        conv.output_size((9, 8))
    with pytest.raises(ShapeError, match="2 sizes"):
        conv.output_size((9, 9, 9))
    with pytest.raises(SettingError, match="input_size"):
        conv.output_size((9, 0))
    with pytest.raises(SettingError, match="Give input_size"):
        Convolution(1, 1, (3,), sharing="none").weight_shape()
    with pytest.raises(ShapeError, match="weight"):
        conv.matrix(np.ones((1, 1, 3, 3)), (9, 9))


@pytest.mark.parametrize(
    "text", ["", "3->10", "3-10, 5x5", "3->10, 5xx5", "3->10, 5, strid=2", "3->10, 5, stride=2, stride=1"]
)
def test_bad_texts_are_refused(text):
    with pytest.raises(TextError):
        Convolution.parse(text)


def test_errors_pickle():
    error = ShapeError("a thing", got=1, expected=2, fix="Do.")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert isinstance(error, TorchconvError)


def test_the_description_does_not_import_torch():
    code = "import sys, torchconv.description.convolution, torchconv.network.graph; "
    code += "assert 'torch' not in sys.modules and 'scipy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
