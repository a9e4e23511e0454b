"""The page of a run: whole in itself, small, the same for the same run, and safe whatever the names are."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from test_data import write_folder
from torchconv.drawing import charts
from torchconv.errors import DataError
from torchconv.language.network_module import build
from torchconv.training.augmentation import Scaling
from torchconv.training.data.parts import Samples
from torchconv.training.data.source import source
from torchconv.training.objectives.classification import ClassEvaluation, Mistakes
from torchconv.training.results.evaluate import evaluate
from torchconv.training.results.report import write_report
from torchconv.training.run import run_folder
from torchconv.training.run.new_run import NewRun

HOSTILE = ("<script>alert(1)</script>", "\"><img src='http://example.org/x'>", "{{ 7 * 7 }}", "a\x1b[31m\n&amp;")
ALLOWED = [
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "header",
    "main",
    "section",
    "h1",
    "h2",
    "h3",
    "p",
    "dl",
    "dt",
    "dd",
    "div",
    "small",
    "span",
    "figure",
    "figcaption",
    "img",
    "svg",
    "line",
    "text",
    "polyline",
    "circle",
    "rect",
    "table",
    "thead",
    "tbody",
    "tfoot",
    "tr",
    "th",
    "td",
    "ul",
    "li",
    "b",
    "br",
    "pre",
]
VOID = {"meta", "img", "br", "link"}


def make_run(
    path: Path,
    classes: tuple[str, ...] = ("cat", "dog"),
    text: str = "INPUT - CONV[4] - RELU - POOL - FC - SOFTMAX",
    data: str = "nowhere",
    volume: tuple[int, ...] = (3, 8, 8),
    metrics: Any = None,
    **changes: Any,
) -> Path:
    """A run folder as training writes it, of a network that has learned nothing."""
    torch.manual_seed(0)
    channels = volume[0]
    shown = "x".join(map(str, (*volume[1:], channels)))
    values: dict[str, Any] = {
        "data": data, "data_kind": "folder", "images": {"train": 9, "validation": 1}, "input": shown,
        "mean": [0.5] * channels, "std": [0.2] * channels, "settings": {"seed": 0, "epochs": 3},
        "versions": {"torch": "2"}, **changes,
    }  # fmt: skip
    new = NewRun(path)
    new.describe(run_folder.Config(**values), text, classes)
    new.weights(build(text, volume, len(classes)))
    new.metrics(EPOCHS if metrics is None else metrics)
    return path


EPOCHS = {
    "epochs": [
        {"epoch": n, "train_loss": 2 / n, "validation_loss": 1.5 / n, "train_accuracy": 1 - 0.5 / n,
         "validation_accuracy": 1 - 0.4 / n, "seconds": n}
        for n in range(1, 6)
    ],
    "best_epoch": 4,
    "final": {"validation_accuracy": 0.9, "test_accuracy": 0.9961, "seconds": 5.25, "model_bytes": 1_234_567},
}  # fmt: skip


def some_mistakes(
    classes: int | tuple[str, ...], size: tuple[int, ...] = (3, 8, 8), count: int = 60
) -> ClassEvaluation:
    names = tuple("abcdef"[:classes]) if isinstance(classes, int) else classes
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(count, len(names), generator=generator).softmax(1)
    images = torch.randint(0, 256, (count, *size), generator=generator, dtype=torch.uint8)
    return ClassEvaluation.of("test", probabilities, Samples(images, torch.arange(count) % len(names)), names)


class Page(HTMLParser):
    """What a page holds, as a browser reads it; opened elements must be closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def page(run: Path) -> Page:
    """The page of a run, after the checks that every page passes."""
    text = (run / "report.html").read_text(encoding="utf-8")
    assert len(text.encode()) < 3_000_000
    found = Page(text)
    for name, attributes in found.elements:
        assert name in ALLOWED, name
        assert not [key for key in attributes if key.startswith("on") or key in ("href", "srcset", "style")]
        assert attributes.get("src", "data:").startswith("data:")
    styles = "".join(re.findall(r"<style>.*?</style>", text, re.S))
    assert "url(" not in styles
    assert "@import" not in styles
    assert not list(run.glob(".*"))
    return found


