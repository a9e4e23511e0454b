"""`python -m benchmarks.pipeline`: the share of a training step that its images take."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does

from statistics import median

import torch
from torch.nn.functional import cross_entropy

from benchmarks.measure import interleaved, machine
from torchconv import build
from torchconv.training.augmentation import Augmentation, Scaling
from torchconv.training.recipes import named

MOST = 0.05
IMAGES = 20_000  # bytes at random, as large as CIFAR's


def main() -> int:
    """Print a row for each recipe; the status is 1 where images take more than a twentieth of the time."""
    print(machine())
    pixels = torch.randint(0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8)
    labels = torch.randint(0, 10, (IMAGES,))
    scaling = Scaling.of(pixels)
    print("\nrecipe   batch  augmentation  images    step  share")
    missed = False
    for name in ("default", "fast"):
        recipe = named(name, "parquet")
        module = build(recipe.text, (3, 32, 32), 10)
        optimizer = torch.optim.SGD(module.parameters(), lr=1e-6)
        change = Augmentation.named(recipe.augmentation)

        def images(size: int = recipe.batch_size, change: Augmentation = change) -> tuple[torch.Tensor, torch.Tensor]:
            rows = torch.randperm(IMAGES)[:size]
            return change(scaling(pixels[rows]), indices=rows), labels[rows]

        def step(module: torch.nn.Module = module, optimizer: torch.optim.Optimizer = optimizer, images=images) -> None:
            batch, truth = images()
            optimizer.zero_grad()
            cross_entropy(module.scores(batch), truth).backward()
            optimizer.step()

        times = interleaved({"images": images, "step": step}, rounds=7)
        share = median(a / b for a, b in zip(times["images"], times["step"], strict=True))
        missed |= share > MOST
        own, whole = (median(times[word]) * 1e3 for word in ("images", "step"))
        size, kind = recipe.batch_size, recipe.augmentation
        print(f"{name:8} {size:5}  {kind:12} {own:4.1f} ms {whole:4.0f} ms  {share:.1%}")
    print(f"\ntarget: at most {MOST:.0%}{' MISSED' if missed else ''}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
