"""Parquet files and datasets of the hub: columns, classes, splits, and what hostile ones hold."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from torchconv.errors import DataError
from torchconv.network.operations import Volume
from torchconv.training.data.source import source
from torchconv.training.data.tabular import HubImages, ParquetImages

SMALL = Volume(3, (4, 4))
NAMES = ["ant", "bee"]


def encoded(colour: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), colour, np.uint8)).save(file, format="PNG")
    return file.getvalue()


def write_parquet(
    path: Path,
    labels: list[Any],
    *,
    names: list[Any] | None = None,
    plain: bool = False,
    columns: tuple[str, str] = ("image", "label"),
    images: list[Any] | None = None,
    more: dict[str, list[Any]] | None = None,
    label_type: pa.DataType | None = None,
) -> Path:
    """Images whose grey is their row, with labels; as Hugging Face writes them unless `plain`."""
    content = [encoded(row) for row in range(len(labels))] if images is None else images
    if not plain:
        content = [{"bytes": one, "path": None} for one in content]
    kind = pa.binary() if plain else pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    arrays = {columns[0]: pa.array(content, kind), columns[1]: pa.array(labels, label_type), **(more or {})}
    table = pa.table(arrays)
    if names is not None:
        features = {columns[1]: {"names": names, "_type": "ClassLabel"}, columns[0]: {"_type": "Image"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def greys(found: ParquetImages, rows: tuple[int, ...], labels: tuple[int, ...]) -> list[int]:
    from torchconv.training.data.parts import Split

    batch = found.read(Split(rows, labels), SMALL)
    assert batch.labels.tolist() == list(labels)
    assert batch.images.dtype == torch.uint8
    return batch.images[:, 0, 0, 0].tolist()


def test_names_are_in_the_schema_and_images_in_the_rows(tmp_path: Path) -> None:
    found = source(str(write_parquet(tmp_path / "a.parquet", [0, 1] * 20, names=NAMES)))
    assert (found.kind, found.classes, found.numbered) == ("parquet", ("ant", "bee"), False)
    assert found.name == str(tmp_path / "a.parquet")
    parts = found.parts(3)
    assert {name: len(part) for name, part in parts.items()} == {"train": 32, "validation": 4, "test": 4}
    assert sorted(parts["test"].labels) == [0, 0, 1, 1]
    assert sorted(row for part in parts.values() for row in part.items) == list(range(40))
    assert parts == found.parts(3) != found.parts(4)
    for part in parts.values():
        batch = found.read(part, SMALL)
        assert batch.images.shape == (len(part), 3, 4, 4)
        assert batch.images[:, 0, 0, 0].tolist() == list(part.items)
        assert batch.labels.tolist() == [row % 2 for row in part.items]
    assert (found.whole()[0], len(found.whole()[1])) == ("all", 40)


@pytest.mark.parametrize(
    ("labels", "kind", "classes", "numbered"),
    [
        (["b", "a", "b", "a"], None, ("a", "b"), False),
        ([7, 3, 7, 3], pa.uint8(), ("3", "7"), True),
        ([10, 9, 10, 9], pa.int64(), ("9", "10"), True),
        (["b", "a", "b", "a"], pa.dictionary(pa.int8(), pa.string()), ("a", "b"), False),
    ],
)
def test_classes_without_names_in_the_schema(
    tmp_path: Path, labels: list[Any], kind: Any, classes: tuple[str, ...], numbered: bool
) -> None:
    path = write_parquet(tmp_path / "a.parquet", labels, label_type=kind, plain=True)
    found = ParquetImages(path)
    assert (found.classes, found.numbered) == (classes, numbered)
    assert [found.classes[number] for number in found.whole()[1].labels] == [str(label) for label in labels]


@pytest.mark.parametrize("columns", [("img", "labels"), ("photo", "class"), ("x", "fine_label"), ("x", "y")])
def test_columns_go_by_many_names(tmp_path: Path, columns: tuple[str, str]) -> None:
    path = write_parquet(tmp_path / "a.parquet", [0, 1, 0, 1], names=NAMES, columns=columns)
    assert ParquetImages(path).classes == ("ant", "bee")


def test_other_columns_are_passed_over(tmp_path: Path) -> None:
    more = {
        "id": [1, 2, 3, 4],
        "file": ["a", "b", "c", "d"],
        "score": [0.1, 0.2, 0.3, 0.4],
        "mask": [b"", b"", b"", b""],
    }
    assert (
        ParquetImages(write_parquet(tmp_path / "a.parquet", [0, 1, 0, 1], names=NAMES, more=more)).classes[1] == "bee"
    )
    names_say = write_parquet(tmp_path / "b.parquet", [0, 1, 0, 1], names=NAMES, columns=("image", "what"), more=more)
    assert ParquetImages(names_say).classes == ("ant", "bee")


def test_neighbours_are_the_other_splits(tmp_path: Path) -> None:
    train = write_parquet(tmp_path / "train.parquet", [0, 1, 1], names=NAMES)
    write_parquet(tmp_path / "validation.parquet", [1, 0], names=["bee", "ant"])
    write_parquet(tmp_path / "other.parquet", [0, 1, 0, 1], names=["x", "y"])
    found = ParquetImages(train)
    parts = found.parts(0)
    assert {name: len(part) for name, part in parts.items()} == {"train": 3, "validation": 2, "test": 0}
    assert parts["validation"].labels == (0, 1)  # by name
    assert greys(found, (4, 1, 3), (1, 1, 0)) == [1, 1, 0]
    assert (found.whole()[0], len(found.whole()[1])) == ("all", 3)
    assert len(ParquetImages(tmp_path / "validation.parquet").whole()[1]) == 2
    write_parquet(tmp_path / "test.parquet", [0] * 5, names=NAMES)
    assert [len(part) for part in ParquetImages(train).parts(0).values()] == [3, 2, 5]
    write_parquet(tmp_path / "val.parquet", [0, 1], names=NAMES)
    with pytest.raises(DataError, match=r"got val.parquet and validation.parquet|validation.parquet beside it"):
        ParquetImages(train)


def test_a_split_with_other_classes(tmp_path: Path) -> None:
    train = write_parquet(tmp_path / "train.parquet", [0, 1, 0, 1], names=NAMES)
    write_parquet(tmp_path / "test.parquet", [0, 1], names=["ant", "wasp"])
    with pytest.raises(DataError, match=r"test.parquet: got class wasp that is not in train, expected one of ant, bee"):
        ParquetImages(train)


def test_the_digest_changes_with_the_images(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "train.parquet", [0, 1] * 4, names=NAMES)
    before = ParquetImages(path).digest()
    assert before == ParquetImages(path).digest()
    write_parquet(path, [0, 1] * 5, names=NAMES)
    assert (after := ParquetImages(path).digest()) != before
    write_parquet(tmp_path / "test.parquet", [0, 1], names=NAMES)
    assert ParquetImages(path).digest() != after


@pytest.mark.parametrize(
    ("labels", "settings", "message"),
    [
        ([0, 1, -1], {"names": NAMES}, r"label in row 2 of .*: got -1, expected a number from 0 to 1, as there are 2"),
        ([0, 1, 2], {"names": NAMES}, r"label in row 2 of .*: got 2, expected a number from 0 to 1"),
        ([0, -5, 1], {}, r"label in row 1 of .*: got -5, expected a number from 0 on"),
        ([0, None, 1], {"names": NAMES}, r"label in row 1 of .*: got nothing, expected a class"),
        (["a", "b", None], {}, r"label in row 2 of .*: got nothing"),
        ([], {"label_type": pa.int64()}, "got 0 rows, expected 1 to"),
        ([0.5, 1.5], {}, r"no clear label column: got image \(struct.*label \(double\), expected one column"),
        ([0, 1], {"columns": ("image", "image2"), "images": [b"", b""], "more": {"n": [1, 2]}},
         r"no clear label column: .*Call the right one of image2, n \"label\""),
        ([0, 1], {"more": {"class": [0, 1]}}, r"no clear label column: .*Call the right one of label, class \"label\""),
        ([0, 1], {"columns": ("a", "label"), "plain": True, "more": {"b": [b"", b""]}},
         r"no clear image column: .*Call the right one of a, b \"image\""),
        ([0, 1], {"names": ["a", "a"]}, "expected a list of different names"),
        ([0, 1], {"names": ["a", "\ud800"]}, "expected a list of different names"),
        ([0, 1], {"names": ["a", 3]}, "expected a list of different names"),
        ([0, 1], {"names": "ab"}, "expected a list of different names"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_used(tmp_path: Path, labels: list[Any], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        ParquetImages(write_parquet(tmp_path / "a.parquet", labels, **settings))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 0, 0], NAMES[:1], r"one class only \(ant\), expected at least two"),
        ([0, 0, 0], NAMES, "class bee of .*: got 0 images, expected at least 2"),
        ([0, 0, 1], NAMES, "class bee of .*: got 1 images, expected at least 2"),
        ([4, 4], None, "one class only"),
    ],
)
def test_too_few_to_train_on_are_enough_to_evaluate_on(
    tmp_path: Path, labels: list[int], names: list[str] | None, message: str
) -> None:
    found = ParquetImages(write_parquet(tmp_path / "a.parquet", labels, names=names))
    with pytest.raises(DataError, match=message):
        found.parts(0)
    assert len(found.whole()[1]) == len(labels)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"no image", "image in row 1 of .* cannot be read"),
        (encoded(1)[:50], "image in row 1 of .* cannot be read"),
        (b"", "image in row 1 of .* cannot be read"),
        (None, "image in row 1 of .*: got no bytes"),
    ],
)
@pytest.mark.parametrize("plain", [True, False])
def test_images_that_cannot_be_read_name_their_row(tmp_path: Path, image: Any, message: str, plain: bool) -> None:
    path = write_parquet(tmp_path / "a.parquet", [0, 1, 1], images=[encoded(0), image, encoded(2)], plain=plain)
    found = ParquetImages(path)
    assert greys(found, (2, 0), (1, 0)) == [2, 0]
    with pytest.raises(DataError, match=message) as caught:
        greys(found, (0, 1), (0, 1))
    assert "BytesIO" not in str(caught.value)


def test_paths_in_a_parquet_file_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(encoded(9))
    path = tmp_path / "a.parquet"
    rows = [{"bytes": None, "path": str(tmp_path / "secret.png")}] * 2
    pq.write_table(pa.table({"image": pa.array(rows), "label": [0, 1]}), path)
    schema = pq.read_schema(path)
    assert schema.field("image").type.field("bytes").type == pa.null()
    with pytest.raises(DataError, match="no clear image column"):
        ParquetImages(path)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array([*rows, None], kind), "label": [0, 1, 1]}), path)
    found = ParquetImages(path)
    for row in (0, 2):
        with pytest.raises(DataError, match=f"image in row {row} of .*: got no bytes"):
            greys(found, (row,), (0,))


def test_torn_files_at_every_length(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "train.parquet", [0, 1, 0, 1], names=NAMES)
    whole = path.read_bytes()
    for length in range(0, len(whole), 41):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cannot be read: got .*expected a whole parquet file") as caught:
            ParquetImages(path)
        assert "\n" not in str(caught.value)
    path.write_text("label,image\n" * 50)
    with pytest.raises(DataError, match="expected a whole parquet file"):
        source(str(path))
    with pytest.raises(DataError, match="got no such file"):
        source(str(tmp_path / "nothing.parquet"))


def test_damaged_bytes_are_one_error_or_none(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "train.parquet", [0, 1] * 8, names=NAMES)
    whole = path.read_bytes()
    for place in range(4, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with suppress(DataError):  # and nothing else
            found = ParquetImages(path)
            for part in found.parts(0).values():
                found.read(part, SMALL)


def test_a_folder_of_parquet_files_is_its_train_file_or_names_one(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [0, 1], names=NAMES)
    with pytest.raises(DataError, match=r"no class folders.*Name the file: .*/a.parquet"):
        source(str(tmp_path))
    write_parquet(tmp_path / "train.parquet", [0, 1], names=NAMES)
    assert source(str(tmp_path)).name == str(tmp_path / "train.parquet")


def hub(monkeypatch: pytest.MonkeyPatch, splits: dict[str, list[int]]) -> list[tuple[str, str | None]]:
    """A hub that has one dataset; what it is asked for."""
    import datasets

    kinds = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    made = {
        split: datasets.Dataset.from_dict(
            {"img": [{"bytes": encoded(row), "path": None} for row in range(len(labels))], "label": labels},
            features=kinds,
        )
        for split, labels in splits.items()
    }
    asked: list[tuple[str, str | None]] = []

    def load(path: str, config: str | None) -> Any:
        asked.append((path, config))
        return datasets.DatasetDict(made)

    monkeypatch.setattr(datasets, "load_dataset", load)
    return asked


def test_a_dataset_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, {"train": [0, 1] * 10, "test": [1, 0, 1]})
    found = source("hf:some-one/in.sects:plain_text")
    assert asked == [("some-one/in.sects", "plain_text")]
    assert (found.kind, found.name, found.classes) == ("hub", "hf:some-one/in.sects:plain_text", ("ant", "bee"))
    parts = found.parts(0)
    assert [len(part) for part in parts.values()] == [18, 2, 3]
    assert found.whole() == ("test", parts["test"])
    batch = found.read(parts["test"], SMALL)
    assert batch.images[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert batch.labels.tolist() == [1, 0, 1]
    assert found.digest() == source("hf:some-one/in.sects:plain_text").digest() != ""
    hub(monkeypatch, {"train": [0, 1] * 10, "test": [1, 0, 0]})
    assert HubImages("hf:some-one/in.sects:plain_text").digest() != found.digest()


def test_a_test_without_classes_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, {"train": [0, 1] * 10, "test": [-1, -1]})
    assert [len(part) for part in HubImages("hf:insects").parts(0).values()] == [16, 2, 2]
    hub(monkeypatch, {"everything": [0, 1]})
    with pytest.raises(DataError, match="got splits everything, expected one that is called train"):
        HubImages("hf:insects")


@pytest.mark.parametrize("name", ["hf:", "hf:a b", "hf:../x", "hf:a/b/c", "hf:/etc", "hf:a:", "hf:a/..", "hf:a\n"])
def test_names_that_no_dataset_has(name: str) -> None:
    with pytest.raises(DataError, match="got no name of a dataset, expected hf:NAME or hf:NAME:CONFIG"):
        source(name)


def test_no_network_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def offline(*_: object) -> None:
        raise ConnectionError("Couldn't reach 'a/b' on the Hub\n (LocalEntryNotFoundError)")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(
        DataError, match=r"data hf:a/b cannot be loaded: got Couldn't reach .* its copy in the cache"
    ) as caught:
        source("hf:a/b")
    assert "\n" not in str(caught.value)
