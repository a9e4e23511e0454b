"""The layers: torch.nn's arguments, keys and numbers, and what torch.nn lacks."""

import copy
import inspect
import pickle
import warnings

import numpy as np
import pytest
import torch

import torchconv as tc
from test_convolution import TABLE
from torchconv.compute.planning.choose import takes_first
from torchconv.errors import SettingError, ShapeError

ORDINARY = [
    ((4, 6, 3), {}),
    ((4, 6, 3, 2, 1), {"groups": 2}),
    ((4, 4, 3), {"groups": 4, "bias": False}),
    ((4, 6, 4, 2), {"padding": 2, "dilation": 2}),
]


@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize(("arguments", "settings"), ORDINARY)
def test_torchs_layers_from_the_same_seed(kind, ndim, arguments, settings):
    name = f"{kind}{ndim}d"
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(*arguments, **settings)
    torch.manual_seed(0)
    ours = getattr(tc.nn, name)(*arguments, **settings)
    assert {k: v.tolist() for k, v in ours.state_dict().items()} == {
        k: v.tolist() for k, v in theirs.state_dict().items()
    }
    x = torch.randn(2, 4, *(9,) * ndim)
    if takes_first(ours.convolution):
        assert torch.equal(ours(x), theirs(x))
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours(x[0]), theirs(x[0]))
    for attribute in ("in_channels", "out_channels", "kernel_size", "stride", "dilation", "groups", "padding_mode"):
        assert getattr(ours, attribute) == getattr(theirs, attribute), attribute
    ours.load_state_dict(getattr(torch.nn, name)(*arguments, **settings).state_dict())
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_modes_and_words(mode):
    theirs = torch.nn.Conv2d(3, 4, 5, padding="same", padding_mode=mode, dilation=(1, 2))
    ours = tc.nn.Conv2d(3, 4, 5, padding="same", padding_mode=mode, dilation=(1, 2))
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 3, 12, 12)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize(
    "settings", [{"padding": 1}, {"padding": 4}, {"padding": 1, "output_padding": 1}, {"dilation": 3}]
)
@pytest.mark.parametrize("stride", [2, 3, (3, 2)])
@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_layers_are_torchs(settings, stride, groups):
    theirs = torch.nn.ConvTranspose2d(4, 6, (3, 4), stride, groups=groups, **settings)
    ours = tc.nn.ConvTranspose2d(4, 6, (3, 4), stride, groups=groups, **settings)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 4, 5, 6)
    torch.testing.assert_close(ours(x), theirs(x))
    wanted = [size + 1 for size in theirs(x).shape[2:]]
    if "output_padding" not in settings:
        torch.testing.assert_close(ours(x, wanted), theirs(x, wanted))
    with pytest.raises(ShapeError, match="output_size"):
        ours(x, [size + 9 for size in wanted])


def test_a_transposed_layer_is_the_adjoint():
    for sharing in ("full", 2, "none"):
        conv = tc.Convolution(3, 5, (3, 3), stride=2, padding=1, bias=False)
        up = tc.nn.ConvTranspose2d(
            5, 3, 3, stride=2, padding=1, bias=False, sharing=sharing, input_size=(4, 4)
        ).double()
        x = torch.randn(1, 5, 4, 4, dtype=torch.float64)
        if sharing == "full":
            expected = tc.conv_input_grad((1, 3, 7, 7), up.weight, x, stride=2, padding=1)
            torch.testing.assert_close(up(x), expected)
        assert up(x).shape == (1, 3, 7, 7)
        assert conv.output_size((7, 7)) == (4, 4)


def test_transposed_same_multiplies_the_size():
    for kernel in (1, 2, 3, 5):
        assert tc.nn.ConvTranspose1d(1, 1, kernel, stride=3, padding="same")(torch.zeros(1, 1, 5)).shape[-1] == 15


def test_lenets_c3_is_one_line():
    layer = tc.nn.Conv2d(6, 16, 5, connections=TABLE)
    assert sum(parameter.numel() for parameter in layer.parameters()) == 1_516
    x = torch.randn(2, 6, 14, 14)
    dense = torch.zeros(16, 6, 5, 5)
    dense[torch.from_numpy(TABLE)] = layer.weight.detach()
    torch.testing.assert_close(layer(x), torch.nn.functional.conv2d(x, dense, layer.bias))


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_locally_connected_layers(ndim):
    layer = getattr(tc.nn, f"LocallyConnected{ndim}d")(2, 3, 3, padding=1)
    assert "sharing=none" in repr(layer)
    x = torch.randn(2, 2, *(4,) * ndim)
    y = layer(x)
    assert layer.weight.shape == (*(4,) * ndim, 3, 2, *(3,) * ndim)
    fresh = getattr(tc.nn, f"LocallyConnected{ndim}d")(2, 3, 3, padding=1)
    fresh.load_state_dict(layer.state_dict())
    assert torch.equal(fresh(x), y)
    same = getattr(tc.nn, f"LocallyConnected{ndim}d")(2, 3, 3, padding=1, input_size=(4,) * ndim)
    assert {k: v.shape for k, v in same.state_dict().items()} == {k: v.shape for k, v in layer.state_dict().items()}
    with pytest.raises(ShapeError, match="weight"):
        layer(torch.randn(2, 2, *(6,) * ndim))


