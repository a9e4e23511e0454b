"""Training: data and a text in, a run folder out; and going on with a run folder."""

from __future__ import annotations

import errno
import shlex
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ..errors import DataError
from ..language.build import NetworkModule
from .fit import classifier, fit
from .objectives.classification import Classifier
from .preflight import explained
from .processes import Place, members
from .results.evaluate import Mistakes, probabilities
from .run import keep as checkpoint
from .run.keep import Keep
from .run.new_run import NewRun, Unwritable
from .run.run_folder import CONFIG, METRICS, REPORT, WEIGHTS, Description, load_weights
from .task import Task


@dataclass(frozen=True)
class Result:
    """What a training came to. Accuracies are shares from 0 to 1; test_accuracy is None without test images."""

    path: Path
    best_epoch: int
    validation_accuracy: float
    test_accuracy: float | None
    parameters: int
    model_bytes: int
    seconds: float


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a training; the message says what was kept."""


def train(
    name: str = "digits", text: str | None = None, out: str | Path | None = None, progress: bool = True,
    *, recipe: str = "default", devices: int = 1, nodes: int = 1, **settings: Any,
) -> Result:  # fmt: skip
    """Train a network on `digits` or a folder of images per class, and keep the best weights in a run folder.

    text: an architecture, or a .net or .txt file that holds one; None takes the recipe's. out: a new or empty folder;
    None takes the next free one under runs/. progress: show a bar. recipe: `default` for the data, or a name.
    devices, nodes: GPUs, or without any CPU cores, on each machine, and machines; a process for each.
    settings: fields of `Recipe`, in place of the recipe's.
    The same seed gives the same weights on one machine's CPU with the same number of threads, interrupted or not.
    Raises TextError, ShapeError, SettingError or DataError before anything is written.
    """
    place = Place.of(devices, nodes)
    if out is not None and place.rank == 0:
        NewRun.check(Path(out))
    task = Task.new(name, text, recipe, place, settings, progress)
    learner = classifier(task)
    if place.rank > 0:
        return _member(task, learner, Path(out or "runs"), None)
    run = NewRun(Path(out)) if out is not None else NewRun.next_free(task.source.kind)
    keep = Keep(run, run.path, task.recipe)
    try:
        _describe(run, task)
        return _train(task, learner, keep, None, progress)
    except (KeyboardInterrupt, BrokenPipeError, Unwritable) as stop:
        if isinstance(stop, Unwritable) and not (run.path / CONFIG).exists():
            run.discard()
        raise _stopped(stop, keep) from None
    except BaseException:
        if not (run.path / checkpoint.NAME).exists() and not (run.path / WEIGHTS).exists():
            run.discard()
        raise
    finally:
        run.release()


def resume(path: str | Path, progress: bool = True) -> Result:
    """Go on with a training that was interrupted, with its own settings, to the result that it would have had.

    A training that is complete gives its result again. Raises DataError for a folder that is no run or is in use, or
    data that have changed.
    """
    found = Description.read(path)
    settings = found.config.settings
    place = Place.of(settings.get("devices", 1), settings.get("nodes", 1))
    if place.rank == 0:
        run = NewRun.again(found.path)
        try:
            if (final := found.final()) is not None:
                return _finished(run, final)
            return _resume(run, Task.again(found, place, progress), progress)
        finally:
            run.release()
    task = Task.again(found, place)
    learner = classifier(task)
    return _member(task, learner, found.path, Keep(None, found.path, task.recipe).again(learner))


def _resume(run: NewRun, task: Task, progress: bool) -> Result:
    keep = Keep(run, run.path, task.recipe)
    try:
        learner = classifier(task)
        return _train(task, learner, keep, keep.again(learner), progress)
    except (KeyboardInterrupt, BrokenPipeError, Unwritable) as stop:
        raise _stopped(stop, keep) from None


def _describe(run: NewRun, task: Task) -> None:
    """Write what is known before the training; the configuration last, with which the folder is one to go on with."""
    if task.source.kind == "digits":
        test = task.batches["test"]
        for number, example in enumerate(task.source.classes):  # to try `torchconv predict` on
            run.example(example, test.images[test.labels == number][0])
    run.describe(task.config, task.text, task.source.classes)


def _train(task: Task, learner: Classifier, keep: Keep, begun: Path | None, progress: bool) -> Result:
    """In the process that writes, and with the others of this machine."""
    told = {"config": asdict(task.config), "text": task.text, "classes": task.source.classes, "path": str(keep.path)}
    keep.begin()
    try:
        if not keep.complete:
            with explained(), members(task.place, {**told, "begun": None if begun is None else str(begun)}):
                fit(task, learner, keep, begun, progress)
                result = _finish(task, learner, keep)
                _agree(result)
                return result
        return _finish(task, learner, keep)
    finally:
        keep.end()
        _part()


def _member(task: Task, learner: Classifier, path: Path, begun: Path | None) -> Result:
    """In a process that writes nothing."""
    keep = Keep(None, path, task.recipe)
    if begun is not None:
        keep.again(learner)
    try:
        with explained():
            fit(task, learner, keep, begun, False)
            return _agree(None)
    finally:
        _part()


def _finish(task: Task, learner: Classifier, keep: Keep) -> Result:
    """Test the best weights in float32, and write down all that came out; the checkpoint has had its time."""
    seconds = keep.seconds
    weights = keep.path / WEIGHTS
    module = learner.averaged.to("cuda" if torch.cuda.is_available() else "cpu")
    load_weights(module, weights)
    split = "test" if "test" in task.batches else "validation"
    mistakes = _tested(task, module, split)
    validated = _tested(task, module, "validation") if split == "test" else mistakes
    result = Result(
        path=keep.path,
        best_epoch=keep.best_epoch or 0,
        validation_accuracy=validated.accuracy,
        test_accuracy=mistakes.accuracy if split == "test" else None,
        parameters=task.network.parameters,
        model_bytes=weights.stat().st_size,
        seconds=round(seconds, 3),
    )
    keep.write(final={name: value for name, value in asdict(result).items() if name != "path"})
    (keep.path / checkpoint.NAME).unlink(missing_ok=True)
    keep.end()
    _report(keep.path, mistakes)
    return result


def _tested(task: Task, module: NetworkModule, split: str) -> Mistakes:
    batch = task.batches[split]
    return Mistakes.of(probabilities(module, task.scaling, batch.images, views=task.recipe.views), batch, split)


def _report(path: Path, mistakes: Mistakes | None = None) -> None:
    """Write the report; whatever goes wrong with it, the run is complete."""
    try:
        from .results.report import write_report

        write_report(path, mistakes)
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        print(f"torchconv: no report was written: {reason}", file=sys.stderr)


def _finished(run: NewRun, final: dict[str, Any]) -> Result:
    """The result of a training that is complete, and what it came too late for when it was interrupted."""
    try:
        result = Result(path=run.path, **final)
    except TypeError as error:
        reason = str(error).removeprefix("Result.__init__() ")
        raise DataError(f"{run.path / METRICS} is damaged", got=reason, fix="Train again.") from None
    (run.path / checkpoint.NAME).unlink(missing_ok=True)
    if not (run.path / REPORT).exists():
        _report(run.path)
    return result


def _stopped(stop: BaseException, keep: Keep) -> BaseException:
    """What ended a training that can be gone on with, and how to do that."""
    if isinstance(stop, Unwritable):
        again = f"Make room, then continue with: torchconv train --resume {shlex.quote(str(keep.path))}"
        fix = again if (keep.path / CONFIG).exists() else "Make room, or give --out a folder on another disk."
        return Unwritable(stop.what, got=stop.got, fix=fix)
    if isinstance(stop, BrokenPipeError):
        return BrokenPipeError(errno.EPIPE, _interrupted(keep))
    return Interrupted(_interrupted(keep))


def _interrupted(keep: Keep) -> str:
    if not (keep.path / CONFIG).exists():
        return "interrupted before the training; nothing was kept"
    done = len(keep.epochs)
    kept = f"after {done} epoch{'s' * (done != 1)}" if keep.epochs else "before the end of the first epoch"
    weights = f"; the best weights so far are kept in {keep.path}" if keep.epochs else ""
    return f"interrupted {kept}{weights}; continue with: torchconv train --resume {shlex.quote(str(keep.path))}"


def _agree(result: Result | None) -> Result:
    """The result of the process that writes, in all processes."""
    found = [result]
    if dist.is_initialized():
        dist.broadcast_object_list(found)
    assert found[0] is not None
    return found[0]


def _part() -> None:
    with suppress(Exception):  # the others may be gone
        if dist.is_initialized():
            dist.destroy_process_group()
