"""A further process of a training: told what to train by the one that started it, and ends when that one does."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

from ..errors import TorchconvError
from .api import _member
from .fit import classifier
from .processes import Place
from .run.run_folder import Config, Description
from .task import Task


def main() -> None:
    """Train as one of several processes; nothing is printed but the line that says it is ready."""
    told = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_the_other, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ready, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: SIM115
    try:
        path = Path(told["path"])
        found = Description(path, Config(**told["config"]), tuple(told["classes"]), told["text"])
        task = Task.again(found, Place(**told["place"]))
        learner = classifier(task)
        print("ready", file=ready, flush=True)
        _member(task, learner, path, Path(told["begun"]) if told["begun"] else None)
    except TorchconvError as error:
        sys.exit(str(error).partition("\n")[0])


def _end_with_the_other() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    main()