def test_all_there_is_to_say(tmp_path: Path) -> None:
    run = make_run(tmp_path / "my run")
    write_report(run, some_mistakes(2))
    found = page(run)
    for words in ("my run", "99.61%", "test accuracy", "90.0%", "1.2 MB", "5.2 s", "5 epochs", "3->4, 3x3, padding=1",
                  "max, 2x2", "INPUT - CONV[4] - RELU - POOL - FC - SOFTMAX", "8x8x4", "taken for",
                  "all 4 filters of 3x3, in colour", "in all", "settings".title(), "epochs 3", "torch 2"):  # fmt: skip
        assert words in found.text, words
    assert found.count("svg") == 3
    assert found.count("polyline") == 4
    assert found.count("img") == 24 + 1
    network = build("INPUT[8x8x3] - CONV[4] - RELU - POOL - FC - SOFTMAX", classes=2).network
    assert f"{network.parameters:,} {network.macs:,}" in found.text
    text = (run / "report.html").read_text()
    assert "http" not in text.replace("http-equiv", "")
    assert "default-src 'none'" in text


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    write_report(run, some_mistakes(2))
    first = (run / "report.html").read_bytes()
    write_report(str(run), some_mistakes(2))
    assert (run / "report.html").read_bytes() == first


def test_hostile_names_are_text(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "<b>run",
        HOSTILE,
        data="<script>data</script>",
        settings={"<i>": "<script>2</script>", "seed": 0},
        versions={"</table>": "<svg onload=x>"},
        images={"<u>": 3},
    )
    write_report(run, some_mistakes(HOSTILE))
    found = page(run)
    assert "<script>alert(1)</script>" in found.text
    assert "{{ 7 * 7 }}" in found.text
    assert "<script>data</script>" in found.text
    assert "\x1b" not in (run / "report.html").read_text()
    assert "<b>run" in found.text


def test_mistakes_are_computed_from_the_data_or_the_reason_is_said(tmp_path: Path) -> None:
    pets = write_folder(tmp_path / "pets", {"cat": 10, "dog": 10})
    folder = source(str(pets))
    counts = {name: len(part) for name, part in folder.parts(0).items()}
    run = make_run(tmp_path / "run", data=str(pets), images=counts, files=folder.digest())
    write_report(run)
    assert "of 2 images (test) are misclassified" in page(run).text
    (pets / "cat" / "0.png").unlink()
    write_report(run)
    assert "could not be used. data" in page(run).text
    assert "has changed since the training" in page(run).text
    write_report(lost := make_run(tmp_path / "lost", data="<nowhere>"))
    assert "data <nowhere>: got no such folder" in page(lost).text


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        [],
        {"epochs": 3, "final": [], "best_epoch": "x"},
        {"epochs": [3, {}, {"epoch": "x"}, {"epoch": 1, "train_loss": "<b>"}], "best_epoch": 10**9},
        {"epochs": [{"epoch": 1, "train_loss": 1e300, "validation_loss": float("nan")}], "final": {"seconds": "x"}},
        {"epochs": [{"epoch": 1, "train_loss": 0.5, "train_accuracy": 1}], "final": {"test_accuracy": float("inf")}},
        {"epochs": [{"epoch": n, "train_loss": n, "train_accuracy": 0} for n in range(5000)], "best_epoch": None},
    ],
)
def test_metrics_of_any_kind(tmp_path: Path, metrics: Any) -> None:
    run = make_run(tmp_path / "run", metrics=metrics)
    write_report(run, some_mistakes(2))
    found = page(run)
    assert "accuracy (test)" in found.text
    for name, attributes in found.elements:
        if name == "polyline":
            assert len(attributes["points"].split()) <= charts.MOST_POINTS + 1
            assert not re.search("nan|inf", attributes["points"])
    (run / "metrics.json").write_text("{")
    write_report(run, some_mistakes(2))
    page(run)
    (run / "metrics.json").unlink()
    write_report(run, some_mistakes(2))
    page(run)


def test_many_classes_and_large_images_stay_small(tmp_path: Path) -> None:
    names = tuple(f"{'a long name of a class ' * 3}{number}" for number in range(200))
    run = make_run(tmp_path / "run", names, "INPUT - POOL[8x8] - CONV[4] - FC", volume=(3, 64, 64))
    write_report(run, some_mistakes(names, (3, 300, 200), 1000))
    found = page(run)
    assert "The 30 of 200 classes with most mistakes are shown." in found.text
    assert sum(attributes.get("class") == "right" for _, attributes in found.elements) <= 30
    sizes = []
    for name, attributes in found.elements:
        if name == "img":
            sizes.append(Image.open(io.BytesIO(base64.b64decode(attributes["src"].partition(",")[2]))).size)
    assert sizes[:24] == [(64, 96)] * 24


