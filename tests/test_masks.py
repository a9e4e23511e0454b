"""Where images and masks come from: every layout, what labels mean, and what is wrong with a mask in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from masked import NAMES, pair, png, write_pairs, write_table
from torchconv.errors import DataError, SettingError
from torchconv.network.operations import Volume
from torchconv.training.data.folder import ImageFolder
from torchconv.training.data.labels import LabelEntry, PixelLabels, distinct
from torchconv.training.data.mask_folder import MaskFolder
from torchconv.training.data.parts import MaskedSamples
from torchconv.training.data.source import source

COLOUR = Volume(3, (1, 1))


def masks_of(path: Path, split: str = "train", ignore: str = "") -> list[torch.Tensor]:
    found = source(str(path), ignore)
    read = found.read(found.parts(0)[split], COLOUR)
    assert isinstance(read, MaskedSamples)
    assert all(image.shape[1:] == mask.shape for image, mask in zip(read.images, read.labels, strict=True))
    return list(read.labels)


def put(path: Path, array: np.ndarray, palette: list[int] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(array, palette))


def layout(root: Path, image: str, mask: str) -> Path:
    """Six pairs, under names with the number in them."""
    for number in range(6):
        for name, array in zip((image, mask), pair(number), strict=True):
            put(root / name.format(number), array)
    return root


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/{}.png", "masks/{}.png"),
        ("Image/{}.png", "Labels/{}_L.png"),
        ("images/train/{}.png", "annotations/train/{}.png"),
        ("images/training/b/{}.png", "annotations/training/b/{}.png"),
        ("train/images/{}.png", "train/masks/{}.png"),
        ("train/{}.png", "trainannot/{}.png"),
        ("{}.png", "{}_mask.png"),
        ("train/{}.png", "train/{}-mask.png"),
        ("leftImg8bit/train/a/{}_leftImg8bit.png", "gtFine/train/a/{}_gtFine_labelTrainIds.png"),
        ("JPEGImages/{}.png", "SegmentationClass/{}.png"),
    ],
)
def test_layouts(tmp_path: Path, image: str, mask: str) -> None:
    found = source(str(layout(tmp_path, image, mask)))
    assert isinstance(found, MaskFolder)
    parts = found.parts(0)
    read = found.read(parts["train"], COLOUR)
    numbers = [
        int("".join(filter(str.isdigit, item[0].stem.removesuffix("_leftImg8bit")))) for item in parts["train"].items
    ]
    assert len(numbers) == 4  # of six, a tenth, at least one, is for validation, and one for the test
    for number, picture, labels in zip(numbers, read.images, read.labels, strict=True):
        assert np.array_equal(picture.permute(1, 2, 0).numpy(), pair(number)[0])
        assert np.array_equal(labels.numpy(), pair(number)[1])


def test_splits_that_are_there(tmp_path: Path) -> None:
    for split, first in (("train", 0), ("val", 6), ("test", 12)):
        write_pairs(tmp_path, 3, first, f"images/{split}", f"masks/{split}")
    parts = source(str(tmp_path)).parts(0)
    assert {name: len(part) for name, part in parts.items()} == {"train": 3, "validation": 3, "test": 3}


def test_class_folders_are_no_masks(tmp_path: Path) -> None:
    layout(tmp_path, "cat/{}.png", "dog/{}.png")
    assert isinstance(source(str(tmp_path)), ImageFolder)


def test_tables(tmp_path: Path) -> None:
    write_table(tmp_path / "train.parquet", 6)
    write_table(tmp_path / "validation.parquet", 2, first=6)
    for name in (tmp_path, tmp_path / "train.parquet"):
        found = source(str(name))
        parts = found.parts(0)
        assert {split: len(part) for split, part in parts.items()} == {"train": 6, "validation": 2, "test": 0}
        (one, other) = found.read(parts["validation"], COLOUR).labels
        assert np.array_equal(one.numpy(), pair(6)[1])
        assert np.array_equal(other.numpy(), pair(7)[1])
    alone = write_table(tmp_path / "more.parquet", 12)
    assert len(source(str(alone)).parts(3)["train"]) == 10
    assert len(masks_of(alone)) == 10


def test_numbers_names_and_colours(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    found = source(str(tmp_path)).labels
    assert found is not None
    assert (found.names, found.values, found.numbered) == (("0", "1", "2"), (0, 1, 2), True)
    assert found.colours == tuple(distinct(number) for number in range(3))
    for text, colours in (
        ("ground\nbox\ndisc\n", None),
        ("# comment\n0 ground\n1 box\n2 disc", None),
        ("name,r,g,b\nground,1,2,3\nbox,4,5,6\ndisc,7,8,9", ((1, 2, 3), (4, 5, 6), (7, 8, 9))),
        ("1 2 3\tground\n4 5 6\tbox\n7 8 9\tdisc", ((1, 2, 3), (4, 5, 6), (7, 8, 9))),
    ):
        (tmp_path / "classes.txt").write_text(text)
        found = source(str(tmp_path)).labels
        assert found is not None
        assert (found.names, found.known, found.numbered) == (NAMES, "classes.txt", False)
        assert colours in (None, found.colours)
    (tmp_path / "classes.txt").unlink()
    (tmp_path / "id2label.json").write_text(json.dumps({"0": "ground", "2": "disc", "1": "box"}))
    labels = source(str(tmp_path)).labels
    assert labels is not None
    assert labels.values == (0, 2, 1)


def test_what_is_of_no_class(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    (label,) = {int(value) for mask in masks_of(tmp_path, ignore="1") for value in mask.unique()} - {0, 1}
    assert label == 255
    assert source(str(tmp_path), "1").classes == ("0", "2")
    (tmp_path / "classes.txt").write_text("void\nbox\ndisc")
    assert source(str(tmp_path)).classes == ("box", "disc")
    assert source(str(tmp_path), "none").classes == ("void", "box", "disc")
    assert source(str(tmp_path), "disc").classes == ("void", "box")
    with pytest.raises(SettingError, match=r"ignore: got dics, expected labels of the masks.*Did you mean disc\?"):
        source(str(tmp_path), "dics")
    with pytest.raises(SettingError, match="ignore: got '1', expected nothing, as data digits has no masks"):
        source("digits", "1")


def test_255_is_of_no_class_unless_it_is_one_of_two(tmp_path: Path) -> None:
    for number in range(4):
        image, mask = pair(number)
        put(tmp_path / "three" / "images" / f"{number}.png", image)
        put(tmp_path / "three" / "masks" / f"{number}.png", np.where(mask == 2, 255, mask).astype(np.uint8))
        put(tmp_path / "two" / "images" / f"{number}.png", image)
        put(tmp_path / "two" / "masks" / f"{number}.png", np.where(mask > 0, 255, 0).astype(np.uint8))
    assert source(str(tmp_path / "three")).classes == ("0", "1")
    assert {int(value) for mask in masks_of(tmp_path / "three") for value in mask.unique()} == {0, 1, 255}
    assert source(str(tmp_path / "two")).classes == ("0", "255")
    assert {int(value) for mask in masks_of(tmp_path / "two") for value in mask.unique()} == {0, 1}


def test_data_that_people_know_by_name(tmp_path: Path) -> None:
    write_table(tmp_path / "camvid" / "train.parquet", offset=9)  # 9 to 11
    found = source(str(tmp_path / "camvid")).labels
    assert found is not None
    assert found.names[8:] == ("car", "pedestrian", "bicyclist")
    assert [entry.value for entry in found.ignored] == [11, 255]
    assert {int(value) for mask in masks_of(tmp_path / "camvid") for value in mask.unique()} == {9, 10, 255}
    write_table(tmp_path / "camvid32" / "train.parquet", offset=20)
    assert source(str(tmp_path / "camvid32")).classes == ("20", "21", "22")  # other numbers than those that are known


def test_palettes_and_colours(tmp_path: Path) -> None:
    colours = [(10, 20, 30), (40, 50, 60), (70, 80, 90)]
    for number in range(4):
        image, mask = pair(number)
        put(tmp_path / "palette" / "images" / f"{number}.png", image)
        put(tmp_path / "palette" / "masks" / f"{number}.png", mask, [value for colour in colours for value in colour])
        put(tmp_path / "colours" / "images" / f"{number}.png", image)
        put(tmp_path / "colours" / "masks" / f"{number}.png", np.array(colours, dtype=np.uint8)[mask])
    assert source(str(tmp_path / "palette")).labels.colours == tuple(colours)  # pyright: ignore
    with pytest.raises(DataError, match=r"got colours, expected numbers of classes, or a table of colours. Name the"):
        source(str(tmp_path / "colours"))
    (tmp_path / "colours" / "classes.txt").write_text("ground 10 20 30\nbox 40 50 60\ndisc 70 80 90\n")
    found = source(str(tmp_path / "colours")).labels
    assert found is not None
    assert found.coloured
    both = zip(masks_of(tmp_path / "colours"), masks_of(tmp_path / "palette"), strict=True)
    assert all(torch.equal(one, other) for one, other in both)
    (tmp_path / "colours" / "classes.txt").write_text("ground 10 20 30\nbox 40 50 60\n")
    with pytest.raises(DataError, match=r"mask .*: got colour 70 80 90 at row \d+, column \d+"):
        masks_of(tmp_path / "colours")


def test_grey_in_three_channels_and_sixteen_bits(tmp_path: Path) -> None:
    write_pairs(tmp_path, 3)
    mask = np.asarray(Image.open(tmp_path / "masks" / "1.png"))
    put(tmp_path / "masks" / "1.png", np.repeat(mask[..., None], 3, 2))
    put(tmp_path / "masks" / "2.png", np.asarray(Image.open(tmp_path / "masks" / "2.png")).astype(np.uint16))
    found = source(str(tmp_path))
    assert found.classes == ("0", "1", "2")


SMALL, OTHER, WIDE = np.zeros((5, 6), np.uint8), np.full((27, 30), 7, np.uint8), np.full((27, 30), 300, np.uint16)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("masks/3.png", SMALL, r"3.png: got 6x5 pixels, expected the .* of its image, image .*3.png"),
        ("masks/3.png", OTHER, r"3.png: got label 7 at row 0, column 0, expected one of 0, 1, 2, 255"),
        ("masks/3.png", WIDE, r"3.png: got values 300 to 300, expected 0 to 255"),
        ("masks/new.png", SMALL, r"new.png: got no image, expected a file of the same name"),
        ("images/new.png", SMALL, r"new.png: got no mask, expected a file of the same name in .*masks"),
    ],
)
def test_pairs_that_cannot_be_used(tmp_path: Path, name: str, array: np.ndarray, message: str) -> None:
    write_pairs(tmp_path, 6)
    (tmp_path / "classes.txt").write_text("\n".join(NAMES))
    put(tmp_path / name, array)
    what = f"^{name.partition('/')[0][:-1]} {re.escape(str(tmp_path))}/.*/"
    with pytest.raises(DataError, match=what + message) as refused:
        masks_of(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["images/3.png", "masks/3.png"])
def test_files_that_are_torn(tmp_path: Path, name: str) -> None:
    write_pairs(tmp_path, 6)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:60])
    with pytest.raises(DataError, match=f"{name} cannot be read"):
        masks_of(tmp_path)


def test_masks_are_not_jpegs(tmp_path: Path) -> None:
    write_pairs(tmp_path, 6)
    Image.open(tmp_path / "masks" / "1.png").save(tmp_path / "masks" / "1.jpg")
    (tmp_path / "masks" / "1.png").unlink()
    with pytest.raises(DataError, match=r"mask .*1.jpg cannot be read.*expected one of PNG, BMP"):
        source(str(tmp_path))


def test_one_class_is_none(tmp_path: Path) -> None:
    for number in range(4):
        put(tmp_path / "images" / f"{number}.png", pair(number)[0])
        put(tmp_path / "masks" / f"{number}.png", np.full((24, 32), 3, np.uint8))
    with pytest.raises(DataError, match=r"got 1 class \(3\), expected at least two classes"):
        source(str(tmp_path))


@pytest.mark.parametrize("text", ["a\na\nb", "300 a\n1 b", "1 2\n3 4", "1 2 a 3", "1 2 900 a", "a"])
def test_names_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    write_pairs(tmp_path, 3)
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=r"classes\.txt"):
        source(str(tmp_path))


def test_labels_go_into_json_and_back() -> None:
    entries = [LabelEntry(3, "a", (1, 2, 3)), LabelEntry(5, "void"), LabelEntry(9, "b")]
    found = PixelLabels.of(entries, known="x")
    assert PixelLabels.from_dict(found.names, json.loads(json.dumps(found.to_dict()))) == found
    assert found.classes_of(np.array([[3, 5], [9, 255]], np.uint8), "m").tolist() == [[0, 255], [1, 255]]
    assert found.palette[9:12] == [1, 2, 3]
