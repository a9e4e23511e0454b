"""How long a user waits before anything happens: `python -m benchmarks.startup`.

Whole processes, one after another in turns, so that a busy machine is busy for all of them.
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from rich.console import Console
from rich.table import Table

from . import measure

ROUNDS = 9
COMMANDS = {
    "python": [sys.executable, "-c", ""],
    "import torch": [sys.executable, "-c", "import torch"],
    "import torchconv": [sys.executable, "-c", "import torchconv"],
    "import torchconv, and use conv and nn": [sys.executable, "-c", "import torchconv as tc; tc.conv; tc.nn.Conv2d"],
    "torchconv --help": [sys.executable, "-m", "torchconv", "--help"],
}


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS + 1):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times[name].append(time.perf_counter() - start)
    table = Table(title=f"seconds, median of {ROUNDS} (targets: 1.1 times import torch; --help in 0.5 s)")
    for heading in ("process", "seconds", "times import torch"):
        table.add_column(heading, justify="left" if heading == "process" else "right")
    for name, taken in times.items():
        ratio = median(one / base for one, base in zip(taken[1:], times["import torch"][1:], strict=True))
        table.add_row(name, f"{median(taken[1:]):.2f}", f"{ratio:.2f}")
    console = Console(width=100)
    console.print(measure.machine())
    console.print(table)


if __name__ == "__main__":
    main()
