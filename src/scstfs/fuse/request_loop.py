"""The loop that fetches requests from the kernel and has `Operations` answer them.

pyfuse3's own loop goes through the event loop for every request, which costs more than the rest of
the request. A program that reads the tree makes one request after another, each as soon as it has
the last answer. So after an answer the loop polls briefly for the next request before it yields,
and takes all that are there. pyfuse3 takes its functions for waiting from a replaceable module;
that is how it supports asyncio, and how this loop is installed.
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
"""Seconds to poll for the next request of a program after an answer."""

TURN_SECONDS: Final = 1e-3
"""Seconds after which other tasks run, even if there is more to answer."""

_HAS_CPU_TO_SPARE: Final = len(os.sched_getaffinity(0)) > 1
"""With one CPU, polling would keep the program from making its request."""


class RequestWait:
    """Waits for requests; it has the functions of ``trio.lowlevel`` that pyfuse3 uses."""

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
        """There is a request to answer."""
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
        """Poll for the next request of a program that has just got an answer."""
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
    """Does not lock: with `RequestWait` several tasks may wait at once."""

    async def __aenter__(self) -> None:
        """Does nothing."""

    async def __aexit__(self, *_exception: object) -> None:
        """Does nothing."""


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
