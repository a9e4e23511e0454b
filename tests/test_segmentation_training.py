"""A class for each pixel, from data to predictions: training, evaluation, report, resume, and files of predictions."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from masked import NAMES, NET, pair, png, write_pairs, write_table
from test_resume import interrupt, results
from torchconv.cli import app
from torchconv.errors import DataError, SettingError, ShapeError
from torchconv.language import build
from torchconv.training import api, evaluate, load, predict, train
from torchconv.training.objectives.pixel_scores import PixelScores
from torchconv.training.objectives.segment_evaluation import SegmentEvaluation, mean_iou, union_shares
from torchconv.training.objectives.segmentation import Segmentation
from torchconv.training.preflight import Processes
from torchconv.training.recipes import MASKS
from torchconv.training.run.keep import CHECKPOINT
from torchconv.training.summary import summary
from torchconv.training.task import Task

QUICK: dict[str, Any] = {"progress": False, "epochs": 12, "resolution": 1.0, "augmentation": "scale:1.5-flip"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_pairs(tmp_path_factory.mktemp("data"), 24)
    (root / "classes.txt").write_text(
        "\n".join(f"{name} {red} 0 99" for name, red in zip(NAMES, (0, 200, 90), strict=True))
    )
    return root


@pytest.fixture(scope="module")
def run(data: Path) -> Path:
    out = data.parent / f"{data.name}-run"
    train(str(data), NET, out, **QUICK, class_weights="median-frequency", batch_size=4)
    return out


def evaluated(run: Path, name: str | None = None) -> SegmentEvaluation:
    found = evaluate(run, name)
    assert isinstance(found, SegmentEvaluation)
    return found


def test_shapes_are_learned(run: Path) -> None:
    final = json.loads((run / "metrics.json").read_text())["final"]
    found = evaluated(run)
    assert found.split == "test"
    assert found.score == final["test_mean_iou"] > 0.7
    assert found.pixel_accuracy > 0.9
    assert load(run).objective.classes == NAMES
    assert isinstance(load(run).objective, Segmentation)


def test_the_score_is_that_of_all_pixels(run: Path, data: Path, tmp_path: Path) -> None:
    """Counted pixel by pixel from the predictions of the files; the validation's decided which epoch is best."""
    metrics = json.loads((run / "metrics.json").read_text())
    scores = [row["validation_mean_iou"] for row in metrics["epochs"]]
    assert max(scores) == scores[metrics["best_epoch"] - 1]
    found = evaluated(run, str(shutil.copytree(data, tmp_path / "copy")))
    images = sorted((data / "images").iterdir())
    confusion = torch.zeros(3, 3, dtype=torch.int64)
    for path, one in zip(images, predict(run, images), strict=True):
        truth = np.asarray(Image.open(data / "masks" / path.name))
        seen = one.classes.numpy()  # pyright: ignore
        for true, other in itertools.product(range(3), repeat=2):
            confusion[true, other] += int(((truth == true) & (seen == other)).sum())
    assert torch.equal(found.confusion, confusion)
    shares = [float(confusion[k, k] / (confusion[k].sum() + confusion[:, k].sum() - confusion[k, k])) for k in range(3)]
    assert found.mean_iou == pytest.approx(sum(shares) / 3)
    assert [row.iou for row in found.rows] == pytest.approx(shares)


