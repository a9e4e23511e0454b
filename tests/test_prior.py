"""The ladder of priors: widening changes nothing, narrowing is the orthogonal projection, the penalty lies between."""

from __future__ import annotations

import copy
import pickle
from math import inf, prod, sqrt

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings, strategies as st
from torch.autograd import gradcheck
from torch.nn.utils.parametrizations import weight_norm

import torchconv as tc
from laws import problems
from torchconv.compute import layouts
from torchconv.description.connections import Connections
from torchconv.description.convolution import Convolution
from torchconv.description.matrix import joined
from torchconv.description.sharing import Sharing
from torchconv.errors import SettingError, ShapeError
from torchconv.nn import Conv, Conv2d, ConvTranspose2d, Dense, LocallyConnected1d, LocallyConnected2d, TiledConv2d

WIDER = st.sampled_from([2, 4, "none", "dense"])
SHARINGS = st.sampled_from(["full", 2, 3, "none"])


def shared(conv, sharing, bias=True, bias_sharing=None):
    wanted = Sharing.of(sharing, conv.ndim)
    biases = wanted if bias_sharing is None else Sharing.of(bias_sharing, conv.ndim)
    return Convolution.of_parts(conv.channels, conv.axes, wanted, bias, biases)


def layer_of(conv, size, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    layer = Conv.of(conv, size, dtype=dtype)
    with torch.no_grad():
        for values in layer.parameters():
            values.normal_()
    return layer


def affine(layer, size):
    """The layer as one matrix, its bias in the last column, built from the description and not from the projections."""
    conv = layer.convolution if isinstance(layer, Conv) else None
    if conv is None:
        matrix, bias = layer.weight.detach().numpy(), layer.bias
        return np.column_stack([matrix, np.zeros(len(matrix)) if bias is None else bias.detach().numpy()])
    matrix = conv.matrix(layouts.plain(layer.weight, layer.layout, conv), size).toarray()
    places = conv.output_size(size)
    if layer.bias is None:
        return np.column_stack([matrix, np.zeros(len(matrix))])
    spread = layouts.spread_bias(layer.bias.detach(), conv.bias_sharing, places).expand(-1, *places)
    return np.column_stack([matrix, spread.reshape(-1).numpy()])


def basis(conv, size):
    """The affine map of every single parameter, column by column: the space that is projected on."""
    count = conv.parameters(size)
    columns = []
    for number in range(count):
        layer = Conv.of(conv, size, dtype=torch.float64)
        with torch.no_grad():
            values = torch.zeros(count, dtype=torch.float64)
            values[number] = 1
            split = values.split([p.numel() for p in layer.parameters()])
            for parameter, part in zip(layer.parameters(), split, strict=True):
                parameter.copy_(part.view_as(parameter))
        columns.append(affine(layer, size).ravel())
    return np.stack(columns, 1)


@settings(max_examples=80, deadline=None)
@given(
    problems(2, sharings=False), st.sampled_from(["full", 2]), st.sampled_from([2, 4, "none", "dense"]), st.booleans()
)
def test_widening_changes_nothing_and_narrowing_undoes_it(case, before, after, bias):
    conv, size = case
    conv = shared(conv, before, bias)
    layer = layer_of(conv, size)
    wide = tc.widen(layer, after, size)
    x = torch.randn(3, conv.in_channels, *size, dtype=torch.float64)
    expected = layer(x)
    torch.testing.assert_close(wide(x), expected, rtol=1e-10, atol=1e-10)
    outputs = conv.output_size(size)
    if after == "dense":
        inputs, results = conv.in_channels * prod(size), conv.out_channels * prod(outputs)
        assert sum(p.numel() for p in wide.parameters()) == results * (inputs + bias)
        torch.testing.assert_close(wide(x.flatten(1)), expected.flatten(1), rtol=1e-10, atol=1e-10)
    else:
        assert sum(p.numel() for p in wide.parameters()) == shared(conv, after, bias).parameters(size)
    again = tc.narrow(wide, before)
    assert again.distance < 1e-9
    assert again.convolution == conv
    torch.testing.assert_close(again(x), expected, rtol=1e-10, atol=1e-10)
    told = min(outputs) >= 2 or before == "full"  # a second kernel of a tiled layer needs a second output
    if after != "dense" and told:  # whose matrix does not tell the weights that read nothing
        assert torch.equal(again.weight, layer.weight)
        assert not bias or torch.equal(again.bias, layer.bias)
        assert again.distance == 0


@settings(max_examples=60, deadline=None)
@given(problems(2, sharings=False), SHARINGS, st.sampled_from(["full", 2, 3]), st.booleans())
def test_narrowing_is_the_least_squares_solution(case, before, after, bias):
    conv, size = case
    assume(conv.parameters() < 60 and prod(conv.output_size(size)) < 40)
    layer = layer_of(shared(conv, before, bias), size)
    narrow = tc.narrow(layer, after, input_size=size)
    wanted = affine(layer, size)
    columns = basis(shared(conv, after, bias), size)
    solution = np.linalg.lstsq(columns, wanted.ravel(), rcond=None)[0]
    nearest = (columns @ solution).reshape(wanted.shape)
    np.testing.assert_allclose(affine(narrow, size), nearest, rtol=1e-8, atol=1e-8)
    assert narrow.distance == pytest.approx(np.linalg.norm(wanted - nearest), rel=1e-8, abs=1e-8)


@settings(max_examples=40, deadline=None)
@given(problems(2, sharings=False), st.sampled_from(["full", 2, "none"]), st.booleans())
def test_dense_layers_are_projected_too(case, after, bias):
    conv, size = case
    conv = shared(conv, after, bias)
    assume(conv.parameters(size) < 200 and prod(conv.output_size(size)) < 40)
    torch.manual_seed(0)
    linear = torch.nn.Linear(
        conv.in_channels * prod(size), conv.out_channels * prod(conv.output_size(size)), bias, dtype=torch.float64
    )
    narrow = tc.narrow(linear, after, convolution=conv, input_size=size)
    wanted, columns = affine(linear, size), basis(conv, size)
    nearest = (columns @ np.linalg.lstsq(columns, wanted.ravel(), rcond=None)[0]).reshape(wanted.shape)
    np.testing.assert_allclose(affine(narrow, size), nearest, rtol=1e-8, atol=1e-8)
    assert narrow.distance == pytest.approx(np.linalg.norm(wanted - nearest), rel=1e-8, abs=1e-8)


@pytest.mark.parametrize(
    "target",
    [
        Convolution(2, 4, (3, 3), padding=1),
        Convolution(2, 4, (3, 3), padding=1, sharing=2),
        Convolution(2, 4, (5, 5), padding=2, groups=2),
        Convolution(2, 4, (5, 5), padding=2, connections=[[1, 0], [1, 1], [0, 1], [0, 0]]),
        Convolution(2, 4, (5, 5), padding=2, sharing=2, bias_sharing="full"),
    ],
    ids=str,
)
def test_narrowing_to_another_description(target):
    layer = layer_of(Convolution(2, 4, (5, 5), padding=2, sharing="none"), (6, 5))
    narrow = tc.narrow(layer, convolution=target)
    columns, wanted = basis(target, (6, 5)), affine(layer, (6, 5))
    nearest = (columns @ np.linalg.lstsq(columns, wanted.ravel(), rcond=None)[0]).reshape(wanted.shape)
    assert narrow.convolution == target
    np.testing.assert_allclose(affine(narrow, (6, 5)), nearest, atol=1e-9)


def test_borders_count_only_where_they_read_samples():
    layer = LocallyConnected1d(1, 1, 3, padding=1, bias=False, input_size=4)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(12.0).view(4, 1, 1, 3))  # the first tap of output 0 reads padding
    assert tc.narrow(layer).weight.flatten().tolist() == [(3 + 6 + 9) / 3, (1 + 4 + 7 + 10) / 4, (2 + 5 + 8) / 3]


