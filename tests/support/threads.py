"""A worker pool that works when the test tells it to."""

from __future__ import annotations

from collections.abc import Callable

from scstfs.core.threads import Completions, WorkerPool


class ManualPool(WorkerPool):
    """Keeps submitted work; ``step`` does the oldest at once."""

    def __init__(self) -> None:
        super().__init__("manual", 0, Completions(lambda call: call()))
        self.queued: list[
            tuple[Callable[[], object], Callable[[object, BaseException | None], None]]
        ] = []

    def submit(
        self, work: Callable[[], object], done: Callable[[object, BaseException | None], None]
    ) -> None:
        self.queued.append((work, done))

    def step(self) -> None:
        """Do one piece of work and deliver its result."""
        work, done = self.queued.pop(0)
        try:
            value = work()
        except Exception as error:
            done(None, error)
        else:
            done(value, None)

    def drain(self) -> None:
        """Do all work, including work that follows from it."""
        while self.queued:
            self.step()
