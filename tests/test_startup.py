"""How long a user waits for `import torchconv`: hardly longer than for torch, without which nothing can be done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

BASE, LOADED = "import torch", "import torch, torchconv as tc; tc.conv; tc.nn.Conv2d"
SLOW = (
    "torch._dynamo",
    "torch._inductor",
    "torch.onnx",
    "scipy",
    "sympy",
)  # about as slow as torch
ROUNDS, MOST = 5, 1.1


def printed(program: str, **environment: str) -> str:
    """What a process of its own prints."""
    known = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=known | environment).stdout


@pytest.fixture(scope="module")
def seconds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], float]:
    """Of the processor, for a process of its own, as where everything was imported once: compiled, and on no disk."""
    compiled: Path = tmp_path_factory.mktemp("bytecode")

    def measure(program: str) -> float:
        code = f"import time; start = time.process_time()\n{program}\nprint(time.process_time() - start)"
        return float(printed(code, PYTHONPYCACHEPREFIX=str(compiled), OMP_NUM_THREADS="1"))

    measure(LOADED)
    return measure


def test_neither_torchs_compiler_nor_scipy_is_imported() -> None:
    """Whoever needs them imports them inside; all the layers too do without."""
    every = "[getattr(tc.nn, name) for name in tc.nn.__all__]"
    code = f"import sys, torch; before = set(sys.modules)\n{LOADED}; {every}\nprint(*(set(sys.modules) - before))"
    new = printed(code).split()
    assert "torchconv.nn.conv" in new
    assert [name for name in new if any(name == one or name.startswith(f"{one}.") for one in SLOW)] == []


def test_the_compiler_would_be_seen() -> None:
    code = "import sys, torch; torch.compiler.assume_constant_result(lambda: 0); print('torch._dynamo' in sys.modules)"
    assert printed(code).strip() == "True"


def test_import_takes_hardly_longer_than_that_of_torch(seconds: Callable[[str], float]) -> None:
    """In turns, and the least of several, because noise only adds; once more where the first rounds were noisy."""
    ratio = 0.0
    for rounds in (ROUNDS, 3 * ROUNDS):
        pairs = [(seconds(BASE), seconds(LOADED)) for _ in range(rounds)]
        ratio = min(one for _, one in pairs) / min(base for base, _ in pairs)
        if ratio <= MOST:
            return
    pytest.fail(f"import torchconv takes {ratio:.2f} times as long as import torch; {MOST} is the most")
