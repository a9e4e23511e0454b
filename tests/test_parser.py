"""Reading texts: what is read, what is printed back, and errors that point at the place."""

from __future__ import annotations

import pickle

import pytest
from benchmarks.language import fuzz
from hypothesis import given, strategies as st

from torchconv.errors import SettingError, TextError, TorchconvError
from torchconv.language.architecture import Architecture
from torchconv.language.parser import DEEPEST, parse
from torchconv.language.syntax import Argument, Branches, Chain, LayerItem, Optional, Repeat
from torchconv.network.operations import Volume

TEXT = "INPUT[8x8x1] - (CONV[16, 3x3, same] - RELU)*2 - POOL[2x2, max] - FC[10] - SOFTMAX"

SETTINGS = {
    "CONV": [
        Argument("5"),
        Argument("3x3"),
        Argument("same"),
        Argument("2x1", "stride"),
        Argument("0:1x-1", "padding"),
    ],
    "POOL": [Argument("2x2"), Argument("mean"), Argument("full"), Argument("1", "stride")],
    "DROPOUT": [Argument("0.25")],
    "FC": [Argument("10")],
}


@st.composite
def layers(draw: st.DrawFn) -> LayerItem:
    word = draw(st.sampled_from([*SETTINGS, "RELU", "NORM", "SOFTMAX", "GLOBALPOOL", "UPSAMPLE", "IDENTITY"]))
    choices = [setting for setting in SETTINGS.get(word, []) if draw(st.booleans())]
    taken = {setting.name for setting in choices}
    if "padding" in taken:
        choices = [setting for setting in choices if setting.value not in ("same", "full")]
    return LayerItem(word, tuple(choices))


def chains() -> st.SearchStrategy[Chain]:
    counts = st.integers(0, 5) | st.sampled_from(["N", "M", "depth_1"])

    def nested(inner: st.SearchStrategy) -> st.SearchStrategy:
        body = st.lists(inner, min_size=1, max_size=3).map(lambda items: Chain(tuple(items)))
        return (
            st.builds(Repeat, body, counts)
            | st.builds(Branches, st.sampled_from(["SUM", "CONCAT"]), st.tuples(body, body))
            | st.builds(lambda chain, name: Optional(chain, name or Optional.usual_name(chain)), body,
                        st.sampled_from(["", "deep"]))
        )  # fmt: skip

    items = st.recursive(layers(), nested, max_leaves=6)
    return st.lists(items, min_size=1, max_size=4).map(lambda found: Chain((LayerItem("INPUT"), *found)))


@given(chains())
def test_what_is_printed_is_read_back(chain: Chain) -> None:
    assert parse(str(chain)).chain == chain
    assert str(parse(str(chain))) == str(chain)


@given(st.text(alphabet="INPUTCONVPOLRE[]()-*,=x#:0123 \n", max_size=60) | st.text(max_size=20))
def test_any_text_is_read_or_refused_by_the_familys_own_error(text: str) -> None:
    try:
        architecture = parse(text)
    except TorchconvError:
        return
    assert parse(str(architecture)) == architecture


def test_the_issues_text() -> None:
    assert str(parse(TEXT)) == TEXT
    assert parse(TEXT.replace(" ", "")) == parse(TEXT)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("[INPUT - CONV - RELU - POOL - FC]", "INPUT - CONV - RELU - POOL - FC"),
        ("[INPUT-FC], SOFTMAX", "INPUT - FC - SOFTMAX"),
        ("INPUT-POOL ?-(CONV-RELU)? up-FC", "INPUT - POOL? - (CONV - RELU)?up - FC"),
        ("INPUT-(POOL)?pool-[CONV?]*3-FC", "INPUT - POOL? - (CONV?)*3 - FC"),
        ("SUM ( CONV|(CONV-RELU) |IDENTITY ) *2", "(SUM(CONV | CONV - RELU | IDENTITY))*2"),
        ("CONCAT[crop](CONV|CONV)?", "CONCAT[crop](CONV | CONV)?"),
        ("INPUT\n - ((CONV)) # first (\n - FC # last", "INPUT - CONV - FC"),
        ("INPUT-CONV*2-FC", "INPUT - (CONV)*2 - FC"),
        ("INPUT-CONV[ 4,stride = 2 ]-[CONV-RELU]*3", "INPUT - CONV[4, stride=2] - (CONV - RELU)*3"),
    ],
)
def test_other_ways_to_write_the_same(written: str, canonical: str) -> None:
    assert str(parse(written)) == canonical


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("INPUT - CONVV", 1, 9, ["'CONVV'", "Did you mean CONV?", "POOL"]),
        ("INPUT - conv", 1, 9, ["Did you mean CONV?"]),
        ("INPUT -\n CONV[16, strid=2]", 2, 11, ["'strid=2'", "Did you mean stride?"]),
        ("INPUT - POOL[2, mx]", 1, 17, ["'mx'", "Did you mean max?"]),
        ("INPUT - RELU[3]", 1, 14, ["no settings"]),
        ("INPUT - CONV[16, 3, same, valid]", 1, 27, ["padding twice"]),
        ("INPUT - CONV[stride=1, stride=2]", 1, 24, ["stride twice"]),
        ("INPUT - CONV[16", 1, 16, ["the end of the text", "']'"]),
        ("INPUT - - CONV", 1, 9, ["'-'", "a layer such as CONV"]),
        ("INPUT CONV", 1, 7, ["'CONV'", "'-'"]),
        ("INPUT - é", 1, 9, ["a layer such as CONV"]),
        ("", 1, 1, ["the end of the text"]),
        ("INPUT - (CONV)*1.5", 1, 17, ["'.5'"]),
        ("INPUT - (CONV)*2x", 1, 16, ["'2x'"]),
    ],
)
def test_errors_point_at_the_place(text: str, line: int, column: int, words: list[str]) -> None:
    with pytest.raises(TextError) as caught:
        parse(text)
    message, place, shown, caret = str(caught.value).split("\n")
    assert place == f"  line {line}, column {column}:"
    assert shown == "    " + (text.split("\n")[line - 1] if text else "")
    assert caret == " " * (4 + column - 1) + "^"
    assert all(word in message for word in words), message


