"""Networks as torch modules: names, values of the pooling at its borders, and refusals."""

from __future__ import annotations

import pickle
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

import torchconv as tc
from torchconv.errors import SettingError, ShapeError, TextError
from torchconv.language.network_module import NetworkModule, build
from torchconv.language.parser import parse
from torchconv.network.operations import Volume

TEXT = "INPUT[8x8x1] - (CONV[16, 3x3, same] - NORM - RELU)*2 - POOL[2x2, max] - DROPOUT - FC[10] - SOFTMAX"


def test_children_carry_the_names_of_the_nodes() -> None:
    model = build(TEXT)
    assert list(model.state_dict())[:2] == ["conv1.weight", "conv1.bias"]
    assert model.state_dict()["fc1.weight"].shape == (10, 256)
    assert sum(parameter.numel() for parameter in model.parameters()) == model.network.parameters
    assert [name for name, _ in model.named_children()] == [node.name for node in model.network.nodes[1:]]


def test_it_is_what_torch_itself_computes() -> None:
    torch.manual_seed(0)
    model = build("INPUT[9x9x2] - CONV[3, 3x3, stride=2] - RELU - POOL[2] - FC[4] - SOFTMAX").eval()
    x = torch.randn(5, 2, 9, 9)
    state = model.state_dict()
    y = torch.conv2d(x, state["conv1.weight"], state["conv1.bias"], stride=2, padding=1).relu()
    y = torch.max_pool2d(y, 2).flatten(1) @ state["fc1.weight"].T + state["fc1.bias"]
    torch.testing.assert_close(model.scores(x), y)
    torch.testing.assert_close(model(x), y.softmax(1))


def test_without_softmax_scores_are_all() -> None:
    model = build("INPUT - CONV[4] - FC", input=(3, 8, 8), classes=2)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(model(x), model.scores(x))
    assert model(x).shape == (2, 2)


@pytest.mark.parametrize(
    "text", ["INPUT[40x2]-CONV[3]-NORM-POOL-FC", "INPUT[6x6x6x1]-CONV[2]-NORM-POOL[mean]-FC", "INPUT[5]-FC"]
)
def test_every_rank_trains(text: str) -> None:
    model = build(text, classes=3)
    volume = model.network.input
    torch.nn.functional.cross_entropy(
        model.scores(torch.randn(4, volume.channels, *volume.size)), torch.arange(4) % 3
    ).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_texts_architectures_and_networks_build_alike() -> None:
    architecture = parse("INPUT-(CONV[2])*N-FC")
    bound = architecture.bind(N=2)
    keys = [list(build(what).state_dict()) for what in (bound, bound.network(Volume(3, (32, 32)), 10))]
    assert keys[0] == keys[1] == list(tc.build("INPUT-(CONV[2])*N-FC", N=2).state_dict())


def test_modules_can_be_pickled() -> None:
    model = build(TEXT).eval()
    x = torch.randn(1, 1, 8, 8)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), model(x))


def test_refusals() -> None:
    with pytest.raises(ShapeError, match="input: got"):
        build(TEXT)(torch.randn(1, 3, 8, 8))
    with pytest.raises(TextError, match="CONVV"):
        build("INPUT - CONVV")
    with pytest.raises(SettingError, match="binding"):
        build("INPUT - FC", N=2)
    with pytest.raises(SettingError, match="none with a network"):
        build(build(TEXT).network, N=2)
    with pytest.raises(ShapeError, match="fits into memory"):
        build("INPUT[99999x99999x999] - FC[99999]")


def test_branches_skips_and_up_sampling_compute_what_torch_does() -> None:
    torch.manual_seed(0)
    text = """INPUT[6x7x2] - MARK[a] - CONV[3] - SUM(IDENTITY | CONV[3, 1x1] - TANH)
        - POOL - UPSAMPLE[2, linear] - CONCAT[crop](IDENTITY | FROM[a]) - SCALE - GLOBALPOOL[max] - FC[4, bias=no]"""
    model = build(text).eval()
    x = torch.randn(5, 2, 6, 7)
    with torch.no_grad():
        model.scale1.weight.copy_(torch.randn(5))
        y = model.conv1(x)
        y = y + model.conv2(y).tanh()
        y = torch.nn.functional.interpolate(torch.max_pool2d(y, 2), scale_factor=2, mode="bilinear")
        y = torch.cat([y, x[..., :6]], 1) * model.scale1.weight[:, None, None]
        torch.testing.assert_close(model(x), y.amax((2, 3)) @ model.fc1.weight.T)
    assert sum(parameter.numel() for parameter in model.parameters()) == model.network.parameters


