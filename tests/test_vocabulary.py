"""Words and their settings: the operations they stand for, and the defaults of what is not said."""

from __future__ import annotations

import re

import pytest

from torchconv.description.convolution import Convolution
from torchconv.description.pooling import Pooling
from torchconv.errors import SettingError, TextError
from torchconv.language import semantics, words
from torchconv.language.parser import parse
from torchconv.language.semantics import Surroundings
from torchconv.language.words import operations
from torchconv.network import operations as ops, pooling
from torchconv.network.operations import Operation, Volume


def made(text: str, volume: str = "32x32x3", **around: object) -> Operation:
    layer = list(parse(f"INPUT - {text}").chain.layers())[1]
    return operations(layer, Surroundings(Volume.parse(volume), **around))[-1]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "volume", "convolution"),
    [
        ("CONV", "32x32x3", "3->32, 3x3, padding=1"),
        ("CONV[12, 5x5, same]", "32x32x3", "3->12, 5x5, padding=2"),
        ("CONV[12, 5]", "32x32x3", "3->12, 5x5, padding=2"),
        ("CONV[5x3, 12, valid]", "32x32x3", "3->12, 5x3"),
        ("CONV[6, 4, full]", "10x1", "1->6, 4, padding=3"),
        ("CONV[8, 9, stride=4, padding=0:4]", "96000x1", "1->8, 9, stride=4, padding=0:4"),
        ("CONV[4, stride=2]", "8x8x8x2", "2->4, 3x3x3, stride=2, padding=same"),
        ("CONV[4, 3x3, stride=2x1, padding=1, dilation=2, groups=2, bias=no]", "9x9x4",
         "4->4, 3x3, stride=2x1, padding=1, dilation=2, groups=2, bias=no"),
        ("CONV[2, 3x3, valid, connections=110/011]", "9x9x3", "3->2, 3x3, connections=110/011"),
        ("CONV[2, 3, padding=1, padding_mode=reflect, sharing=none, bias_sharing=full]", "9x1",
         "1->2, 3, padding=1, padding_mode=reflect, sharing=none, bias_sharing=full"),
        ("CONV[2, 4x4, padding=2, input_dilation=2]", "9x9x3", "3->2, 4x4, padding=2, input_dilation=2"),
        ("CONV[2, 4x4, stride=2, padding=1, transposed]", "9x9x3", "3->2, 4x4, padding=2, input_dilation=2"),
        ("CONV[2, 2, stride=2, transposed]", "9x1", "1->2, 2, padding=1, input_dilation=2"),
        ("CONV[2, 3, stride=2, padding=1, output_padding=1, transposed, bias=no]", "9x1",
         "1->2, 3, padding=1:2, input_dilation=2, bias=no"),
    ],
)  # fmt: skip
def test_conv(text: str, volume: str, convolution: str) -> None:
    found = made(text, volume)
    assert isinstance(found, ops.Convolve)
    assert found.convolution == Convolution.parse(convolution)


@pytest.mark.parametrize(
    ("text", "volume", "pool"),
    [
        ("POOL", "8x8x3", Pooling(2, ndim=2)),
        ("POOL[3x2, mean]", "8x8x3", Pooling((3, 2), statistic="mean")),
        ("POOL[3, stride=2, padding=1]", "8x1", Pooling((3,), 2, 1)),
        ("POOL[3, stride=2, same]", "8x1", Pooling((3,), 2, "same")),
        ("POOL[2, dilation=2]", "8x8x8x1", Pooling(2, dilation=2, ndim=3)),
        ("POOL[2x2, l2]", "8x8x1", Pooling(2, statistic="lp", p=2, ndim=2)),
        ("POOL[3, lp, p=1.5, stride=1]", "8x1", Pooling((3,), 1, statistic="lp", p=1.5)),
        ("POOL[3, binomial, stride=2, padding=1]", "8x1", Pooling((3,), 2, 1, statistic="weighted", weight=(1, 2, 1))),
        ("POOL[2, ceil_mode=yes]", "9x1", Pooling((2,), ceil_mode=True)),
        ("POOL[2, mean, padding=1, count_include_pad=yes]", "8x1",
         Pooling((2,), padding=1, statistic="mean", count_include_pad=True)),
    ],
)  # fmt: skip
def test_pool(text: str, volume: str, pool: Pooling) -> None:
    assert made(text, volume) == pooling.PoolWindows(pool)


