"""From an architecture to its network: volumes flow, repeats are written out, what does not fit is named."""

from __future__ import annotations

import time

import pytest

from torchconv.errors import ShapeError, TextError
from torchconv.language.parser import parse
from torchconv.network.operations import Volume

CIFAR = Volume(3, (32, 32))


def test_the_notes_example() -> None:
    network = parse("[INPUT - CONV[12, 3x3, same] - RELU - POOL - FC]").network(CIFAR, 10)
    assert [str(row.volume) for row in network.rows] == ["32x32x3", "32x32x12", "32x32x12", "16x16x12", "10"]
    assert network.parameters == 12 * 28 + 10 * (16 * 16 * 12 + 1)


def test_repeats_are_written_out_and_channels_flow() -> None:
    network = parse("INPUT-((CONV[4]-RELU)*N-POOL)*2-(FC-RELU)*K-FC, SOFTMAX", N=2, K=0).network(CIFAR, 5)
    names = [node.name for node in network.nodes]
    assert names[:5] == ["input", "conv1", "relu1", "conv2", "relu2"]
    assert names[-2:] == ["fc1", "softmax"]
    assert [str(row.volume) for row in network.rows if row.node.name == "pool2"] == ["8x8x4"]
    assert str(network.output) == "5"


def test_the_texts_own_input_wins() -> None:
    architecture = parse("INPUT[96000x1] - CONV[4, 9, stride=4] - FC[3]")
    assert architecture.input == Volume(1, (96000,))
    assert architecture.network(CIFAR).input == Volume(1, (96000,))
    assert parse("INPUT - FC").input is None


def test_only_the_last_fc_takes_the_number_of_classes() -> None:
    network = parse("INPUT - FC - RELU - FC - SOFTMAX").network(CIFAR, 7)
    assert [str(row.volume) for row in network.rows] == ["32x32x3", "128", "128", "7", "7"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("INPUT - (POOL)*6", ["layer pool6 on a volume 1x1x3", "at least 2", "line 1, column 10"]),
        ("INPUT - CONV[4] - CONV[4, 40x40, valid]", ["layer conv2 on a volume 32x32x4", "at least 40", "column 19"]),
        ("INPUT - POOL[2, padding=4]", ["layer pool1", "padding only"]),
    ],
)
def test_what_does_not_fit_is_named_with_both_sizes(text: str, words: list[str]) -> None:
    with pytest.raises(ShapeError) as caught:
        parse(text).network(CIFAR, 10)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("CONV - FC", ["CONV first", "column 1:"]),
        ("INPUT - CONV - INPUT", ["INPUT after other layers", "column 16:"]),
        ("INPUT - CONV*99999", ["at most 10000 layers"]),
        ("INPUT - ((CONV)*999)*999", ["at most 10000 layers"]),
        ("INPUT - FC", ["outputs of the last FC"]),
    ],
)
def test_chains_that_cannot_be(text: str, words: list[str]) -> None:
    with pytest.raises(TextError) as caught:
        parse(text).network(CIFAR)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_bare_input_needs_a_volume() -> None:
    with pytest.raises(TextError, match=r"Write INPUT\[32x32x3\]"):
        parse("INPUT - FC").network(classes=2)


def test_a_thousand_layers_take_less_than_two_seconds() -> None:
    start = time.perf_counter()
    network = parse("INPUT - " + "CONV[8] - RELU - " * 500 + "FC").network(CIFAR, 10)
    assert len(network.nodes) == 1002
    assert time.perf_counter() - start < 2
