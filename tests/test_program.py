"""A model's calls written down and run again: bit for bit what the model gives, with its gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

import torchconv as tc
from torchconv.tracing.model_copy import ModelFailed
from torchconv.tracing.program import FromModel, capture


class Several(nn.Module):
    """Two inputs and a dictionary; a constant, a buffer, something written in place, and a plain number come out."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.tied = nn.Conv2d(3, 4, 3, padding=1)
        self.tied.weight = self.conv.weight
        self.register_buffer("scale", torch.rand(4, 1, 1))
        self.table = torch.arange(4.0)

    def forward(self, x, y):
        z = self.conv(x) * self.scale
        z[:, 1] = 0.5
        z += self.tied(y)
        mask = torch.zeros(x.shape[-2:])
        mask[1:] = 2
        return {"z": z * mask + self.table.view(4, 1, 1), "parts": [z.mean(), 3], "none": None}


MODELS = {
    "alexnet": lambda: tc.build("alexnet", input=(3, 96, 96)),
    "lenet5": lambda: tc.build("lenet5", input=(1, 32, 32)),
    "normalised": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.ReLU(True)),
    "pooled": lambda: nn.Sequential(nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(3)),
    "resized": lambda: nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.PixelUnshuffle(2)),
    "attention": lambda: nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(64, 2, 16, batch_first=True)),
    "recurrent": lambda: nn.Sequential(nn.Flatten(2), nn.GRU(64, 5, batch_first=True, bidirectional=True)),
    "transposed": lambda: nn.ConvTranspose2d(3, 4, 3, 2, 1, output_padding=1),
    "periodic": lambda: nn.Conv2d(3, 4, 3, padding=2, padding_mode="circular"),
    "ours": lambda: nn.Sequential(tc.nn.Conv2d(3, 4, 3, padding="same", stride=2), tc.nn.Pool2d(2, statistic="l2")),
    "regions": lambda: nn.Sequential(tc.nn.GridPool2d((2, 2)), nn.Flatten(), nn.Linear(12, 2)),
    "clusters": lambda: nn.Sequential(tc.nn.LearnedPool2d(2), tc.nn.Maxout(3)),
}


def leaves(values):
    return [one for one in pytree.tree_leaves(values) if isinstance(one, torch.Tensor)]


def image(name):
    shapes = {"alexnet": (1, 3, 96, 96), "lenet5": (2, 1, 32, 32), "clusters": (2, 3, 8, 8)}
    return torch.randn(shapes.get(name, (2, 3, 8, 8)))


@pytest.mark.parametrize("name", MODELS)
def test_a_program_gives_what_the_model_gives_with_its_gradients(name):
    torch.manual_seed(0)
    model, x = MODELS[name]().eval(), image(name)
    program = capture(model, (x.to("meta"),))
    grads = []
    for run in (lambda one: model(one), lambda one: program.run((one,))):
        one = x.clone().requires_grad_()
        found = leaves(run(one))
        total = sum((y * torch.cos(torch.arange(y.numel())).view_as(y)).sum() for y in found)
        towards = [one, *(parameter for parameter in model.parameters() if parameter.requires_grad)]
        grads.append([*found, *torch.autograd.grad(total, towards, allow_unused=True)])
    for ours, theirs in zip(*grads, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    with torch.no_grad():  # where torch takes shorter ways itself
        for ours, theirs in zip(leaves(program.run((x,))), leaves(model(x)), strict=True):
            assert torch.allclose(ours, theirs, 1e-5, 1e-6) if name == "attention" else torch.equal(ours, theirs)


def test_the_answer_keeps_its_nesting_and_the_model_its_state():
    model = Several().eval()
    before = copy.deepcopy(model.state_dict())
    inputs = {"x": torch.randn(1, 3, 5, 6), "y": torch.randn(1, 3, 5, 6)}
    program = capture(model, inputs)
    expected, found = model(**inputs), program.run(inputs)
    assert torch.equal(found["z"], expected["z"])
    assert torch.equal(found["parts"][0], expected["parts"][0])
    assert found["parts"][1] == 3
    assert found["none"] is None
    assert all(torch.equal(before[key], one) for key, one in model.state_dict().items())
    used = {one.name for step in program.steps for one in step.references if isinstance(one, FromModel)}
    assert used == {"conv.weight", "conv.bias", "tied.bias", "scale"}
    assert program.tensors["tied.weight"] is model.conv.weight
    with torch.no_grad():
        model.conv.weight.zero_()
    assert torch.equal(program.run(inputs)["z"], model(**inputs)["z"]), "it reads the model's own tensors"


def test_steps_say_what_they_are_and_where():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    steps = capture(model, (torch.empty(1, 3, 20_000, 20_000, device="meta"),)).steps
    assert [(step.name, step.module) for step in steps] == [("convolution", "0"), ("relu", "1"), ("convolution", "2")]
    assert steps[0].shapes == ((1, 4, 10_000, 10_000),)
    assert steps[0].depends == (True,)
    assert [axis.stride for axis in steps[0].drafts[0].axes] == [2, 2]
    assert steps[2].reads == ((steps[2].arguments["input"],),)


def test_steps_that_nothing_reads_are_left_out():
    class Wasteful(nn.Module):
        def forward(self, x):
            F.relu(x).exp()
            return -x

    assert [step.name for step in capture(Wasteful(), (torch.randn(3),)).steps] == ["neg"]


@pytest.mark.parametrize("fault", ["looks", "keeps", "fails"])
def test_what_cannot_be_written_down_is_refused(fault):
    class Faulty(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(3))

        def forward(self, x):
            if fault == "looks" and x.sum() > 0:
                return x
            if fault == "keeps":
                self.seen += x.sum(0)
            return x @ x if fault == "fails" else x + self.seen

    with pytest.raises(ModelFailed) as caught:
        capture(Faulty(), (torch.randn(2, 3),))
    said = {"looks": "path depends on the numbers", "keeps": "writes into what it keeps", "fails": "shape (2, 3)"}
    assert said[fault] in caught.value.got
