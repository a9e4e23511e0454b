"""`python -m benchmarks.segmentation --data .../camvid`: ways to keep or regain resolution.

All learn from the same data, at the same arithmetic: each text is made wider or narrower until it takes as many
multiply-accumulates for a crop as `unet-small`, and is trained by the same settings for the same epochs. Scores are
those of all pixels at full size, on the validation images.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does

LIKE, CLASSES = "unet-small", 11
# FCN's skips (Long, Shelhamer, Darrell 2015) on the front end of `dilated-context`: three maps of scores, summed.
SKIPS = (
    "INPUT - MARK[image] - (CONV[24, bias=no] - NORM - RELU)*2 - POOL"
    " - (CONV[48, bias=no] - NORM - RELU)*2 - POOL - MARK[quarter]"
    " - (CONV[96, bias=no] - NORM - RELU)*2 - POOL - MARK[eighth]"
    " - (CONV[192, bias=no] - NORM - RELU)*3 - POOL - (CONV[192, bias=no] - NORM - RELU)*3 - CONV[classes, 1x1]"
    " - UPSAMPLE[to=eighth, linear] - SUM(IDENTITY | FROM[eighth] - CONV[classes, 1x1])"
    " - UPSAMPLE[to=quarter, linear] - SUM(IDENTITY | FROM[quarter] - CONV[classes, 1x1])"
    " - UPSAMPLE[to=image, linear] - SOFTMAX"
)
WAYS = {
    "no pooling (jain2007)": "jain2007",
    "coarser labels (pinheiro2014-grid)": "pinheiro2014-grid",
    "recurrent, 3 passes (pinheiro2014)": "pinheiro2014",
    "U-Net, repetition (unet-small)": "unet-small",
    "FCN's skips": SKIPS,
    "dilated context (dilated-context)": "dilated-context",
}


def scaled(text: str, factor: float) -> str:
    """With so many times the maps, four at least; those of classes stay."""
    return re.sub(r"CONV\[(\d+)", lambda found: f"CONV[{max(4, round(int(found[1]) * factor))}", text)


def alike(text: str, macs: int, size: tuple[int, int]) -> str:
    """As wide as takes about as many multiply-accumulates on colour images of a size."""
    from torchconv import parse
    from torchconv.network.operations import Volume

    low, high = 0.02, 50.0
    for _ in range(40):
        middle = (low * high) ** 0.5
        found = parse(scaled(text, middle)).network(Volume(3, size), CLASSES).macs
        low, high = (middle, high) if found < macs else (low, middle)
    return scaled(text, high)


def main() -> int:
    """Print a row for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="train.parquet of CamVid, with validation.parquet beside it")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--crop", type=int, nargs=2, default=(160, 224), help="height and width, at half resolution")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    from benchmarks.measure import machine
    from torchconv import parse
    from torchconv.network.operations import Volume
    from torchconv.training import evaluate, train

    size = tuple(options.crop)
    macs = parse(LIKE).network(Volume(3, size), CLASSES).macs
    print(machine())
    said = f"{options.epochs} epochs, crops of {size[0]}x{size[1]} at half resolution"
    print(f"{said}, {macs / 1e9:.2f} GMACs each, AdamW\n")
    print(f"{'':36} parameters  GMACs  minutes  mean IoU  IoU of each class", flush=True)
    settings = {"optimizer": "adamw", "learning_rate": 0.003, "schedule": "one-cycle", "weight_decay": 0.01}
    settings |= {"epochs": options.epochs, "crop": f"{size[0]}x{size[1]}", "resolution": 0.5, "targets": "pixels"}
    for name, way in WAYS.items():
        text = alike(str(parse(way)), macs, size)
        network = parse(text).network(Volume(3, size), CLASSES)
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            result = train(options.data, text, run, progress=False, seed=options.seed, **settings)
            found = evaluate(run)
        row = f"{name:36} {network.parameters:10,}  {network.macs / 1e9:5.2f}  {result.seconds / 60:7.1f}  "
        shares = " ".join(f"{one.name} {one.iou:.2f}" for one in found.rows)
        print(f"{row}{result.validation_score:8.4f}  {shares}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
