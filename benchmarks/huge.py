"""A U-Net over images that do not fit in memory, tile by tile: memory at the peak, time, arithmetic.

    python -m benchmarks.huge [SIDExWIDTH...]      by default 2560x16 5000x16 20000x8; WIDTH: first channels

Each run is a process of its own, which reads bytes from a .npy file and writes a label for each pixel into another; the
peak is that of the whole process, with Python and torch in it. Smaller images are compared with the whole in one piece.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import torchconv as tc
from torchconv.convert.tiled.image_source import image_source

from . import measure

TILE, CLASSES, LEVELS = 1024, 12, 4
WHOLE = 2560  # pixels of a side that is also computed in one piece


def twice(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions with batch normalisation."""
    layers = [[nn.Conv2d(n, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()] for n in (inputs, outputs)]
    return nn.Sequential(*layers[0], *layers[1])


class PaddedUNet(nn.Module):
    """Ronneberger et al. 2015, with padding, batch normalisation and fewer channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = [width * 2**level for level in range(LEVELS)]
        pairs = list(pairwise(channels))
        self.down = nn.ModuleList(twice(*pair) for pair in pairwise([3, *channels]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(below, above, 2, stride=2) for above, below in pairs)
        self.merge = nn.ModuleList(twice(2 * above, above) for above, _ in pairs)
        self.last = nn.Conv2d(width, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, down in enumerate(self.down):
            skips.append(down(nn.functional.max_pool2d(skips[-1], 2) if level else x))
        x = skips.pop()
        for up, merge in zip(reversed(self.up), reversed(self.merge), strict=True):
            x = merge(torch.cat([skips.pop(), up(x)], 1))
        return self.last(x)


def scaled(x: Tensor) -> Tensor:
    return x.float() / 255


def likeliest(y: Tensor) -> Tensor:
    return y.argmax(1).to(torch.uint8)


def image(path: Path, side: int) -> None:
    """Noise that is smooth, so that it looks like something to every level of the network."""
    made, random = np.lib.format.open_memmap(path, "w+", np.uint8, (3, side, side)), np.random.default_rng(0)
    for start in range(0, side, 500):
        rows = min(500, side - start)
        coarse = random.integers(0, 200, (3, rows // 20 + 1, side // 20 + 1), np.uint8)
        fine = coarse.repeat(20, 1).repeat(20, 2)[:, :rows, :side]
        made[:, start : start + rows] = fine + random.integers(0, 56, fine.shape, np.uint8)


def one(folder: Path, side: int, width: int) -> dict[str, float]:
    """A run in this process."""
    torch.manual_seed(0)
    model = PaddedUNet(width).eval()
    call = tc.tiled(model, tile=(TILE, TILE), preprocess=scaled, postprocess=likeliest)
    begun, before = time.perf_counter(), _peak()
    labels = call(folder / "image.npy", out=folder / "labels.npy")
    found = {"seconds": time.perf_counter() - begun, "before": before, "peak": _peak()}
    inside = call.work(image_source(folder / "image.npy", 2)).inside
    found["macs"] = sum(inside.macs(tile) for tile in inside.tiles) / inside.whole_macs
    if side <= WHOLE:
        with torch.inference_mode():
            whole = likeliest(model(scaled(torch.from_numpy(np.load(folder / "image.npy"))[None])))
        found["same"] = float(np.mean(np.asarray(labels) == whole[0].numpy()))
    return found


def _peak() -> float:
    """Most memory of this process so far; getrusage would tell that of the one which started it, if it had more."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024.0 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["--one"]:
        print(json.dumps(one(Path(arguments[1]), *map(int, arguments[2:]))))
        return
    heads = ("image", "channels", "peak, MB", "before, MB", "seconds", "Mpixel/s", "MACs, ratio", "labels as in one")
    table = Table(*heads)
    for side, width in (map(int, case.split("x")) for case in arguments or ("2560x16", "5000x16", "20000x8")):
        with tempfile.TemporaryDirectory(dir=".") as name:
            image(Path(name) / "image.npy", side)
            command = [sys.executable, "-m", "benchmarks.huge", "--one", name, str(side), str(width)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        same = f"{found['same']:.6%}" if "same" in found else "-"
        megabytes = (f"{found[key] / 1e6:,.0f}" for key in ("peak", "before"))
        row = (f"{found['seconds']:,.0f}", f"{side**2 / found['seconds'] / 1e6:.2f}", f"{found['macs']:.3f}", same)
        table.add_row(f"{side:,}x{side:,}", f"{width} to {width * 2 ** (LEVELS - 1)}", *megabytes, *row)
    console, what = Console(width=160), f"U-Net of {LEVELS} levels, {CLASSES} classes, tiles of {TILE}x{TILE}"
    console.print(measure.machine())
    console.print(f"{what}: bytes from a .npy file, a label for each pixel into another")
    console.print(table)


if __name__ == "__main__":
    main()