def test_weights_that_no_output_uses_are_averaged():
    layer = LocallyConnected1d(1, 1, 5, padding=2, bias=False, input_size=2)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(10.0).view(2, 1, 1, 5))  # read: taps 2, 3 of the first, 1, 2 of the second
    assert tc.narrow(layer).weight.flatten().tolist() == [(0 + 5) / 2, 6, (2 + 7) / 2, 3, (4 + 9) / 2]


@pytest.mark.parametrize("sharing", [2, "none", "dense"])
@pytest.mark.parametrize(
    "layer",
    [
        torch.nn.Conv1d(2, 4, 3, stride=2, padding="valid", dilation=2),
        torch.nn.Conv2d(4, 6, 3, padding="same", groups=2, padding_mode="reflect"),
        torch.nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=1, bias=False),
        torch.nn.Conv3d(1, 2, 2, padding_mode="circular", padding=1),
        torch.nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        ConvTranspose2d(2, 3, 4, stride=2, padding=1),
        TiledConv2d(2, 3, 3, period=2, padding=1),
        Conv2d(3, 2, 3, connections=[[1, 0, 1], [0, 1, 1]]),
        Conv2d(3, 2, 3, padding=1, bias_sharing="none", input_size=(9, 8)),
    ],
    ids=str,
)
def test_torchs_layers_and_ours_in_float32(layer, sharing):
    rank = 1 if isinstance(layer, torch.nn.Conv1d) else 3 if isinstance(layer, torch.nn.Conv3d) else 2
    size = (9, 8, 7)[:rank]
    layer.requires_grad_(False).eval()
    x = torch.randn(2, layer.in_channels, *size)
    expected = layer(x)
    wide = tc.widen(layer, sharing, size)
    torch.testing.assert_close(wide(x), expected, rtol=1e-5, atol=1e-5)
    assert not wide.training
    assert not any(p.requires_grad for p in wide.parameters())
    for twin in (copy.deepcopy(wide), pickle.loads(pickle.dumps(wide))):
        assert torch.equal(twin(x), wide(x))
    conv = getattr(layer, "convolution", None)
    back = {} if conv is None else {"sharing": conv.sharing, "bias_sharing": conv.bias_sharing}
    own = tc.narrow(wide, **back)
    torch.testing.assert_close(own(x).flatten(), expected.flatten(), rtol=1e-5, atol=1e-5)


