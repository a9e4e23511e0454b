"""Receptive fields: published ones, brute force on random graphs, and what other programs do not know."""

from __future__ import annotations

import tracemalloc
from itertools import product
from math import prod

import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn
from torch.nn import functional

import torchconv as tc
from brute import Graph, boxes
from published import FIELDS
from torchconv.description import shapes
from torchconv.description.axis import Axis
from torchconv.description.resampling import Resampling
from torchconv.inspection.network_of import network_of
from torchconv.inspection.receptive_field import between
from torchconv.network.base import Recorded
from torchconv.network.graph import Network, Node
from torchconv.network.operations import Input, Volume
from torchconv.receptive import access
from torchconv.receptive.field import factors
from torchconv.receptive.periodic import Progression

SIZE = (9, 8)


@pytest.mark.parametrize("name", FIELDS)
def test_the_published_table(name):
    text, size, stride, padding = FIELDS[name]
    found = tc.receptive_field(f"INPUT[224x224x4] - {text}")
    assert (found.size, found.stride, found.padding) == ((size,) * 2, (stride,) * 2, (padding,) * 2)


@pytest.mark.parametrize("block", range(10))
def test_every_box_equals_brute_force(block):
    for seed in range(30 * block, 30 * block + 30):
        model = Graph(seed, SIZE)
        expected = boxes(model, SIZE)
        found = network_of(model, torch.zeros(1, 2, *SIZE, dtype=torch.double))
        field = between(found.network, goal=found.outputs[0])
        assert not [node for node in found.network.nodes if not getattr(node.operation, "known", True)]
        for unit, box in expected.items():
            assert (tuple(field.of(unit)) if field.of(unit).intervals[0].size else ()) == box, (seed, unit)


def test_a_planted_fault_is_found(monkeypatch):
    """Samples that are one too far must not pass."""
    model = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.MaxPool2d(2))
    expected = boxes(model, SIZE)[1, 1]
    field = tc.receptive_field(model.float(), (2, *SIZE))
    assert tuple(field.of((1, 1))) == expected
    plain = shapes.samples
    monkeypatch.setattr(shapes, "samples", lambda positions, axis, size: plain(positions + 1, axis, size))
    assert tuple(tc.receptive_field(model, (2, *SIZE)).of((1, 1))) != expected


class FourierConvolution(nn.Module):
    def __init__(self, way: str) -> None:
        super().__init__()
        self.weight, self.way = nn.Parameter(torch.randn(4, 3, 5, 5)), way

    def forward(self, x):
        size = (x.shape[-2] + 4, x.shape[-1] + 4)
        a, b = torch.fft.rfft2(x, s=size), torch.fft.rfft2(self.weight, s=size)
        product = torch.einsum("bchw,ochw->bohw", a, b) if self.way == "einsum" else (a[:, None] * b[None]).sum(2)
        return torch.fft.irfft2(product, s=size)[..., 2:-2, 2:-2]


class Function(nn.Module):
    def __init__(self, call) -> None:
        super().__init__()
        self.call = call

    def forward(self, x):
        return self.call(x)


class Unfolded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 27))

    def forward(self, x):
        return (self.weight @ functional.unfold(x, 3, padding=1)).view(1, 4, *x.shape[2:])


GAPS = {
    "padding same": (nn.Conv2d(3, 4, 5, padding="same"), 5, 1),
    "functional pooling": (Function(lambda x: functional.max_pool2d(x, 2)), 2, 2),
    "identity": (nn.Sequential(nn.Identity(), nn.Conv2d(3, 4, 3, padding=1)), 3, 1),
    "lp pooling": (nn.LPPool2d(2, 2), 2, 2),
    "unfold": (Unfolded(), 3, 1),
    "fourier": (FourierConvolution("mul"), 5, 1),
    "fourier, einsum": (FourierConvolution("einsum"), 5, 1),
    "circular": (nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), 3, 1),
    "own layers": (tc.nn.Conv2d(3, 4, 31, padding=15, algorithm="fft"), 31, 1),
    "unshared": (tc.nn.LocallyConnected2d(3, 4, 3, padding=1, input_size=(64, 64)), 3, 1),
}


