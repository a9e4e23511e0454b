"""Training a network on images, and using it: `train`, `resume`, `evaluate`, `predict`, `load`, `recipes`.

`api` is the door: it makes one `task.Task` of what the caller says (data, recipe, network), after the checks in
`preflight`, builds a `learner.Learner` from it, and lets `fit` run Lightning's Trainer on that. `recipes` has the
settings, `initialisation`, `optimisation` and `augmentation` what they do. What is not named above is internal.

`objectives/`  what is learned (classes of images, or of pixels), by which others speak of loss, score and answers
`data/`        where images, classes and masks come from: digits, folders, parquet files, the Hugging Face hub
`run/`         the run folder: what is written during a training, and read afterwards
`results/`     evaluation, predictions and the report of a run
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from . import recipes
    from .api import Interrupted, Result, resume, train
    from .results.evaluate import evaluate, predict
    from .run.run_folder import load

_PLACES = {
    "Interrupted": "api",
    "Result": "api",
    "evaluate": "results.evaluate",
    "load": "run.run_folder",
    "predict": "results.evaluate",
    "recipes": "recipes",
    "resume": "api",
    "train": "api",
}

__all__ = ["Interrupted", "Result", "evaluate", "load", "predict", "recipes", "resume", "train"]

__getattr__, __dir__ = lazy(__name__, _PLACES)
