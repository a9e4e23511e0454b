"""Draw docs/crf.png and docs/spatial_model.png: python docs/draw_graphical_models.py."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import torch
from matplotlib import pyplot
from torch import nn

from torchconv.segmentation import CRF, SpatialModel

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
import figures  # noqa: E402


def draw_crf() -> None:
    """The scene of the page, as the page makes it."""
    page = (HERE / "graphical_models.md").read_text(encoding="utf-8")
    lines = re.findall(r"^(?:>>>|\.\.\.) ?(.*)$", page.partition("![")[0], re.MULTILINE)
    known: dict = {}
    exec("\n".join(lines[: next(i for i, line in enumerate(lines) if line.startswith("scores, image"))]), known)
    scores, image, labels = known["scene"](0)
    with torch.no_grad():
        refined = CRF(3, color_width=0.15)(scores, image)
    shown = {"image": image[0].movedim(0, 2).clip(0, 1)}
    for name, found in (("scores", scores), ("refined by the CRF", refined)):
        right = (found.argmax(1) == labels).float().mean()
        shown[f"{name}, {right:.1%} right"] = image[0].movedim(0, 2)[..., :0], found.argmax(1)[0]
    figure, axes = pyplot.subplots(1, 3, figsize=(9, 2.6), layout="constrained")
    for axis, (name, picture) in zip(axes, shown.items(), strict=True):
        if isinstance(picture, tuple):
            axis.imshow(picture[1], cmap="viridis", interpolation="nearest")
        else:
            axis.imshow(picture)
        axis.set_title(name, fontsize=10)
        axis.axis("off")
    figure.savefig(HERE / "crf.png", dpi=80)


def draw_figures() -> None:
    """Stick figures of the tests, with what is found by a detector, and with the spatial model."""
    torch.manual_seed(0)
    pictures, places = figures.figures(90, seed=1)
    shown, real = figures.figures(4, seed=3)
    flat = places[..., 0] * figures.SIZE[1] + places[..., 1]
    width = 8
    detector = nn.Sequential(
        nn.Conv2d(1, width, 5, padding=2), nn.ReLU(), nn.Conv2d(width, width, 5, padding=2), nn.ReLU(),
        nn.Conv2d(width, len(figures.PARTS), 1),
    )  # fmt: skip
    optimizer = torch.optim.Adam(detector.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(detector(pictures).flatten(2).flatten(0, 1), flat.flatten()).backward()
        optimizer.step()
    with torch.no_grad():
        scores = detector(shown)
        heat = scores.flatten(2).softmax(2).view_as(scores)
        both = scores, SpatialModel(len(figures.PARTS), 41).fit_priors(places)(heat)
    figure, axes = pyplot.subplots(2, 4, figsize=(9, 4.8), layout="constrained")
    for row, (name, found) in zip(axes, zip(("detector alone", "spatial model"), both, strict=True), strict=True):
        for axis, picture, own, where in zip(row, shown, found, real, strict=True):
            axis.imshow(picture[0], cmap="gray_r", vmin=-0.2, vmax=2)
            for part, (label, place) in enumerate(zip(figures.PARTS, where.tolist(), strict=True)):
                at = divmod(int(own[part].argmax()), figures.SIZE[1])
                near = max(abs(at[0] - place[0]), abs(at[1] - place[1])) <= 2
                axis.plot(
                    at[1], at[0], "o" if near else "x", color=f"C{part}", markersize=8, fillstyle="none", label=label
                )
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(name)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=5, fontsize=8, loc="outside lower center")
    figure.savefig(HERE / "spatial_model.png", dpi=80)


if __name__ == "__main__":
    draw_crf()
    draw_figures()