@pytest.mark.parametrize("name", GAPS)
def test_what_others_do_not_know(name):
    model, size, stride = GAPS[name]
    report = tc.inspect(model, (3, 64, 64))
    assert report.complete
    assert not report.warnings
    assert (report.receptive_field.size, report.receptive_field.stride) == ((size, size), (stride, stride))
    assert report.receptive_field.of((16, 16)).size == (size, size)


def test_a_spectrum_used_otherwise_reads_all():
    class Low(nn.Module):
        def forward(self, x):
            return torch.fft.irfft2(torch.fft.rfft2(x).abs())

    assert tc.receptive_field(Low(), (3, 16, 16)).size == (16, 16)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_constants_that_broadcast(dim):
    """A constant of the model may be longer than the tensor that reads the input; views behind it must not go on."""

    def repeated(x):
        part = x.narrow(dim, 1, 1) * torch.ones([8 if at == dim else 1 for at in range(4)])
        return torch.cat([part, x], dim).reshape(1, -1, 4, 16).reshape(1, *(16 if at == dim else 8 for at in (1, 2, 3)))

    field = tc.receptive_field(Function(repeated), (8, 8, 8))
    place = {1: (3, 5, 4), 2: (0, 5, 4), 3: (0, 4, 5)}[dim]
    assert tuple(field.of(place)) == {1: ((5, 5), (4, 4)), 2: ((1, 1), (4, 4)), 3: ((4, 4), (1, 1))}[dim]
    behind = {1: (12, 5, 4), 2: (0, 12, 4), 3: (0, 4, 12)}[dim]
    assert tuple(field.of(behind)) == {1: ((5, 5), (4, 4)), 2: ((4, 4), (4, 4)), 3: ((4, 4), (4, 4))}[dim]


@given(st.lists(st.integers(0, 4), max_size=5), st.lists(st.integers(0, 4), max_size=5))
def test_runs_of_axes_hold_as_many_elements(old, new):
    if prod(old) != prod(new):
        with pytest.raises(tc.TorchconvError, match="a reshape"):
            factors(old, new)
        return
    runs = factors(old, new)
    assert [at for run, _ in runs for at in run] == [*range(len(old))]
    assert [at for _, run in runs for at in run] == [*range(len(new))]
    assert all(prod(old[at] for at in one) == prod(new[at] for at in other) for one, other in runs)


def test_a_pattern_that_does_not_give_the_shape_reads_everything():
    """As of an operator whose row in the table is wrong: no box that is too small, and a word about it."""
    volume = Volume(2, (6, 6))
    wrong = (access.Slice(2, Axis(1, 2)), access.Reshape((1, 2, 5, 7)), access.Permute((0, 1)))
    for pattern in wrong:
        nodes = (Node("input", Input(volume)), Node("odd", Recorded("odd", pattern, volume), ("input",)))
        found = between(Network(nodes))
        assert tuple(found.of((0, 0))) == ((0, 5), (0, 5))
        assert found.notes == ("odd: which elements it reads is not known: taken for all",)


def test_holes_of_dilation():
    field = tc.receptive_field(nn.Conv2d(1, 1, 3, dilation=4), (1, 32, 32))
    box = field.of((0, 2))
    assert (box.first, box.last, box.size) == ((0, 2), (8, 10), (9, 9))
    assert box.holes == ((1, 2, 3, 5, 6, 7), (3, 4, 5, 7, 8, 9))
    assert "6 samples of axis 0 in between are not read" in str(box)
    filled = nn.Sequential(nn.Conv2d(1, 1, 3, dilation=2), nn.Conv2d(1, 1, 3, dilation=1))
    assert tc.receptive_field(filled, (1, 32, 32)).of((0, 0)).holes == ((), ())


def test_long_axes_are_flagged_where_an_element_reads_only():
    """An element's box on a long axis is that on a short one, in a memory that does not grow with the square."""
    line = nn.Sequential(nn.Conv1d(1, 2, 5, dilation=3), nn.Conv1d(2, 2, 3, stride=2, dilation=2), nn.ReLU())
    short, field = tc.receptive_field(line, (1, 200)), tc.receptive_field(line, (1, 50_000))
    tracemalloc.start()
    assert field.of((30,)) == short.of((30,))
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    assert field.of((30,)).holes == short.of((30,)).holes != ((),)
    last = field.of((24_900,))
    assert last.first == (49_800,)
    assert [at - 49_740 for at in last.read[0]] == [*short.of((30,)).read[0]]
    plane = nn.Sequential(nn.Conv2d(1, 1, (3, 5), padding=(3, 0), padding_mode="circular"), nn.MaxPool2d(1, 2))
    long, all_in_one = tc.receptive_field(plane, (1, 3, 300)), tc.receptive_field(plane, (1, 3, 40))
    assert {place: long.of(place) for place in product(range(3), range(18))} == {
        place: all_in_one.of(place) for place in product(range(3), range(18))
    }


