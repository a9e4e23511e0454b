"""Models whose convolutions are planned: faster where that pays, otherwise the same."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import torchconv as tc
from torchconv.compute import layouts
from torchconv.compute.algorithms.fft.algorithm import Fourier
from torchconv.compute.planning import choose, store, wisdom
from torchconv.compute.planning.measure import Bench


@pytest.fixture(autouse=True)
def own_wisdom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(store.FOLDER_VARIABLE, str(tmp_path / "wisdom"))
    wisdom.forget()
    choose.forget_choices()
    yield
    wisdom.forget()
    choose.forget_choices()


class Twice(nn.Module):
    """A layer under two names, one in a list, and one with a hook."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 2, 31, padding=15, groups=2)
        self.again = self.first
        self.norm = nn.BatchNorm2d(2)
        self.others = nn.ModuleList([nn.Conv2d(2, 2, 31, padding="same", padding_mode="reflect"), nn.Conv2d(2, 3, 1)])

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = self.norm(self.again(self.first(x)))
        return {"y": self.others[1](self.others[0](y))}


def test_outputs_parameters_keys_and_modes_stay() -> None:
    torch.manual_seed(0)
    model, x = Twice().train(), torch.randn(2, 2, 48, 48)
    before, keys = copy.deepcopy(model), list(model.state_dict())
    parameters = list(model.parameters())
    chance = torch.get_rng_state()
    tuning = tc.tune(model, x)
    assert torch.equal(chance, torch.get_rng_state())
    assert list(model.state_dict()) == keys
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert model.training
    assert model.first is model.again
    assert isinstance(model.first, tc.nn.Conv2d)
    assert torch.equal(model.norm.running_mean, before.norm.running_mean)
    model.eval(), before.eval()
    torch.testing.assert_close(model(x)["y"], before(x)["y"], rtol=1e-4, atol=1e-4)
    model(x)["y"].square().sum().backward()
    before(x)["y"].square().sum().backward()
    for a, b in zip(model.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-2)
    assert {names for layer in tuning.layers for names in layer.names} == {"first", "again", "others.0", "others.1"}
    assert all(seconds > 0 for seconds in (*tuning.inference, *tuning.training))
    lines = str(tuning).splitlines()
    assert len(lines) == 1 + len(tuning.layers) + 3
    assert len({len(line) for line in lines}) == 1


def test_a_layer_with_a_hook_or_a_parametrization_stays() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 31), nn.Conv2d(1, 1, 31, padding=15))
    model[0].register_forward_hook(lambda *arguments: None)
    torch.nn.utils.parametrizations.weight_norm(model[1])
    tuning = tc.tune(model, torch.randn(1, 1, 64, 64))
    assert [layer.stayed for layer in tuning.layers] == ["it has hooks", "it is parametrized"][: len(tuning.layers)]
    assert type(model[0]) is nn.Conv2d


def test_own_layers_take_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(tc.nn.Conv2d(2, 2, 15, padding=7), tc.nn.LocallyConnected2d(2, 1, 3))
    x = torch.randn(2, 2, 32, 32)
    expected = model(x)
    tuning = tc.tune(model, x)
    assert len(tuning.layers) == 2
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)


def test_a_model_whose_outputs_change_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = nn.Sequential(nn.Conv2d(1, 1, 31, padding=15), nn.ReLU()), torch.randn(1, 1, 96, 96)
    output = Fourier.output
    monkeypatch.setattr(Bench, "right", lambda self, algorithms, role: algorithms)
    monkeypatch.setattr(
        Bench,
        "seconds",
        lambda self, algorithms, role, at_most: {one.name: float(one.name != "fft") for one in algorithms},
    )
    monkeypatch.setattr(Fourier, "output", lambda self, *arguments: output(self, *arguments) + 1)
    layer = model[0]
    with pytest.raises(tc.TorchconvError, match=r"tune: got outputs that differ by"):
        tc.tune(model, x)
    assert model[0] is layer


def test_a_model_without_convolutions_is_refused() -> None:
    with pytest.raises(tc.TorchconvError, match=r"model of tune: got Linear, expected a model that calls"):
        tc.tune(nn.Linear(2, 2), torch.randn(1, 2))


def test_the_layout_that_the_model_is_given_is_the_one_that_is_measured() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 31, padding=15, groups=4))
    x = torch.randn(2, 4, 32, 32).contiguous(memory_format=torch.channels_last)
    problems = [layer.plan.problem for layer in tc.tune(model, x).layers]
    assert problems[0].channels_last
    assert wisdom.recall(problems[0])
    assert not wisdom.recall(dataclasses.replace(problems[0], channels_last=False))
    assert layouts.channels_last(Bench(problems[0]).x)


def test_before_is_what_computed_it_before() -> None:
    conv = tc.nn.Conv2d(1, 1, 101, padding=50)
    (layer,) = tc.tune(nn.Sequential(conv, nn.ReLU()), torch.randn(1, 1, 256, 256)).layers
    assert layer.before["output"].name == "fft"
    before, after = layer.seconds("output")
    assert before / after < 50  # torch's kernels take hundreds of times as long
