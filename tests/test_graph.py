"""Networks: volumes and counts by folding, names, and refusals that name the layer."""

import pytest

from torchconv.description.axis import Axis
from torchconv.description.convolution import Convolution
from torchconv.errors import SettingError, ShapeError
from torchconv.network.elementwise import Activation, Dropout, Norm, Softmax
from torchconv.network.graph import Network, Node, chain
from torchconv.network.operations import Convolve, FullyConnected, Input, Pool, Volume

HALVE = Pool((Axis(2, 2), Axis(2, 2)))
LENET = chain(
    [
        Input(Volume(1, (32, 32))),
        Convolve(Convolution(1, 6, (5, 5))),
        Activation("relu"),
        HALVE,
        Convolve(Convolution(6, 16, (5, 5))),
        HALVE,
        FullyConnected(120),
        FullyConnected(10),
        Softmax(),
    ]
)


def test_volumes_and_counts_add_up():
    assert [str(row.volume) for row in LENET.rows][1:6] == ["28x28x6", "28x28x6", "14x14x6", "10x10x16", "5x5x16"]
    assert LENET.parameters == 156 + 2416 + 120 * 401 + 10 * 121
    assert LENET.macs == 28 * 28 * 25 * 6 + 100 * 25 * 96 + 400 * 120 + 1200
    assert [node.name for node in LENET.nodes][1:5] == ["conv1", "relu1", "pool1", "conv2"]
    assert (str(LENET.input), str(LENET.output)) == ("32x32x1", "10")
    assert LENET.without_softmax().nodes == LENET.nodes[:-1]
    assert LENET.without_softmax().without_softmax() == LENET.without_softmax()


def test_equal_networks_are_equal():
    again = Network(LENET.nodes)
    assert again == LENET
    assert hash(again) == hash(LENET)


def test_a_layer_that_does_not_fit_is_named_with_both_sizes():
    with pytest.raises(ShapeError, match=r"conv1.*28x28x3.*1 channels"):
        _ = chain([Input(Volume(3, (28, 28))), Convolve(Convolution(1, 6, (5, 5)))]).rows
    with pytest.raises(ShapeError, match=r"pool1.*1x1x4"):
        _ = chain([Input(Volume(4, (1, 1))), HALVE]).rows
    with pytest.raises(ShapeError, match=r"pool1.*2 axes"):
        _ = chain([Input(Volume(4)), HALVE]).rows


def test_what_is_no_network_is_refused():
    start = Node("input", Input(Volume(1, (4,))))
    with pytest.raises(SettingError, match="unknown inputs"):
        Network((start, Node("relu", Activation("relu"), ("missing",))))
    with pytest.raises(SettingError, match="twice"):
        Network((start, Node("input", Activation("relu"), ("input",))))
    with pytest.raises(SettingError, match="no INPUT"):
        Network((Node("relu", Activation("relu")),))
    with pytest.raises(SettingError, match="no INPUT"):
        Network(())


def test_settings_of_operations():
    with pytest.raises(SettingError, match=r"median.*max, mean"):
        Pool((Axis(2),), "median")
    with pytest.raises(SettingError, match="dropout rate"):
        Dropout(1.0)
    with pytest.raises(ShapeError, match="padding only"):
        Pool((Axis(2, 2, padding=(2, 0)),)).output(Volume(1, (4,)))
    assert Norm().parameters(Volume(8, (4, 4))) == 16


def test_volumes_are_written_and_read():
    for text in ("32x32x3", "96000x1", "10", "8x8x8x4"):
        assert str(Volume.parse(text)) == text
