"""Run folders: written whole or not at all, and read as hostile files."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from torchconv.errors import DataError
from torchconv.language.network_module import build
from torchconv.training.run import run_folder
from torchconv.training.run.new_run import NewRun
from torchconv.training.run.run_folder import Config, load

TEXT = "INPUT - CONV[2] - FC"


def config(**changes: Any) -> Config:
    values = {
        "data": "digits",
        "data_kind": "digits",
        "images": {"train": 3},
        "input": "8x8x1",
        "mean": [0.5],
        "std": [0.2],
    }
    return Config(**{**values, "settings": {"seed": 0}, **changes})  # type: ignore[arg-type]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    new = NewRun(tmp_path / "run")
    new.describe(config(), TEXT, ("a", "b"))
    new.weights(build(TEXT, (1, 8, 8), 2))
    new.release()
    return new.path


def test_what_is_written_is_read(run: Path) -> None:
    found = load(run)
    assert found.config == config()
    assert found.classes == ("a", "b")
    assert not found.module.training
    torch.manual_seed(0)
    module = build(TEXT, (1, 8, 8), 2)
    NewRun.again(run).weights(module)
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(load(run).module(x), module.eval()(x))
    assert not list(run.glob(".*"))


def test_folders_with_something_in_them_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="not empty"):
        NewRun(tmp_path)
    with pytest.raises(DataError, match="got a file"):
        NewRun(tmp_path / "file")
    with pytest.raises(DataError, match="file/run"):
        NewRun(tmp_path / "file" / "run")


def test_the_next_free_number(tmp_path: Path) -> None:
    names = [NewRun.next_free("digits", tmp_path / "runs").path.name for _ in range(3)]
    assert names == ["digits-1", "digits-2", "digits-3"]


def test_runs_cannot_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(DataError, match="runs/digits-1: got File exists, expected a folder that can be made"):
        NewRun.next_free("digits", tmp_path / "runs")


def test_two_trainings_at_once_get_two_folders(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: NewRun.next_free("digits", tmp_path / "runs"), range(24)))
    assert len({new.path for new in runs}) == 24
    for new in runs:
        new.discard()
    assert not any(tmp_path.rglob("digits-*"))


def test_discarding_leaves_the_files_of_others(tmp_path: Path) -> None:
    new = NewRun(tmp_path / "runs" / "run")
    new.describe(config(), TEXT, ("a", "b"))
    new.example("a", torch.zeros(1, 4, 4, dtype=torch.uint8))
    (new.path / "notes.txt").write_text("mine")
    new.discard()
    assert [path.name for path in new.path.iterdir()] == ["notes.txt"]


def test_discarding_leaves_what_what_was_there_before(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "new" / "deep" / "run"):
        new = NewRun(path)
        new.describe(config(), TEXT, ("a", "b"))
        new.discard()
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_a_file_that_cannot_be_written_keeps_the_old_one(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (run / run_folder.CLASSES).read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    new = NewRun.again(run)
    with pytest.raises(DataError, match="No space left"):
        new.describe(config(), TEXT, ("c", "d"))
    assert (run / run_folder.CLASSES).read_bytes() == before
    assert not list(run.glob(".*"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "{", "config.json is damaged: got no JSON"),
        ("config.json", "[]", "config.json is not a run's config"),
        ("config.json", '{"format": 99}', "config.json is of a newer torchconv: got format 99, expected at most 1"),
        ("config.json", '{"format": 1}', "config.json is damaged"),
        ("classes.json", '"ab"', "classes.json"),
        ("classes.json", '["a", "a"]', "two different names"),
        ("classes.json", '["a", "b", "c"]', "weights of another network: got fc1.weight"),
        ("architecture.txt", "INPUT - CONVV", "(?s)architecture.txt: unknown layer.*column 9"),
        ("architecture.txt", "INPUT - CONV[2]", "architecture.txt and classes.json are of two runs"),
        (
            "architecture.txt",
            "INPUT - CONV[3] - CONV - FC",
            r"conv1.weight \(2, 1, 3, 3\) for \(3, 1, 3, 3\).*and 2 more",
        ),
        ("weights.safetensors", "torn", "weights.safetensors is torn or no safetensors file"),
    ],
)
def test_damaged_runs_name_the_file(run: Path, name: str, content: str, message: str) -> None:
    (run / name).write_text(content)
    with pytest.raises(DataError, match=message):
        load(run)


@pytest.mark.parametrize("name", ["classes.json", "architecture.txt", "weights.safetensors"])
def test_missing_files_are_named(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(DataError, match=f"{name} cannot be read"):
        load(run)


@pytest.mark.parametrize(
    "change",
    [
        {"mean": ["x"]},
        {"mean": [float("nan")]},
        {"std": [float("inf")]},
        {"data": 3},
        {"data": "a\0"},
        {"data_kind": None},
        {"settings": {"seed": "x"}},
        {"settings": {"seed": -1}},
        {"images": {"train": 1.5}},
        {"input": "8x8"},
        {"input": "x"},
        {"std": [0]},
        {"mean": []},
        {"settings": 3},
        {"images": [1]},
        {"more": 1},
    ],
)
def test_configs_with_other_values_are_damaged(run: Path, change: dict[str, Any]) -> None:
    path = run / run_folder.CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError):
        load(run)


def test_folders_that_are_no_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        load(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"no config.json in it"):
        load(tmp_path)


def test_torn_weights_at_every_length(run: Path) -> None:
    path = run / run_folder.WEIGHTS
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError):
            load(run)


def test_weights_of_another_network(run: Path) -> None:
    save_file({"other": torch.zeros(3)}, run / run_folder.WEIGHTS)
    with pytest.raises(DataError, match=r"conv1.weight nothing for \(2, 1, 3, 3\)"):
        load(run)
