"""The CRF against plain torch written as it usually is, by unfold; and what it gains on a network's probabilities.

    python -m benchmarks.crf [FOLDER]

FOLDER holds validation-*.npz and train-*.npz, one for each image: `logits` (classes, height, width), `image` (height,
width, 3) of bytes, `label` (height, width), 255 for none. The CRF is fitted to the training images' and measured on
the validation images'; then fitted to half of the validation images' and measured on the other half. A level for each
class, learned in the same way, says how much of that is only the balance of the classes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.measure import interleaved, machine, peak_bytes
from torchconv.segmentation import CRF, SegmentationLoss

CLASSES, SIZE, WINDOW, ITERATIONS = 12, (360, 480), 11, 5
MOST = 1.5  # seconds
Example = tuple[Tensor, Tensor, Tensor]


def by_unfold(scores: Tensor, image: Tensor, crf: CRF) -> Tensor:
    """The same field with every window unfolded (batch, channels, taps, places), as ConvCRF has it."""
    taps, middle, size = WINDOW**2, WINDOW // 2, scores.shape[2:]

    def windows(x: Tensor) -> Tensor:
        return functional.unfold(x, WINDOW, padding=middle).unflatten(1, (x.shape[1], taps))

    steps = torch.arange(WINDOW) - middle
    apart = (steps[:, None].square() + steps.square()).flatten()[None, :, None].float()
    inside = windows(torch.ones(1, 1, *size))[:, 0].clone()
    inside[:, taps // 2] = 0
    widths = crf.widths
    colors = image / widths["color_width"]
    differences = (windows(colors) - colors.flatten(2)[:, :, None]).square().sum(1)
    total = torch.zeros(1)
    for kernel, weight in (
        (torch.exp(-apart / widths["smoothness_width"] ** 2 / 2) * inside, crf.smoothness),
        (torch.exp(-apart / widths["appearance_width"] ** 2 / 2 - differences / 2) * inside, crf.appearance),
    ):
        roots = (1 + kernel.sum(1)).rsqrt()
        there = windows(roots.unflatten(1, size)[:, None])[:, 0]
        total = total + weight * kernel * roots[:, None] * there
    found = functional.log_softmax(scores, 1)
    for _ in range(crf.iterations):
        heard = (windows(found.exp()) * total[:, None]).sum(2).unflatten(2, size)
        found = functional.log_softmax(scores + heard, 1)
    return found


def speed() -> bool:
    """Print seconds and memory; whether the target is met."""
    torch.manual_seed(0)
    scores, image = torch.randn(1, CLASSES, *SIZE), torch.rand(1, 3, *SIZE)
    crf = CRF(CLASSES, WINDOW, ITERATIONS)

    def inference(function: Callable[..., Tensor], *more: object) -> Callable[[], Tensor]:
        def run() -> Tensor:
            with torch.no_grad():
                return function(scores, image, *more)

        return run

    def learning() -> None:
        crf(scores, image).square().mean().backward()

    cases = {"CRF": inference(crf), "by unfold": inference(by_unfold, crf), "CRF and its gradients": learning}
    assert torch.allclose(cases["CRF"](), cases["by unfold"](), atol=1e-4)
    times = interleaved(cases, rounds=5, seconds=0.1)
    print(f"{SIZE[1]}x{SIZE[0]}, {CLASSES} classes, window {WINDOW}, {ITERATIONS} iterations")
    for name, case in cases.items():
        start = time.process_time()
        case()
        processor, memory = time.process_time() - start, peak_bytes(case) / 1e6
        print(f"  {name:22}{median(times[name]):7.2f} s {processor:7.2f} s of processors {memory:8,.0f} MB more")
    met = median(times["CRF"]) < MOST
    faster = median(a / b for a, b in zip(times["by unfold"], times["CRF"], strict=True))
    print(f"  {faster:.1f} times as fast as by unfold; under {MOST} s: {'met' if met else 'MISSED'}")
    return met


def read(path: Path) -> Example:
    """Scores, image and labels of one file, with a batch of one."""
    with np.load(path) as file:
        scores = torch.from_numpy(file["logits"]).float()
        image = torch.from_numpy(file["image"]).movedim(2, 0)
        labels = torch.from_numpy(file["label"]).long()
    return scores[None], image[None], labels[None]


def confusion(crf: torch.nn.Module | None, examples: list[Example]) -> Tensor:
    """Pixels by label and by what was found, (classes, classes)."""
    classes = examples[0][0].shape[1]
    counts = torch.zeros(classes, classes, dtype=torch.int64)
    for scores, image, labels in examples:
        with torch.no_grad():
            found = (scores if crf is None else crf(scores, image)).argmax(1)
        known = labels < classes
        pairs = labels[known] * classes + found[known]
        counts += torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    return counts


def iou(counts: Tensor) -> Tensor:
    """Of each class that occurs."""
    right = counts.diagonal().double()
    each = right / (counts.sum(0) + counts.sum(1) - right)
    return each[counts.sum(1) > 0]


def crops(examples: list[Example]) -> list[Example]:
    """A quarter of each image, so that a step is quick."""
    found, drawn = [], torch.Generator().manual_seed(0)
    for scores, image, labels in examples:
        height, width = labels.shape[1:]
        top, left = (int(torch.randint(0, length // 2, (), generator=drawn)) for length in (height, width))
        cut = (..., slice(top, top + height // 2), slice(left, left + width // 2))
        found.append((scores[cut], image[cut], labels[cut]))
    return found


def fitted(examples: list[Example], window: int = WINDOW, **settings: Any) -> CRF:
    """A CRF of which everything is learned, the matrix too, by the loss that is closest to mean IoU."""
    start = {"smoothness": 1.0, "appearance": 2.0, "color_width": 0.08, "compatibility": "matrix", **settings}
    crf = CRF(examples[0][0].shape[1], window, ITERATIONS, **start)
    return crf.fit(crops(examples), epochs=2, rate=0.03, loss="lovasz")


class Levels(torch.nn.Module):
    """A number for each class, added to its scores: what is gained without looking at any neighbour."""

    def __init__(self, examples: list[Example]) -> None:
        super().__init__()
        self.levels = torch.nn.Parameter(torch.zeros(1, examples[0][0].shape[1], 1, 1))
        loss, optimizer = SegmentationLoss("lovasz"), torch.optim.Adam(self.parameters(), 0.03)
        for scores, image, labels in 4 * crops(examples):
            optimizer.zero_grad()
            loss(self(scores, image), labels).mean().backward()
            optimizer.step()

    def forward(self, scores: Tensor, image: Tensor) -> Tensor:
        return scores + self.levels


def gain(folder: Path) -> None:
    """Print mean IoU without and with."""
    parts = (sorted(folder.glob(f"{part}-*.npz")) for part in ("validation", "train"))
    validation, train = ([read(path) for path in paths] for paths in parts)
    print(f"\nmean IoU of {len(validation)} validation images in percent, and the gain in points", flush=True)
    train_name = f"fitted to {len(train)} training images"
    _report(f"a level for each class, {train_name}", Levels(train), validation)
    _report(f"CRF {train_name}", fitted(train), validation)
    _report("CRF with the settings of pydensecrf's example", CRF(validation[0][0].shape[1]), validation)
    _report("CRF fitted to the even ones, on the odd ones", fitted(validation[::2]), validation[1::2])


def _report(name: str, module: torch.nn.Module, examples: list[Example]) -> None:
    before, after = (100 * iou(confusion(one, examples)) for one in (None, module))
    print(f"  {name:52}{before.mean():6.2f} -> {after.mean():6.2f}  {after.mean() - before.mean():+.2f}")
    print("    by class " + " ".join(f"{b - a:+.1f}" for a, b in zip(before, after, strict=True)))
    numbers = (f"{key} {value.item():.3g}" for key, value in module.named_parameters() if value.ndim == 0)
    print("    " + ", ".join(numbers), flush=True)


def main() -> int:
    """Print everything; the status is 1 where the target is missed."""
    print(machine())
    met = speed()
    if len(sys.argv) > 1:
        gain(Path(sys.argv[1]))
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