def test_a_network_without_mistakes_and_without_convolutions(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", text="INPUT - FC")
    samples = Samples(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.arange(2))
    right = ClassEvaluation.of("test", torch.eye(2), samples, ("cat", "dog"))
    write_report(run, right)
    found = page(run)
    assert "0 of 2 images (test) are misclassified" in found.text
    assert found.count("img") == 0


@pytest.mark.parametrize(
    ("text", "volume", "said"),
    [
        ("INPUT - CONV[4] - FC", (1, 8, 8), "conv1: all 4 filters of 3x3, in grey"),
        ("INPUT - CONV[80] - FC", (3, 8, 8), "conv1: the first 64 of 80 filters of 3x3, in colour"),
        ("INPUT - CONV[4, 5x3] - FC", (5, 8, 8), "conv1: all 4 filters of 5x3, a row each, its 5 inputs across"),
        ("INPUT - CONV[4, groups=2] - FC", (4, 8, 8), "a row each, its 2 inputs across"),
        ("INPUT - CONV[4, sharing=2] - FC", (3, 8, 8), "in colour at position 1, 1"),
        ("INPUT - CONV[4, sharing=none] - FC", (3, 8, 8), "in colour at position 4, 4"),
    ],
)
def test_first_filters_of_every_kind(text: str, volume: tuple[int, ...], said: str) -> None:
    module = build(text, volume, 2)
    found = charts.filters(module)
    assert found is not None
    assert said in found.said
    assert found.width <= 900
    assert found.uri.startswith("data:image/png;base64,")
    assert charts.filters(module) == found
    with torch.no_grad():
        next(module.parameters()).fill_(float("nan"))
    assert charts.filters(module) is not None


def test_filters_are_grey_at_0_and_full_at_the_largest_weight() -> None:
    module = build("INPUT - CONV[1, 2x2] - FC", (1, 4, 4), 2)
    with torch.no_grad():
        next(module.parameters()).copy_(torch.tensor([[[[0.0, 2.0], [-2.0, 1.0]]]]))
    found = charts.filters(module)
    assert found is not None
    image = Image.open(io.BytesIO(base64.b64decode(found.uri.partition(",")[2]))).convert("RGB")
    assert [image.getpixel((x, y))[0] for y in range(2) for x in range(2)] == [128, 255, 0, 191]  # type: ignore[index]


def test_a_page_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DataError, match=r"report.html cannot be written: got No space left"):
        write_report(run, some_mistakes(2))
    assert not list(run.glob(".*"))
    with pytest.raises(DataError, match="no such folder"):
        write_report(tmp_path / "nothing")


def test_the_worst_mistakes_come_first() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3]])
    images = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1)
    samples = Samples(images, torch.tensor([1, 0, 1, 1]))
    found = Mistakes.of(probabilities, samples, most=2)
    assert ClassEvaluation.of("test", probabilities, samples, "ab").confusion.tolist() == [[0, 1], [2, 1]]
    assert found.images.flatten().tolist() == [0, 3]
    assert (found.truth.tolist(), found.predicted.tolist()) == ([1, 1], [0, 0])
    torch.testing.assert_close(found.probability, torch.tensor([0.9, 0.7]))
    torch.testing.assert_close(found.true_probability, torch.tensor([0.1, 0.3]))


def test_curves_of_nothing_and_of_one_point() -> None:
    assert charts.curves([("train", [])], None, "x") == ""
    one = charts.curves([("train", [(1.0, 0.0)])], 1, "x")
    assert one.count("<circle") == 1
    assert charts.curves([("train", [(1, 0.5), (2, 0.5)])], None, "a<b").count("a&lt;b") == 1


def test_an_evaluation_as_json() -> None:
    found = ClassEvaluation("test", torch.tensor([[3, 1], [0, 4]]), ("a", "b"), 0.5)
    told = json.loads(json.dumps(found.to_dict()))
    assert (told["accuracy"], told["correct"], told["images"], told["split"]) == (7 / 8, 7, 8, "test")
    assert told["top5_accuracy"] == 0.5
    assert told["confusion"] == [[3, 1], [0, 4]]
    assert told["classes"][0] == {
        "name": "a", "images": 4, "correct": 3, "false_alarms": 0, "mistaken_for": "b (1)", "recall": 0.75,
        "precision": 1.0,
    }  # fmt: skip
    assert "top5_accuracy" not in ClassEvaluation("test", torch.eye(2).long(), ("a", "b")).to_dict()


def test_the_scaling_of_a_run_is_what_it_was_trained_with(tmp_path: Path) -> None:
    assert run_folder.load(make_run(tmp_path / "run")).config.scaling == Scaling((0.5,) * 3, (0.2,) * 3)


def test_six_classes_have_a_top_5(tmp_path: Path) -> None:
    names = dict.fromkeys("abcdef", 2)
    pets = write_folder(tmp_path / "pets", names)
    found = evaluate(make_run(tmp_path / "run", tuple(names)), str(pets))
    assert found.top5 is not None
    assert found.accuracy <= found.top5 <= 1
