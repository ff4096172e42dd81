"""Watches whether the event loop of a daemon waits for anything but its own events.

The loop has the main thread to itself, and sleeps in epoll_wait(2).  In any other system call, or
for a page of memory, it must not sleep for long.  What counts is sleep, not time: threads that a
busy machine keeps from running are ready to run.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

#: Sleeping longer (seconds) outside of epoll_wait(2) is a fault.
LONGEST = 0.05
#: Seconds between two looks.
_PAUSE = 0.01
#: epoll_wait, epoll_pwait and epoll_pwait2 by number: of x86-64 and where numbers are common.
_EPOLL = frozenset({"232", "281", "441", "22"})
#: poll and ppoll: the daemon asks the process that mounts, before it serves and afterwards.
_POLL = frozenset({"7", "271", "73"})
#: Of the flags in /proc/PID/stat: the thread is coming to its end.
_EXITING = 0x4
_SWITCHES = re.compile(r"^voluntary_ctxt_switches:\s+(\d+)$", re.MULTILINE)


class _Sleep(NamedTuple):
    """One sleep of a thread: how many there were before, and in which system call it is."""

    number: str
    call: str


class LoopWatch:
    """Looks at one process from a thread until stopped.

    Attributes:
        faults: where the loop slept too long, each with what the kernel says of it.
    """

    def __init__(self, pid: int) -> None:
        self._task = Path(f"/proc/{pid}/task/{pid}")
        self._is_over = threading.Event()
        self.faults: list[str] = []
        self._thread = threading.Thread(target=self._watch, name="loop watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        last, since = self._look(), time.monotonic()
        while not self._is_over.wait(_PAUSE):
            now = self._look()
            if now is None or now != last:
                last, since = now, time.monotonic()
            elif since and time.monotonic() - since > LONGEST:
                self.faults.append(self._describe(now))
                since = 0.0  # once is enough

    def _look(self) -> _Sleep | None:
        """The sleep that it is in, None if it runs, waits for events, or is gone."""
        try:
            before = self._switches()
            call = (self._task / "syscall").read_text().split()
            waits_for_events = call[0] in _EPOLL | _POLL
            if call[0] == "running" or waits_for_events or self._switches() != before:
                return None
            if self._is_exiting():
                return None
        except (OSError, IndexError):
            return None
        return _Sleep(before, call[0])

    def _switches(self) -> str:
        found = _SWITCHES.search((self._task / "status").read_text())
        return "" if found is None else found[1]

    def _is_exiting(self) -> bool:
        fields = (self._task / "stat").read_text().rpartition(")")[2].split()
        return bool(int(fields[6]) & _EXITING)

    def _describe(self, sleep: _Sleep) -> str:
        try:
            stack = (self._task / "stack").read_text()
        except OSError:
            stack = ""
        where = "a page of memory" if sleep.call == "-1" else f"system call {sleep.call}"
        return f"the event loop waits for {where}:\n{stack}"


@contextmanager
def loop_watched(pid: int) -> Iterator[None]:
    """Fail if the event loop of process *pid* waits for anything else than its events."""
    watch = LoopWatch(pid)
    try:
        yield
    finally:
        watch.stop()
    assert not watch.faults, "\n".join(watch.faults)
