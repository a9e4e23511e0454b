"""Learned invariance: the largest of three separately learned filters does not mind how a digit is turned.

    python -m benchmarks.invariance [PICTURE.png]

After Goodfellow, Bengio, Courville 2016, Deep learning, figure 9.9. A filter sees the whole image; nothing in the model
knows of rotation. It learns to tell the 5s, upright and turned by 45 degrees both ways, from all other digits.
"""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor

import torchconv as tc
from torchconv.inspection import Rotation

from . import measure

TRAIN, SIZE, DIGIT = 1200, 12, 5
TURNS = (-45, 0, 45)
STEPS, RATE, STARTS = 300, 0.02, 6  # the start that ends with the least loss is kept, as k-means does


def images() -> tuple[Tensor, Tensor]:
    """Scikit-learn's digits with a rim of zeros, so that there is room to turn, and which of them are 5s."""
    data = load_digits()
    return F.pad(torch.from_numpy(data.images).float()[:, None] / 16, (2, 2, 2, 2)), torch.from_numpy(
        data.target
    ) == DIGIT


def turned(batch: Tensor, angle: float) -> Tensor:
    return Rotation(angle).apply(batch) if angle else batch


def detector(filters: int) -> torch.nn.Sequential:
    """The score of a 5: the largest answer of so many filters."""
    return torch.nn.Sequential(tc.nn.Conv2d(1, filters, SIZE), tc.nn.Maxout(filters), torch.nn.Flatten(0))


def learned(filters: int, batch: Tensor, fives: Tensor) -> torch.nn.Sequential:
    """The best of several starts, by the loss it was trained with."""
    rare = (~fives).sum() / fives.sum()
    found = []
    for seed in range(STARTS):
        torch.manual_seed(seed)
        model = detector(filters)
        optimizer = torch.optim.Adam(model.parameters(), RATE, weight_decay=1e-4)
        loss = torch.zeros(())
        for _ in range(STEPS):
            loss = F.binary_cross_entropy_with_logits(model(batch), fives.float(), pos_weight=rare)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found.append((float(loss.detach()), seed, model))
    return min(found)[2]


def main() -> None:
    """Print how much the score changes, and what is found, at each angle; draw the filters where a file is named."""
    console = Console(width=120)
    console.print(measure.machine())
    x, fives = images()
    batch = torch.cat([turned(x[:TRAIN], angle) for angle in TURNS])
    test, is_five = x[TRAIN:], fives[TRAIN:]
    table = Table("filters", "turned by", "score's change", "5s found", "others taken for 5s", "filter that answers")
    for count in (1, 3):
        model = learned(count, batch, fives[:TRAIN].repeat(len(TURNS)))
        for angle in (-45, -30, -15, 0, 15, 30, 45):
            moved = turned(test, angle)
            change = tc.equivariance(scores(model), test[is_five], "rotation", angle=angle).error.rms if angle else 0.0
            taken = (model(moved) > 0).float()
            answers = model[0](moved[is_five]).flatten(1).argmax(1).bincount(minlength=count).tolist()
            shares = [f"{taken[which].mean():.0%}" for which in (is_five, ~is_five)]
            table.add_row(str(count), str(angle), f"{change:.2f}", *shares, " ".join(map(str, answers)))
        table.add_section()
        if sys.argv[1:] and count == 3:
            draw(model, test[is_five][0], sys.argv[1])
    console.print(
        f"{int(is_five.sum())} unseen 5s of {len(test)} digits; change: root mean square, of the upright score"
    )
    console.print(table)


def scores(model: torch.nn.Module) -> torch.nn.Module:
    """The score as a column, (batch, 1)."""
    return torch.nn.Sequential(model, torch.nn.Unflatten(0, (-1, 1)))


def draw(model: torch.nn.Sequential, digit: Tensor, path: str) -> None:
    """Save a digit at each angle, and below it the filter that answers most."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.2), layout="constrained")
    axes = figure.subplots(2, len(TURNS))
    for column, angle in enumerate(TURNS):
        moved = turned(digit[None], angle)
        answers = model[0](moved).flatten()
        best = int(answers.argmax())
        axes[0, column].imshow(moved[0, 0], cmap="gray")
        axes[0, column].set_title(f"a 5, turned by {angle}")
        axes[1, column].imshow(model[0].weight[best, 0].detach(), cmap="RdBu_r", vmin=-1.5, vmax=1.5)
        axes[1, column].set_title(f"filter {best} answers: {answers.max():.1f}")
    for one in axes.flat:
        one.set_axis_off()
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
