from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.loop_watch import loop_watched

PRELUDE = "import os, select, sys, threading, time; poll = select.epoll(); print(flush=True); "


@contextmanager
def running(program: str) -> Iterator[subprocess.Popen[str]]:
    """A process that does something when it has said so, and then waits for its input's end."""
    argv = [sys.executable, "-c", f"{PRELUDE}{program}; print(flush=True); poll.poll()"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def watch(program: str) -> None:
    """Watch the process until it has done it."""
    with running(program) as process, loop_watched(process.pid):
        assert process.stdout is not None
        process.stdout.readline()


@pytest.mark.parametrize(
    "program",
    [
        "time.sleep(0.3)",
        "os.read(os.pipe()[0], 1) if threading.Timer(0.3, os._exit, [0]).start() is None else 0",
        "lock = threading.Lock(); lock.acquire(); lock.acquire(timeout=0.3)",
    ],
)
def test_sleep_is_found(program: str) -> None:
    with pytest.raises(AssertionError, match="the event loop waits for system call"):
        watch(program)


@pytest.mark.parametrize(
    "program",
    [
        "poll.poll(0.3)",
        "end = time.monotonic() + 0.3; all(time.monotonic() < end for _ in iter(int, 1))",
        "[time.sleep(0.001) for _ in range(200)]",
    ],
)
def test_events_and_work_are_no_fault(program: str) -> None:
    watch(program)
