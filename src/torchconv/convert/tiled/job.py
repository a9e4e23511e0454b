"""One tiled inference: passes over the tiles, each written once and noted in the journal."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from ...errors import DataError, SettingError
from .array_layout import sizes
from .destinations import Destination, Outcome
from .engines import Engine
from .fingerprint import fingerprint
from .image_source import ImageSource
from .journal import Journal, State, check_sum, packed, unpacked
from .work import TileWork

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass
class Job:
    """A work on the tiles of an image, by an engine. progress: show a bar on a terminal."""

    work: TileWork
    source: ImageSource
    engine: Engine
    progress: bool = True

    def __post_init__(self) -> None:
        self.settled: list[State] = []
        self.last = self.work.inside.passes - 1
        if self.last and not self.source.repeats:
            got, fix = "an iterator, which is read once", "Give a function that returns a new one, or an array."
            raise SettingError(f"an image that is read {self.last + 1} times", got=got, fix=fix)

    @cached_property
    def outcome(self) -> Outcome:
        """What is to be stored."""
        work = self.work
        layout = self.source.layout.of_result(work.example, work.result_shape[1])
        largest = (max(lengths) for lengths in zip(*(sizes(work.place(n)) for n in range(self.count)), strict=True))
        whole, tile = layout.shape(work.result_shape), layout.shape(tuple(largest))
        return Outcome(layout, whole, work.example.dtype, tile, work.example.device)

    @property
    def count(self) -> int:
        """Tiles of the result."""
        return len(self.work.inside.tiles)

    def _identity(self) -> dict[str, Any]:
        """What a journal has to agree with, by names that people read."""
        work, outcome = self.work, self.outcome
        hooks = [fingerprint(hook) for hook in (work.preprocess, work.postprocess)]
        return {
            "model": work.digest(),
            "image": self.source.identity(),
            "tile": list(work.tile),
            "result": [list(outcome.shape), str(outcome.kind), work.output],
            "statistics": work.statistics,
            "preprocess or postprocess": hooks,
        }

    def run(self, sink: Destination) -> Any:
        """All tiles that are not finished yet, into a destination; gives its result."""
        sink.check_apart(self.source)
        if self.engine.several:
            sink.check_shared(self.outcome)
        journal = Journal(sink.folder)
        try:
            self._begin(sink, journal)
            with self._bar() as advance:
                self._statistics(sink, journal, advance)
                for tile, result in self._results(self.last, journal, advance):
                    with self._kept(sink, journal):
                        values = sink.write(self.work.place(tile), self.outcome.layout.array(result))
                        journal.add(self.last, tile, check_sum(values) if sink.folder else None)
            self._end(sink, journal)
        finally:
            sink.close()
            journal.close()
            if self.engine.leads and not journal.found:
                journal.remove()
        return sink.result()

    def stream(self) -> Iterator[tuple[tuple[slice, ...], Tensor]]:
        """Tiles as they are computed, each with its place in the result."""
        journal = Journal(None)
        with self._bar() as advance:
            self._statistics(None, journal, advance)
            for tile, result in self._results(self.last, journal, advance):
                journal.add(self.last, tile, None)
                yield self.outcome.layout.index(self.work.place(tile)), self.outcome.layout.array(result)

    def _begin(self, sink: Destination, journal: Journal) -> None:
        """The process that leads makes the result and the journal, or finds them; the others wait for it."""
        if self.engine.leads:
            identity = self._identity() if sink.folder else {}
            begun = journal.open(identity, sink.exists())
            with self._kept(sink, journal):
                sink.open(self.outcome, begun)
                journal.begin(identity)
            for (number, tile), said in list(journal.found.items()):
                if number == self.last and check_sum(sink.read(self.work.place(tile))) != said:
                    del journal.found[number, tile]  # its values did not outlast what ended the process
        self.engine.agree("begun", True)
        if not self.engine.leads:
            journal.read()
            sink.open(self.outcome, True)

    def _statistics(self, sink: Destination | None, journal: Journal, advance: Callable[[int, int], None]) -> None:
        """Passes over the image before the last; what they say is summed in the order of the tiles."""
        for number in range(self.last):
            for tile, state in self._results(number, journal, advance):
                with self._kept(sink, journal):
                    journal.add(number, tile, packed(state))
            self.engine.meet(f"pass {number}")
            journal.read()
            states = [unpacked(journal.found[number, tile]) for tile in range(self.work.count(number))]
            self.settled.append(self.work.settle(number, states))
            self.work.inside.finish(number, self.settled[-1])

    def _results(self, number: int, journal: Journal, advance: Callable[[int, int], None]) -> Iterator[tuple[int, Any]]:
        """The tiles of a pass that are not finished, with what came of each."""
        count = self.work.count(number)
        left = self.engine.agree(f"left/{number}", [n for n in range(count) if (number, n) not in journal.found])
        before = count - len(left)
        advance(number, before)

        def read(tile: int) -> Tensor:
            return self.source.read(self.work.part(number, tile))

        results = self.engine.results(self.work, number, left, read, self.settled)
        for here, (tile, result) in enumerate(results, 1):
            yield tile, result
            advance(number, before + self.engine.finished(number, here))

    def _end(self, sink: Destination, journal: Journal) -> None:
        """All tiles of all processes are written; the result takes its name."""
        self.engine.meet("written")
        if self.engine.leads:
            sink.finish()
            journal.remove()
        self.engine.meet("finished")

    @contextmanager
    def _kept(self, sink: Destination | None, journal: Journal) -> Iterator[None]:
        """What cannot be written is one line, which says what is kept."""
        try:
            yield
        except OSError as error:
            reason = "no room on the disk" if error.errno in FULL else error.strerror or str(error)
            done = sum(number == self.last for number, _ in journal.found)
            kept = f"{done} of {self.count} tiles are finished and kept"
            fix = f"Make room and call again: {kept}." if sink and sink.folder else "Make room and call again."
            raise DataError(f"{sink.name if sink else 'out'} cannot be written", got=reason, fix=fix) from None

    @contextmanager
    def _bar(self) -> Iterator[Callable[[int, int], None]]:
        """Gives a function that is told the pass and how many of its tiles are finished."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        shown = self.progress and self.engine.leads and console.is_terminal
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
            names = [*(f"statistics {number + 1}" for number in range(self.last)), "tiles"]
            rows = [bar.add_task(name, total=self.work.count(number)) for number, name in enumerate(names)]
            yield lambda number, done: bar.update(rows[number], completed=done)