def test_between_layers_and_without_a_size():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU())
    assert tc.receptive_field(model).size == (8, 8)
    assert tc.receptive_field(model, since="1").size == (3, 3)
    assert tc.receptive_field(model, layer="1").stride == (2, 2)
    with pytest.raises(tc.TorchconvError, match="a layer: got '9', expected one of input, 0, 1, 2, 3"):
        tc.receptive_field(model, layer="9")
    with pytest.raises(tc.TorchconvError, match="got no way from one to the other"):
        tc.receptive_field(model, layer="0", since="2")
    growing = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(4))
    with pytest.raises(tc.TorchconvError, match="one that depends on the shape"):
        tc.receptive_field(growing)


def test_branches_that_are_not_aligned_are_explained():
    class Apart(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 2, padding=(1, 0)), nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x):
            return self.one(x)[:, :, :-1] + functional.pad(self.two(x), (0, -1))

    (note,) = [note for note in tc.inspect(Apart(), (3, 16, 16)).warnings if "axis 0" in note]
    assert note == "add: the centres of slice and pad are 0.5 samples apart on axis 0"


def test_more_kinds_of_whole():
    attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.mixed = nn.Conv2d(3, 8, 4, 4), attention

        def forward(self, x):
            return self.mixed(self.patches(x).flatten(2).transpose(1, 2))

    dense = nn.Sequential(nn.Flatten(), nn.Linear(768, 5))
    for model in [nn.GroupNorm(1, 3), nn.InstanceNorm2d(3), nn.AdaptiveAvgPool2d(1), dense, Tokens()]:
        assert tc.receptive_field(model, (3, 16, 16)).size == (16, 16)
    assert tc.receptive_field(nn.LayerNorm([16]), (3, 16, 16)).size == (1, 16)


def test_one_and_three_axes():
    line = nn.Sequential(*(nn.Conv1d(1, 1, 2, dilation=2**n) for n in range(8)))
    assert (tc.receptive_field(line, (1, 1000)).size, tc.receptive_field(line).of((0,)).size) == ((256,), (256,))
    solid = nn.Sequential(nn.Conv3d(1, 2, (1, 3, 5)), nn.AvgPool3d(2))
    assert tc.receptive_field(solid, (1, 8, 9, 10)).size == (2, 4, 6)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "linear", "cubic", "area"])
def test_resampling_tables(mode):
    torchs = {"linear": "linear", "nearest": "nearest", "nearest-exact": "nearest-exact", "area": "area"}.get(mode)
    for size, outputs in ((5, 10), (6, 3), (7, 5), (5, 7), (4, 12)):
        x = torch.eye(size)[:, None]
        if mode == "cubic":
            y = functional.interpolate(x[:, :, None], (1, outputs), mode="bicubic")[:, 0, 0]
        else:
            y = functional.interpolate(x, outputs, mode=torchs)[:, 0]
        for output, row in enumerate(Resampling(size, outputs, mode).table().tolist()):
            assert {*row} - {-1} == {*(y[:, output].abs() > 1e-6).nonzero().flatten().tolist()}


def test_progressions():
    up = Progression().through(Axis(2, stride=2), 0).through(Axis(4, input_dilation=2), 2)
    assert (up.stride, up.size, up.centre) == (1, 4, 0)
    assert up | Progression() == up
    assert up | Progression().through(Axis(2, stride=2), 0) is None


def test_units_chosen_by_numbers():
    class Chosen(nn.Module):
        def forward(self, x):
            return torch.rot90(x[:, :, [0, 3, 5]].index_select(3, torch.tensor([2, 0])), 1, (2, 3))

    report = tc.inspect(Chosen(), (2, 8, 8))
    assert report.complete
    field = report.receptive_field
    assert [tuple(field.of(unit)) for unit in ((0, 0), (1, 2))] == [((0, 0), (0, 0)), ((5, 5), (2, 2))]
