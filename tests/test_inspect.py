"""Inspection: the numbers of known models, odd models, and everything that can go wrong."""

from __future__ import annotations

import csv
import io
import json
import time

import pytest
import torch
from torch import nn
from torch.nn import functional

import torchconv as tc
from models import convnext_t, mobilenet_v2


@pytest.mark.parametrize(
    ("name", "parameters", "customary", "volume"),
    [("resnet18", 11_689_512, 1_814_073_344, "1000"), ("vgg16", 138_357_544, 15_470_264_320, "1000")],
)
def test_published_numbers(name, parameters, customary, volume):
    report = tc.inspect(tc.build(name, classes=1000))
    assert (report.total_parameters, report.total_customary_macs) == (parameters, customary)
    assert report.rows[-1].volume == volume
    assert report.total_macs < customary


@pytest.mark.parametrize(
    ("make", "parameters", "customary", "last"),
    [(mobilenet_v2, 3_504_872, 300_774_272, "7x7x1280"), (convnext_t, 28_589_128, 4_455_531_264, "7x7x768")],
)
def test_published_numbers_of_modules(make, parameters, customary, last):
    report = tc.inspect(make(), (3, 224, 224))
    assert (report.total_parameters, report.total_customary_macs) == (parameters, customary)
    assert [row.volume for row in report.rows if row.shape[2:] == (7, 7)][-1] == last
    assert report.complete


def test_resnet50_is_quick_and_right():
    model = tc.build("resnet50", classes=1000)
    begun = time.process_time()
    report = tc.inspect(model)
    assert time.process_time() - begun < 2
    assert (report.total_parameters, report.total_customary_macs) == (25_557_032, 4_089_184_256)
    assert report.receptive_field.size == (224, 224)


def test_a_long_chain_is_quick():
    model = nn.Sequential(*(nn.Conv2d(2, 2, 3, padding=1) for _ in range(1000)))
    begun = time.process_time()
    report = tc.inspect(model, (2, 32, 32))
    assert time.process_time() - begun < 5
    assert report.receptive_field.size == (2001, 2001)


def test_no_memory_is_taken():
    with torch.device("meta"):
        model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 100_000), nn.Linear(100_000, 1000))
    report = tc.inspect(model, (3, 32, 32))
    assert report.total_parameters == sum(parameter.numel() for parameter in model.parameters()) > 300_000_000


def test_transposed_macs_are_the_matrix_entries():
    layer = nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1)
    report = tc.inspect(layer, (16, 8, 8))
    conv = tc.Convolution.parse(report.rows[1].description)
    import numpy as np

    assert report.total_macs == conv.matrix(np.ones(conv.weight_shape()), (8, 8)).nnz
    assert report.total_customary_macs == 16 * 8 * 16 * 64


