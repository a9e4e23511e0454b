"""Networks: volumes and counts by folding, names, and refusals that name the layer."""

import pytest

from torchconv.description.convolution import Convolution
from torchconv.description.pooling import Pooling
from torchconv.errors import SettingError, ShapeError
from torchconv.network.graph import Network, Node, chain
from torchconv.network.operations import Activation, Convolve, Dropout, FullyConnected, Input, Norm, Softmax, Volume
from torchconv.network.pooling import PoolAll, PoolChannels, PoolGrid, PoolLearned, PoolWindows, Summary

HALVE = PoolWindows(Pooling(2, ndim=2))
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
    with pytest.raises(SettingError, match=r"median.*max, mean, l2, lp"):
        PoolAll("median")
    with pytest.raises(SettingError, match="dropout rate"):
        Dropout(1.0)
    with pytest.raises(ShapeError, match="padding only"):
        PoolWindows(Pooling((2,), padding=((2, 0),))).output(Volume(1, (4,)))
    assert Norm().parameters(Volume(8, (4, 4))) == 16


def test_pools_make_volumes_of_their_own():
    volume = Volume(12, (7, 5))
    assert str(PoolGrid(((2, 2),)).output(volume)) == "2x2x12"
    assert str(PoolGrid(((1, 1), (2, 3))).output(volume)) == "7x12"
    assert str(PoolChannels(Pooling((4,))).output(volume)) == "7x5x3"
    assert str(PoolChannels(Pooling((4,), 2)).output(volume)) == "7x5x5"
    learned = Pooling((3, 2), 2, 1, statistic="mean")
    assert PoolLearned(learned).parameters(volume) == 6
    assert PoolLearned(learned, True).parameters(volume) == 72
    assert PoolLearned(learned).macs(volume) == 12 * 4 * 3 * 6
    with pytest.raises(ShapeError, match=r"12 channels, expected all in windows"):
        PoolChannels(Pooling((5,))).output(volume)
    with pytest.raises(ShapeError, match=r"pooling to a grid 2x2.*1 axes|2 axes"):
        PoolGrid(((2, 2),)).output(Volume(3, (8,)))
    with pytest.raises(SettingError, match=r"weighted.*max, mean, l2, lp"):
        Summary("weighted")


def test_volumes_are_written_and_read():
    for text in ("32x32x3", "96000x1", "10", "8x8x8x4"):
        assert str(Volume.parse(text)) == text