def test_a_waiting_layer_saves_moves_and_copies():
    layer = tc.nn.LocallyConnected1d(1, 2, 3)
    waiting = copy.deepcopy(layer).double()
    assert waiting(torch.randn(1, 1, 8, dtype=torch.float64)).dtype == torch.float64
    layer.load_state_dict(tc.nn.LocallyConnected1d(1, 2, 3).state_dict())
    assert layer(torch.randn(1, 1, 8)).shape == (1, 2, 6)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_tiled_layers(ndim):
    layer = getattr(tc.nn, f"TiledConv{ndim}d")(2, 3, 3, padding=1, period=2).double()
    x = torch.randn(1, 2, *(5,) * ndim, dtype=torch.float64)
    y = layer(x)
    for phase in np.ndindex(*(2,) * ndim):
        weight, bias = layer.weight[phase], layer.bias[phase]
        shared = tc.conv(x, weight, bias, padding=1)
        here = (..., *(slice(start, None, 2) for start in phase))
        torch.testing.assert_close(y[here], shared[here])


def test_initial_numbers_of_a_table_follow_what_each_output_reads():
    table = np.zeros((2, 64), dtype=bool)
    table[0, 0] = table[1] = True
    layer = tc.nn.Conv1d(64, 2, 4, connections=table)
    assert 0.1 < layer.weight[0].abs().max() <= 1 / np.sqrt(1 * 4)
    assert layer.weight[1:].abs().max() <= 1 / np.sqrt(64 * 4)


def test_copies_and_pickles():
    x = torch.randn(1, 3, 6, 6)
    for layer in (
        tc.nn.Conv2d(3, 4, 3),
        tc.nn.TiledConv2d(3, 4, 3, period=2),
        tc.nn.ConvTranspose2d(3, 4, 3, stride=2),
    ):
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert torch.equal(other(x), layer(x))
            assert repr(other) == repr(layer)


def test_refusals():
    with pytest.raises(SettingError, match=r"padding_mode.*reflect.*zeros"):
        tc.nn.ConvTranspose2d(1, 1, 3, padding_mode="reflect")
    with pytest.raises(ShapeError, match="output_padding"):
        tc.nn.ConvTranspose2d(1, 1, 3, output_padding=(1, 2, 3))
    with pytest.raises(SettingError, match="algorithm"):
        tc.nn.Conv2d(1, 1, 3, algorithm="best")
    with pytest.raises(ShapeError, match="batch, 3"):
        tc.nn.Conv2d(3, 4, 3)(torch.zeros(1, 4, 8, 8))


SETTINGS = {"bias_sharing", "connections", "input_size", "algorithm", "precision", "workspace"}


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("name", ["Conv", "LocallyConnected", "TiledConv"])
def test_arguments_are_torchs_and_then_ours(name, ndim):
    own = inspect.signature(getattr(tc.nn, f"{name}{ndim}d"))
    theirs = inspect.signature(getattr(torch.nn, f"Conv{ndim}d"))
    kinds = [(one.name, one.default) for one in own.parameters.values() if one.kind is one.POSITIONAL_OR_KEYWORD]
    assert kinds == [(one.name, one.default) for one in theirs.parameters.values()]
    rest = {one.name for one in own.parameters.values() if one.kind is one.KEYWORD_ONLY}
    assert rest == SETTINGS | {"Conv": {"sharing"}, "TiledConv": {"period"}}.get(name, set())


@pytest.mark.parametrize(("name", "sharing"), [("LocallyConnected2d", "none"), ("TiledConv2d", 2)])
def test_every_option_of_another_sharing_is_passed_on(name, sharing):
    places = (4, 2, (3, 2), 2, (1, 0), (1, 2), 2, True, "circular", "cpu", torch.float64)
    options = {"bias_sharing": "full", "input_size": (9, 8), "algorithm": "patches", "precision": "fast"}
    period = {"period": sharing} if name == "TiledConv2d" else {}
    layer = getattr(tc.nn, name)(*places, **options, workspace=2**20, **period)
    expected = tc.nn.Conv2d(*places, **options, workspace=2**20, sharing=sharing)
    assert layer.convolution == expected.convolution
    assert (layer.algorithm, layer.precision, layer.workspace) == ("patches", "fast", 2**20)
    assert layer.input_size == (9, 8)
    assert layer.weight.dtype == torch.float64
    table = [[True, False], [True, True]]
    layer = getattr(tc.nn, name)(2, 2, 3, bias=False, connections=table, input_size=8, **period)
    assert layer.convolution == tc.nn.Conv2d(2, 2, 3, bias=False, connections=table, sharing=sharing).convolution


@pytest.mark.parametrize(
    "layer",
    [
        tc.nn.Conv2d(3, 3, 7, padding=3, groups=3),
        tc.nn.Conv2d(3, 3, 3, padding="same"),
        tc.nn.ConvTranspose2d(3, 2, 3, stride=2),
        *(tc.nn.Pool2d(3, padding=1, statistic=one) for one in ("max", "mean", "l2")),
        tc.nn.Pool2d(2, statistic="weighted", weight="binomial"),
        tc.nn.LearnedPool2d(3, padding=1),
        tc.nn.Maxout(3),
        tc.nn.GridPool2d(3, "l2"),
    ],
    ids=str,
)
def test_traced_by_torch_jit(layer):
    x, other = torch.randn(2, 3, 8, 8), torch.randn(3, 3, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(layer, x)
    torch.testing.assert_close(traced(other), layer(other))


@pytest.mark.parametrize(
    "layer", [tc.nn.LocallyConnected2d(3, 2, 3, input_size=8), tc.nn.TiledConv2d(3, 2, 3, period=2)], ids=str
)
def test_what_torch_jit_cannot_follow_is_said(layer):
    with pytest.raises(tc.TorchconvError, match=r"torch.jit.trace of convolution 3->2.*Use torch.export.export"):
        torch.jit.trace(layer, torch.randn(2, 3, 8, 8))