def test_what_is_kept():
    layer = Conv2d(2, 3, 3, padding=1, dtype=torch.bfloat16)
    layer.weight.requires_grad_(False)
    for wide in (tc.widen(layer, "none", (5, 5)), tc.widen(layer, "dense", 5)):
        assert wide.weight.dtype == torch.bfloat16
        assert not wide.weight.requires_grad
        assert wide.bias.requires_grad
        again = tc.narrow(wide)
        assert torch.equal(again.weight, layer.weight)
        assert torch.equal(again.bias, layer.bias)
    wide = tc.widen(layer, 1, (5, 5))
    wide.bias.data.zero_()
    assert layer.bias.abs().max() > 0, "parameters are copies"


@pytest.mark.parametrize("normed", [weight_norm, torch.nn.utils.weight_norm], ids=["parametrization", "hook"])
@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated")
@pytest.mark.parametrize("sharing", ["none", "dense"])
def test_weights_that_are_computed_are_taken_as_they_are(normed, sharing):
    layer, x = normed(torch.nn.Conv2d(2, 3, 3, padding=1)), torch.randn(2, 2, 6, 6)
    wide = tc.widen(layer, sharing, (6, 6))
    torch.testing.assert_close(wide(x), layer(x), rtol=1e-5, atol=1e-5)
    assert torch.equal(tc.narrow(wide).weight, layer.weight)


@pytest.mark.parametrize(("strength", "step"), [(1e300, 1e300), (inf, 1e-3), (1e12, 1.0)])
def test_a_pull_without_end_is_the_projection(strength, step):
    layer = layer_of(Convolution(1, 2, (3,), padding=1, sharing="none"), (6,))
    nearest = tc.narrow(layer)
    tc.PriorPenalty(strength).pull_(layer, step)
    torch.testing.assert_close(layer.weight, tc.widen(nearest, "none", 6).weight, rtol=1e-9, atol=1e-9)


def test_widening_step_by_step_is_widening_at_once():
    layer = layer_of(Convolution(2, 2, (3, 3), padding=1), (8, 8))
    slow = tc.widen(tc.widen(tc.widen(layer, 2), 4), "none", (8, 8))
    assert torch.equal(slow.weight, tc.widen(layer, "none", (8, 8)).weight)


def test_a_tiled_layer_without_a_size_is_projected_without_borders():
    tiled = layer_of(Convolution(1, 1, (3,), padding=1, sharing=2, bias_sharing="full"), None)
    narrow = tc.narrow(tiled, bias_sharing="full")
    torch.testing.assert_close(narrow.weight, tiled.weight.mean(0))
    assert narrow.distance == pytest.approx(float((tiled.weight - tiled.weight.mean(0)).detach().norm()))


