"""Who computes the tiles: this process, actors of Ray, or the ranks of torchrun. Both restart what is lost."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

from torch import Tensor

from ...errors import SettingError, UnsupportedError
from ...text import did_you_mean, install
from .journal import State
from .work import TileWork

FOR_LONG = timedelta(days=365)  # a rank waits for the others; torchrun ends it if one of them is lost
_JOBS = itertools.count()  # in this process; the same in all ranks, which run the same program


class Engine:
    """One that computes tiles in this process, one after the other.

    leads: this process decides what is to be done, and names the result. several: others write tiles too.
    """

    leads, several = True, False

    def agree(self, name: str, value: Any) -> Any:
        """What the process that leads gives, in all of them."""
        return value

    def results(
        self, work: TileWork, number: int, tiles: Sequence[int], read: Callable[[int], Tensor], settled: Sequence[State]
    ) -> Iterator[tuple[int, Any]]:
        """Tiles of a pass with what came of each, as they are computed; without those that other processes write."""
        for tile in tiles:
            yield tile, work.run(number, tile, read(tile))

    def finished(self, number: int, here: int) -> int:
        """How many tiles of a pass are finished, in all processes."""
        return here

    def meet(self, name: str) -> None:
        """Wait until all processes have come here."""

    def close(self) -> None:
        """Nothing more is to be computed."""


class RayEngine(Engine):
    """Actors of Ray: this process reads and writes, they compute. One that dies is started again, with its tile."""

    def __init__(self, workers: int | None) -> None:
        try:
            import ray
        except ModuleNotFoundError:
            fix = install("cluster")
            raise UnsupportedError('engine="ray"', got="no package ray", expected="Ray", fix=fix) from None
        self.ray, self.started = ray, not ray.is_initialized()
        if self.started:
            ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, configure_logging=False)
        self.workers = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        self.pool: Any = None
        self.sent: Any = None

    def results(
        self, work: TileWork, number: int, tiles: Sequence[int], read: Callable[[int], Tensor], settled: Sequence[State]
    ) -> Iterator[tuple[int, Any]]:
        from ray.util import ActorPool

        if self.pool is None:
            self.sent = self.ray.put(work)  # held, for actors that are started again
            endless = {"max_restarts": -1, "max_task_retries": -1}  # the actor again, then its tile
            actor = self.ray.remote(num_cpus=1, **endless)(_Actor)
            self.pool = ActorPool([actor.remote(self.sent) for _ in range(min(self.workers, len(tiles)))])
        known = self.ray.put(list(settled))

        def begin(actor: Any, tile: int) -> Any:  # called when an actor is free: no more is read than that
            return actor.run.remote(number, tile, read(tile), known)

        try:
            yield from self.pool.map_unordered(begin, tiles)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from None

    def close(self) -> None:
        self.pool = self.sent = None
        if self.started:
            self.ray.shutdown()


class _Actor:
    """A process of Ray's with the work of its own."""

    def __init__(self, work: TileWork) -> None:
        self.work, self.settled = work, 0

    def run(self, number: int, tile: int, crop: Tensor, settled: Sequence[State]) -> tuple[int, Any]:
        """Passes that others have finished while this one was away are made up for."""
        for state in settled[self.settled :]:
            self.work.inside.finish(self.settled, state)
            self.settled += 1
        return tile, self.work.run(number, tile, crop)


class Ranks(Engine):
    """The ranks that torchrun starts: each takes the next tile that nobody has taken, and writes it.

    torchrun ends all ranks when one is lost, and with --max-restarts starts them again; the journal says what is left.
    """

    several = True

    def __init__(self) -> None:
        from torch.distributed import PrefixStore  # pyright: ignore[reportPrivateImportUsage]
        from torch.distributed.rendezvous import rendezvous

        if "TORCHELASTIC_RUN_ID" not in os.environ:
            fix = "Start the program with it: torchrun --nproc-per-node 2 --max-restarts 3 program.py"
            raise SettingError('engine="torch.distributed"', got="no torchrun", expected="a rank of torchrun", fix=fix)
        store, self.rank, self.world = next(iter(rendezvous("env://")))
        self.leads = self.rank == 0
        self.store = PrefixStore(self._met(PrefixStore(f"tiled/{next(_JOBS)}", store)), store)

    def _met(self, store: Any) -> str:
        """A name for what these ranks do together, which none of those that were lost has known.

        torchrun may keep its store when it starts ranks again, with all that they had written: what a rank says here
        is answered under a name that it has just made up.
        """
        own = uuid4().hex
        store.set(f"rank/{self.rank}", own)
        if not self.leads:
            store.wait([f"answer/{own}"], FOR_LONG)
            found = store.get(f"answer/{own}").decode()
            store.add(f"heard/{found}", 1)
            return found
        others = [f"rank/{rank}" for rank in range(1, self.world)]
        store.wait(others, FOR_LONG) if others else None
        while store.add(f"heard/{own}", 0) < len(others):
            for name in others:
                store.set(f"answer/{store.get(name).decode()}", own)
            time.sleep(0.01)
        return own

    def agree(self, name: str, value: Any) -> Any:
        if self.leads:
            self.store.set(name, json.dumps(value))
        self.store.wait([name], FOR_LONG)
        return json.loads(self.store.get(name))

    def results(
        self, work: TileWork, number: int, tiles: Sequence[int], read: Callable[[int], Tensor], settled: Sequence[State]
    ) -> Iterator[tuple[int, Any]]:
        while (taken := self.store.add(f"taken/{number}", 1) - 1) < len(tiles):
            yield tiles[taken], work.run(number, tiles[taken], read(tiles[taken]))
            self.store.add(f"finished/{number}", 1)

    def finished(self, number: int, here: int) -> int:
        return self.store.add(f"finished/{number}", 0) + 1

    def meet(self, name: str) -> None:
        if self.store.add(f"met/{name}", 1) == self.world:
            self.store.set(f"all/{name}", "")
        self.store.wait([f"all/{name}"], FOR_LONG)


def engine_of(name: str | None, workers: int | None) -> Engine:
    """By name; raises SettingError or UnsupportedError for one that is not there."""
    if workers is not None and name != "ray":
        fix = "torchrun --nproc-per-node says how many ranks." if name else 'Give engine="ray".'
        raise SettingError(f"workers of engine={name!r}", got=workers, expected="None", fix=fix)
    if name is None:
        return Engine()
    if name == "ray":
        return RayEngine(workers)
    if name == "torch.distributed":
        return Ranks()
    known = ["ray", "torch.distributed"]
    raise SettingError("engine", got=repr(name), expected=f"None, {' or '.join(known)}", fix=did_you_mean(name, known))
