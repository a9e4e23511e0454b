"""Which images a run is evaluated on, and how the classes of other data become the run's."""

from __future__ import annotations

from pathlib import Path

import pytest

from test_data import write_folder
from test_parquet import NAMES, write_parquet
from test_report import make_run
from torchconv.errors import DataError
from torchconv.training.data.source import source
from torchconv.training.results.evaluate import evaluate, evaluation_of, known_images
from torchconv.training.run import run_folder


def run_on(path: Path, data: Path, classes: tuple[str, ...] = tuple(NAMES)) -> Path:
    found = source(str(data))
    counts = {name: len(part) for name, part in found.parts(0).items()}
    return make_run(path, classes, data=found.name, data_kind=found.kind, images=counts, files=found.digest())


def test_a_run_on_parquet_is_tested_on_what_it_has_not_seen(tmp_path: Path) -> None:
    train = write_parquet(tmp_path / "train.parquet", [0, 1] * 20, names=NAMES)
    run = run_on(tmp_path / "split", train)
    assert (evaluate(run).split, evaluate(run).images) == ("test", 4)
    assert evaluate(run, str(train)).images == 4
    write_parquet(tmp_path / "validation.parquet", [0, 1, 1], names=NAMES)
    with pytest.raises(DataError, match="has changed since the training"):
        evaluate(run)
    run = run_on(tmp_path / "given", train)
    assert (evaluate(run).split, evaluate(run).images) == ("validation", 3)
    assert evaluate(run, str(tmp_path / "validation.parquet")).confusion.sum(1).tolist() == [1, 2]
    assert evaluation_of(run_folder.load(run)).split == "validation"
    write_parquet(train, [1, 0] * 20, names=NAMES, images=[b"other"] * 40)
    with pytest.raises(DataError, match="has changed since the training: got other names or sizes"):
        evaluate(run)


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ("ant", "bee", "cat"))
    data = write_parquet(tmp_path / "a.parquet", [0, 0, 1], names=["cat", "ant"])
    _, batch = known_images(run_folder.load(run), str(data))
    assert batch.labels.tolist() == [2, 2, 0]
    other = write_parquet(tmp_path / "b.parquet", ["ant", "wasp"])
    with pytest.raises(DataError, match="got class wasp, expected classes of the run: ant, bee, cat"):
        evaluate(run, str(other))


def test_bare_numbers_are_the_runs_classes_only_if_all_of_them_occur(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ("ant", "bee", "cat"))
    data = write_parquet(tmp_path / "a.parquet", [2, 0, 1, 2])
    _, batch = known_images(run_folder.load(run), str(data))
    assert batch.labels.tolist() == [2, 0, 1, 2]
    for labels in ([0, 1], [1, 2, 3], [0, 1, 2, 3]):
        with pytest.raises(DataError, match="expected classes of the run: ant, bee, cat"):
            evaluate(run, str(write_parquet(tmp_path / "b.parquet", labels)))
    with pytest.raises(DataError, match="got class 0"):  # strings are names
        evaluate(run, str(write_parquet(tmp_path / "c.parquet", ["0", "1", "2"])))
    numbers = make_run(tmp_path / "numbers", ("1", "2", "5"))
    _, batch = known_images(run_folder.load(numbers), str(write_parquet(tmp_path / "d.parquet", [5, 1])))
    assert batch.labels.tolist() == [2, 0]


def test_other_data_of_every_kind(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ("ant", "bee"))
    assert evaluate(run, str(write_folder(tmp_path / "all", {"ant": 2, "bee": 3}))).split == "all"
    write_folder(tmp_path / "split" / "train", {"ant": 2, "bee": 3})
    write_folder(tmp_path / "split" / "test", {"bee": 4})
    found = evaluate(run, str(tmp_path / "split"))
    assert (found.split, found.images) == ("test", 4)
    assert evaluate(run, str(write_parquet(tmp_path / "one.parquet", [1, 1], names=NAMES))).images == 2


def test_images_that_do_not_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchconv.training import preflight

    run = make_run(tmp_path / "run", ("ant", "bee"))
    monkeypatch.setattr(preflight.os, "sysconf", lambda name: 1 if name == "SC_PAGE_SIZE" else 100_000)
    with pytest.raises(DataError, match=r"the images' memory: got 0\.12 MB for 600 images"):
        evaluate(run, str(write_parquet(tmp_path / "a.parquet", [0, 1] * 300, names=NAMES, images=[b""] * 600)))