@settings(max_examples=30, deadline=None)
@given(problems(2, sharings=False), st.sampled_from(["full", 2]), st.sampled_from(["none", "dense"]))
def test_the_penalty(case, tight, loose):
    conv, size = case
    assume(prod(conv.output_size(size)) < 40)
    layer = tc.widen(layer_of(shared(conv, "full"), size), loose, size)
    with torch.no_grad():
        for values in layer.parameters():
            values.add_(torch.randn_like(values))
    model = torch.nn.Sequential(layer)
    penalty = tc.PriorPenalty(3.0, tight)
    away = tc.narrow(layer, tight).distance
    assert penalty.distances(model)["0"] == pytest.approx(away, rel=1e-9, abs=1e-9)
    assert float(penalty(model).detach()) == pytest.approx(1.5 * away**2, rel=1e-9, abs=1e-12)
    assert penalty.log[-1]["0"] == pytest.approx(away, rel=1e-9, abs=1e-9)
    tc.PriorPenalty(inf, tight).pull_(model, 0.1)
    assert penalty.distances(model)["0"] < 1e-8 * (1 + away)


def test_the_penalty_has_its_gradient():
    layer = layer_of(Convolution(1, 2, (3,), padding=(1,), padding_mode="reflect", sharing="none"), (5,))
    penalty = tc.PriorPenalty(0.7)
    penalty(layer).backward()
    for name in ("weight", "bias"):
        values, grad, numeric = getattr(layer, name), getattr(layer, name).grad.flatten(), []
        for place in range(values.numel()):
            each = []
            for step in (1e-5, -1e-5):
                moved = copy.deepcopy(layer)
                getattr(moved, name).data.view(-1)[place] += step
                each.append(float(tc.PriorPenalty(0.7)(moved).detach()))
            numeric.append((each[0] - each[1]) / 2e-5)
        torch.testing.assert_close(grad, torch.tensor(numeric, dtype=torch.float64), rtol=1e-6, atol=1e-7)


