"""An objective is what a network learns: a second one is trained, evaluated and reported as the first one is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import BinaryAccuracy

from torchconv.network.graph import Network
from torchconv.network.operations import Volume
from torchconv.training import evaluate, load, predict, task, train
from torchconv.training.augmentation import Scaling
from torchconv.training.data.images import read_images
from torchconv.training.data.parts import Samples
from torchconv.training.objectives import Ask, Objective, Preparation, Section
from torchconv.training.recipes import Recipe
from torchconv.training.run import run_folder


class Oddness:
    """How many digits were told apart as odd and even."""

    def __init__(self, split: str, share: float) -> None:
        self.split, self.score = split, share
        self.headline, self.table = f"oddness {share:.4f}", (("odd",), [(share,)])

    def to_dict(self) -> dict[str, Any]:
        return {"oddness": self.score}

    def sections(self) -> list[Section]:
        return [Section("Odd or even", f"{self.score:.0%} are told apart.")]


class Odd:
    """One digit, odd or even."""

    def __init__(self, image: str, odd: bool) -> None:
        self.table = ("image", "odd"), [(image, odd)]
        self.odd = odd

    def to_dict(self) -> dict[str, Any]:
        return {"odd": self.odd}


class OddOrEven(Objective):
    """A digit is odd where the mean of its ten scores is above 0."""

    score = "oddness"

    def check(self, network: Network, place: str, data: str) -> None:
        assert network.output.channels == 10

    def accept(self, recipe: Recipe) -> None:
        assert recipe.loss == "cross-entropy"

    def preparation(self, recipe: Recipe, network: Network, scaling: Scaling) -> Preparation:
        return lambda samples, draw: (scaling(samples.images), samples.labels)

    def criterion(self, recipe: Recipe, samples: Samples) -> Callable[[Tensor, Tensor], Tensor]:
        return self.loss

    def outputs(
        self, network: Network, ask: Ask, images: Tensor, scaling: Scaling, augmentation: str = "none"
    ) -> Tensor:
        return ask(scaling(images))

    def targets(self, samples: Samples) -> Tensor:
        return samples.labels

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        odd = (targets % 2).to(outputs.dtype)
        return torch.nn.functional.binary_cross_entropy_with_logits(outputs.mean(1), odd, reduction="sum")

    def metric(self) -> Metric:
        return Oddity()

    def value(self, metric: Metric) -> float:
        return float(metric.compute())

    def answers(self, outputs: Tensor) -> Tensor:
        return outputs.mean(1) > 0

    def evaluation(self, split: str, answers: Iterable[Tensor], samples: Samples) -> Oddness:
        return Oddness(split, float((torch.cat(list(answers)) == samples.labels % 2).double().mean()))

    def predictions(
        self, paths: Sequence[str | Path], volume: Volume, answered: Callable[[Any], Iterable[Tensor]], **asked: Any
    ) -> list[Odd]:
        (found,) = answered(read_images(paths, volume))
        return [Odd(str(image), bool(answer)) for image, answer in zip(paths, found, strict=True)]


class Oddity(BinaryAccuracy):
    """The share of digits told apart."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        super().update(preds.mean(1).sigmoid(), target % 2)


def test_another_objective(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (run_folder, task):
        monkeypatch.setattr(module, "objective", lambda classes, labels, settings: OddOrEven(classes))
    run = tmp_path / "run"
    result = train(text="INPUT - CONV[8] - NORM - RELU - POOL - FC", out=run, progress=False, epochs=3)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["epochs"][-1]["validation_oddness"] == pytest.approx(result.validation_score, abs=0.02)
    found = evaluate(run)
    assert found.score == result.test_score > 0.85
    page = (run / "report.html").read_text()
    assert "Odd or even" in page
    assert "What it mistakes" not in page
    assert "Oddness of each epoch" in page
    seven, eight = predict(run, [run / "examples" / "7.png", run / "examples" / "8.png"])
    assert [one.to_dict()["odd"] for one in (seven, eight)] == [True, False]
    assert isinstance(load(run).objective, OddOrEven)
