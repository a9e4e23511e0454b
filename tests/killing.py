"""Trainings that are killed at any moment and resumed; test_resume runs this in a process of its own.

All that takes long to import is imported once, and each training is a fork of that: a real process, really killed.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import kornia  # noqa: F401  (imported here once, and not by every training)
import sklearn.model_selection  # noqa: F401
import torch

from masked import NET
from torchconv.cli import app
from torchconv.training import api  # noqa: F401

START = ["train", "INPUT - CONV[4] - NORM - RELU - POOL - DROPOUT - FC", "--seed", "3", "--epochs"]


def started(arguments: list[str], before: Callable[[], None] = lambda: None) -> int:
    """A process with the command line; its number."""
    child = os.fork()
    if child:
        return child
    for stream in (1, 2):
        os.dup2(os.open(os.devnull if stream == 1 else "errors.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    before()
    try:
        app.main(arguments)
    except SystemExit as stop:
        os._exit(int(stop.code or 0))
    os._exit(70)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def go_on(run: Path, epochs: int) -> list[str]:
    """The arguments that begin a run, or go on with it."""
    if (run / "config.json").exists():
        return ["train", "--resume", str(run)]
    if run.exists():  # killed before there was anything to go on with
        run.rename(run.with_name(f"{run.name}-{time.monotonic_ns()}"))
    return [*START, str(epochs), "--out", str(run)]


def by_clock(run: Path, kill: signal.Signals, times: int, epochs: int, longest: float) -> None:
    """Killed at random moments, so many times."""
    chance = random.Random(int(kill))
    for _ in range(times):
        child = started(go_on(run, epochs))
        time.sleep(chance.uniform(0.1, longest))
        os.kill(child, kill)
        status = ended(child)
        if status == 0:
            break
        print(f"{run} {status} {(run / 'checkpoint.ckpt').exists()}")
        assert status == (-9 if kill == signal.SIGKILL else 130), status
    assert ended(started(go_on(run, epochs))) == 0


def by_write(run: Path, epochs: int) -> None:
    """Killed before each of the files is in its place, and again at the next one after the resume."""

    def dying(number: int) -> Callable[[], None]:
        def patch() -> None:
            real, count = os.fsync, itertools.count(1)
            os.fsync = lambda descriptor: os._exit(9) if next(count) == number else real(descriptor)

        return patch

    status = ended(started(go_on(run, epochs), dying(4)))  # with the third file, config.json, there is a run
    for number in itertools.count(1):
        assert status in (0, 9), status
        if status == 0:
            break
        status = ended(started(go_on(run, epochs), dying(number)))


def with_masks(folder: str) -> None:
    """The same of a class for each pixel: killed at random moments."""
    START[1:] = [NET, "--data", folder, "--augmentation", "scale:2-flip-colour", "--loss", "cross-entropy+lovasz"]
    START.extend(["--seed", "3", "--epochs"])
    begun = time.monotonic()
    assert ended(started([*START, "2", "--out", "short"])) == 0
    longest = 1.2 * (time.monotonic() - begun)
    by_clock(Path("killed"), signal.SIGKILL, 3, 2, longest)


def main() -> None:
    torch.set_num_threads(1)  # or forks would wait for threads that they do not have
    if len(sys.argv) > 1:
        with_masks(sys.argv[1])
        return
    assert ended(started([*START, "12", "--out", "whole"])) == 0
    begun = time.monotonic()
    assert ended(started([*START, "2", "--out", "short"])) == 0
    longest = 1.2 * (time.monotonic() - begun)
    by_clock(Path("killed"), signal.SIGKILL, 10, 12, longest)
    by_clock(Path("stopped"), signal.SIGINT, 4, 12, longest)
    by_write(Path("written"), 2)


if __name__ == "__main__":
    main()
