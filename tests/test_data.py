"""Digits and folders of images: splits, decoding, and everything that can be wrong with a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from torchconv.errors import DataError
from torchconv.network.operations import Volume
from torchconv.training.data import images
from torchconv.training.data.images import read_images
from torchconv.training.data.source import DIGITS_SPLIT, Digits, ImageFolder, source

SMALL = Volume(3, (8, 8))


def write_folder(root: Path, classes: dict[str, int], size: tuple[int, int] = (10, 12)) -> Path:
    """A folder per class; the classes differ in the colour of their noise."""
    random = np.random.default_rng(0)
    for number, (name, count) in enumerate(classes.items()):
        folder = root / name
        folder.mkdir(parents=True)
        for index in range(count):
            pixels = random.integers(0, 80, (*size, 3), dtype=np.uint8)
            pixels[:, :, number % 3] += 150
            Image.fromarray(pixels).save(folder / f"{index}.png")
    return root


def test_digits_split_is_fixed_stratified_and_disjoint() -> None:
    digits = Digits()
    parts = digits.parts(0)
    assert {name: len(part) for name, part in parts.items()} == DIGITS_SPLIT
    assert parts == digits.parts(7)
    rows = [row for part in parts.values() for row in part.items]
    assert sorted(rows) == list(range(1797))
    assert all(16 <= parts["validation"].labels.count(label) <= 19 for label in range(10))


def test_digits_are_bytes_of_the_scans() -> None:
    digits = Digits()
    batch = digits.read(digits.parts(0)["test"], digits.volume)
    assert batch.images.shape == (360, 1, 8, 8)
    assert batch.images.dtype == torch.uint8
    assert set(batch.images.unique().tolist()) == {round(grey * 255 / 16) for grey in range(17)}
    with pytest.raises(DataError, match=r"got 8x8x3, expected 8x8x1. Write INPUT\[8x8x1\]"):
        digits.check(Volume(3, (8, 8)))


def test_a_folder_is_split_class_by_class_by_the_seed(tmp_path: Path) -> None:
    folder = ImageFolder(write_folder(tmp_path, {"cat": 20, "ant": 10}))
    assert folder.classes == ("ant", "cat")
    parts = folder.parts(3)
    assert {name: part.labels for name, part in parts.items()} == {
        "train": (0,) * 8 + (1,) * 16,
        "validation": (0, 1, 1),
        "test": (0, 1, 1),
    }
    assert len({path for part in parts.values() for path in part.items}) == 30
    assert parts == folder.parts(3) != folder.parts(4)


def test_two_images_are_enough(tmp_path: Path) -> None:
    parts = ImageFolder(write_folder(tmp_path, {"a": 2, "b": 2})).parts(0)
    assert [len(part) for part in parts.values()] == [2, 2, 0]


def test_split_folders_are_kept_apart(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"a": 10, "b": 10})
    write_folder(tmp_path / "val", {"a": 1, "b": 2})
    folder = ImageFolder(tmp_path)
    parts = folder.parts(0)
    assert [len(part) for part in parts.values()] == [20, 3, 0]
    assert all("val" in path.parts for path in parts["validation"].items)
    write_folder(tmp_path / "test", {"b": 4})
    assert [len(part) for part in ImageFolder(tmp_path).parts(0).values()] == [20, 3, 4]
    split, part = ImageFolder(tmp_path).whole()
    assert (split, set(part.labels)) == ("test", {1})


def test_training_images_make_up_for_a_missing_validation_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"a": 10, "b": 10})
    write_folder(tmp_path / "test", {"a": 3, "b": 3})
    assert [len(part) for part in ImageFolder(tmp_path).parts(0).values()] == [18, 2, 6]


@pytest.mark.parametrize(("train", "test"), [("Train", "Test"), ("training", "testing"), ("TRAIN", "test")])
def test_split_folders_go_by_many_names(tmp_path: Path, train: str, test: str) -> None:
    write_folder(tmp_path / train, {"a": 10, "b": 10})
    write_folder(tmp_path / test, {"a": 3, "b": 3})
    folder = ImageFolder(tmp_path)
    assert folder.classes == ("a", "b")
    assert [len(part) for part in folder.parts(0).values()] == [18, 2, 6]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert ImageFolder(write_folder(tmp_path, {"car": 2, "train": 2})).classes == ("car", "train")


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "a" / ".hidden.png").write_text("no image")
    (tmp_path / ".cache").mkdir()
    assert len(ImageFolder(tmp_path).whole()[1]) == 6


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({}, "an empty folder"),
        ({"only": 3}, r"one class only \(only\)"),
        ({"a": 3, "b": 0}, "b: got 0 images, expected at least 2"),
        ({"a": 3, "b": 1}, "b: got 1 images, expected at least 2"),
        ({"train/a": 2, "train/b": 2, "other/a": 2}, "folder other beside train"),
        ({"Test/a": 2, "Test/b": 2, "val/a": 2}, "folder Test, val, and no train folder"),
        ({"cat": 2, "dog": 2, "test": 2}, "folder test, and no train folder"),
        ({"train": 2, "test": 2}, "expected a folder for each class, or train, validation and test"),
        ({"train/a": 2, "train/b": 2, "val/a": 2, "eval/a": 2}, "folder val beside train"),
        ({"train/a": 2, "train/b": 2, "test/c": 2}, "c: got a class that is not in train"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path: Path, classes: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ImageFolder(write_folder(tmp_path, classes))


def test_what_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data: got an empty name"):
        source("")
    with pytest.raises(DataError, match=r"got no such folder.*Did you mean digits\?"):
        source("Digit")
    with pytest.raises(DataError, match="got no such folder"):
        source(str(tmp_path / "nothing"))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="got a file"):
        source(str(tmp_path / "file"))
    (tmp_path / "1.png").write_text("")
    with pytest.raises(DataError, match="no class folders"):
        source(str(tmp_path))


def test_images_are_brought_to_the_volume(tmp_path: Path) -> None:
    pixels = np.zeros((6, 4, 3), np.uint8)
    pixels[0, :, 0] = 255  # a red line on top
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_images([tmp_path / "a.png"], Volume(3, (6, 4)))[0]
    assert torch.equal(image, torch.from_numpy(pixels).permute(2, 0, 1))
    assert read_images([tmp_path / "a.png"], Volume(1, (12, 8)))[0].shape == (1, 12, 8)
    turned = Image.fromarray(pixels)
    exif = turned.getexif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise: the line is then on the right
    turned.save(tmp_path / "b.png", exif=exif)
    assert (read_images([tmp_path / "b.png"], Volume(3, (4, 6)))[0][0, :, -1] == 255).all()


def test_sixteen_bits_are_scaled_not_cut(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 257 * 7], [257 * 128, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert read_images([tmp_path / "a.png"], Volume(1, (2, 2)))[0].tolist() == [[[0, 7], [128, 255]]]


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    half = np.zeros((1, 2, 4), np.uint8)
    half[0, 0, 3] = 255  # black, then nothing
    clear = Image.fromarray(half)
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 9, 9, 9])
    palette.putpixel((1, 0), 1)
    clear.save(tmp_path / "rgba.png")
    clear.convert("LA").save(tmp_path / "la.png")
    palette.save(tmp_path / "p.png", transparency=1)
    for name in ("rgba.png", "la.png", "p.png"):
        assert read_images([tmp_path / name], Volume(1, (1, 2)))[0].tolist() == [[[0, 255]]]
        assert read_images([tmp_path / name], Volume(3, (1, 2)))[0].tolist() == [[[0, 255]]] * 3


def test_32_bits_are_kept_scaled_or_refused(tmp_path: Path) -> None:
    def read(values: list[float], dtype: type) -> list[int]:
        Image.fromarray(np.array([values], dtype)).save(tmp_path / "a.tif")
        return read_images([tmp_path / "a.tif"], Volume(1, (1, 2)))[0][0, 0].tolist()

    assert read([0, 200], np.int32) == [0, 200]
    assert read([0, 257 * 9], np.int32) == [0, 9]
    refused = (
        ([0, 70000], np.int32, "values"),
        ([-1, 5], np.int32, "values"),
        ([0.0, 1.0], np.float32, "floating-point"),
    )
    for values, dtype, said in refused:
        with pytest.raises(DataError, match=rf"a.tif cannot be read: got {said} .* in place of 8 or 16 bits"):
            read(values, dtype)


def test_written_images_are_read_back(tmp_path: Path) -> None:
    for volume in (Volume(1, (5, 4)), Volume(3, (5, 4))):
        pixels = torch.randint(0, 256, (volume.channels, *volume.size), dtype=torch.uint8)
        images.write_image(tmp_path / "a.png", pixels)
        assert torch.equal(read_images([tmp_path / "a.png"], volume)[0], pixels)


def test_images_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_images([tmp_path / "a.png"], SMALL)
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(DataError, match=r"text.png cannot be read"):
        images.read_images([tmp_path / "text.png"], SMALL)
    write_folder(tmp_path, {"a": 1})
    whole = (tmp_path / "a" / "0.png").read_bytes()
    (tmp_path / "torn.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"torn.png cannot be read"):
        read_images([tmp_path / "torn.png"], SMALL)
    monkeypatch.setattr(images, "MOST_PIXELS", 100)
    with pytest.raises(DataError, match="12x10 pixels, expected at most 100"):
        read_images([tmp_path / "a" / "0.png"], SMALL)


@pytest.mark.parametrize("volume", [Volume(4, (8, 8)), Volume(3, (8,)), Volume(1, (8, 8, 8))])
def test_volumes_that_no_image_has(volume: Volume) -> None:
    with pytest.raises(DataError, match="1 channel"):
        read_images(["a.png"], volume)


def test_a_bar_for_many_images_on_a_terminal_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ImageFolder(write_folder(tmp_path, {"a": 3, "b": 3}))
    _, part = folder.whole()
    monkeypatch.setattr(images, "MANY", 6)
    folder.read(part, SMALL, progress=True)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes this for a terminal
    folder.read(part, SMALL)
    assert capsys.readouterr() == ("", "")
    folder.read(part, SMALL, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "reading images" in err


def test_more_images_than_are_decoded_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "WINDOW", 5)
    monkeypatch.setattr(images, "BLOCK", 2)
    for number in range(13):
        images.write_image(tmp_path / f"{number}.png", torch.full((1, 2, 2), number, dtype=torch.uint8))
    found = images.read_images([tmp_path / f"{number}.png" for number in range(13)], Volume(1, (2, 2)))
    assert found[:, 0, 0, 0].tolist() == list(range(13))