@pytest.mark.parametrize("kind", ["batch", "layer", "instance", "group, groups=2", "local"])
def test_norms(kind: str) -> None:
    model = build(f"INPUT[6x7x4] - NORM[{kind}]").train()
    y = model(torch.randn(3, 4, 6, 7) * 5 + 2)
    axes = {"batch": (0, 2, 3), "layer": (1, 2, 3), "instance": (2, 3)}.get(kind)
    if axes:
        torch.testing.assert_close(y.mean(axes), torch.zeros_like(y.mean(axes)), atol=1e-5, rtol=0)
        torch.testing.assert_close(y.var(axes, correction=0), torch.ones_like(y.mean(axes)), atol=1e-3, rtol=0)
    assert y.shape == (3, 4, 6, 7)
    assert sum(parameter.numel() for parameter in model.parameters()) == model.network.parameters


def test_a_transposed_convolution_is_torchs() -> None:
    model = build("INPUT[5x6x3] - CONV[4, 4x3, stride=2x3, padding=1x0, output_padding=0x1, transposed, bias=no]")
    weight = model.conv1.weight.flip(2, 3).transpose(0, 1)
    x = torch.randn(2, 3, 5, 6)
    y = torch.conv_transpose2d(x, weight, None, (2, 3), (1, 0), (0, 1))
    torch.testing.assert_close(model(x), y, atol=1e-5, rtol=1e-5)
    assert build("INPUT[5x6x3] - CONV[4, stride=2, transposed]").network.output == Volume(4, (10, 12))


def test_weights_before_a_rectifier_are_those_of_he() -> None:
    torch.manual_seed(0)
    model = build("INPUT[8x8x16] - CONV[64] - RELU - CONV[64] - NORM - RELU - CONV[64] - TANH - FC[200] - RELU - FC")
    stds = {
        name: float(value.detach().std()) * value[0].numel() ** 0.5
        for name, value in model.named_parameters()
        if value.dim() > 1
    }
    usual, he = 3**-0.5, 2**0.5
    expected = {"conv1": he, "conv2": usual, "conv3": usual, "fc1": he, "fc2": usual}
    assert stds == {f"{name}.weight": pytest.approx(value, rel=0.05) for name, value in expected.items()}


def test_weights_are_made_larger_once_and_never_for_another_pass() -> None:
    torch.manual_seed(0)
    text = "INPUT[8x8x16] - CONV[64] - MARK[a] - RELU - SUM(IDENTITY | FROM[a] - RELU) - RECUR(CONV[64])[n=3] - RELU"
    model = build(f"{text} - RECUR(CONV[64] - RELU)[n=2]")
    stds = [float(value.detach().std()) * value[0].numel() ** 0.5 for value in model.parameters() if value.dim() > 1]
    assert stds == [pytest.approx(value, rel=0.05) for value in (2**0.5, 3**-0.5, 2**0.5)]


@pytest.mark.parametrize("text", ["UPSAMPLE[100000000] - FC", "CONV[8, padding=1099511627776] - FC"])
def test_what_fits_into_no_memory_is_refused(text: str) -> None:
    with pytest.raises(ShapeError, match="one that fits into memory"):
        build(text)


@pytest.mark.parametrize("volume", [(), 3, "abc"])
def test_a_volume_that_is_none_is_refused(volume: Any) -> None:
    with pytest.raises(SettingError, match="input"):
        build("CONV - FC", input=volume)


def test_norms_over_places_or_neighbours_need_axes() -> None:
    for kind in ("instance", "local"):
        with pytest.raises(ShapeError, match=rf"NORM\[{kind}\]"):
            build(f"INPUT[9x9x3] - GLOBALPOOL - NORM[{kind}]")


def test_a_binding_is_one_number() -> None:
    with pytest.raises(SettingError, match="N: got tensor"):
        parse("(CONV)*N - FC").bind(N=torch.tensor([1, 2]))


