"""Training: data and a text in, a run folder out; and going on with a run folder."""

from __future__ import annotations

import errno
import shlex
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ..errors import DataError
from ..text import printable
from .data.parts import Samples
from .fit import fit
from .learner import Learner
from .objectives import Evaluation
from .preflight import Processes, explained
from .results.evaluate import answers
from .results.report import write_report
from .run.keep import CHECKPOINT, Keep
from .run.new_run import NewRun, Unwritable
from .run.run_folder import CONFIG, METRICS, REPORT, WEIGHTS, Description, load_weights
from .summary import summary
from .task import Task


@dataclass(frozen=True)
class Result:
    """What a training came to.

    score: what was measured, accuracy or, of labelled pixels, mean_iou. validation_score, test_score: shares from 0 to
    1; the second is None without test images.
    """

    path: Path
    best_epoch: int
    score: str
    validation_score: float
    test_score: float | None
    parameters: int
    model_bytes: int
    seconds: float

    @property
    def validation_accuracy(self) -> float:
        """The score, where it is an accuracy."""
        return self._accuracy(self.validation_score)

    @property
    def test_accuracy(self) -> float | None:
        """The score on test images, where it is an accuracy."""
        return self._accuracy(self.test_score)

    def _accuracy(self, value: Any) -> Any:
        if self.score != "accuracy":
            raise AttributeError(f"this training measured {self.score}: see validation_score and test_score")
        return value

    def final(self) -> dict[str, Any]:
        """The numbers for metrics.json, by the name of the score."""
        splits = {"validation": self.validation_score, "test": self.test_score}
        rest = ("parameters", "model_bytes", "seconds")
        scores = {f"{split}_{self.score}": value for split, value in splits.items()}
        return {"best_epoch": self.best_epoch, **scores, **{name: getattr(self, name) for name in rest}}

    @classmethod
    def of(cls, path: Path, score: str, final: Mapping[str, Any]) -> Result:
        """From these numbers; raises TypeError or LookupError for others."""
        rest = {name: value for name, value in final.items() if name not in (f"validation_{score}", f"test_{score}")}
        return cls(
            path, score=score, validation_score=final[f"validation_{score}"], test_score=final[f"test_{score}"], **rest
        )


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a training; the message says what was kept."""


def train(
    name: str = "digits", text: str | None = None, out: str | Path | None = None, progress: bool = True,
    *, recipe: str = "default", devices: int = 1, nodes: int = 1, **settings: Any,
) -> Result:  # fmt: skip
    """Train a network on `digits` or a folder of images per class, and keep the best weights in a run folder.

    text: an architecture, or a .net or .txt file that holds one; None takes the recipe's. out: a new or empty folder;
    None takes the next free one under runs/, named after the data. progress: show a bar. recipe: `default` for the
    data, or a name. devices: GPUs, or without any CPU cores; a process for each. nodes: machines, as SLURM says.
    settings: fields of `Recipe`, in place of the recipe's.
    The same seed gives the same weights on one machine's CPU with the same number of threads, interrupted or not.
    Raises TextError, ShapeError, SettingError or DataError before anything is written.
    """
    processes = Processes.of(devices, nodes)
    if out is not None and processes.rank == 0:
        NewRun.check(Path(out))
    task = Task.new(name, text, recipe, processes, settings, progress)
    learner = Learner(task)
    if processes.rank > 0:
        return _train(task, learner, Keep(None, Path(out or "runs"), task), False)
    run = NewRun(Path(out)) if out is not None else NewRun.next_free(task.source.name)
    try:
        return _lead(task, learner, run, progress)
    finally:
        run.release()


def resume(path: str | Path, progress: bool = True) -> Result:
    """Go on with a training that was interrupted, with its own settings, to the result that it would have had.

    A training that is complete gives its result again. Raises DataError for a folder that is no run or is in use, or
    data that have changed.
    """
    found = Description.read(path)
    settings = found.config.settings
    processes = Processes.of(settings.get("devices", 1), settings.get("nodes", 1))
    if processes.rank > 0:
        task = Task.again(found, processes)
        return _train(task, Learner(task), Keep(None, found.path, task), False)
    run = NewRun.again(found.path)
    try:
        if (final := found.final()) is not None:
            return _finished(run, found.objective.score, final)
        task = Task.again(found, processes, progress)
        return _lead(task, Learner(task), run, progress)
    finally:
        run.release()


def _describe(run: NewRun, task: Task) -> None:
    """Write what is known before the training; the configuration last, with which the folder is one to go on with."""
    if task.source.kind == "digits":
        test = task.samples["test"]
        assert isinstance(test, Samples)
        for number, example in enumerate(task.source.classes):  # to try `torchconv predict` on
            run.example(example, test.images[int((test.labels == number).nonzero()[0])])
    elif task.source.labels is not None:
        run.example("1", task.samples["validation"].images[0])
    run.describe(task.config, task.text, task.source.classes)


def _lead(task: Task, learner: Learner, run: NewRun, progress: bool) -> Result:
    """Train in the first process; whatever ends the training, a new run folder without anything to keep goes again."""
    keep = Keep(run, run.path, task)
    if progress and sys.stdout is not None and sys.stdout.isatty():
        print("\n".join(map(printable, summary(task))))
    try:
        if run.fresh:
            _describe(run, task)
        return _train(task, learner, keep, progress)
    except BaseException as stop:
        unusable = isinstance(stop, Unwritable) and not (run.path / CONFIG).exists()
        kept = isinstance(stop, KeyboardInterrupt | BrokenPipeError | Unwritable) and not unusable
        if not kept and not (run.path / CHECKPOINT).exists() and not (run.path / WEIGHTS).exists():
            run.discard()
        _tell(stop, keep)
        raise


def _train(task: Task, learner: Learner, keep: Keep, progress: bool) -> Result:
    """In any of the processes; the first one tests the weights, and writes down what came out."""
    evaluation = None
    try:
        begun = keep.again(learner)
        if not keep.complete:
            with explained():
                fit(task, learner, keep, begun, progress)
        found: list[Any] = [None]
        if keep.run is not None:
            found[0], evaluation = _finish(task, learner, keep)
        if dist.is_initialized():
            dist.broadcast_object_list(found)
    finally:
        keep.end()
        with suppress(Exception):  # the others may be gone
            if dist.is_initialized():
                dist.destroy_process_group()
    if keep.run is not None:
        _report(keep.path, evaluation)
    return found[0]


def _finish(task: Task, learner: Learner, keep: Keep) -> tuple[Result, Evaluation]:
    """Test the best weights in float32, and write down all that came out; the checkpoint has had its time."""
    seconds, weights = keep.seconds, keep.path / WEIGHTS
    module = learner.averaged.to("cuda" if torch.cuda.is_available() else "cpu")
    load_weights(module, weights)

    def tested(split: str) -> Evaluation:
        samples, told = task.samples[split], task.recipe.test_time_augmentation
        found = answers(module, task.objective, task.scaling, samples.images, told)
        return task.objective.evaluation(split, found, samples)

    evaluation = tested(task.tested)
    validation = evaluation if task.tested == "validation" else tested("validation")
    result = Result(
        path=keep.path,
        best_epoch=keep.best_epoch or 0,
        score=task.objective.score,
        validation_score=validation.score,
        test_score=evaluation.score if task.tested == "test" else None,
        parameters=task.network.parameters,
        model_bytes=weights.stat().st_size,
        seconds=round(seconds, 3),
    )
    keep.write(final=result.final())
    (keep.path / CHECKPOINT).unlink(missing_ok=True)
    return result, evaluation


def _report(path: Path, evaluation: Evaluation | None = None) -> None:
    """Write the report; whatever goes wrong with it, the run is complete."""
    try:
        write_report(path, evaluation)
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        print(f"torchconv: no report was written: {reason}", file=sys.stderr)


def _finished(run: NewRun, score: str, final: dict[str, Any]) -> Result:
    """The result of a training that is complete, and what it came too late for when it was interrupted."""
    try:
        result = Result.of(run.path, score, final)
    except (TypeError, LookupError) as error:
        reason = str(error).removeprefix("Result.__init__() ")
        raise DataError(f"{run.path / METRICS} is damaged", got=reason, fix="Train again.") from None
    (run.path / CHECKPOINT).unlink(missing_ok=True)
    if not (run.path / REPORT).exists():
        _report(run.path)
    return result


def _tell(stop: BaseException, keep: Keep) -> None:
    """Raise what ended a training that can be gone on with again, with how to do that."""
    if isinstance(stop, Unwritable):
        again = f"Make room, then continue with: torchconv train --resume {shlex.quote(str(keep.path))}"
        fix = again if (keep.path / CONFIG).exists() else "Make room, or give --out a folder on another disk."
        raise Unwritable(stop.what, got=stop.got, fix=fix) from None
    if isinstance(stop, BrokenPipeError):
        raise BrokenPipeError(errno.EPIPE, _interrupted(keep)) from None
    if isinstance(stop, KeyboardInterrupt):
        raise Interrupted(_interrupted(keep)) from None


def _interrupted(keep: Keep) -> str:
    if not (keep.path / CONFIG).exists():
        return "interrupted before the training; nothing was kept"
    done = len(keep.epochs)
    kept = f"after {done} epoch{'s' * (done != 1)}" if keep.epochs else "before the end of the first epoch"
    weights = f"; the best weights so far are kept in {keep.path}" if keep.epochs else ""
    return f"interrupted {kept}{weights}; continue with: torchconv train --resume {shlex.quote(str(keep.path))}"