def test_the_other_words() -> None:
    assert made("RELU") == ops.Activation("relu")
    assert made("NORM") == ops.Norm()
    assert made("SOFTMAX", classes=10) == ops.Softmax()
    assert made("NORM[group, groups=8, eps=1e-3]") == ops.Norm("group", 8, eps=1e-3)
    assert made("NORM[momentum=0.4]") == ops.Norm(momentum=0.4)
    assert made("GLOBALPOOL") == pooling.PoolAll("mean")
    assert made("GLOBALPOOL[max]") == pooling.PoolAll("max")
    assert made("GLOBALPOOL[lp, p=3]") == pooling.PoolAll("lp", 3.0)
    assert made("GRIDPOOL") == pooling.PoolGrid(((2, 2),))
    assert made("GRIDPOOL[1+2x3, mean]") == pooling.PoolGrid(((1, 1), (2, 3)), pooling.Summary("mean"))
    assert made("MAXOUT[3]") == pooling.PoolChannels(Pooling((3,)))
    assert made("CHANNELPOOL[3, l2, stride=1]", "4x4x8") == pooling.PoolChannels(Pooling((3,), 1, statistic="l2"))
    assert made("LEARNEDPOOL[3, stride=2, per_channel=yes]") == pooling.PoolLearned(
        Pooling(3, 2, statistic="mean", ndim=2), True
    )
    assert made("LOCAL[4, 3, valid]") == made("CONV[4, 3, valid, sharing=none]")
    assert made("TILED[4, 3, valid, period=3]") == made("CONV[4, 3, valid, sharing=3]")
    assert made("TILED[4]") == made("CONV[4, sharing=2]")
    assert made("UPSAMPLE") == ops.Upsample((2, 2), "nearest")
    assert made("UPSAMPLE[2x4, linear]") == ops.Upsample((2, 4), "linear")
    assert made("PIXELSHUFFLE", "8x8x8") == made("PIXELSHUFFLE[2]", "8x8x8") == ops.ShufflePixels(2)
    assert made("CONV[filters=12, kernel=5x3, padding=valid]") == made("CONV[12, 5x3, valid]")
    assert made("UPSAMPLE[factor=2x4, mode=linear]") == ops.Upsample((2, 4), "linear")
    assert made("UPSAMPLE[3, to=a]") == ops.Upsample((3, 3), to_size=True)
    assert made("UPSAMPLE[to=a]", coarser=(4, 2)) == ops.Upsample((4, 2), to_size=True)
    assert made("SCALE") == ops.ScaleChannels()
    assert made("GELU") == ops.Activation("gelu")
    assert made("FC[7, bias=no]") == ops.FullyConnected(7, bias=False)
    assert made("DROPOUT") == ops.Dropout(0.5)
    assert made("DROPOUT[.25]") == ops.Dropout(0.25)
    assert made("FC[7]", last=True, classes=10) == ops.FullyConnected(7)
    assert made("FC", last=True, classes=10) == ops.FullyConnected(10)
    assert made("FC", last=False, classes=10) == ops.FullyConnected(semantics.FC_OUTPUTS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CONV[4, ^3x3x3]", "got 3x3x3, expected one size for each of its 2 axes"),
        ("CONV[4, ^groups=2]", "groups: got 2, expected a divisor of in_channels=3"),
        ("DROPOUT[^1.5]", "dropout rate: got 1.5"),
        ("POOL[3, ^stride=0]", "stride: got 0"),
        ("POOL[3, ^dilation=0]", "dilation: got 0"),
        ("CONV[transposed, ^padding_mode=reflect]", "padding_mode: got with transposed"),
        ("CONV[^output_padding=1]", "output_padding: got no transposed"),
        ("CONV[^to=a]", "to: got no transposed"),
        ("CONV[transposed, to=a, ^output_padding=1]", "output_padding: got one beside to"),
        ("CONV[8, bias=no, ^bias_sharing=2]", "bias_sharing: got one with bias=no"),
        ("UPSAMPLE[^2x2x2]", "factor of UPSAMPLE on a volume 32x32x3: got 2x2x2"),
        ("NORM[group, ^groups=0]", "groups: got 0"),
        ("NORM[batch, ^groups=4]", "groups of NORM[batch]: got 4, expected none: only NORM[group] has it"),
        ("NORM[local, ^eps=0.1]", "eps of NORM[local]: got 0.1"),
        ("NORM[layer, ^momentum=0.1]", "momentum of NORM[layer]"),
        ("NORM[^eps=2]", "eps: got 2.0"),
    ],
)
def test_settings_that_cannot_be_point_at_themselves(text: str, message: str) -> None:
    with pytest.raises(SettingError) as caught:
        made(text.replace("^", ""))
    assert message in str(caught.value)
    assert f"column {len('INPUT - ') + text.index('^') + 1}:" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CONV[16, 3, 5]", "kernel twice, as 3 and as 5, expected each once. Join the sizes of the axes: 3x5."),
        ("CONV[16, same, valid]", "padding twice, as same and as valid"),
        ("CONV[16, same, padding=1]", "padding twice, as same and as padding=1"),
        ("CONV[filters=x]", "settings of CONV: got 'filters=x'"),
        ("CONV[filter=3]", "Did you mean filters?"),
        ("CONV[kernel=3, 5x5]", "kernel twice"),
        ("UPSAMPLE[to=2]", "a name: got '2'"),
        ("CONV[stride=1_0]", "got '1_0', expected an integer"),
        ("CONV[stride=+2]", "got '+2', expected an integer"),
        ("CONV[stride=\u0662]", "expected an integer"),
        ("CONV[\u0662]", "got '\u0662', expected filters"),
        ("NORM[eps=1_0]", "a number such as 0.1"),
    ],
)
def test_settings_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(TextError) as caught:
        made(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("INPUT[3x32x32]", "Write INPUT[32x32x3] for images, INPUT[size=3x32, channels=32] if that is meant."),
        ("INPUT[1x28x28]", "INPUT[28x28x1]"),
        ("INPUT[3x360x480]", "INPUT[360x480x3]"),
        ("INPUT[32x32]", "Write INPUT[32x32x1 or 32x32x3] for images, INPUT[size=32, channels=32] if that is meant."),
        ("INPUT[size=32x32]", "got size, expected size and channels"),
        ("INPUT[32x32x3, channels=3]", "expected size and channels"),
    ],
)
def test_channels_in_front_or_left_out_are_refused(text: str, meant: str) -> None:
    with pytest.raises(TextError) as caught:
        parse(f"{text} - CONV").network()
    assert meant in str(caught.value)
    assert "line 1, column" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "volume"),
    [
        ("INPUT[size=3x32, channels=32]", Volume(32, (3, 32))),
        ("INPUT[channels=32, size=32]", Volume(32, (32,))),
        ("INPUT[96000x1]", Volume(1, (96000,))),
        ("INPUT[128x64]", Volume(64, (128,))),
        ("INPUT[3x3x8]", Volume(8, (3, 3))),
        ("INPUT[32x32x32]", Volume(32, (32, 32))),
        ("INPUT[4x4]", Volume(4, (4,))),
        ("INPUT[1x16x16x1]", Volume(1, (1, 16, 16))),
    ],
)
def test_other_volumes_are_what_they_say(text: str, volume: Volume) -> None:
    assert parse(f"{text} - RELU").network().input == parse(text).input == volume


def test_a_switch_is_yes_or_no() -> None:
    with pytest.raises(TextError, match="yes or no") as caught:
        made("CONV[4, bias=maybe]")
    assert "column 17:" in str(caught.value)


def test_a_last_layer_without_classes_says_so() -> None:
    with pytest.raises(TextError, match=r"Write FC\[10\]"):
        made("FC", last=True)


def test_the_table_of_defaults_names_every_word() -> None:
    assert words.__doc__ is not None
    assert set(words.WORDS) <= set(re.findall(r"[A-Z]{2,}", words.__doc__))
