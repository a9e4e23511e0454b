"""Models whose convolutions are planned: faster where that pays, otherwise the same."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import torchconv as tc
from torchconv.compute import layouts
from torchconv.compute.algorithms.fft.algorithm import Fourier
from torchconv.compute.planning import choose, wisdom
from torchconv.compute.planning.measure import Bench
from torchconv.convert import model_tuning as tuning


@pytest.fixture(autouse=True)
def own_wisdom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(wisdom.FOLDER_VARIABLE, str(tmp_path / "wisdom"))
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


class Planted:
    """Measurements that find fft fastest everywhere, and a clock that knows what the whole model takes with it.

    seconds: of the model by the sizes of the kernels of planned layers, and whether it is a training step.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, model: nn.Module, seconds: Callable) -> None:
        self.model, self.seconds, self.trains = model, seconds, False
        monkeypatch.setattr(Bench, "right", lambda self, algorithms, role: algorithms)
        monkeypatch.setattr(
            Bench, "seconds", lambda self, found, role, most: {one.name: 0.1 + (one.name != "fft") for one in found}
        )
        monkeypatch.setattr(tuning, "step", self.step)
        monkeypatch.setattr(tuning, "timed", self.timed)

    def step(self, model: nn.Module, arguments: tuple) -> None:
        self.trains = True

    def timed(self, run: Callable[[], None]) -> float:
        self.trains = False
        run()
        return self.seconds(self.sizes, self.trains)

    @property
    def sizes(self) -> list[int]:
        """Of the kernels of layers that are not torch's own."""
        return [one.kernel_size[0] for one in self.model.modules() if isinstance(one, tc.nn.Conv)]


def stack() -> nn.Sequential:
    return nn.Sequential(*(nn.Conv2d(2, 2, size, padding=size // 2) for size in (9, 5, 7, 5)), nn.ReLU())


X = torch.randn(1, 2, 16, 16)


def test_layers_that_make_the_model_slower_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    model, costs = stack(), {9: 0.5, 5: -1.0, 7: 0.05}
    planted = Planted(monkeypatch, model, lambda sizes, trains: 10 + sum(map(costs.__getitem__, sizes)))
    found = tc.tune(model, X)
    assert planted.sizes == [5, 5]
    assert [layer.stayed is None for layer in found.layers] == [False, True, False]
    assert found.inference == found.training == (10, 8)
    assert str(found).count("the whole model is no faster with it") == 2


def test_a_model_that_nothing_makes_faster_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model = stack()
    before = list(model)
    Planted(monkeypatch, model, lambda sizes, trains: 10 + 0.1 * len(sizes))
    found = tc.tune(model, X)
    assert all(one is other for one, other in zip(model, before, strict=True))
    assert found.inference == found.training == (10, 10)
    assert not found.gained
    assert str(found).endswith("nothing to gain: every layer is as it was")


def test_training_decides_where_the_model_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    for model, kept in ((stack().train(), []), (stack().eval(), [9, 5, 7, 5])):
        planted = Planted(monkeypatch, model, lambda sizes, trains: 10 + len(sizes) * (1 if trains else -1))
        found = tc.tune(model, X)
        assert planted.sizes == kept
        assert found.training == (10, 10 + len(kept))


def test_what_promises_little_is_tried_together_and_by_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(*(nn.Conv2d(2, 2, size, padding=size // 2) for size in (5, 7, 9, 11)))
    planted = Planted(monkeypatch, model, lambda sizes, trains: 100 - 3 * (5 in sizes) + 4 * (11 in sizes))
    monkeypatch.setattr(tuning._Kind, "gain", lambda self, roles: 1.9 - self.layer.plan.problem.sizes[0] / 1e3)
    tc.tune(model, X)
    assert planted.sizes == [5, 7]


def test_own_layers_that_are_put_back_compute_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(tc.nn.Conv2d(2, 2, 5, padding=2), nn.ReLU()).eval()
    layer, expected = model[0], model(X)
    planted = Planted(monkeypatch, model, lambda sizes, trains: 10.0)
    used: list[str] = []
    output = Fourier.output
    monkeypatch.setattr(Fourier, "output", lambda self, *given: used.append("fft") or output(self, *given))
    tc.tune(model, X)
    assert model[0] is layer
    used.clear()
    assert torch.equal(model(X), expected)
    assert not used
    assert planted.sizes == [5]