def test_what_the_caller_says_wins_or_is_refused() -> None:
    text = "INPUT[32x32x3] - CONV[4] - GLOBALPOOL - FC[7]"
    assert build(text).network.input == Volume(3, (32, 32))
    assert build(text, input=(1, 28, 28)).network.input == Volume(1, (28, 28))
    assert build(build(text, input=(3, 8, 8)).network, input=(3, 16, 16)).network.input == Volume(3, (16, 16))
    assert build(text, classes=7)(torch.zeros(1, 3, 32, 32)).shape == (1, 7)
    assert build(text, classes=5)(torch.zeros(1, 3, 32, 32)).shape == (1, 5)
    with pytest.raises(SettingError, match=r"classes: got 5, expected 7, which fc1 gives\. Give the text"):
        build(build(text).network, classes=5)


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("CONV[16] - CONV[7, 1x1]", 7),
        ("CONV[16] - CONV[7, 1x1] - SOFTMAX", 7),
        ("CONV[7] - GLOBALPOOL - SOFTMAX", 7),
        ("CONV[7] - UPSAMPLE[linear] - MARK[a]", 7),
        ("CONV[7] - POOL - RELU", 7),
        ("POOL - LOCAL[7] - SIGMOID", 7),
        ("CONV - RELU - SOFTMAX", 10),
        ("CONV - RELU - FC", 10),
        ("FC - RELU", 128),
        ("(CONV[7] - RELU)*3 - DROPOUT", 7),
        ("MARK[a] - SUM(CONV[7] - NORM | FROM[a] - CONV[7, 1x1])", 7),
        ("MARK[a] - POOL - CONV[7, 4x4, stride=2, padding=1, transposed, to=a] - SOFTMAX", 7),
        ("CONV[classes, 1x1] - RELU - CONV[8] - CONV[classes, 1x1]", 10),
    ],
)
def test_classes_are_the_outputs_of_the_last_layer(text: str, own: int) -> None:
    assert build(text).network.output.channels == own
    network = build(text, classes=5).network
    assert network.output.channels == 5
    assert len(network.nodes) == len(build(text).network.nodes)


def test_only_the_last_layer_takes_the_classes() -> None:
    channels = [row.volume.channels for row in build("(CONV[7] - RELU)*3 - DROPOUT", classes=5).network.rows]
    assert channels == [3, 7, 7, 7, 7, 5, 5, 5]
    shapes = [tuple(one.shape) for one in build("FC[9] - TANH - FC[8] - SOFTMAX", classes=5).parameters()]
    assert shapes == [(9, 3072), (9,), (5, 9), (5,)]


@pytest.mark.parametrize(
    "text", ["CONV[7] - CONCAT(CONV | CONV)", "CONV[12] - PIXELSHUFFLE", "MARK[a] - CONV - CONCAT(FROM[a] | IDENTITY)"]
)
def test_classes_that_no_layer_sets_are_refused(text: str) -> None:
    with pytest.raises(
        SettingError, match=r"classes: got 5, expected \d+, which .* gives\. End the text with FC or CONV"
    ):
        build(text, classes=5)


def test_filters_wait_for_the_classes() -> None:
    with pytest.raises(TextError, match=r"filters: got classes, expected their number"):
        parse("CONV[classes]").network(Volume(3, (8, 8)))
    assert str(parse("CONV[classes, 3x3]")) == "CONV[classes, 3x3]"


