"""Worker threads and disks that work when the test says so."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial

from scstfs.aio import DiskRequest
from scstfs.core.session import TgtDev
from scstfs.core.threads import Completions, WorkerPool
from scstfs.handlers.store import Store
from scstfs.handlers.vdisk import VdiskDevice


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

    def serve(self, tgt_dev: TgtDev) -> None:
        """Be the worker threads of a nexus, and the disk behind its device."""
        tgt_dev.pool = self
        device = tgt_dev.device
        if isinstance(device, VdiskDevice) and device.medium.store is not None:
            submit = partial(self._submit, device.medium.store)
            device.medium.store.submit = submit  # type: ignore[method-assign]

    def _submit(self, store: Store, request: DiskRequest) -> None:
        def done(value: object, error: BaseException | None) -> None:
            request.end((error.errno or errno.EIO) if isinstance(error, OSError) else 0)

        self.submit(partial(perform, store, request), done)

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


def perform(store: Store, request: DiskRequest) -> None:
    """Do what a request is about, by the blocking methods of a store; raises OSError."""
    store.perform(request)