def test_a_zero_is_no_size() -> None:
    with pytest.raises(SettingError, match=r"(?s)expected an integer >= 1.*column 14"):
        parse("INPUT - CONV[0]")


def test_long_lines_are_cut_around_the_caret() -> None:
    text = "INPUT" + " - RELU" * 200 + " - WRONG" + " - RELU" * 200
    with pytest.raises(TextError) as caught:
        parse(text)
    shown, caret = str(caught.value).split("\n")[-2:]
    assert shown[caret.index("^") :].startswith("WRONG")
    assert len(shown) < 120


def test_deep_and_long_texts() -> None:
    assert str(parse("INPUT-" + "(" * 5000 + "CONV" + ")" * 5000)) == "INPUT - CONV"
    with pytest.raises(TextError, match="expected"):
        parse("(" * 20_000)
    with pytest.raises(TextError, match=f"at most {DEEPEST}"):
        parse("INPUT-" + "(" * 30 + "CONV" + ")*1" * 30)
    with pytest.raises(TextError, match="characters"):
        parse(" " * 2_000_000)


def test_bindings() -> None:
    assert str(parse("INPUT-(CONV)*N-FC", N=3)) == "INPUT - (CONV)*3 - FC"
    assert parse("INPUT-((CONV)*N-POOL)*M").names == ("M", "N")
    with pytest.raises(SettingError, match="got K=2, expected one of N"):
        parse("INPUT-(CONV)*N-FC", K=2)
    with pytest.raises(SettingError, match="N: got -1"):
        parse("INPUT-(CONV)*N-FC", N=-1)
    with pytest.raises(TextError, match=r"(?s)parse\(text, N=2\).*column 14"):
        parse("INPUT-(CONV)*N-FC").network(Volume(3, (8, 8)), 2)


def test_architectures_are_values() -> None:
    architecture = parse(TEXT)
    assert isinstance(architecture, Architecture)
    assert hash(architecture) == hash(parse(TEXT))
    assert pickle.loads(pickle.dumps(architecture)) == architecture
    with pytest.raises(TextError, match="got int"):
        parse(3)  # type: ignore[arg-type]


def test_mutated_texts_are_networks_or_refused() -> None:
    """The first few thousand of the hundred thousand that `python -m benchmarks.language` goes through."""
    found = fuzz(3000)
    assert all(count > 20 for count in found.values()), found


@pytest.mark.parametrize("text", ["LeNet5", "ResNet18", " VGG16\n"])
def test_names_of_the_zoo_in_any_case(text: str) -> None:
    assert parse(text) == parse(text.strip().lower())


@pytest.mark.parametrize(
    ("text", "meant"), [("resnet19", "resnet18"), ("Resnet-18", "resnet18"), ("lenet-5", "lenet5")]
)
def test_mistyped_names_of_the_zoo(text: str, meant: str) -> None:
    with pytest.raises(TextError, match=f"Did you mean {meant}"):
        parse(text)


def test_a_rate_may_have_an_exponent() -> None:
    assert str(parse("DROPOUT[1e-1] - FC")) == "DROPOUT[1e-1] - FC"
