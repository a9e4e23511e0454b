"""Training in several processes: who is which of them, and starting the others of this machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only

from ..description.axis import integer, positive
from ..errors import DataError, SettingError
from .run.keep import NAME as CHECKPOINT

PORT = 29500  # torchrun's
PATIENCE = 20  # seconds for others to end by themselves


@dataclass(frozen=True)
class Place:
    """A process among those of a training: `devices` on each of `nodes`, and where the first of them is reached.

    launched: whether another program, torchrun, starts all processes.
    """

    devices: int = 1
    nodes: int = 1
    node: int = 0
    local: int = 0
    address: str = "127.0.0.1"
    port: int = PORT
    launched: bool = False

    @property
    def rank(self) -> int:
        """The number among all processes; 0 writes the run folder."""
        return self.node * self.devices + self.local

    @property
    def world(self) -> int:
        """How many processes there are."""
        return self.devices * self.nodes

    @classmethod
    def of(cls, devices: int = 1, nodes: int = 1, environment: Mapping[str, str] = os.environ) -> Place:
        """The place of this process; raises SettingError for more devices than there are, or an address is missing.

        torchrun says it all by its variables. With nodes > 1 and without torchrun, MASTER_ADDR and NODE_RANK say it.
        """
        positive("devices", devices)
        positive("nodes", nodes)
        if "TORCHELASTIC_RUN_ID" in environment:
            return cls._launched(devices, nodes, environment)
        known, kind = _devices()
        if devices > known:
            fix = f"Give --devices {known} or fewer." if known > 1 else "Leave --devices out."
            raise SettingError("devices", got=devices, expected=f"at most the {known} {kind} of this machine", fix=fix)
        if nodes == 1:
            return cls(devices, port=_free_port() if devices > 1 else PORT)
        missing = [name for name in ("MASTER_ADDR", "NODE_RANK") if not environment.get(name)]
        if missing:
            fix = "Set MASTER_ADDR, MASTER_PORT and NODE_RANK on every node, or use torchrun."
            raise SettingError(f"nodes={nodes}", got=f"no {' and no '.join(missing)}", fix=fix)
        node, port = _number(environment, "NODE_RANK"), _number(environment, "MASTER_PORT", PORT)
        if not 0 <= node < nodes:
            raise SettingError("NODE_RANK", got=node, expected=f"an integer from 0 to {nodes - 1}")
        return cls(devices, nodes, node, address=environment["MASTER_ADDR"], port=port)

    @classmethod
    def _launched(cls, devices: int, nodes: int, environment: Mapping[str, str]) -> Place:
        own = cls(
            devices=_number(environment, "LOCAL_WORLD_SIZE"),
            nodes=_number(environment, "GROUP_WORLD_SIZE"),
            node=_number(environment, "GROUP_RANK"),
            local=_number(environment, "LOCAL_RANK"),
            address=environment.get("MASTER_ADDR", "127.0.0.1"),
            port=_number(environment, "MASTER_PORT", PORT),
            launched=True,
        )
        for name, given, found in (("devices", devices, own.devices), ("nodes", nodes, own.nodes)):
            if given not in (1, found):
                raise SettingError(name, got=given, expected=f"{found}, as torchrun says", fix="Leave it out.")
        return own

    def check(self, batch_size: int) -> None:
        """Raise SettingError for batches of which some process would get nothing."""
        if batch_size < self.world:
            expected = f"at least one image for each of {self.world} processes"
            raise SettingError("batch size", got=batch_size, expected=expected, fix="Raise --batch-size.")


class Environment(ClusterEnvironment):
    """A place in Lightning's words."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place
        rank_zero_only.rank = place.rank

    creates_processes_externally = property(lambda self: True)
    main_address = property(lambda self: self._place.address)
    main_port = property(lambda self: self._place.port)

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self._place.world

    def set_world_size(self, size: int) -> None: ...

    def global_rank(self) -> int:
        return self._place.rank

    def set_global_rank(self, rank: int) -> None: ...

    def local_rank(self) -> int:
        return self._place.local

    def node_rank(self) -> int:
        return self._place.node


@dataclass
class _Member:
    """A process that was started, and what it complains of."""

    process: subprocess.Popen
    complaint: IO[bytes]

    def last_words(self) -> str:
        self.complaint.seek(0)
        lines = self.complaint.read().decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("torchconv: ") if lines else f"exit status {self.process.poll()}"


@contextmanager
def members(place: Place, told: dict[str, Any]) -> Iterator[None]:
    """With the other processes of this machine, each of which runs `member` and is told what to train.

    They end with this one, in whatever way it ends: then the pipe that they listen to does. Raises DataError where one
    of them ends before.
    """
    if place.devices == 1 or place.launched:
        yield
        return
    started: list[_Member] = []
    try:
        for local in range(1, place.devices):
            started.append(_start({**told, "place": asdict(replace(place, local=local))}))
        for number, member in enumerate(started, 1):
            if not member.process.stdout or not member.process.stdout.readline():
                member.process.wait(PATIENCE)
                raise DataError(f"process {number} of the training has not started", got=member.last_words())
        yield
        for member in started:
            with suppress(subprocess.TimeoutExpired):
                member.process.wait(PATIENCE)
    except (RuntimeError, OSError) as error:
        for number, member in enumerate(started, 1):
            with suppress(subprocess.TimeoutExpired):  # it may be about to end, as its connections have
                member.process.wait(1)
            if member.process.poll() is not None:
                what, got = f"process {number} of the training has ended before it", member.last_words()
                path = Path(told["path"])
                again = f"Go on with: torchconv train --resume {path}" if (path / CHECKPOINT).exists() else ""
                raise DataError(what, got=got, fix=again) from error
        raise
    finally:
        _end(started)


def _start(told: dict[str, Any]) -> _Member:
    package = str(Path(__file__).parents[2])
    paths = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    complaint = tempfile.TemporaryFile()  # noqa: SIM115
    process = subprocess.Popen(
        [sys.executable, "-m", "torchconv.training.member"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=complaint,
        env={**os.environ, "PYTHONPATH": paths},
        start_new_session=True,  # Ctrl-C is for the one that tells them
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(told).encode() + b"\n")
    process.stdin.flush()
    return _Member(process, complaint)


def _end(started: list[_Member]) -> None:
    for member in started:
        with suppress(OSError):
            member.process.stdin.close()  # pyright: ignore[reportOptionalMemberAccess]
    for member in started:
        try:
            member.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            member.process.kill()
            member.process.wait()
        member.process.stdout.close()  # pyright: ignore[reportOptionalMemberAccess]
        member.complaint.close()


def _devices() -> tuple[int, str]:
    if torch.cuda.is_available():
        return torch.cuda.device_count(), "GPUs"
    if torch.backends.mps.is_available():
        return 1, "GPU"
    affinity = getattr(os, "sched_getaffinity", None)
    return (len(affinity(0)) if affinity else os.cpu_count() or 1), "cores"


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    found = environment.get(name, default)
    try:
        return integer(name, int(found))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise SettingError(name, got=repr(found), expected="an integer") from None


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