def test_iou_without_some_classes() -> None:
    confusion = torch.tensor([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    assert union_shares(confusion)[:2].tolist() == pytest.approx([3 / 4, 2 / 3])
    assert mean_iou(confusion) == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert mean_iou(torch.zeros(2, 2)) == 0


def test_ignored_pixels_do_not_count(tmp_path: Path, run: Path) -> None:
    write_pairs(tmp_path / "all", 2)
    write_pairs(tmp_path / "part", 2)
    for number in range(2):
        path = tmp_path / "part" / "masks" / f"{number}.png"
        mask = np.asarray(Image.open(path)).copy()
        mask[:10] = 255
        path.write_bytes(png(mask))
    whole, part = (evaluated(run, str(tmp_path / name)) for name in ("all", "part"))
    width = 30 + 32
    assert whole.pixels - part.pixels == 10 * width


def test_the_report(run: Path) -> None:
    page = (run / "report.html").read_text()
    for part in ("Each class", "What it takes for what", "The worst images", "Some images", "swatch", "mean IoU"):
        assert part in page
    assert "ean_iou" not in page
    assert (run / "examples" / "1.png").exists()
    assert len(page) < 400_000


def test_predictions_in_files(run: Path, data: Path, tmp_path: Path) -> None:
    image = tmp_path / "odd.png"
    pixels, mask = pair(100, (37, 53))
    image.write_bytes(png(pixels))
    (found,) = predict(run, [image], out=tmp_path / "out", probabilities=True)
    chances = np.load(tmp_path / "out" / "odd.npy")
    assert chances.shape == (3, 37, 53)
    assert chances.dtype == np.float32
    assert np.allclose(chances.sum(0), 1, atol=1e-5)
    with Image.open(tmp_path / "out" / "odd_labels.png") as written:
        assert written.mode == "P"
        labels = np.asarray(written)
        assert written.getpalette()[3:6] == [200, 0, 99]  # pyright: ignore
    assert np.array_equal(labels, chances.argmax(0))
    assert (labels == mask).mean() > 0.9
    assert Image.open(tmp_path / "out" / "odd_overlay.png").size == (53, 37)
    shares = {row["class"]: row["share"] for row in found.to_dict()["classes"]}
    assert shares == {name: (labels == number).mean() for number, name in enumerate(NAMES) if (labels == number).any()}
    assert sum(shares.values()) == pytest.approx(1)
    assert predict(run, [image])[0].to_dict()["files"] == {}


def test_labels_keep_the_numbers_of_the_data(tmp_path: Path) -> None:
    write_table(tmp_path / "train.parquet", offset=40)
    train(str(tmp_path), NET, tmp_path / "run", **{**QUICK, "epochs": 1})
    (tmp_path / "a.png").write_bytes(png(pair(3)[0]))
    predict(tmp_path / "run", [tmp_path / "a.png"], out=tmp_path)
    assert set(np.unique(np.asarray(Image.open(tmp_path / "a_labels.png")))) <= {40, 41, 42}


def test_the_command_line(run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(png(pair(5)[0]))
    for arguments, said in (
        (["evaluate", str(run)], ("mean IoU", "pixel accuracy", "disc", "precision")),
        (["predict", str(run), "a.png"], ("ground", "a_labels.png")),
        (["predict", str(run), "a.png", "--json", "--out", "b"], ('"labels": "b/a_labels.png"', '"width": 32')),
    ):
        with pytest.raises(SystemExit) as stopped:
            app.main(arguments)
        assert not stopped.value.code
        out = capsys.readouterr().out
        assert all(word in out for word in said)
    assert (tmp_path / "predictions" / "a_overlay.png").exists()


@pytest.mark.parametrize(
    "text",
    [
        "INPUT - CONV[6, 4x4, stride=4, valid] - RELU - CONV[classes, 1x1]",  # a coarse grid of labels
        "INPUT - CONV[6, valid] - RELU - CONV[6, 5x5, valid] - RELU - CONV[classes, 1x1] - SOFTMAX",
        "INPUT - CONV[6] - RELU - MARK[a] - POOL - CONV[6] - RELU - UPSAMPLE[to=a] - CONCAT(FROM[a] | IDENTITY)"
        " - CONV[classes]",
        "INPUT[44x44x1] - CONV[6, valid] - RELU - MARK[a] - POOL - CONV[6, valid] - RELU"
        " - CONV[6, 2x2, stride=2, valid, transposed] - CONCAT[crop](FROM[a] | IDENTITY) - CONV[9, valid]",
    ],
)
@pytest.mark.parametrize("more", [{}, {"targets": "outputs", "loss": "focal+dice", "resolution": 0.5, "crop": "16x12"}])
def test_every_kind_of_network(data: Path, tmp_path: Path, text: str, more: dict[str, Any]) -> None:
    """Coarse, valid, odd and of another size and number of classes than its text: scores are those of all pixels."""
    result = train(str(data), text, tmp_path / "run", **{**QUICK, "epochs": 2, **more})
    assert 0 < result.validation_score <= 1
    (found,) = predict(tmp_path / "run", [data / "images" / "0.png"])
    assert found.classes.shape == (27, 30)  # pyright: ignore


def test_valid_networks_get_a_size_in_which_their_branches_meet(data: Path) -> None:
    """The paper's U-Net takes sizes that are 12 above a multiple of 16, with 92 pixels around what it labels."""
    task = Task.new(str(data), "unet", "default", Processes(), {"resolution": 1.0, "crop": "24x40"})
    assert task.network.input.size == (220, 236)
    assert task.network.output.channels == 3


def test_mirrored_at_test_time(data: Path, tmp_path: Path) -> None:
    train(str(data), NET, tmp_path / "run", **{**QUICK, "epochs": 1, "test_time_augmentation": "mirror"})
    path = data / "images" / "1.png"
    flipped = tmp_path / "flipped.png"
    flipped.write_bytes(png(np.ascontiguousarray(np.asarray(Image.open(path))[:, ::-1])))
    for name, one in (("a", path), ("b", flipped)):
        predict(tmp_path / "run", [one], out=tmp_path / name, probabilities=True)
    found, other = np.load(tmp_path / "a" / "1.npy"), np.load(tmp_path / "b" / "flipped.npy")
    assert np.allclose(found, other[..., ::-1], atol=1e-5)


def test_the_same_seed_and_an_interruption(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        **QUICK,
        "epochs": 3,
        "loss": "cross-entropy+lovasz",
        "augmentation": "scale:2-aspect-flip-colour-cutout",
    }
    interrupt(monkeypatch, after=2)
    with pytest.raises(api.Interrupted, match="continue with"):
        train(str(data), NET, tmp_path / "run", **settings)
    monkeypatch.undo()
    assert (tmp_path / "run" / CHECKPOINT).exists()
    api.resume(tmp_path / "run", progress=False)
    train(str(data), NET, tmp_path / "whole", **settings)
    assert results(tmp_path / "run") == results(tmp_path / "whole")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks")
def test_killed_at_any_moment(data: Path, tmp_path: Path) -> None:
    program = Path(__file__).parent / "killing.py"
    command = [sys.executable, str(program), str(data)]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert found.returncode == 0, found.stderr
    assert "Traceback" not in (tmp_path / "errors.txt").read_text()
    assert results(tmp_path / "killed") == results(tmp_path / "short")


def test_two_processes_give_what_one_gives(data: Path, tmp_path: Path) -> None:
    text = NET.replace(" - NORM", "").replace("RELU", "TANH")  # noise of rounding changes nothing
    settings = {**QUICK, "epochs": 1, "batch_size": 4, "class_weights": "balanced"}
    one = train(str(data), text, tmp_path / "one", **settings)
    two = train(str(data), text, tmp_path / "two", **settings, devices=2)
    rows = [json.loads((tmp_path / name / "metrics.json").read_text())["epochs"] for name in ("one", "two")]
    for alone, shared in zip(*rows, strict=True):
        for name in ("train_loss", "validation_loss", "train_mean_iou", "validation_mean_iou"):
            assert shared[name] == pytest.approx(alone[name], rel=1e-3, abs=1e-4)
    assert two.test_score == pytest.approx(one.test_score, abs=1e-3)


def test_bfloat16(data: Path, tmp_path: Path) -> None:
    result = train(str(data), NET, tmp_path / "run", **{**QUICK, "epochs": 2, "precision": "bf16-mixed"})
    assert result.score == "mean_iou"
    with pytest.raises(AttributeError, match="measured mean_iou: see validation_score"):
        _ = result.validation_accuracy


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        (NET, {"loss": "lovas"}, "loss: got 'lovas'.*Did you mean lovasz"),
        (NET, {"class_weights": "balance"}, "class weights: got 'balance'.*Did you mean balanced"),
        (NET, {"augmentation": "flip-affine"}, "augmentation: got affine, which masks do not follow"),
        (NET, {"augmentation": "flp"}, "augmentation: got 'flp'.*Did you mean flip"),
        (NET, {"augmentation": "flip-flip"}, "augmentation: got flip twice"),
        (NET, {"augmentation": "scale:0"}, "augmentation: got scale:0"),
        (NET, {"augmentation": "scale:2:1"}, "augmentation: got scale:2:1"),
        (NET, {"augmentation": "aspect:3"}, "augmentation: got aspect:3"),
        (NET, {"crop": "0x4"}, "crop: got '0x4', expected height x width"),
        (NET, {"resolution": 0}, "resolution: got 0"),
        (NET, {"whitening": True}, "whitening: got True"),
        (NET, {"recipe": "fast"}, "recipe: got fast, which is for a class of each image"),
        (NET, {"test_time_augmentation": "mirror-shift"}, "test time augmentation: got mirror-shift"),
        (NET, {"ignore": "boxx"}, "ignore: got boxx.*Did you mean box"),
        ("INPUT - CONV[4] - FC", {}, "training on masks: got an output of 3, expected a grid of scores"),
    ],
)
def test_settings_that_cannot_be(data: Path, tmp_path: Path, text: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises((SettingError, ShapeError), match=message) as refused:
        train(str(data), text, tmp_path / "run", progress=False, **settings)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["loss", "class_weights", "resolution", "crop", "targets", "ignore"])
def test_settings_of_masks_are_refused_without_them(tmp_path: Path, name: str) -> None:
    values = {
        "loss": "dice",
        "class_weights": "log",
        "resolution": 0.5,
        "crop": "4x4",
        "targets": "outputs",
        "ignore": "3",
    }
    with pytest.raises(SettingError, match=name.replace("_", " ")):
        train("digits", out=tmp_path / "run", progress=False, **{name: values[name]})
    assert not (tmp_path / "run").exists()


def test_what_is_said_first(data: Path) -> None:
    task = Task.new(str(data), NET, "default", Processes(), {"batch_size": 4, "epochs": 2, "precision": "32-true"})
    text = "\n".join(summary(task))
    for part in (
        "20 images to learn from, 2 images for",
        "3 classes, classes.txt: ground, box, disc; of no class: 255",
    ):
        assert part in text
    assert "2 epochs of 5 steps of 4 images, 32-true, on CPU" in text


def test_bad_data_leave_nothing(data: Path, tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "data", 6)
    (folder / "masks" / "2.png").write_bytes(png(np.zeros((4, 4), np.uint8)))
    with pytest.raises(DataError, match=r"mask .*2.png: got 4x4 pixels, expected the .* of its image"):
        train(str(folder), NET, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_images_that_the_network_cannot_take(tmp_path: Path) -> None:
    """Weights that are not shared are for one size: of the image, which is named."""
    text = "INPUT - LOCAL[4, 3x3] - RELU - CONV[classes, 1x1]"
    for split, first in (("train", 0), ("train", 3), ("val", 1)):
        write_pairs(tmp_path / "two", 1, first, f"images/{split}", f"masks/{split}")
    with pytest.raises(
        ShapeError, match=r"^image .*val/1.png: got 32 pixels on axis 1, expected a size that the network"
    ):
        train(str(tmp_path / "two"), text, tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()
    write_table(tmp_path / "one" / "train.parquet")
    train(str(tmp_path / "one"), text, tmp_path / "run", **{**QUICK, "epochs": 1})
    for name, width in (("small", 25), ("large", 40)):  # the smaller one is mirrored around
        (tmp_path / f"{name}.png").write_bytes(png(pair(1, (20, width))[0]))
    assert predict(tmp_path / "run", [tmp_path / "small.png"])[0].to_dict()["width"] == 25
    with pytest.raises(
        DataError, match=r"^image .*large.png: got 40 pixels on axis 1, expected a size that the network"
    ):
        predict(tmp_path / "run", [tmp_path / "large.png"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    write_pairs(tmp_path / "more", 1)
    write_pairs(tmp_path / "more", 1, 3)
    with pytest.raises(ShapeError, match=r"^image .*0.png: got 27 pixels on axis 0"):
        evaluate(tmp_path / "run", str(tmp_path / "more"))


def test_predictions_that_cannot_be(run: Path, data: Path, tmp_path: Path) -> None:
    image = data / "images" / "0.png"
    for asked, message in (
        ({"top": 2}, "top: got 2, expected none, as each pixel gets its class"),
        ({"probabilities": True}, "probabilities: got True, expected a folder"),
    ):
        with pytest.raises(SettingError, match=message):
            predict(run, [image], **asked)
    (tmp_path / "0.png").write_bytes(image.read_bytes())
    with pytest.raises(DataError, match="images called 0: got 2 of them"):
        predict(run, [image, tmp_path / "0.png"], out=tmp_path / "out")
    with pytest.raises(DataError, match=r"image .*none.png: got no such file"):
        predict(run, [image, tmp_path / "none.png"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"predictions in .* cannot be written"):
        predict(run, [image], out=tmp_path / "file")


def test_other_data(run: Path, tmp_path: Path) -> None:
    """Bare numbers mean what they did in the training; data with a class for each image are refused."""
    assert evaluated(run, str(write_pairs(tmp_path / "more", 2, 50))).images == 2
    with pytest.raises(DataError, match="data digits: got a class for each image, expected masks, as in the training"):
        evaluate(run, "digits")


def test_the_recipe_fits_the_machine_the_network_and_the_images(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchconv.training.task.fast_bfloat16", lambda: True)
    plain = NET.replace(" - NORM", "")
    auto = {"precision": "auto"}
    with_norm, without = (Task.new(str(data), text, "default", Processes(), auto).recipe for text in (NET, plain))
    assert (with_norm.precision, with_norm.optimizer, with_norm.crop) == ("bf16-mixed", "muon", "")
    assert (without.precision, without.optimizer, without.learning_rate) == ("bf16-mixed", "adamw", 0.001)
    said = {"optimizer": "sgd", "crop": "16x16", "precision": "32-true"}
    kept = Task.new(str(data), plain, "default", Processes(), said).recipe
    assert (kept.optimizer, kept.crop, kept.precision) == ("sgd", "16x16", "32-true")
    monkeypatch.setattr("torchconv.training.task.fast_bfloat16", lambda: False)
    assert Task.new(str(data), NET, "default", Processes(), {}).recipe.precision == "32-true"


def test_the_network_of_the_recipe_labels_images_of_every_size() -> None:
    network = build(MASKS.text, input=(3, 37, 50), classes=4)
    assert isinstance(network, torch.nn.Module)
    assert network.network.output.size == (19, 25)
    found = PixelScores(network.network)(network.scores, torch.rand(1, 3, 61, 45))
    assert found.shape == (1, 4, 61, 45)
