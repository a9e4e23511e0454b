"""Interrupted trainings: what is left of them, and that they end as unbroken ones do."""

from __future__ import annotations

import csv
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from test_data import write_folder
from torchconv.cli import app
from torchconv.errors import DataError, SettingError
from torchconv.training import api
from torchconv.training.run import new_run
from torchconv.training.run.keep import CHECKPOINT, Keep

TEXT = "INPUT - CONV[2] - NORM - RELU - POOL - FC"


def results(run: Path) -> tuple[bytes, Any]:
    """All that two equal trainings have in common."""
    metrics = json.loads((run / "metrics.json").read_text())
    for row in (*metrics["epochs"], metrics["final"]):
        del row["seconds"]
    return (run / "weights.safetensors").read_bytes(), metrics


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was interrupted in its third epoch."""
    interrupt(monkeypatch, after=2)
    with pytest.raises(api.Interrupted, match="continue with: torchconv train --resume"):
        api.train(text=TEXT, epochs=3, out=tmp_path / "run", progress=False)
    monkeypatch.undo()
    assert (tmp_path / "run" / CHECKPOINT).exists()
    return tmp_path / "run"


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    def start(self: Keep, *_: object) -> None:
        if len(self.epochs) == after:
            raise KeyboardInterrupt

    monkeypatch.setattr(Keep, "on_train_batch_start", start)


@pytest.mark.parametrize(("file", "kept"), [(CHECKPOINT, True), ("weights.safetensors", True), ("classes.json", False)])
def test_a_full_disk_keeps_what_can_be_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, kept: bool
) -> None:
    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.name == file:
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    said = "Make room, then continue with: torchconv train --resume" if kept else "Make room, or give --out"
    with pytest.raises(DataError, match=f"{file} cannot be written: got No space left on device. {said}"):
        api.train(text=TEXT, epochs=2, out=tmp_path / "run", progress=False)
    monkeypatch.undo()
    assert (tmp_path / "run").exists() == kept
    if kept:
        api.resume(tmp_path / "run", progress=False)
        api.train(text=TEXT, epochs=2, out=tmp_path / "whole", progress=False)
        assert results(tmp_path / "run") == results(tmp_path / "whole")


def test_nobody_reads_the_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(self: Keep, *_: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "nobody reads the progress")

    monkeypatch.setattr(Keep, "on_train_batch_start", start)
    monkeypatch.setattr(os, "dup2", lambda *_: None)  # of the tests' own output
    with pytest.raises(SystemExit) as stopped:
        app.main(["train", TEXT, "--out", str(tmp_path / "run")])
    assert stopped.value.code == 141
    assert "continue with: torchconv train --resume" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks")
def test_killed_at_any_moment(tmp_path: Path) -> None:
    """Ten times by SIGKILL, four times by Ctrl-C, and once before every file is in its place."""
    program = Path(__file__).parent / "killing.py"
    found = subprocess.run([sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert found.returncode == 0, found.stderr
    assert "Traceback" not in (tmp_path / "errors.txt").read_text()
    assert found.stdout.count("True") >= 4, "kills come while there is a checkpoint"
    for name, other in (("killed", "whole"), ("stopped", "whole"), ("written", "short")):
        assert results(tmp_path / name) == results(tmp_path / other)
        rows = list(csv.DictReader((tmp_path / name / "logs" / "metrics.csv").open()))
        assert [int(row["epoch"]) for row in rows] == list(range(1, len(rows) + 1))
        assert {path.name for path in (tmp_path / name).iterdir()} == {
            path.name for path in (tmp_path / other).iterdir()
        }


def test_resume_once_and_again(broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = api.resume(broken, progress=False)
    assert not (broken / CHECKPOINT).exists()
    api.train(text=TEXT, epochs=3, out=tmp_path / "whole", progress=False)
    assert results(broken) == results(tmp_path / "whole")
    assert api.resume(broken) == result
    with pytest.raises(SystemExit) as stopped:
        app.main(["train", "--resume", str(broken)])
    assert not stopped.value.code
    out = capsys.readouterr().out
    assert "is complete" in out
    assert "test accuracy" in out


def test_logs_hold_every_epoch_once(broken: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    api.resume(broken, progress=False)
    rows = list(csv.DictReader((broken / "logs" / "metrics.csv").open()))
    epochs = json.loads((broken / "metrics.json").read_text())["epochs"]
    assert [{name: float(value) for name, value in row.items() if name != "step"} for row in rows] == epochs
    events = EventAccumulator(str(broken / "logs")).Reload()
    for tag in ("loss/train", "accuracy/train", "loss/validation", "accuracy/validation", "learning_rate"):
        assert [event.step for event in events.Scalars(tag)] == [1, 2, 3]


def test_interrupted_before_the_first_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, after=0)
    with pytest.raises(api.Interrupted, match=r"before the end of the first epoch; continue with: torchconv train"):
        api.train(text=TEXT, epochs=1, out=tmp_path / "run", progress=False)
    monkeypatch.undo()
    assert api.resume(tmp_path / "run", progress=False).best_epoch == 1


def test_other_settings_are_refused(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        app.main(["train", "INPUT - FC", "--resume", str(broken), "--epochs", "3", "--batch-size", "8"])
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert all(name in err for name in ("TEXT", "--epochs", "--batch-size"))
    assert "--seed" not in err


def other_network(path: Path) -> None:
    found = torch.load(path, weights_only=True)
    found["state_dict"]["module.conv1.weight"] = torch.zeros(3)
    torch.save(found, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), "checkpoint.ckpt is torn or no checkpoint"),
        (lambda path: path.write_bytes(b""), "checkpoint.ckpt is torn or no checkpoint"),
        (lambda path: torch.save({"state_dict": {}}, path), "no checkpoint of torchconv train"),
        (lambda path: torch.save(torch.load, path), "checkpoint.ckpt is torn or no checkpoint"),
        (lambda path: torch.save({"state_dict": {}, "torchconv": {"format": 9}}, path), "got format 9"),
        (lambda path: torch.save({"state_dict": {}, "torchconv": {"format": 1}}, path), "is damaged: got no epochs"),
        (other_network, "is of another network: got module.conv1.weight"),
    ],
)
def test_checkpoints_that_cannot_be_used(broken: Path, damage: Any, message: str) -> None:
    before = (broken / "weights.safetensors").read_bytes()
    damage(broken / CHECKPOINT)
    with pytest.raises(DataError, match=message):
        api.resume(broken, progress=False)
    assert (broken / "weights.safetensors").read_bytes() == before
    (broken / CHECKPOINT).unlink()
    assert api.resume(broken, progress=False).best_epoch  # from the beginning


def test_what_is_no_run(tmp_path: Path, broken: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        api.resume(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"no config.json in it"):
        api.resume(tmp_path)
    config = json.loads((broken / "config.json").read_text())
    for change, message in (
        ({"format": 99}, "newer torchconv"),
        ({"settings": {"epochs": 3, "speed": 1}}, r"config.json is damaged: got .*'speed'"),
        ({"settings": {"epochs": 0}}, "epochs: got 0"),
        ({"images": {"train": 3}}, "has changed since the training began"),
    ):
        (broken / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises((DataError, SettingError), match=message):
            api.resume(broken)


def test_data_that_have_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pets = write_folder(tmp_path / "pets", {"cat": 6, "dog": 6})
    interrupt(monkeypatch, after=1)
    with pytest.raises(api.Interrupted):
        api.train(str(pets), "INPUT[8x8x3] - FC", tmp_path / "run", False, epochs=2)
    monkeypatch.undo()
    (pets / "cat" / "1.png").rename(pets / "cat" / "one.png")
    with pytest.raises(DataError, match="has changed since the training began"):
        api.resume(tmp_path / "run")


def test_one_training_at_a_time(broken: Path) -> None:
    pytest.importorskip("fcntl")
    other = new_run.NewRun.again(broken)
    with pytest.raises(DataError, match="got another training that writes into it"):
        api.resume(broken, progress=False)
    other.release()
    api.resume(broken, progress=False)


@pytest.mark.parametrize("after", range(6))
def test_a_full_disk_loses_nothing(after: int, broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = os.fsync, [after]

    def full(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"run.*cannot be written: got No space left on device"):
        api.resume(broken, progress=False)
    monkeypatch.undo()
    assert not list(broken.rglob(".*"))
    api.resume(broken, progress=False)
    assert len(json.loads((broken / "metrics.json").read_text())["epochs"]) == 3
