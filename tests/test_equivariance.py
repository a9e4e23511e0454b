"""Equivariance, measured: what must come out as 0, what must not, and which outputs are compared."""

import json
import random

import pytest
import torch
from rich.console import Console
from torch import nn

import torchconv as tc
from torchconv.inspection import Rotation, Scale, Translation
from torchconv.inspection.equivariance import OutputGrid
from torchconv.inspection.motions import lattice, sampled

FIGURE = torch.tensor([0.0, 0.3, 0.1, 1.0, 0.2, 0.1, 0.0]).view(1, 1, -1)  # detectors of Goodfellow's figure 9.8


@pytest.fixture
def images():
    return torch.randn(2, 2, 20, 17, generator=torch.Generator().manual_seed(0))


def seeded(make):
    torch.manual_seed(0)
    return make()


@pytest.mark.parametrize("number", range(25))
def test_convolutions_move_along(number, images):
    """With any stride, padding and dilation: no error, and exactly the outputs that read no border are compared."""
    draw = random.Random(number)
    kernel, stride, dilation, padding = (tuple(draw.randint(1, top) for _ in range(2)) for top in (3, 3, 2, 3))
    shift = (draw.choice((-2, -1, 1, 2)), draw.randint(-2, 2))
    layer = seeded(lambda: nn.Conv2d(2, 3, kernel, stride, padding, dilation).double())
    found = tc.equivariance(layer, images.double(), Translation(shift))
    assert found.equivariant
    assert found.error.max < 1e-13
    counts = []
    for axis, length in enumerate((20, 17)):
        by = found.measured.shift[axis]
        assert by % stride[axis] == 0
        assert by == 0 if shift[axis] == 0 else abs(by - shift[axis]) < stride[axis]
        reach = dilation[axis] * (kernel[axis] - 1)
        outputs = (length + 2 * padding[axis] - reach - 1) // stride[axis] + 1
        starts = [p * stride[axis] - padding[axis] for p in range(outputs)]
        good = {start for start in starts if start >= 0 and start + reach < length}
        counts.append(sum(start in good and start - by in good for start in starts))
    assert found.border.compared == counts[0] * counts[1]
    assert found.border.left_out == layer(images.double()).shape[2:].numel() - counts[0] * counts[1]


@pytest.mark.parametrize("transform", [Rotation(15), Rotation(90), Scale(1.2), Scale(0.8)], ids=str)
def test_convolutions_do_not_turn_or_grow(images, transform):
    found = tc.equivariance(seeded(lambda: nn.Conv2d(2, 3, 3, padding=1)), images, transform)
    assert not found.equivariant
    assert found.error.max > 0.05
    assert found.error.rms > 0.05


def test_what_turns_by_quarters_does():
    square = torch.randn(1, 1, 15, 15, generator=torch.Generator().manual_seed(1))
    layer = nn.Conv2d(1, 1, 3, padding=1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[[1.0, 2, 1], [2, 3, 2], [1, 2, 1]]]]))
    assert tc.equivariance(layer, square, "rotation", angle=90).error.max < 1e-6
    assert tc.equivariance(layer, square, Rotation(180)).equivariant
    assert tc.equivariance(nn.Upsample(scale_factor=2), square, Rotation(-90)).error.max == 0
    assert torch.equal(Rotation(90).apply(square), torch.rot90(square, -1, (2, 3)))
    assert not tc.equivariance(nn.Conv2d(1, 1, 3), square, Rotation(90)).equivariant


@pytest.mark.parametrize(
    "pool", [nn.AvgPool2d(2), nn.AvgPool2d(3, 2, 1), nn.MaxPool2d(4, 3), nn.AvgPool2d(5, 1)], ids=str
)
def test_outputs_turn_about_the_middle_of_the_input(pool):
    """Strides and windows place outputs off the input's middle, which they must be turned about."""
    size = next(size for size in (22, 23) if (size + 2 * pool.padding - pool.kernel_size) % pool.stride == 0)
    square = torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(2))
    assert tc.equivariance(pool, square, Rotation(90)).equivariant


@pytest.mark.parametrize("fault", ["borders", "strides"])
def test_planted_faults_are_seen(fault, images, monkeypatch):
    layer = seeded(lambda: nn.Sequential(nn.Conv2d(2, 2, 3, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1)))
    assert tc.equivariance(layer, images).equivariant
    if fault == "borders":
        monkeypatch.setattr(OutputGrid, "undisturbed", lambda grid, good: torch.ones(grid.outputs, dtype=torch.bool))
    else:
        monkeypatch.setattr(Translation, "on_strides", lambda asked, strides: asked)
    assert not tc.equivariance(layer, images).equivariant


def test_pointwise_layers_move_with_everything(images):
    for transform in (Rotation(33), Scale(1.7), Scale(0.6), Translation((2, -3))):
        assert tc.equivariance(seeded(lambda: nn.Conv2d(2, 2, 1)), images, transform).equivariant


def test_figure_9_8():
    """Under a shift by one all detectors change, and half of the pooled outputs; figure 9.8 shows four of each."""
    found = tc.equivariance(nn.MaxPool1d(3, 1), FIGURE)
    assert found.border.compared == 4
    assert found.unchanged == 0.5
    assert found.equivariant
    assert tc.equivariance(nn.Identity(), FIGURE).unchanged == 0