class Odd(nn.Module):
    """Functional calls, activations in place, a module used twice, branches, dictionaries, and one never used."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.relu, self.never = nn.ReLU(inplace=True), nn.Linear(5, 5)

    def forward(self, images, scale=None):
        y = self.relu(self.norm(self.conv(images)))
        y = self.relu(self.conv(y)) + y
        y += 1
        y[:, :1] = 0
        return {"small": functional.max_pool2d(y, 2), "mean": y.mean((2, 3)) if scale is None else y * scale}


def test_odd_models():
    model = Odd()
    report = tc.inspect(model, {"images": (1, 3, 8, 8)})
    names = [row.name for row in report.rows]
    assert names[:6] == ["input", "conv", "norm", "relu", "conv#2", "relu#2"]
    assert report["conv"].parameters == 84
    assert report["conv#2"].parameters == 0
    assert report["never.weight"].operation == "not used"
    assert report.total_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert report.outputs == ("maxpool", "mean")
    assert model.training
    assert report.complete
    both = tc.inspect(model, {"images": (1, 3, 8, 8), "scale": (1, 3, 1, 1)})
    assert both.outputs == ("maxpool", "mul")


def test_rows_add_up_and_are_written():
    report = tc.inspect("lenet5")
    found = json.loads(report.to_json())
    assert found["total_macs"] == sum(row["macs"] for row in found["rows"]) == report.total_macs
    assert found["total_parameters"] == sum(row["parameters"] for row in found["rows"])
    rows = list(csv.DictReader(io.StringIO(report.to_csv())))
    assert [row["name"] for row in rows] == [row.name for row in report.rows]
    assert sum(int(row["bytes"]) for row in rows) == report.total_bytes
    assert "total" in str(report)
    assert "<table>" in report._repr_html_()


def test_ideas_as_numbers():
    report = tc.inspect(nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, bias=False), nn.MaxPool2d(2)), (2, 9, 9))
    row = report["0"]
    assert row.sparsity == 9 * 2 * 16 * 4 / (2 * 81 * 4 * 16)
    assert (row.unshared, row.dense) == (16, 2 * 81 * 4 * 16 / 72)
    assert (row.equivariant, report["1"].equivariant) == ("by 2", "by 2")
    tiled = tc.nn.TiledConv2d(2, 4, 3, period=2, padding=1)
    assert tc.inspect(tiled, (2, 8, 8)).rows[1].equivariant == "by 2"
    local = tc.nn.LocallyConnected2d(2, 4, 3, input_size=(8, 8))
    row = tc.inspect(local, (2, 8, 8)).rows[1]
    assert (row.equivariant, row.unshared) == ("no", 1)
    up = nn.ConvTranspose2d(2, 4, 2, stride=2)
    assert tc.inspect(up, (2, 8, 8)).rows[1].equivariant == "yes"


def test_what_is_not_understood_is_said():
    class Strange(nn.Module):
        def forward(self, x):
            return torch.linalg.inv(x)

    report = tc.inspect(Strange(), (3, 8, 8))
    assert not report.complete
    assert "unknown" in report.rows[1].operation
    assert "is not understood" in report.warnings[0]
    assert "at least" in report.summary()
    assert report.receptive_field.size == (8, 8)


def test_paths_that_depend_on_numbers():
    class Forked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 5)

        def forward(self, x):
            return self.one(x) if x.sum() > 0 else self.two(x)

    report = tc.inspect(Forked(), (3, 8, 8))
    assert [row.name for row in report.rows if row.operation == "conv"] == ["two"]
    assert any("the one taken" in warning for warning in report.warnings)


def test_strides_that_do_not_fit():
    report = tc.inspect(nn.Conv2d(3, 4, 3, stride=3), (3, 11, 9))
    lost = "conv: rows 9 to 10 of 11 on axis 0 are never read; padding (0, 1) would fit"
    assert report.warnings == (lost,)


def test_windows_shorter_than_their_stride_leave_rows_out_on_purpose():
    assert tc.inspect("resnet18").warnings == tc.inspect("resnet50").warnings == ()
    assert tc.inspect(nn.Conv2d(3, 4, 1, stride=3), (3, 12, 12)).warnings == ()
    lost = tc.inspect(nn.Conv2d(3, 4, 3, stride=5), (3, 11, 13)).warnings
    assert lost == ("conv: rows 3 to 4, 8 to 10 of 11 on axis 0 are never read; padding (0, 2) would fit",)
    fits = [tc.Convolution(1, 1, (3,), stride=3, padding=((1, high),)).fit((8,))[0] for high in range(-2, 4)]
    assert all(high >= min(0, own) for own, fit in enumerate(fits, -2) for _, high in fit.paddings)


def test_models_that_fail_on_the_shape():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 28 * 28, 10))
    message = r"in layer 2 \(Linear\): got an input of shape \(1, 8192\).* An input of 3x28x28 works\."
    with pytest.raises(tc.TorchconvError, match=message):
        tc.inspect(model, (3, 32, 32))
    assert tc.inspect(model).rows[0].shape == (1, 3, 28, 28)
    with pytest.raises(tc.TorchconvError, match="layer 0"):
        tc.inspect(model, (1, 28, 28))
    with pytest.raises(tc.TorchconvError, match="input_shape: got"):
        tc.inspect(model, (3, 0, 28))
    with pytest.raises(tc.TorchconvError, match="a model: got int"):
        tc.inspect(7, (3, 8, 8))


def test_exported_programs_and_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout())
    state = {name: value.clone() for name, value in model.state_dict().items()}
    program = torch.export.export(model.eval(), (torch.zeros(1, 3, 8, 8),))
    assert tc.inspect(program).total_parameters == 240
    model.train()
    tc.inspect(model, (3, 8, 8))
    assert model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_with_and_without_a_batch():
    model = nn.Conv2d(3, 8, 3)
    assert tc.inspect(model, (4, 3, 8, 8)).total_macs == 4 * tc.inspect(model, (3, 8, 8)).total_macs


def test_what_the_caller_says_of_the_input_wins():
    assert tc.inspect("resnet18").rows[0].shape == (1, 3, 224, 224)
    small = tc.inspect("resnet18", (1, 28, 28))
    assert (small.rows[0].shape, small["conv1"].parameters) == ((1, 1, 28, 28), 64 * 49)
    batch, tensor = (tc.inspect("resnet18", one) for one in ((1, 3, 64, 64), torch.zeros(1, 3, 64, 64)))
    assert batch.total_macs == tensor.total_macs == tc.inspect("resnet18", (3, 64, 64)).total_macs
    assert tc.inspect(tc.parse("lenet5"), (1, 64, 64)).rows[0].shape == (1, 1, 64, 64)
    assert tc.receptive_field("resnet18", (3, 64, 64)).size == (64, 64)
    assert tc.inspect(tc.parse("INPUT - CONV[4] - FC"), (3, 8, 8)).rows[0].shape == (1, 3, 8, 8)
    assert tc.inspect(tc.parse("INPUT[8x8x3] - CONV[4]").network(), (3, 16, 16)).rows[1].shape == (1, 4, 16, 16)
    assert tc.inspect(tc.build("INPUT[8x8x3] - CONV[4] - GLOBALPOOL"), (3, 16, 16)).rows[1].shape == (1, 4, 16, 16)


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        ("lenet5", (1, 8, 8), "at least 5"),
        ("resnet18", (4, 3, 64, 64), r"got \(4, 3, 64, 64\), expected \(channels, \*size\): one image"),
        ("resnet18", torch.zeros(2, 3, 64, 64), "one image"),
        ("resnet18", {"x": (1, 3, 64, 64)}, "input_shape of a network: got dict"),
        (
            tc.build("INPUT[8x8x3] - CONV[4] - FC"),
            (3, 16, 16),
            "at layer fc1: got 16x16x4, expected 8x8x4, as on an input 8x8x3",
        ),
        (tc.build("INPUT[8x8x3] - CONV[4] - GLOBALPOOL"), (1, 8, 8), "conv1"),
    ],
)
def test_inputs_that_a_network_cannot_take_are_refused(model, shape, message):
    with pytest.raises(tc.TorchconvError, match=message):
        tc.inspect(model, shape)


def test_the_field_of_the_last_feature_map_is_told_beside_that_of_the_output():
    report = tc.inspect("resnet18")
    field = report.receptive_field
    assert (field.size, field.stride, field.feature_map.goal) == ((224, 224), (None, None), "relu17")
    assert (field.feature_map.size, field.feature_map.stride) == ((435, 435), (32, 32))
    line = "receptive field of softmax: size 224x224, stride -x-, padding -x-; feature map relu17: size 435x435"
    assert line in str(report)
    assert report.to_dict()["receptive_field"]["feature_map"]["layer"] == "relu17"
    assert field.feature_map.of((0, 0)).last == tc.receptive_field("resnet18", layer="relu17").of((0, 0)).last
    assert tc.receptive_field(nn.Conv2d(3, 8, 3), (3, 9, 9)).feature_map is None
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    with pytest.raises(tc.TorchconvError, match=r"Give it, or ask for the last feature map, layer='0'"):
        tc.receptive_field(model)
    assert tc.receptive_field(model, layer="0").size == (3, 3)


def test_outputs_are_those_behind_a_last_reshape():
    report = tc.inspect(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten()), (3, 5, 5))
    assert (report.outputs, report.rows[-1].name, report.rows[-1].shape) == (("1.reshape",), "1.reshape", (1, 72))
    assert tc.inspect(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Identity()), (3, 5, 5)).outputs == ("0",)


def test_modules_with_layers_inside_have_a_field():
    block = nn.Sequential(nn.Conv2d(4, 4, 3, stride=2), nn.ReLU())
    model = nn.Sequential(nn.Conv2d(3, 4, 3), block, nn.Conv2d(4, 4, 3), block)
    assert tc.receptive_field(model, (3, 64, 64), layer="1") == tc.receptive_field(model, (3, 64, 64), layer="1.1")
    assert tc.receptive_field(model, (3, 64, 64), layer="1#2") == tc.receptive_field(model, (3, 64, 64), layer="1.1#2")
    assert tc.receptive_field(model, (3, 64, 64), layer="2", since="1").size == (3, 3)
    with pytest.raises(tc.TorchconvError, match=r"a layer: got '1\.7'"):
        tc.receptive_field(model, (3, 64, 64), layer="1.7")


def test_errors_show_shapes_and_not_numbers():
    class Loud(nn.Module):
        def forward(self, x):
            raise ValueError(f"a tensor {list(range(1000))}")

    for model, given in ((nn.Linear(3, 4), [torch.randn(30, 30)]), (Loud(), (3, 8, 8))):
        with pytest.raises(tc.TorchconvError, match=r"\(30, 30\)|\(3, 8, 8\)") as caught:
            tc.inspect(model, given)
        assert len(str(caught.value)) < 450


def test_shapes_are_tried_for_a_limited_time(monkeypatch):
    ups = [nn.ConvTranspose1d(80, 80, 16, 8, 4) for _ in range(3)]
    assert tc.inspect(nn.Sequential(nn.Conv1d(80, 80, 7), *ups)).rows[0].shape == (1, 80, 256)
    assert tc.inspect(nn.Conv1d(1, 4, 3)).rows[0].shape == (1, 1, 16000)
    tried = []

    class Picky(nn.Conv2d):
        def forward(self, x):
            tried.append(tuple(x.shape))
            raise ValueError("no")

    monkeypatch.setattr("torchconv.inspection.network_of.PATIENCE", 0.0)
    with pytest.raises(tc.TorchconvError, match="none of those tried in 0 seconds fits"):
        tc.inspect(Picky(3, 4, 3))
    assert len({*tried}) == 1


def test_the_command_takes_another_input_for_a_name_in_the_zoo(capsys, monkeypatch):
    from torchconv.cli import app

    monkeypatch.setattr("sys.argv", ["torchconv", "inspect", "resnet18", "--input", "3x64x64", "--json"])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code in (0, None)
    assert json.loads(capsys.readouterr().out)["rows"][0]["shape"] == [1, 3, 64, 64]


class Sound(nn.Module):
    """Raw samples, without an axis of channels, as networks of speech take them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv1d(1, 4, 10, stride=5), nn.MaxPool1d(3, 2)

    def forward(self, samples):
        return self.pool(self.conv(samples[:, None]).relu())


def test_raw_sound_has_a_field():
    field = tc.inspect(Sound(), torch.zeros(1, 100)).receptive_field
    assert (field.size, field.stride, tuple(field.of((2,)))) == ((20,), (10,), ((20, 39),))
    assert tc.inspect(nn.Linear(8, 3), torch.zeros(1, 8)).receptive_field is None