SIZES = {1: [(37,), (50,), (16,)], 2: [(37, 52), (16, 33), (41, 17)], 3: [(9, 12, 7), (8, 8, 8), (7, 7, 9)]}
ANY_SIZE = [
    "CONV[4] - NORM - RELU - POOL - CONV[4, stride=2] - GLOBALPOOL - FC[3]",
    "CONV[4, stride=2, transposed] - POOL[3, stride=2, same] - TILED[2]",
    "MARK[a] - POOL - CONV[4] - UPSAMPLE[to=a] - CONCAT(FROM[a] | IDENTITY) - CONV[2]",
    "MARK[a] - POOL[same] - MARK[b] - POOL[same] - CONV[4] - UPSAMPLE[to=b, linear] - CONCAT(FROM[b] | IDENTITY)",
    "MARK[a] - CONV[3, stride=2] - RELU - CONV[3, stride=2] - UPSAMPLE[to=a, linear]",
    "MARK[a] - POOL - CONV[4, 2, stride=2, valid, transposed, to=a] - SUM(FROM[a] - CONV[4] | IDENTITY)",
    "MARK[a] - CONV[4, 3, valid] - POOL - UPSAMPLE - CONCAT[crop](FROM[a] | IDENTITY)",
    "MARK[a] - CONV[3, valid] - CONV[3, valid] - SUM[crop, low=2](FROM[a] - CONV[3] | IDENTITY)",
    "MARK[a] - CONV[3, valid] - MARK[b] - FROM[a] - CONV[2] - CROP[to=b] - CONCAT(FROM[b] | IDENTITY)",
    "CONV[3] - GRIDPOOL[2, mean] - FC[4]",
    "MARK[a] - RECUR(CONCAT(IDENTITY | FROM[a]) - CONV[3] - POOL - RELU - UPSAMPLE[to=a])[zeros]",
    "MARK[a] - CONV[2, 3, valid] - RECUR(CONV[2, 3, valid])[n=2] - CONCAT[crop](IDENTITY | FROM[a] | FROM[a])",
]


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("text", ANY_SIZE)
def test_a_built_network_takes_every_size_its_layers_can_take(text: str, ndim: int) -> None:
    model = build(text, input=(2, *(32, 24, 16)[:ndim])).eval()
    for size in SIZES[ndim]:
        volume = model.network.on(Volume(2, size)).output
        with torch.no_grad():
            y = model(torch.randn(2, 2, *size))
        assert tuple(y.shape) == (2, volume.channels, *volume.size)
        again = build(text, input=(2, *size)).eval()
        again.load_state_dict(model.state_dict())
        assert tc.inspect(model, (2, *size)).to_dict()["rows"] == tc.inspect(again).to_dict()["rows"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("CONV[4] - POOL - FC[3]", r"input 11x9x2, at layer fc1: got 5x4x4, expected 4x4x4, as on an input 8x8x2"),
        ("POOL - LOCAL[3]", r"at layer conv1: got 5x4x2, expected 4x4x2.*Build the network for this input"),
        ("POOL - CONV[3, bias_sharing=none]", r"at layer conv1: got 5x4x2"),
        ("(POOL)*3 - UPSAMPLE[8] - CONV[5, 9x9, valid]", r"layer conv1 on a volume 8x8x2.*the window is larger"),
        (
            "MARK[a] - POOL - UPSAMPLE - CONCAT(FROM[a] | IDENTITY)",
            r"concat1 on volumes 11x9x2, 10x8x2.*UPSAMPLE\[to=a\]",
        ),
        ("MARK[a] - POOL - UPSAMPLE[3, to=a]", r"upsample1 on volumes 4x4x2, 8x8x2.*factor of 3: got 8"),
    ],
)
def test_sizes_that_a_layer_cannot_take_name_it(text: str, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        build(text, input=(2, 8, 8))(torch.zeros(1, 2, 11, 9))


def test_an_input_of_another_kind_is_refused() -> None:
    model = build("RELU - NORM", input=(2, 8, 8))
    for shape in [(2, 8, 8), (1, 3, 8, 8), (1, 2, 8, 8, 8), (1, 2, 0, 8)]:
        with pytest.raises(ShapeError, match=r"input: got .*, expected \(batch, 2, height, width\)"):
            model(torch.zeros(shape))


def test_up_sampling_to_a_size_goes_on_with_the_last_value() -> None:
    model = build("INPUT[7x1] - MARK[a] - POOL - POOL - UPSAMPLE[to=a]")
    assert model.network.nodes[-1].operation.factors == (4,)
    assert model(torch.arange(7.0).view(1, 1, 7)).flatten().tolist() == [3] * 7
    assert model(torch.arange(10.0).view(1, 1, 10)).flatten().tolist() == [3] * 4 + [7] * 6
    model = build("INPUT[7x1] - MARK[a] - POOL[same] - POOL[same] - UPSAMPLE[to=a]")
    assert model(torch.arange(6.0).view(1, 1, 6)).flatten().tolist() == [3, 3, 3, 3, 5, 5]
    x = torch.randn(1, 1, 9, 12)
    linear = build("INPUT[8x8x1] - MARK[a] - POOL - UPSAMPLE[to=a, linear]")(x)
    halved = torch.max_pool2d(x, 2)
    larger = torch.nn.functional.interpolate(
        torch.nn.functional.pad(halved, (0, 0, 0, 1), mode="replicate"), scale_factor=2.0, mode="bilinear"
    )
    torch.testing.assert_close(linear, larger[:, :, :9])


@pytest.mark.parametrize("factor", [1, 2, 3, 7, 41, 47, 55, 83])
def test_every_value_is_repeated_as_often(factor: int) -> None:
    """torch's own mode "nearest" repeats values 42 and 40 times in turn where it should 41 times."""
    x = torch.arange(9.0).view(1, 1, 9)
    for text in (
        f"INPUT[9x1] - UPSAMPLE[{factor}]",
        f"INPUT[9x1] - MARK[a] - POOL[1, stride={factor}] - UPSAMPLE[{factor}, to=a]",
    ):
        model = build(text)
        y = model(x) if "to" not in text else build(text)(torch.arange(9.0 * factor).view(1, 1, -1)) / factor
        assert torch.equal(y, x.repeat_interleave(factor, 2))


def test_a_transposed_convolution_meets_a_size_as_torchs_output_size_does() -> None:
    model = build(
        "INPUT[8x9x2] - MARK[a] - CONV[2, stride=2x3] - CONV[3, 4x5, stride=2x3, padding=1, transposed, to=a, bias=no]"
    )
    layer = torch.nn.ConvTranspose2d(2, 3, (4, 5), (2, 3), 1, bias=False)
    layer.weight.data = model.conv2.weight.detach().flip(2, 3).transpose(0, 1)
    for size in [(8, 9), (7, 8), (9, 7)]:
        x = torch.randn(1, 2, *size)
        rounded_up = [-(-length // step) * step for length, step in zip(size, (2, 3), strict=True)]
        expected = layer(model.conv1(x), output_size=rounded_up)
        torch.testing.assert_close(model(x), expected[:, :, : size[0], : size[1]], atol=1e-5, rtol=1e-5)


SHUFFLED = "INPUT[6x7x2] - CONV[12, 3x3] - PIXELSHUFFLE - CONV[5, 3x3, valid]"


def test_depth_to_space_is_torchs() -> None:
    model = build(SHUFFLED).eval()
    x = torch.randn(2, 2, 6, 7)
    y = torch.nn.functional.pixel_shuffle(model.conv1(x), 2)
    torch.testing.assert_close(model(x), model.conv2(y))
    assert str(model.pixelshuffle1) == "PixelShuffle(upscale_factor=2)"
    line = build("INPUT[5x6] - PIXELSHUFFLE[3]").eval()
    assert line(torch.arange(30.0).view(1, 6, 5))[0, :, :4].tolist() == [[0, 5, 10, 1], [15, 20, 25, 16]]
    solid = build("INPUT[2x3x4x16] - PIXELSHUFFLE").eval()
    x = torch.randn(2, 16, 2, 3, 4)
    assert solid(x)[0, 1, 3, 2, 5] == x[0, 8 + 4 + 1, 1, 1, 2]
    with pytest.raises(
        ShapeError, match=r"pixelshuffle1 on a volume 6x7x2: PIXELSHUFFLE\[2\].*a multiple of 4 channels"
    ):
        build("INPUT[6x7x2] - PIXELSHUFFLE - FC")
    with pytest.raises(ShapeError, match="expected axes and channels"):
        build("INPUT[6x7x2] - FC[4] - PIXELSHUFFLE")


def test_depth_to_space_is_inspected_traced_and_drawn() -> None:
    model = build(SHUFFLED)
    traced = torch.nn.Sequential(*model.children())
    report, again = tc.inspect(SHUFFLED), tc.inspect(traced, (2, 6, 7))
    assert [(row.operation, row.volume, row.equivariant) for row in report.rows[1:]] == [
        ("conv", "6x7x12", "yes"),
        ("pixelshuffle", "12x14x3", "yes"),
        ("conv", "10x12x5", "yes"),
    ]
    shown = [(row.operation, row.volume, row.parameters, row.macs, row.equivariant, row.field) for row in report.rows]
    assert [(r.operation, r.volume, r.parameters, r.macs, r.equivariant, r.field) for r in again.rows] == shown
    fields = tc.receptive_field(SHUFFLED), tc.receptive_field(traced, (2, 6, 7))
    assert fields[0].stride == fields[1].stride == (Fraction(1, 2),) * 2
    for place in np.ndindex(10, 12):
        assert tuple(fields[0].of(place)) == tuple(fields[1].of(place))
    assert "pixelshuffle1" in tc.draw_network(SHUFFLED).svg


RECURRENT = (
    "INPUT[9x11x3] - MARK[image] - RECUR(CONCAT(IDENTITY | FROM[image]) - CONV[8] - TANH - CONV[4, 1x1])[n=3, zeros]"
)


def refined(model: NetworkModule, x: torch.Tensor, passes: int) -> torch.Tensor:
    """The passes written out."""
    y = torch.zeros(len(x), 4, *x.shape[2:], dtype=x.dtype)
    for _ in range(passes):
        y = model.conv2(model.conv1(torch.cat([y, x], 1)).tanh())
    return y


def test_a_recurrence_applies_the_same_layers_again() -> None:
    model = build(f"{RECURRENT} - SOFTMAX").double()
    assert list(model.state_dict()) == ["conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias"]
    assert sum(one.numel() for one in model.parameters()) == model.network.parameters
    x = torch.randn(2, 3, 9, 11, dtype=torch.double)
    torch.testing.assert_close(model(x), refined(model, x, 3).softmax(1))
    torch.testing.assert_close(model.scores(x, passes=5), refined(model, x, 5))
    larger = torch.randn(1, 3, 14, 8, dtype=torch.double)
    torch.testing.assert_close(model(larger, passes=1), refined(model, larger, 1).softmax(1))


def test_gradients_add_up_over_the_passes() -> None:
    model = build(RECURRENT).double()
    x = torch.randn(2, 3, 9, 11, dtype=torch.double)
    (model(x) ** 2).sum().backward()
    found = [one.grad.clone() for one in model.parameters() if one.grad is not None]
    model.zero_grad()
    (refined(model, x, 3) ** 2).sum().backward()
    for one, parameter in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad)
    three = [float(one.abs().sum()) for one in found]
    model.zero_grad()
    (model(x, passes=1) ** 2).sum().backward()
    assert all(
        float(one.grad.abs().sum()) != total
        for one, total in zip(model.parameters(), three, strict=True)
        if one.grad is not None
    )


def test_the_number_of_passes_may_be_set() -> None:
    model = build(RECURRENT)
    x = torch.randn(1, 3, 9, 11)
    assert (model.passes, build("CONV").passes) == (3, None)
    model.passes = 5
    assert model.passes == 5
    torch.testing.assert_close(model(x), refined(model, x, 5))
    again = pickle.loads(pickle.dumps(model))
    torch.testing.assert_close(again(x), model(x))
    assert model.network == build(RECURRENT.replace("n=3", "n=5")).network
    assert tc.inspect(model).total_macs == 5 * build(RECURRENT.replace("n=3", "n=1")).network.macs
    assert tc.receptive_field(model).size == (11, 11)
    for wrong in (0, True, 1.5):
        with pytest.raises(SettingError, match="passes: got"):
            model(x, passes=wrong)
        with pytest.raises(SettingError, match="passes: got"):
            model.passes = wrong
    with pytest.raises(SettingError, match="the network has no RECUR"):
        build("CONV", input=(3, 9, 11))(x, passes=2)


def test_passes_that_shrink_the_image_name_the_layer() -> None:
    model = build("INPUT[20x1] - RECUR(CONV[1, 5, valid] - RELU)[n=2] - CONV[2]")
    assert model(torch.randn(1, 1, 20), passes=4).shape == (1, 2, 4)
    with pytest.raises(ShapeError, match=r"layer conv1_5 on a volume 4x1.*at least 5"):
        model(torch.randn(1, 1, 20), passes=5)


def test_nested_recurrences_and_marks_inside_them() -> None:
    inner = "RECUR(SUM(IDENTITY | CONV[2, 1]) - RELU)[2]"
    model = build(f"INPUT[12x2] - RECUR(CONV[2] - MARK[m] - {inner})[3] - CONCAT(FROM[m] | IDENTITY)")
    x = y = torch.randn(2, 2, 12)
    for _ in range(3):
        y = mark = model.conv1(y)
        for _ in range(2):
            y = (y + model.conv2(y)).relu()
    torch.testing.assert_close(model(x), torch.cat([mark, y], 1))
    assert model.network.output == Volume(4, (12,))


def test_a_recurrence_in_a_classifier_trains_and_is_drawn() -> None:
    model = build("CONV[8] - RECUR(CONV[8, bias=no] - NORM - RELU)[n=4] - GLOBALPOOL - FC[3]", input=(3, 12, 12))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    images, target = torch.randn(8, 3, 12, 12), torch.arange(8) % 3
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert "fc1" in tc.draw_network(model).svg
    traced = tc.inspect(torch.nn.Sequential(model), (3, 12, 12))
    own = tc.inspect(model)
    assert (traced.total_parameters, traced.total_macs) == (own.total_parameters, own.total_macs)
