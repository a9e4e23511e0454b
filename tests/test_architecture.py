"""From an architecture to its network: volumes flow, repeats are written out, what does not fit is named."""

from __future__ import annotations

import time

import pytest

from torchconv.errors import SettingError, ShapeError, TextError
from torchconv.language.network_module import build
from torchconv.language.parser import parse
from torchconv.network.graph import Recurrence
from torchconv.network.operations import Volume
from torchconv.network.propagation import propagate
from torchconv.network.recurrence import with_passes

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


def test_the_texts_own_input_gives_way_to_what_is_given() -> None:
    architecture = parse("INPUT[96000x1] - CONV[4, 9, stride=4] - FC[3]")
    assert architecture.input == Volume(1, (96000,))
    assert architecture.network().input == Volume(1, (96000,))
    assert architecture.network(Volume(2, (800,))).input == Volume(2, (800,))
    assert parse("INPUT - FC").input is None


def test_an_input_may_be_written_anew() -> None:
    for text in ("INPUT[32x32x3] - CONV", "INPUT - CONV", "CONV"):
        for volume in (Volume(1, (8, 8)), Volume(32, (3, 32)), Volume(16, (16,)), Volume(7)):
            written = parse(text).with_input(volume)
            assert written.input == volume
            assert parse(str(written)) == written
            assert written.chain.items[1:] == parse("INPUT - CONV").chain.items[1:]


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
        ("INPUT - (CONV)*N - FC", ["Bind it: parse(text, N=2)", "column 16:"]),
        ("INPUT - POOL? - FC", ["POOL? is there or not", "parse(text, pool=True)", "column 9:"]),
        ("INPUT - FROM[a] - FC[2]", ["FROM: got a", "a MARK before it", "column 9:"]),
        ("INPUT - MARK[a] - CONV - FROM[b] - FC[2]", ["FROM: got b", "before it: a"]),
        ("INPUT - MARK[a] - CONV - FROM[a] - FC[2]", ["layer conv1: got an output that nothing reads", "column 19:"]),
        ("INPUT - MARK[a] - CONV - SUM(INPUT | CONV)", ["INPUT after other layers"]),
        ("INPUT - CONV - RELU - SOFTMAX", ["outputs of SOFTMAX: got none"]),
        ("INPUT - FC[4] - SOFTMAX - RELU - FC[2]", ["SOFTMAX: got layers after it", "at the end", "column 17:"]),
        ("INPUT - (FC[4] - SOFTMAX)*2", ["SOFTMAX: got layers after it", "column 18:"]),
        ("INPUT - SUM(CONV - SOFTMAX | IDENTITY)", ["SOFTMAX: got layers after it"]),
        ("INPUT - MARK[a] - CONV - MARK[a] - FC[2]", ["MARK: got a in a second place", "column 26:"]),
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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SUM(CONV[8] | CONV[4])", ["sum1 on volumes 32x32x8, 32x32x4", "8 and 4 channels"]),
        ("SUM(POOL | IDENTITY)", ["16x16x3", "32x32x3", "equal sizes", "SUM[crop]"]),
        ("CONCAT(FC | CONV)", ["concat1 on volumes 128, 32x32x32"]),
    ],
)
def test_branches_that_do_not_fit(text: str, words: list[str]) -> None:
    with pytest.raises(ShapeError) as caught:
        parse(f"INPUT - {text} - FC").network(CIFAR, 10)
    assert all(word in str(caught.value) for word in [*words, "column 9:"]), str(caught.value)


def test_branches_join() -> None:
    network = parse("CONCAT(CONV[4] | POOL[3x3, stride=1, same] | IDENTITY) - SUM(IDENTITY | IDENTITY)").network(CIFAR)
    assert str(network.output) == "32x32x10"
    assert network.nodes[-1].inputs == ("concat1", "concat1")
    assert network.nodes[-2].inputs == ("conv1", "pool1", "input")
    cropped = parse("MARK[a] - CONV[8, 4x4, valid] - CONCAT[crop](FROM[a] | IDENTITY)").network(CIFAR)
    assert str(cropped.output) == "29x29x11"


def test_softmax_brings_the_classifiers_fc_unless_there_are_scores() -> None:
    def ends(text: str) -> list[str]:
        return [node.name for node in parse(text).network(CIFAR, 10).nodes][-2:]

    for text in ("CONV - RELU - SOFTMAX", "SOFTMAX", "CONV - POOL - SOFTMAX", "CONV - NORM - DROPOUT - SOFTMAX"):
        assert ends(text) == ["fc1", "softmax"], text
    assert ends("FC - RELU - SOFTMAX") == ["fc2", "softmax"]
    assert ends("CONV[10, 1x1] - GLOBALPOOL - SOFTMAX") == ["globalpool1", "softmax"]
    assert ends("CONV[10] - SOFTMAX") == ["conv1", "softmax"]


