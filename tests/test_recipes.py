"""Recipes: every field checked, and what each does to the weights."""

from __future__ import annotations

import copy
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from test_data import write_folder
from torchconv.errors import SettingError
from torchconv.language.network_module import NetworkModule, build
from torchconv.training import api, initialisation, optimisation, recipes
from torchconv.training.augmentation import Scaling
from torchconv.training.objectives.classification import Classification, scores
from torchconv.training.recipes import FAST, RECIPES, Recipe, named
from torchconv.training.results.evaluate import answers

TEXT = "INPUT[8x8x3] - CONV[24, 2x2, valid] - RELU - CONV[32] - NORM - RELU - POOL - FC"


def recipe(**settings: Any) -> Recipe:
    return Recipe(TEXT, 1).changed(settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adam"}, "optimizer: got adam, expected adamw, sgd or muon. Did you mean adamw"),
        ({"schedule": "cosine"}, "schedule: got cosine, expected one-cycle or triangular"),
        ({"averaging": ["ema"]}, "averaging: got"),
        ({"precision": "16"}, "precision: got 16, expected 32-true, bf16-mixed or auto"),
        ({"momentum": 1}, "momentum: got 1, expected a number from 0 to 0.9999"),
        ({"label_smoothing": float("nan")}, "label smoothing: got nan, expected a number"),
        ({"learning_rate": "fast"}, "learning rate: got fast, expected a number above 0"),
        ({"norm_bias_rate": 0}, "norm bias rate: got 0, expected a number above 0 to 1e"),
        ({"whitening": 1}, "whitening: got 1, expected True or False"),
        ({"patience": 0}, "patience: got 0"),
        ({"text": None}, "text: got None"),
        ({"learning_rat": 1}, r"setting learning_rat: expected one of text.*Did you mean learning_rate\?"),
    ],
)
def test_fields_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        recipe(**settings)


def test_every_field_is_plain() -> None:
    for found in (FAST, *RECIPES.values()):
        for field in fields(found):
            assert isinstance(getattr(found, field.name), (str, int, float, bool, type(None)))
        named_fields = {*recipes.CHOICES, *recipes.RANGES}
        assert named_fields <= {field.name for field in fields(found)}


def test_names() -> None:
    assert named("default", "folder") == RECIPES["folder"] == named("default", "hub")
    assert named("fast", "digits") is FAST
    with pytest.raises(SettingError, match="recipe: got quick, expected default or fast"):
        named("quick", "digits")


def test_whitened_patches_are_uncorrelated() -> None:
    torch.manual_seed(0)
    module = build(TEXT)
    images = torch.nn.functional.avg_pool2d(torch.randn(300, 3, 10, 10), 3, 1)  # neighbours are alike
    initialisation.prepare(module, recipe(whitening=True), images)
    first = module.get_submodule("conv1")
    assert not first.weight.requires_grad
    assert first.bias.requires_grad
    torch.testing.assert_close(first.weight[:12], -first.weight[12:])
    outputs = first(images) - first.bias[:, None, None]
    found = torch.cov(outputs[:, :12].transpose(0, 1).flatten(1))
    torch.testing.assert_close(found, torch.eye(12), atol=0.05, rtol=0)


@pytest.mark.parametrize("text", ["INPUT[8x8x3] - CONV[25, 2x2] - FC", "INPUT[8x8x3] - POOL - CONV[2] - FC",
                                  "INPUT[8x8x3] - CONV[26, 2x2] - FC", "INPUT[8x8x3] - FC",
                                  "INPUT[8x8x3] - CONV[4, 9x9] - FC",
                                  "INPUT[8x8x3] - CONV[4, transposed, stride=2] - FC",
                                  "INPUT[8x8x3] - CONV[4, input_dilation=2] - FC"])  # fmt: skip
def test_what_cannot_whiten_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="a recipe that whitens: got"):
        initialisation.prepare(build(text), recipe(whitening=True), torch.zeros(2, 3, 8, 8))


def test_convolutions_pass_on_and_scores_shrink() -> None:
    torch.manual_seed(0)
    module = build(TEXT)
    last = module.get_parameter("fc1.weight").clone()
    initialisation.prepare(module, recipe(identity=True, score_scale=0.5), torch.zeros(2, 3, 8, 8))
    x = torch.randn(2, 24, 7, 7)
    second = module.get_submodule("conv2")
    torch.testing.assert_close(second(x)[:, :24], x + second.bias[:24, None, None])
    assert second.weight[24:].abs().max() > 0
    assert torch.equal(module.get_parameter("fc1.weight"), last * 0.5)