def test_strides_are_said():
    signal = torch.rand(1, 1, 15, generator=torch.Generator().manual_seed(0))
    found = tc.equivariance(nn.MaxPool1d(2), signal)
    assert found.transform == Translation(1)
    assert found.measured == Translation((2,))
    assert found.error.max == 0
    assert "translation by 1 is no whole number of outputs at stride 2" in found.notes[0]
    assert not tc.equivariance(nn.MaxPool1d(2), signal, shift=2).notes


def test_weights_that_are_not_shared_do_not_move(images):
    unshared = seeded(lambda: tc.nn.LocallyConnected2d(2, 2, 3, input_size=(20, 17)))
    assert not tc.equivariance(unshared, images).equivariant
    tiled = seeded(lambda: tc.nn.TiledConv2d(2, 2, 3, period=2))
    assert not tc.equivariance(tiled, images, shift=1).equivariant
    assert tc.equivariance(tiled, images, shift=2).equivariant
    places = torch.arange(17.0)
    assert not tc.equivariance(lambda x: x + 0.01 * places, images, shift=(0, 1)).equivariant


def test_upsampling_and_transposed_move(images):
    for layer in (nn.Upsample(scale_factor=2), nn.ConvTranspose2d(2, 1, 4, 2, 1), nn.ConvTranspose2d(2, 2, 3, 3)):
        assert tc.equivariance(layer, images).equivariant
    up = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(2, 2, 3))
    assert tc.equivariance(up, images).equivariant


def test_classifiers_are_measured_for_invariance(images):
    assert tc.equivariance(lambda x: x.mean((2, 3)), images, "rotation", angle=180).invariant
    found = tc.equivariance(seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(680, 3))), images)
    assert not found.invariant
    assert not found.equivariant
    assert found.border.left_out == 0
    assert "invariance" in found.notes[0]
    assert tc.equivariance(nn.AdaptiveMaxPool2d(1), FIGURE[..., None], shift=(1, 0)).invariant


def test_a_field_that_is_not_known_leaves_a_quarter_out(images):
    layer = seeded(lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"))
    norm = nn.Sequential(layer, nn.InstanceNorm2d(2))
    found = tc.equivariance(norm, images)
    assert "a quarter" in found.notes[0]
    assert found.error.max < 0.5
    assert tc.equivariance(norm, images, margin=2).border.compared > found.border.compared


def test_models_are_left_as_they_were(images):
    model = nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5))
    model[1].eval()
    before, chance = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    assert tc.equivariance(model, images).equivariant
    assert [one.training for one in model] == [True, False, True]
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert torch.equal(chance, torch.get_rng_state())
    assert all(one.grad is None for one in model.parameters())


def test_the_report_shows(images):
    found = tc.equivariance(nn.Conv2d(2, 2, 3, stride=2), images)
    console = Console(width=200)
    with console.capture() as shown:
        console.print(found)
    assert shown.get().strip() == str(found)
    assert str(found).startswith("Conv2d, translation by 1: equivariant")
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["equivariant"]
    assert plain["measured"] == "translation by 2, 2"
    assert plain["border"]["compared"] == found.border.compared


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"transform": "shear"}, "'translation'"),
        ({"transform": "rotation", "shift": 1}, "expected angle="),
        ({"transform": Rotation(15), "angle": 30}, "such an object alone"),
        ({"shift": 0}, "not all 0"),
        ({"shift": 1.5}, "an integer"),
        ({"shift": (1, 2, 3)}, "each of 2 axes"),
        ({"shift": 17}, "less than the size"),
        ({"transform": "rotation", "angle": 360}, "no multiple of 360"),
        ({"transform": "scale", "factor": 0}, "above 0"),
        ({"transform": "scale", "factor": float("nan")}, "finite"),
        ({"margin": -1}, "margin"),
        ({"tolerance": float("nan")}, "tolerance"),
        ({"margin": 10}, "Give a larger x"),
    ],
)
def test_bad_settings_are_refused(arguments, said, images):
    with pytest.raises(tc.TorchconvError, match=said):
        tc.equivariance(nn.Conv2d(2, 2, 3), images, **arguments)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda x: {"out": x}, "dict"),
        (lambda x: x.flatten(2), "with 2 axes"),
        (lambda x: x.argmax(1), "real numbers"),
        (lambda x: x / 0, "NaN or Inf"),
    ],
)
def test_bad_outputs_are_refused(model, said, images):
    with pytest.raises(tc.TorchconvError, match=said):
        tc.equivariance(model, images)


def test_bad_inputs_are_refused(images):
    for x in (images[0, 0], images.long(), [1.0]):
        with pytest.raises(tc.TorchconvError, match="batch, channels"):
            tc.equivariance(nn.Identity(), x)
    with pytest.raises(tc.TorchconvError, match=r"layer 0 \(Conv2d\).* works"):
        tc.equivariance(nn.Sequential(nn.Conv2d(3, 1, 3)), images)
    with pytest.raises(tc.TorchconvError, match="two axes"):
        tc.equivariance(nn.Identity(), FIGURE, "rotation")


def test_sampling_is_linear_between_samples():
    maps = torch.arange(12.0).view(1, 1, 3, 4)
    values, inside = sampled(maps, lattice((2, 3)) + 0.5)
    assert torch.equal(values[0, 0], maps[0, 0, :2, :3] + 2.5)
    assert inside.all()
    assert not sampled(maps, lattice((3, 4)) + 0.5)[1][2].any()


def test_exported_programs_are_measured_too():
    x = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    program = torch.export.export(nn.Conv2d(1, 4, 3).eval(), (x,))
    found = tc.equivariance(program, x)
    assert (found.equivariant, found.model) == (True, "exported_program")
