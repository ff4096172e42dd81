"""A bar on the terminal."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

Show = Callable[[int, int], None]


def bar() -> tuple[Show, Callable[[], None]]:
    """A function that shows how much of the total is done, and one that removes the bar."""
    shown = Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    shown.start()
    task = shown.add_task("")

    def show(done: int, total: int) -> None:
        shown.update(task, completed=done, total=total)

    return show, shown.stop