def test_biases_before_norm_and_frozen_scales_do_not_learn() -> None:
    module = build(TEXT)
    initialisation.prepare(module, recipe(norm_scales=False, norm_momentum=0.4), torch.zeros(2, 3, 8, 8))
    learned = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert learned == {"conv1.weight", "conv1.bias", "conv2.weight", "norm1.bias", "fc1.weight", "fc1.bias"}
    assert module.get_submodule("norm1").momentum == 0.4


def test_groups_have_their_rates() -> None:
    module = build(TEXT)
    settings = {"norm_bias_rate": 64, "score_scale": 0.5, "learning_rate": 2, "weight_decay": 0.1}
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    for optimizer, factor in (("sgd", 0.25), ("adamw", 0.5)):
        groups = optimisation.groups(module, recipe(optimizer=optimizer, **settings))
        rates = {names[id(parameter)]: group["lr"] for group in groups for parameter in group["params"]}
        assert rates["norm1.bias"] == 128
        assert rates["norm1.weight"] == rates["conv1.weight"] == 2
        assert rates["fc1.weight"] == rates["fc1.bias"] == 2 * factor
        assert all(group["lr"] * group["weight_decay"] == pytest.approx(0.2) for group in groups)


def test_scaled_scores_are_scaled_weights() -> None:
    """score_scale is what multiplying the scores would be, step by step."""

    def after(scale: float, outside: float) -> torch.Tensor:
        torch.manual_seed(0)
        module = build("INPUT[4x4x1] - FC")
        settings = recipe(optimizer="sgd", score_scale=scale, learning_rate=0.5, momentum=0.8, weight_decay=0.05)
        initialisation.prepare(module, settings, torch.zeros(1, 1, 4, 4))
        optimizer, x = optimisation.optimizer(module, settings), torch.randn(8, 1, 4, 4)
        for _ in range(5):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(x) * outside, torch.arange(8)).backward()
            optimizer.step()
        return module(x) * outside

    torch.testing.assert_close(after(0.25, 1), after(1, 0.25))


def test_triangle() -> None:
    module, settings = (
        build(TEXT),
        recipe(schedule="triangular", optimizer="sgd", learning_rate=2, schedule_peak=0.2, schedule_end=0.07),
    )
    optimizer = optimisation.optimizer(module, settings)
    schedule, rates = optimisation.schedule(optimizer, settings, 10), []
    for _ in range(11):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert (rates[0], rates[2], rates[10]) == pytest.approx((0.4, 2, 0.14))
    assert rates[6] == pytest.approx((2 + 0.14) / 2)


def test_averages() -> None:
    def module(value: float) -> NetworkModule:
        made = build("INPUT[4x4x1] - CONV[2] - NORM - FC")
        for number in (*made.parameters(), *made.buffers()):
            number.data.fill_(value)
        return made

    ema, current = optimisation.Average(module(0)), module(8)
    ema.follow(current, 1, 100)
    assert ema.module.fc1.weight.unique().tolist() == [8]
    current.fc1.weight.data.fill_(0)
    ema.follow(current, 11, 100)
    assert ema.module.fc1.weight.unique().tolist() == pytest.approx([8 * 11 / 20])
    assert int(ema.module.norm1.num_batches_tracked) == 8
    slow, current = optimisation.Average(module(0), "lookahead"), module(8)
    slow.follow(current, 4, 10)
    assert slow.module.fc1.weight.unique().tolist() == [0]
    slow.follow(current, 5, 10)
    decay = 0.95**5 / 8
    assert slow.module.fc1.weight.unique().tolist() == pytest.approx([8 * (1 - decay)])
    assert torch.equal(current.fc1.weight, slow.module.fc1.weight)


def test_fast_learns_from_a_folder(tmp_path: Path) -> None:
    pets = write_folder(tmp_path / "pets", {"cat": 40, "dog": 40})
    settings = {"epochs": 3, "batch_size": 8, "learning_rate": 0.05}
    result = api.train(str(pets), TEXT, tmp_path / "run", False, recipe="fast", **settings)
    assert result.validation_accuracy == 1.0


