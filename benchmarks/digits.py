"""`python -m benchmarks.digits`: trains on digits as `torchconv train` does, with seeds 0 to 4, against the targets."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does

TEST_ACCURACY, SECONDS, MODEL_BYTES = 0.985, 60.0, 1_000_000
SEEDS = range(5)


def main() -> int:
    """Print a row for each seed and the verdict; the status is 1 where a target is missed."""
    start = time.perf_counter()
    import torch

    from torchconv import __version__
    from torchconv.training.api import train

    print(f"import: {time.perf_counter() - start:.1f} s (not part of the 60 s)")
    print(f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads; {platform.platform()}")
    print(f"python {platform.python_version()}, torch {torch.__version__}, torchconv {__version__}\n")
    print("seed  seconds  validation  test    bytes")
    missed = 0
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            result = train(seed=seed, out=Path(folder) / "run", progress=False)
            seconds = time.perf_counter() - began  # data, building and testing included
        accuracy = result.test_accuracy or 0.0
        print(
            f"{seed:4}  {seconds:7.1f}  {result.validation_accuracy:10.4f}  {accuracy:.4f}  {result.model_bytes}",
            flush=True,
        )
        missed += accuracy < TEST_ACCURACY or seconds > SECONDS or result.model_bytes > MODEL_BYTES
    verdict = "missed" if missed else "met"
    print(f"\ntargets: test >= {TEST_ACCURACY}, <= {SECONDS:.0f} s, < {MODEL_BYTES} bytes: {verdict}")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