def test_the_pull_is_the_proximal_step():
    layer = layer_of(Convolution(1, 1, (3,), sharing="none", bias=False), (6,))
    start, strength, step = layer.weight.detach().clone(), 2.0, 0.3
    pulled = copy.deepcopy(layer)
    tc.PriorPenalty(strength).pull_(pulled, step)
    free = torch.nn.Parameter(start.clone())
    moved = copy.deepcopy(layer)
    optimizer = torch.optim.LBFGS([free], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

    def objective():
        optimizer.zero_grad()
        away = free - free.mean(0)
        value = (free - start).square().sum() / 2 + step * strength / 2 * away.square().sum()
        value.backward()
        return value

    optimizer.step(objective)
    torch.testing.assert_close(pulled.weight.detach(), free.detach(), rtol=1e-7, atol=1e-7)
    assert torch.equal(moved.weight, layer.weight)


def test_between_the_rungs_while_training():
    torch.manual_seed(0)
    x = torch.randn(64, 1, 10)
    target = torch.nn.functional.conv1d(x, torch.tensor([[[1.0, -2.0, 1.0]]])) + 0.3 * torch.randn(64, 1, 8)
    ends = []
    for strength in (0.0, 0.1, 10.0):
        torch.manual_seed(1)
        layer = LocallyConnected1d(1, 1, 3, input_size=10)
        penalty, optimizer = tc.PriorPenalty(strength), torch.optim.SGD(layer.parameters(), 0.2)
        for _ in range(200):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(layer(x), target).backward()
            optimizer.step()
            penalty.pull_(layer, 0.2)
        ends.append(penalty.distances(layer)[""])
        assert len(penalty.log) == 200
    assert ends[0] > ends[1] > 4 * ends[2]


def test_strength_nothing_is_the_loose_layer():
    layer = LocallyConnected2d(1, 1, 3, input_size=5)
    before = layer.weight.detach().clone()
    penalty = tc.PriorPenalty(0)
    penalty.pull_(layer, 0.1)
    assert torch.equal(layer.weight, before)
    assert float(penalty(layer).detach()) == 0


def test_transposed_layers_have_penalties():
    layer = ConvTranspose2d(2, 3, 3, stride=2, sharing="none", input_size=(3, 4))
    penalty = tc.PriorPenalty(1.0)
    away = tc.narrow(layer).distance
    assert float(penalty(layer).detach()) == pytest.approx(away**2 / 2, rel=1e-5)
    tc.PriorPenalty(inf).pull_(layer, 1)
    assert tc.narrow(layer).distance < 1e-4


def test_joined_is_the_least_common_sharing():
    assert joined(Sharing.of((2, "none"), 2), Sharing.of((3, 1), 2)) == Sharing.of((6, "none"), 2)


class ScaledConv2d(torch.nn.Conv2d):
    """A subclass whose function is not that of its weights alone."""

    def forward(self, input):
        return 2 * super().forward(input)


CONV = torch.nn.Conv2d(3, 4, 3)
REFUSED = [
    (lambda: tc.widen(torch.nn.ReLU(), 2), SettingError, "ReLU"),
    (lambda: tc.widen(CONV, "none"), SettingError, "input_size"),
    (lambda: tc.widen(CONV, "dense"), SettingError, "input_size"),
    (lambda: tc.widen(TiledConv2d(1, 1, 3, period=2), 3), SettingError, "multiple"),
    (lambda: tc.widen(TiledConv2d(1, 1, 3, period=2), "full"), SettingError, "narrow"),
    (lambda: tc.widen(CONV, "dense", 8, bias_sharing="full"), SettingError, "bias_sharing"),
    (lambda: tc.widen(CONV, "loose"), SettingError, "loose"),
    (lambda: tc.widen(CONV, "none", (2, 2)), ShapeError, "2"),
    (lambda: tc.widen(LocallyConnected2d(1, 1, 3), "dense", 5), SettingError, "shape"),
    (lambda: tc.as_linear(LocallyConnected2d(1, 1, 3, input_size=5), 6), ShapeError, "5"),
    (lambda: tc.as_linear(torch.nn.Conv2d(64, 64, 3, padding=1), 2000), SettingError, "MB at most"),
    (lambda: tc.as_linear(Dense(4, 4)), SettingError, "Dense"),
    (lambda: tc.narrow(torch.nn.Linear(4, 4)), SettingError, "convolution="),
    (lambda: tc.narrow(torch.nn.Linear(4, 4), convolution=Convolution(1, 1, (3,)), input_size=4), ShapeError, "2x4"),
    (lambda: tc.narrow(CONV, convolution="3x3"), SettingError, "tc.Convolution"),
    (lambda: tc.widen(ScaledConv2d(3, 4, 3), "none", 8), SettingError, "a forward of its own"),
    (lambda: tc.widen(torch.nn.LazyConv2d(4, 3), "none", 8), SettingError, "call it once"),
    (lambda: tc.widen(torch.nn.Conv2d(64, 64, 3), "none", 40000), SettingError, "MB at most"),
    (lambda: tc.widen(CONV, 10**9), SettingError, "MB at most"),
    (lambda: Dense((3, 8, 8), (4, 6, 5), convolution=Convolution(3, 4, (3, 3))), ShapeError, "4, 6, 6"),
    (lambda: Dense((3, 8), (4, 6), convolution=Convolution(3, 4, (3, 3))), ShapeError, "3 channels and 2 sizes"),
    (lambda: tc.PriorPenalty(-1), SettingError, ">= 0"),
    (lambda: tc.PriorPenalty(1)([CONV]), SettingError, "torch.nn.Module"),
    (lambda: tc.PriorPenalty(1).pull_(CONV, inf), SettingError, "finite"),
    (lambda: tc.PriorPenalty(1).pull_(CONV, "1"), SettingError, "finite"),
    (
        lambda: tc.PriorPenalty(1).pull_(weight_norm(LocallyConnected1d(1, 1, 3, input_size=5)), 1.0),
        SettingError,
        "loss",
    ),
    (lambda: tc.PriorPenalty(1)(CONV), SettingError, "widen"),
    (lambda: tc.PriorPenalty(inf)(LocallyConnected2d(1, 1, 3, input_size=5)), SettingError, "pull_"),
    (lambda: Dense((3, 4), 2)(torch.zeros(1, 3, 5)), ShapeError, "3, 4"),
]


@pytest.mark.parametrize(("call", "kind", "words"), REFUSED)
def test_bad_requests_are_refused(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


def test_inspection_counts_a_dense_layer():
    dense = tc.as_linear(torch.nn.Conv2d(1, 2, 3), 6)
    report = tc.inspect(torch.nn.Sequential(dense), (1, 6, 6))
    assert report.total_parameters == sum(p.numel() for p in dense.parameters()) == 2 * 16 * 37


def test_one_connection_counts_once():
    conv = Convolution.of_parts(Connections.of(2, 2, 2), Convolution(2, 2, (3,), groups=2).axes)
    layer = layer_of(conv, (5,))
    assert (tc.as_linear(layer, 5).weight != 0).sum() == 2 * 3 * 3
    assert sqrt(float(tc.as_linear(layer, 5).weight.detach().square().sum())) == pytest.approx(
        float(layer.weight.detach().norm()) * sqrt(3)
    )


def test_dense_derivatives():
    dense = Dense((2, 3), (2, 2), dtype=torch.float64)
    assert gradcheck(dense, torch.randn(2, 2, 3, dtype=torch.float64, requires_grad=True))