def test_muon_turns_kernels_and_leaves_the_rest_to_sgd() -> None:
    torch.manual_seed(0)
    module = build("INPUT[8x8x3] - CONV[4] - NORM - RELU - FC[2]")
    recipe = replace(FAST, weight_decay=0.0, norm_scales=True)
    optimizer = optimisation.optimizer(module, recipe)
    plain = copy.deepcopy(module)
    module.scores(torch.randn(6, 3, 8, 8)).square().sum().backward()
    gradients = {name: value.grad.clone() for name, value in module.named_parameters() if value.grad is not None}
    optimizer.step()
    before, after = dict(plain.named_parameters()), dict(module.named_parameters())
    kernel = before["conv1.weight"] * (2 / before["conv1.weight"].norm())
    step = (kernel - after["conv1.weight"]).detach() / recipe.muon_rate
    values = torch.linalg.svdvals(step.flatten(1))
    assert bool(((values > 0.5) & (values < 1.5)).all()), values
    assert float((step * gradients["conv1.weight"]).sum()) > 0
    expected = before["fc1.weight"] - recipe.learning_rate / 81 * (1 + recipe.momentum) * gradients["fc1.weight"]
    torch.testing.assert_close(after["fc1.weight"], expected)


def test_muon_leaves_the_scores_of_a_last_convolution_free() -> None:
    module = build("INPUT[8x8x3] - CONV[4] - NORM - RELU - CONV[2, 1x1]")
    *_, turned = optimisation.groups(module, FAST)
    assert turned["orthogonal"]
    assert [tuple(kernel.shape) for kernel in turned["params"]] == [(4, 3, 3, 3)]


@pytest.mark.parametrize("kind", ["mirror", "mirror-shift"])
def test_augmentation_at_test_time_looks_at_both_sides(kind: str) -> None:
    torch.manual_seed(0)
    module = build("INPUT[8x8x3] - CONV[4] - RELU - FC[2] - SOFTMAX").eval()
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    scaling = Scaling((0.5,) * 3, (0.2,) * 3)
    asked = module, Classification("ab"), scaling
    (both,) = answers(*asked, images, kind)
    if kind == "mirror":
        torch.testing.assert_close(both, next(answers(*asked, images.flip(-1), kind)))
    assert not torch.allclose(both, next(answers(*asked, images)))


def test_scores_are_weighed_means_of_what_is_looked_at() -> None:
    images = torch.arange(25.0).reshape(1, 1, 5, 5)
    asked = []

    def score(view: torch.Tensor) -> torch.Tensor:
        asked.append(view)
        return view[:, 0, 2]  # of the middle row

    both = (images[:, 0, 2] + images[:, 0, 2].flip(-1)) / 2
    torch.testing.assert_close(scores(score, images, "mirror"), both)
    rows = torch.nn.functional.pad(images, (1,) * 4, mode="reflect")[:, 0]
    rows = torch.stack([rows[:, 2, :5], rows[:, 4, 2:], rows.flip(-1)[:, 2, :5], rows.flip(-1)[:, 4, 2:]])
    torch.testing.assert_close(scores(score, images, "mirror-shift"), both / 2 + rows.mean(0) / 2)
    assert len(asked) == 2 + 6


def test_progressive_resizing_where_the_network_takes_smaller_images(tmp_path: Path) -> None:
    text = "INPUT[8x8x1] - CONV[4] - RELU - GLOBALPOOL - FC"
    seen = []
    forward = NetworkModule.scores
    with pytest.MonkeyPatch.context() as patch:

        def watched(module: NetworkModule, images: torch.Tensor) -> torch.Tensor:
            seen.append((module.training, images.shape[-1]))
            return forward(module, images)

        patch.setattr(NetworkModule, "scores", watched)
        api.train("digits", text, tmp_path / "run", progress=False, epochs=4, progressive_resizing=0.5, batch_size=512)
    assert [size for training, size in seen if training] == [6] * 4 + [8] * 4
    assert {size for training, size in seen[1:] if not training} == {8}
    flat = "INPUT[8x8x1] - CONV[4] - RELU - FC"
    with pytest.raises(SettingError, match=r"progressive resizing: got 0\.5, expected 0, or a network for any size"):
        api.train("digits", flat, tmp_path / "flat", progress=False, epochs=1, progressive_resizing=0.5)
    api.train("digits", flat, tmp_path / "flat", recipe="fast", progress=False, epochs=1)
    assert json.loads((tmp_path / "flat" / "config.json").read_text())["settings"]["progressive_resizing"] == 0
