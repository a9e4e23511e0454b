"""`python -m benchmarks.training --data .../cifar10/train.parquet`: CIFAR-10 by the fast recipe, against the targets.

Also the long text and the report's size. The files are CIFAR-10 as parquet: train.parquet and validation.parquet.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does

ACCURACY, AIM, SECONDS, REPORT_BYTES, BUILD_SECONDS = 0.92, 0.935, 900.0, 3_000_000, 2.0


def main() -> int:
    """Print what came out and the verdict; the status is 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="train.parquet of CIFAR-10, with validation.parquet beside it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--recipe", default="fast")
    options = parser.parse_args()

    from benchmarks.measure import machine
    from torchconv import build
    from torchconv.training.api import train

    print(machine())
    start = time.perf_counter()
    build("INPUT[32x32x3] - " + "CONV[8] - RELU - " * 500 + "FC")
    built = time.perf_counter() - start
    print(f"parsing and building 1,000 layers: {built:.2f} s (target {BUILD_SECONDS:g})\n", flush=True)
    missed = built > BUILD_SECONDS
    print("recipe  precision   seed  epochs  validation  training s  with data s  report bytes", flush=True)
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run"
            began = time.perf_counter()
            result = train(
                options.data, out=path, recipe=options.recipe, precision=options.precision, seed=seed, progress=False
            )
            whole = time.perf_counter() - began
            epochs = json.loads((path / "metrics.json").read_text())["epochs"]
            size = (path / "report.html").stat().st_size
        row = f"{options.recipe:7} {options.precision:11} {seed:4}  {len(epochs):6}  {result.validation_accuracy:10.4f}"
        print(f"{row}  {result.seconds:10.0f}  {whole:11.0f}  {size:12,}", flush=True)
        missed |= result.validation_accuracy < ACCURACY or result.seconds > SECONDS or size > REPORT_BYTES
    verdict = "missed" if missed else "met"
    print(
        f"\ntargets: validation >= {ACCURACY} (aim {AIM}) within {SECONDS:.0f} s, report < {REPORT_BYTES:,}: {verdict}"
    )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
