from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from scstfs.admin.interruption import interrupted_once

PROGRAM = """
import os, signal, sys
from scstfs.admin.interruption import interrupted_once
number = int(sys.argv[1])
try:
    with interrupted_once():
        os.kill(os.getpid(), number)
        print("not reached")
except BaseException:
    for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), other)
    print("undone", flush=True)
    raise
"""


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_only_the_first_signal_counts(number: int, status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(int(number))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "undone\n"
    # After an uncaught KeyboardInterrupt, Python ends itself by the signal.
    assert done.returncode == status


def test_afterwards_all_is_as_it_was() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with interrupted_once():
        assert [signal.getsignal(number) for number in numbers] != before
    assert [signal.getsignal(number) for number in numbers] == before
