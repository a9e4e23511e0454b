"""Training from Python: what a run folder holds, that the seed decides, and what is left after a failure."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from test_data import write_folder
from torchconv.errors import DataError, SettingError, ShapeError, TextError
from torchconv.training import api, preflight
from torchconv.training.learner import Learner
from torchconv.training.objectives.classification import ClassEvaluation
from torchconv.training.results.evaluate import evaluate, predict
from torchconv.training.run import run_folder
from torchconv.training.run.keep import Keep

TINY = "INPUT - CONV[4] - NORM - RELU - POOL - FC"


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("data") / "pets", {"cat": 30, "dog": 30})


@pytest.fixture(scope="module")
def run(pets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    result = api.train(
        str(pets), "INPUT[8x8x3] - CONV[4] - RELU - POOL - FC - SOFTMAX", path, False, epochs=8, batch_size=8
    )
    assert result.path == path
    assert result.test_accuracy == 1.0
    assert result.validation_accuracy == 1.0
    return path


def test_a_run_holds_all_that_is_known(run: Path, pets: Path) -> None:
    names = {"architecture.txt", "classes.json", "config.json", "metrics.json", "weights.safetensors"}
    assert {path.name for path in run.iterdir()} == names | {"logs", "report.html"}
    found = run_folder.load(run)
    assert found.classes == ("cat", "dog")
    assert found.config.input == "8x8x3"
    assert found.config.data == str(pets)
    assert found.config.images == {"train": 48, "validation": 6, "test": 6}
    metrics = json.loads((run / "metrics.json").read_text())
    assert len(metrics["epochs"]) == 8
    assert metrics["final"]["test_accuracy"] == 1.0
    best = max(row["validation_accuracy"] for row in metrics["epochs"])
    assert metrics["epochs"][metrics["best_epoch"] - 1]["validation_accuracy"] == best


def test_the_run_alone_evaluates_and_predicts(run: Path, pets: Path, tmp_path: Path) -> None:
    found = evaluate(run)
    assert (found.split, found.images, found.accuracy) == ("test", 6, 1.0)
    dog = predict(run, [pets / "dog" / "1.png", pets / "cat" / "2.png"], top=2)
    assert [one.top[0][0] for one in dog] == ["dog", "cat"]
    assert sum(value for _, value in dog[0].top) == pytest.approx(1)
    more = evaluate(run, str(write_folder(tmp_path / "more", {"cat": 4, "dog": 5})))
    assert (more.split, more.images) == ("all", 9)


def test_evaluation_refuses_what_does_not_belong(run: Path, pets: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="got class eel, expected classes of the run: cat, dog"):
        evaluate(run, str(write_folder(tmp_path / "fish", {"eel": 2, "dog": 2})))
    extra = pets / "cat" / "new.png"
    extra.write_bytes((pets / "cat" / "1.png").read_bytes())
    try:
        with pytest.raises(DataError, match="has changed since the training"):
            evaluate(run)
    finally:
        extra.unlink()
    renamed = pets / "cat" / "1.png"
    other = renamed.rename(pets / "cat" / "zzz.png")
    try:
        with pytest.raises(DataError, match="has changed since the training: got other names or sizes"):
            evaluate(run)
    finally:
        other.rename(renamed)
    assert evaluate(run).images == 6


def test_an_evaluation_counts_by_class() -> None:
    found = ClassEvaluation("test", torch.tensor([[3, 1, 0], [0, 4, 0], [0, 2, 0]]), ("a", "b", "c"))
    assert (found.images, found.correct) == (10, 7)
    rows = [(row.recall, row.precision, row.mistaken_for) for row in found.rows]
    assert rows == [(0.75, 1.0, "b (1)"), (1.0, 4 / 7, ""), (0.0, 0.0, "b (2)")]


def test_the_seed_decides_to_the_last_bit(pets: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        api.train(str(pets), "INPUT[8x8x3] - CONV[2] - NORM - FC", tmp_path / name, False, epochs=1, seed=seed)
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in "abc"]
    assert weights[0] == weights[1] != weights[2]


def test_digits_are_learned_in_three_epochs(tmp_path: Path) -> None:
    result = api.train(out=tmp_path / "run", progress=False, epochs=3)
    assert result.test_accuracy is not None
    assert result.test_accuracy > 0.95
    assert result.model_bytes < 1_000_000
    scans = sorted((tmp_path / "run" / "examples").glob("*.png"))
    assert [scan.stem for scan in scans] == list("0123456789")
    assert (
        sum(one.top[0][0] == scan.stem for one, scan in zip(predict(tmp_path / "run", scans), scans, strict=True)) >= 8
    )
    assert evaluate(tmp_path / "run").accuracy == pytest.approx(result.test_accuracy)


def test_nothing_is_left_of_a_training_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ShapeError, match="got an output of 8x8x10, expected one row of scores"):
        api.train(text="INPUT - CONV[7]")
    with pytest.raises(SettingError, match="classes: got 10, expected 1, which maxout1 gives"):
        api.train(text="INPUT - FC[7] - MAXOUT[7]")
    with pytest.raises(SettingError, match="epochs: got 0"):
        api.train(text=TINY, epochs=0)
    for settings in ({"epochs": 10**7}, {"batch_size": 2**31}, {"learning_rate": 1e30}):
        with pytest.raises(SettingError, match=r"got 1|got 2"):
            api.train(text=TINY, **settings)
    with pytest.raises(ShapeError, match=r"the network's memory: got about"):
        api.train(text="INPUT - FC[100000000000] - FC")
    with pytest.raises(ShapeError, match=r"NORM in a batch of one image.*Raise --batch-size"):
        api.train(text="INPUT - FC[4] - NORM - FC", batch_size=1, progress=False)
    with monkeypatch.context() as patched:
        bad = dict.fromkeys(("train_accuracy", "validation_accuracy", "train_loss"), 0.5) | {
            "validation_loss": math.nan
        }
        patched.setattr(Learner, "measured", lambda _: bad)
        with pytest.raises(DataError, match=r"no number any more: got nan on the validation.*Lower --learning-rate"):
            api.train(text=TINY, epochs=1, progress=False)

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(api, "fit", broken)
    with pytest.raises(DataError, match="the training cannot go on: got broken"):
        api.train(text=TINY, epochs=1)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_keeps_the_best_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = [2]

    def interrupt(self: Keep, trainer: object, module: object, *_: object) -> None:
        if len(self.epochs) == wanted[0]:
            raise KeyboardInterrupt

    monkeypatch.setattr(Keep, "on_train_batch_start", interrupt)
    with pytest.raises(api.Interrupted, match="after 2 epochs; the best weights so far are kept in runs/digits-1"):
        api.train(text=TINY, epochs=5, progress=False)
    metrics = json.loads(Path("runs/digits-1/metrics.json").read_text())
    assert len(metrics["epochs"]) == 2
    assert evaluate("runs/digits-1").images == 360
    wanted[0] = 0
    with pytest.raises(api.Interrupted, match=r"the end of the first epoch; continue with: .* runs/digits-2"):
        api.train(text=TINY, epochs=5, progress=False)
    assert sorted(path.name for path in Path("runs").iterdir()) == ["digits-1", "digits-2"]


def test_patience_stops_and_the_text_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "tiny.net").write_text(TINY + "\n")
    text = str(tmp_path / "tiny.net")
    api.train(text=text, out=tmp_path / "run", progress=False, epochs=40, patience=1, learning_rate=1e-12)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert 2 <= len(metrics["epochs"]) < 40
    assert (tmp_path / "run" / "architecture.txt").read_text() == TINY + "\n"
    with pytest.raises(TextError, match=r"text none.net cannot be read: got No such file"):
        api.train(text="none.net")


def test_half_precision_learns(tmp_path: Path) -> None:
    result = api.train(text=TINY, out=tmp_path / "run", progress=False, epochs=4, precision="bf16-mixed")
    assert result.validation_accuracy > 0.5
    assert run_folder.load(tmp_path / "run").module.get_parameter("conv1.weight").dtype == torch.float32


def test_a_report_that_fails_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise OSError("no room\nat all")

    monkeypatch.setattr(api, "write_report", broken)
    assert api.train(text="INPUT - FC", out=tmp_path / "run", progress=False, epochs=1).test_accuracy
    assert capsys.readouterr().err == "torchconv: no report was written: no room\n"


def test_a_connection_table_learns(pets: Path, tmp_path: Path) -> None:
    assert api.train(str(pets), "lenet5", tmp_path / "run", False, epochs=1).parameters == 60_170


def test_only_what_is_about_memory_is_said_to_be() -> None:
    assert preflight.no_memory(RuntimeError("can't allocate memory: you tried to allocate 8 bytes"))
    assert not preflight.no_memory(RuntimeError("cannot repeat_interleave a meta tensor"))


def test_what_is_no_classifier_is_refused_in_a_short_message(pets: Path) -> None:
    with pytest.raises(ShapeError, match=r"^training needs a classifier: got an output of 388x388x2"):
        api.train(str(pets), "unet")
    with pytest.raises(DataError, match="give --data"):
        api.train("digits", "cifar10")
