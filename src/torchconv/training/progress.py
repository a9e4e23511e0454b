"""A bar for what takes long, on a terminal only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

MANY = 2000  # images; fewer are done before a bar could be read


@contextmanager
def bar(what: str, total: int, wanted: bool) -> Iterator[Callable[[int], None]]:
    """Gives a function that is told how many are done; the bar is written to standard error, and leaves nothing."""
    if not wanted or total < MANY:
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(what, total=total)
        yield lambda count: shown.advance(task, count)
