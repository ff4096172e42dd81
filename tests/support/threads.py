"""A worker pool whose work is done when the test says so."""

from __future__ import annotations

from collections.abc import Callable

from scstfs.core.threads import Completions, WorkerPool


class ManualPool(WorkerPool):
    """Keeps what is submitted; ``step`` does the oldest of it, here and now."""

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
        """Do all work, and what comes of it."""
        while self.queued:
            self.step()
