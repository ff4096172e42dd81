"""The loop that fetches requests from the kernel and has `Operations` answer them.

pyfuse3's own loop goes through the event loop for every request, which costs more than all else
about it. A program that looks at the tree makes one request after the other, each as soon as it has
the answer to the last one. So after an answer the loop looks for the next request for a moment
before it gives way, and takes all that are there. pyfuse3 finds the functions by which it waits in
a module that can be exchanged; that is how it supports asyncio, and how this is put in.
"""

from __future__ import annotations

import os
import select
import time
from types import SimpleNamespace
from typing import Any, Final

import pyfuse3
import trio

NEXT_SECONDS: Final = 50e-6
"""For how long the next request of a program is looked for after an answer."""

TURN_SECONDS: Final = 1e-3
"""After so long others get their turn, whatever there is to answer."""

_HAS_CPU_TO_SPARE: Final = len(os.sched_getaffinity(0)) > 1
"""With one CPU, looking for the next request would keep the program from making it."""


class RequestWait:
    """Waits for requests; a replacement for ``trio.lowlevel`` as far as pyfuse3 uses it."""

    notify_closing = staticmethod(trio.lowlevel.notify_closing)
    current_task = staticmethod(trio.lowlevel.current_task)
    current_trio_token = staticmethod(trio.lowlevel.current_trio_token)

    def __init__(self) -> None:
        self._poll: select.poll | None = None
        self._is_registered = False
        self._others = trio.lowlevel.ParkingLot()
        self._turn_ends = 0.0
        self._was_prompt = False

    def waiting(self) -> bool:
        """There is a request to be answered."""
        return self._poll is not None and bool(self._poll.poll(0))

    async def wait_readable(self, fd: int) -> None:
        """Return when a request can be read from *fd* without waiting."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(fd, select.POLLIN)
        if time.perf_counter() >= self._turn_ends:
            await trio.lowlevel.checkpoint()
            self._turn_ends = time.perf_counter() + TURN_SECONDS
        if not (self.waiting() or self._look_on()):
            await self._sleep(fd)

    def _look_on(self) -> bool:
        """Look for the next request of a program that has just got an answer."""
        if self._was_prompt and _HAS_CPU_TO_SPARE:
            end = time.perf_counter() + NEXT_SECONDS
            while time.perf_counter() < end:
                if self.waiting():
                    return True
        self._was_prompt = False
        return False

    async def _sleep(self, fd: int) -> None:
        # One task waits for the descriptor, the others for that task.
        while True:
            if self._is_registered:
                await self._others.park()
            else:
                self._is_registered = True
                try:
                    await trio.lowlevel.wait_readable(fd)
                finally:
                    self._is_registered = False
                    self._others.unpark()
            # Another task, which did not sleep, may have taken it.
            if self.waiting():
                self._was_prompt = True
                self._turn_ends = time.perf_counter() + TURN_SECONDS
                return


class _NoLock:
    """Several tasks may wait at once: `RequestWait` sees to it."""

    async def __aenter__(self) -> None:
        """Nothing to wait for."""

    async def __aexit__(self, *_exception: object) -> None:
        """Nothing to give back."""


async def answer(wait: RequestWait) -> None:
    """Answer the requests of the file system that `pyfuse3.init` mounted until it is unmounted.

    Also ends when `pyfuse3.terminate` is called.
    """
    module: Any = pyfuse3
    module.trio = SimpleNamespace(
        Lock=_NoLock,
        lowlevel=wait,
        open_nursery=trio.open_nursery,
        ClosedResourceError=trio.ClosedResourceError,
    )
    try:
        await pyfuse3.main()
    finally:
        module.trio = trio
