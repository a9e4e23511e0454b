"""One training run by Lightning's Trainer, from where it stands to its end; in several processes by its launchers.

torchrun and SLURM start the processes themselves, and Lightning finds their environments; otherwise `--devices` are
started by Lightning's launcher, each a fresh interpreter. CPUs have plain DDP, in which NORM sees the images of its own
process; GPUs have SyncBatchNorm.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import shlex
import signal
import warnings
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from ..errors import DataError
from .data.images import quiet
from .learner import Learner
from .preflight import Processes
from .run.keep import CHECKPOINT, Checkpoints, Keep
from .task import Task

# Their remarks on devices, workers and loggers: nothing a user of this command could act on.
LOGGERS = ("lightning", "lightning.pytorch", "lightning.fabric", "torch.multiprocessing.spawn")
PATIENCE = timedelta(minutes=30)  # of processes for one another
# Steps of fewer multiply-accumulates run on one thread: two would gain a few milliseconds in every second, and lose
# half a minute whenever another program wants one of the cores and each thread must wait for the other.
SMALL_STEP = 2**28
MALLOC = {-4: 0, -1: 2**31 - 1, -2: 2**28}  # M_MMAP_MAX, M_TRIM_THRESHOLD and M_TOP_PAD of glibc's malloc.h


class Bar(RichProgressBar):
    """Lightning's bar, with epochs counted from 1."""

    def _get_train_description(self, current_epoch: int) -> str:
        return f"Epoch {current_epoch + 1}/{self.trainer.max_epochs}".ljust(len(self.validation_description))


class Distributed(DDPStrategy):
    """Lightning's DDP, whose processes are set up as the one that starts them is."""

    def __init__(self, processes: Processes, threads: int) -> None:
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        method = "popen" if processes.launched else "spawn"
        super().__init__(process_group_backend=backend, timeout=PATIENCE, start_method=method)
        self._threads = threads

    def setup_environment(self) -> None:
        if self._start_method == "spawn":  # a fresh interpreter, which ends at Ctrl-C, and with the one that started it
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            warnings.simplefilter("ignore")
            for name in LOGGERS:
                logging.getLogger(name).setLevel(logging.ERROR)
            torch.set_num_threads(self._threads)
            keep_heap()
        super().setup_environment()


def fit(task: Task, learner: Learner, keep: Keep, begun: Path | None, progress: bool) -> None:
    """Train; begun: the checkpoint to go on from. Raises KeyboardInterrupt for Ctrl-C, and for SIGTERM."""
    keep_heap()
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGINT)
    if task.network.macs * (task.recipe.batch_size // task.processes.world) < SMALL_STEP:
        torch.set_num_threads(1)
    with quiet(logging.ERROR, *LOGGERS):
        trainer = _trainer(task, keep, progress)
        try:
            trainer.fit(learner, ckpt_path=begun)
        except SystemExit as stop:
            signal.signal(signal.SIGINT, handler)
            if not isinstance(stop, SIGTERMException) and not isinstance(stop.__context__, KeyboardInterrupt):
                raise BrokenPipeError(errno.EPIPE, "nobody reads the progress") from None  # what rich makes of it
            raise KeyboardInterrupt from None
        except (ProcessExitedException, ProcessRaisedException) as error:
            raise _ended(error, keep) from None
        finally:
            torch.set_num_threads(threads)
            if task.processes.starts:
                trainer.strategy.launcher.kill(signal.SIGKILL)  # type: ignore[union-attr]
                keep.reread()


def _trainer(task: Task, keep: Keep, progress: bool) -> pl.Trainer:
    processes, gpus = task.processes, torch.cuda.is_available()
    several = Distributed(processes, torch.get_num_threads()) if processes.world > 1 else "auto"
    return pl.Trainer(
        max_epochs=task.recipe.epochs,
        precision=task.recipe.precision,  # type: ignore[arg-type]
        accelerator="auto",
        devices=processes.devices,
        num_nodes=processes.nodes,
        strategy=several,
        sync_batchnorm=gpus and processes.world > 1,
        plugins=[Checkpoints()],
        callbacks=[keep, Bar()] if progress else [keep],
        logger=False,  # Keep logs by Lightning's loggers, when an epoch is kept
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=progress,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def _ended(error: ProcessExitedException | ProcessRaisedException, keep: Keep) -> BaseException:
    """What ended one of the processes, in one line; the launcher has ended the others."""
    if isinstance(error, ProcessExitedException):
        if error.signal_name == "SIGINT":
            return KeyboardInterrupt()
        what, got = f"process {error.error_index} of the training has ended before it", f"{error.signal_name or error}"
    else:
        name, _, said = str(error).strip().splitlines()[-1].partition(": ")
        what, got = f"process {error.error_index} of the training cannot go on", said or name
    again = f"Go on with: torchconv train --resume {shlex.quote(str(keep.path))}"
    return DataError(what, got=got, fix=again if (keep.path / CHECKPOINT).exists() else "")


def keep_heap() -> None:
    """Let glibc keep large freed blocks, which it would hand back to the system and fetch anew, page by page.

    A step on large batches frees and fetches the same gigabyte every time: an epoch of the fast recipe took 65 s, and
    43 to 49 s with this. Nothing happens with another C library.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        for option, value in MALLOC.items():
            mallopt(option, value)