def test_the_pattern_of_the_notes() -> None:
    pattern = parse("[(CONV-RELU)*N-POOL?]*M-(FC-RELU)*K, SOFTMAX")
    assert set(pattern.names) == {"N", "M", "K", "pool"}
    found = list(pattern.expand(N=range(1, 4), M=range(1, 3), K=range(3)))
    assert len(found) == len(set(found)) == 3 * 2 * 3 * 2
    for architecture in found:
        assert architecture.names == ()
        assert str(architecture.network(CIFAR, 10).output) == "10"
        assert parse(str(architecture)) == architecture
    only = list(pattern.expand(N=1, M=[1], K=range(2), pool=False))
    assert [str(one) for one in only] == [
        "((CONV - RELU)*1)*1 - (FC - RELU)*0 - SOFTMAX",
        "((CONV - RELU)*1)*1 - (FC - RELU)*1 - SOFTMAX",
    ]


def test_what_is_optional_is_there_or_not() -> None:
    text = "CONV - (NORM - RELU)?tail - POOL? - SUM(DROPOUT? | IDENTITY)"
    assert parse(text).names == ("tail", "pool", "dropout")
    assert str(parse(text, tail=True, pool=False)) == "CONV - NORM - RELU - SUM(DROPOUT? | IDENTITY)"
    assert str(parse(text, dropout=False, pool=True)) == "CONV - (NORM - RELU)?tail - POOL - SUM(IDENTITY | IDENTITY)"
    assert str(parse("(POOL?)*3 - FC", pool=False)) == "FC"
    assert str(parse("POOL?", pool=False)) == "IDENTITY"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pool": 2}, "pool: got 2, expected True or False"),
        ({"N": True}, "N: got True"),
        ({"n": 2}, r"Did you mean N\?"),
        ({"N": -1}, "N: got -1"),
    ],
)
def test_values_that_do_not_go_with_their_names(values: dict[str, int], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        parse("(CONV)*N - POOL?", **values)
    with pytest.raises(SettingError, match=message):
        parse("(CONV)*N - POOL?").expand(**{"N": 1, **values})


def test_a_name_is_a_count_or_an_option() -> None:
    with pytest.raises(TextError, match="deep: got it as a count and as an option") as caught:
        parse("(CONV)*deep - POOL?deep")
    assert "column 15:" in str(caught.value)


def test_expand_wants_values_for_every_count() -> None:
    with pytest.raises(SettingError, match=r"no values for M, expected some, as in M=range\(1, 4\)"):
        parse("((CONV)*N)*M").expand(N=range(3))


def test_marks_may_be_set_again_in_every_repeat() -> None:
    network = parse("(MARK[a] - CONV[3] - SUM(FROM[a] | IDENTITY))*2").network(CIFAR)
    assert [node.inputs for node in network.nodes if node.name.startswith("sum")] == [
        ("input", "conv1"),
        ("sum1", "conv2"),
    ]


def test_bare_input_needs_a_volume() -> None:
    with pytest.raises(TextError, match=r"Write INPUT\[32x32x3\]"):
        parse("INPUT - FC").network(classes=2)


RECURRENT = (
    "MARK[image] - RECUR(CONCAT(IDENTITY | FROM[image]) - CONV[8] - TANH - CONV[classes, 1x1])[n=N, zeros] - SOFTMAX"
)


def test_passes_share_their_weights() -> None:
    network = parse(RECURRENT, N=3).network(CIFAR, 5)
    names = [node.name for node in network.nodes]
    assert names[:7] == ["input", "zeros1", "recur1", "concat1", "conv1", "tanh1", "conv2"]
    assert names[7:12] == ["recur1_2", "concat1_2", "conv1_2", "tanh1_2", "conv2_2"]
    assert names[-2:] == ["conv2_3", "softmax"]
    by_name = {row.node.name: row for row in network.rows}
    assert by_name["recur1"].node.inputs == ("zeros1",)
    assert by_name["recur1_3"].node.inputs == ("conv2_2",)
    assert by_name["concat1_2"].node.inputs == ("recur1_2", "input")
    assert by_name["conv1_3"].node.shares == "conv1"
    once = parse(RECURRENT, N=1).network(CIFAR, 5)
    assert network.parameters == once.parameters == 8 * (9 * 8 + 1) + 5 * (8 + 1)
    assert network.macs == 3 * once.macs
    assert network.recurrences == (Recurrence("recur1", "conv2", 3),)


def test_another_number_of_passes_is_the_text_with_that_number() -> None:
    inner = "MARK[a] - RECUR(SUM(IDENTITY | CONV[3]) - RELU)[N] - MARK[b] - CONV[3]"
    nested = f"CONV[3] - RECUR[n=N]({inner}) - CONCAT(FROM[a] | FROM[b] | IDENTITY)"
    for text in (RECURRENT, nested, "RECUR(CONV[3, 5x5, valid] - RELU)[N]"):
        three = parse(text, N=3).network(CIFAR, 5 if "classes" in text else None)
        for count in (1, 2, 5):
            assert with_passes(three, count) == parse(text, N=count).network(CIFAR, 5 if "classes" in text else None)
        assert with_passes(with_passes(three, 1), 3) == three
        assert three.on(Volume(3, (40, 44))).recurrences == three.recurrences


def test_a_recurrence_is_read_either_way_and_bound_like_a_repeat() -> None:
    for text in ("RECUR[n=3](CONV - RELU)", "RECUR(CONV-RELU)[n=3]", "RECUR ( CONV-RELU ) [ n = 3 ]"):
        assert str(parse(text)) == "RECUR[n=3](CONV - RELU)"
    assert parse("RECUR(CONV[3])").network(CIFAR).recurrences[0].passes == 2
    pattern = parse("(RECUR(CONV[3] - POOL?)[N])*M - RECUR(CONV[3])[n=N, zeros]")
    assert pattern.names == ("M", "N", "pool")
    assert str(pattern.bind(N=4, M=1, pool=False)) == "(RECUR[4](CONV[3]))*1 - RECUR[n=4, zeros](CONV[3])"
    assert [str(one) for one in parse("RECUR(CONV)[N]").expand(N=[1, 2])] == ["RECUR[1](CONV)", "RECUR[2](CONV)"]


def test_receptive_fields_grow_with_the_passes() -> None:
    for count in (1, 2, 4):
        *_, last = propagate(parse(RECURRENT, N=count).network(CIFAR, 5))
        assert [way.progression.size for way in last.field.aligned if way] == [2 * count + 1] * 2
        assert not last.notes


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (
            "RECUR(CONV[8])[n=3]",
            ShapeError,
            ["comes out of recur1", "32x32x8", "channels as go in, 3", "zeros", "column 9:"],
        ),
        ("RECUR(CONV[8])[n=1]", ShapeError, ["comes out of recur1"]),
        ("RECUR(CONCAT(IDENTITY | CONV))[zeros]", ShapeError, ["comes out of recur1"]),
        (
            "RECUR(CONV[3, 12x12, valid])[n=3]",
            ShapeError,
            ["layer conv1_3 on a volume 10x10x3", "at least 12", "column 9:"],
        ),
        (
            "RECUR(POOL - LOCAL[3])[n=2]",
            ShapeError,
            ["conv1_2, with the weights of conv1", "got 8x8x3", "expected 16x16x3"],
        ),
        ("RECUR(CONV[3])[n=N]", TextError, ["passes of RECUR: got N", "parse(text, N=2)"]),
        ("RECUR(CONV[3])[n=0]", SettingError, ["got 0", "column 24:"]),
        ("RECUR(CONV[3])[n=3x3]", TextError, ["got '3x3'"]),
        ("RECUR(CONV[3])[n=99999]", TextError, ["passes of RECUR: got 99999", "at most 10000"]),
        ("RECUR(CONV | CONV)", TextError, ["branches of RECUR: got 2 branches", "expected one"]),
        ("RECUR", TextError, ["branches of RECUR: got 0 branches"]),
        ("RECUR[2](CONV[3])[3]", TextError, ["n twice"]),
        ("MARK[a] - RECUR(FROM[a] - CONV[3])", TextError, ["layer recur1: got an output that nothing reads"]),
        ("RECUR(CONV[3] - SOFTMAX)", TextError, ["SOFTMAX: got layers after it"]),
    ],
)
def test_recurrences_that_cannot_be(text: str, error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        parse(f"INPUT - {text}").network(CIFAR)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_nothing_may_recur() -> None:
    for text in ("RECUR(IDENTITY)[n=3] - CONV", "RECUR(MARK[a])[zeros] - CONCAT(FROM[a] | CONV)"):
        network = parse(text).network(CIFAR)
        assert (network.recurrences, network.output.size) == ((), (32, 32))
    assert str(parse("RECUR(POOL?)[n=3]", pool=False)) == "RECUR[n=3](IDENTITY)"


def test_passes_of_a_network_without_recurrence() -> None:
    with pytest.raises(SettingError, match="passes: got 2, expected none: the network has no RECUR"):
        with_passes(parse("CONV").network(CIFAR), 2)
    with pytest.raises(SettingError, match="passes: got 0"):
        with_passes(parse("RECUR(CONV[3])").network(CIFAR), 0)


def test_a_thousand_layers_take_less_than_two_seconds() -> None:
    start = time.perf_counter()
    model = build("INPUT - " + "CONV[8] - RELU - " * 500 + "FC", input=(3, 32, 32))
    assert len(model.network.nodes) == 1002
    assert time.perf_counter() - start < 2
