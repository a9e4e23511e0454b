"""`torchconv predict` of large images: the same labels tile by tile as in one piece."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from torchconv.cli import app
from torchconv.cli.app import status
from torchconv.errors import DataError, SettingError, UnsupportedError
from torchconv.training import predict, train
from torchconv.training.data import images
from torchconv.training.objectives import label_images, large_images
from torchconv.training.run.run_folder import Config

SIZE = 75, 110
TEXT = "INPUT - CONV[6] - NORM - RELU - POOL - CONV[8] - RELU - UPSAMPLE - CONV[3, 1x1]"  # wants even sizes


def scene(random, height, width):
    """An image with a red and a green rectangle, and which pixels they have."""
    pixels, mask = random.integers(0, 80, (height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
    for number in (1, 2):
        top, left = random.integers(0, height // 2), random.integers(0, width // 2)
        place = slice(top, top + height // 3), slice(left, left + width // 3)
        pixels[(*place, number - 1)] += 120
        mask[place] = number
    return pixels, mask


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root, random = tmp_path_factory.mktemp("tiles"), np.random.default_rng(0)
    for number in range(12):
        for name, array in zip(("images", "masks"), scene(random, 24, 32), strict=True):
            (root / "data" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / "data" / name / f"{number}.png")
    train(str(root / "data"), TEXT, root / "run", progress=False, epochs=8, batch_size=4, class_weights="none")
    return root / "run"


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(scene(np.random.default_rng(1), *SIZE)[0]).save(path)
    return path


@pytest.fixture(scope="module")
def whole(run, photo, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    predict(run, [photo], out=out, probabilities=True)
    return out


@pytest.mark.parametrize("asked", [{"tile": 32}, {"tile": (17, 40)}, {"memory": "300kB"}, {"tile": 1000}])
def test_labels_in_tiles_are_those_of_the_whole(run, photo, whole, tmp_path, asked):
    (found,) = predict(run, [photo], out=tmp_path, **asked)
    for name in ("photo_labels.png", "photo_overlay.png"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo_labels.png", "photo_overlay.png"]
    assert len(found.shares) > 1
    (again,) = predict(run, [photo], out=tmp_path, probabilities=True, **asked)
    np.testing.assert_allclose(np.load(tmp_path / "photo.npy"), np.load(whole / "photo.npy"), atol=1e-5)
    assert (tmp_path / "photo_labels.png").read_bytes() == (whole / "photo_labels.png").read_bytes()
    assert again.to_dict()["files"]["probabilities"] == str(tmp_path / "photo.npy")
    (nowhere,) = predict(run, [photo], **asked)
    assert torch.equal(nowhere.classes, found.classes)


def test_asking_about_the_mirror_image_too_is_refused_in_tiles(run, photo, monkeypatch):
    """A tile would need its mirror image too, at the other side; unless asked for or too large, images are whole."""
    monkeypatch.setattr(Config, "test_time_augmentation", "mirror")
    monkeypatch.setattr(label_images, "LARGE", 1000)
    (found,) = predict(run, [photo])
    assert found.classes.shape == SIZE
    with pytest.raises(UnsupportedError, match=r"^a run with test_time_augmentation=mirror, in tiles: got its ans"):
        predict(run, [photo], tile=32)


@pytest.mark.parametrize("ending", ["tif", "npy", "zarr"])
def test_huge_images_are_read_and_written_in_parts(run, photo, whole, tmp_path, monkeypatch, ending):
    pixels = np.asarray(Image.open(photo))
    huge = tmp_path / f"photo.{ending}"
    if ending == "tif":
        tifffile.imwrite(huge, pixels, tile=(16, 16), compression="zlib", photometric="rgb")
    elif ending == "npy":
        np.save(huge, pixels.transpose(2, 0, 1))
    else:
        __import__("zarr").create_array(huge, data=pixels.transpose(2, 0, 1).copy(), chunks=(3, 16, 16))
    monkeypatch.setattr(images, "MOST_PIXELS", 1000)
    monkeypatch.setattr(label_images, "LARGE", 1000)
    monkeypatch.setattr(large_images, "MEMORY", "300kB")
    monkeypatch.setattr(large_images, "BAND", 1000)
    monkeypatch.chdir(tmp_path)
    assert status(app.app, ["predict", str(run), huge.name, "--out", "found", "--probabilities"]) == 0
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == ["photo.npy", "photo_labels.tif"]
    expected = Image.open(whole / "photo_labels.png")
    labels = Image.open(tmp_path / "found" / "photo_labels.tif")
    assert np.array_equal(np.asarray(labels), np.asarray(expected))
    assert labels.getpalette() == expected.getpalette()
    assert status(app.app, ["predict", str(run), huge.name, "--out", "labels", "--tile", "20x30"]) == 0
    written = [(tmp_path / name / "photo_labels.tif").read_bytes() for name in ("labels", "found")]
    assert written[0] == written[1]
    assert [path.name for path in (tmp_path / "labels").iterdir()] == ["photo_labels.tif"]


def test_ctrl_c_keeps_finished_tiles(run, photo, whole, tmp_path, monkeypatch):
    real, calls = large_images._classes, []

    def interrupted(answers):
        calls.append(answers.shape)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(answers)

    interrupted.__qualname__ = real.__qualname__
    monkeypatch.setattr(large_images, "_classes", interrupted)
    with pytest.raises(KeyboardInterrupt, match=f"^interrupted; finished tiles are kept in {tmp_path}: the same comm"):
        predict(run, [photo], out=tmp_path, tile=32)
    assert [path.name for path in tmp_path.iterdir()] == ["photo_classes.npy.tiles"]
    predict(run, [photo], out=tmp_path, tile=32)
    assert len(calls) == 1 + 3 * 4 + 1 + 1  # an example for each call, the tiles, and the one that was interrupted
    assert (tmp_path / "photo_labels.png").read_bytes() == (whole / "photo_labels.png").read_bytes()


def test_what_cannot_be_read_in_parts_is_one_clear_line(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("grey.npy", np.zeros((40, 50), np.uint8))
    np.save("wide.npy", np.zeros((3, 40, 50), np.uint16))
    for name, message in {
        "grey.npy": r"^image grey.npy: got uint8, 40x50, expected bytes of 3 channels, as in the train",
        "wide.npy": r"^image wide.npy: got uint16, 3x40x50, expected bytes of 3 channels",
        "none.tif": r"^image none.tif: got no such file",
    }.items():
        with pytest.raises(DataError, match=message):
            predict(run, [name], out="found")
        assert not Path("found").exists() or not list(Path("found").iterdir())
    assert status(app.app, ["predict", str(run), "grey.npy", "--tile", "1024x0"]) == 2
    assert capsys.readouterr().err == "torchconv: --tile: got '1024x0', expected pixels, as in 1024 or 1024x768\n"
    assert status(app.app, ["predict", str(run), "grey.npy", "--memory", "much"]) == 2


def test_tiles_are_for_classes_of_pixels(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "7.png")
    train(text="INPUT - POOL - FC", out=tmp_path / "run", progress=False, epochs=1)
    with pytest.raises(SettingError, match=r"^tile: got 8, expected none, as each image gets one class"):
        predict(tmp_path / "run", [tmp_path / "7.png"], tile=8)
