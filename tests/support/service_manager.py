"""Starts `scstfs mounter` for each connection to a socket, as systemd does for scst-mounter.socket.

There need be no systemd; the processes are confined as by the unit (`tests.support.confined`).
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.daemon.harness import ENVIRONMENT

MOUNTER = "scst-mounter@.service"


def confined(unit: str) -> list[str]:
    """What to put in front of a command to run it as under a unit."""
    return [sys.executable, "-m", "tests.support.confined", unit]


@contextlib.contextmanager
def mounter_socket(path: Path, *options: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Listen at *path*; yields the processes that were started so far."""
    started: list[subprocess.Popen[str]] = []
    command = [*confined(MOUNTER), sys.executable, "-m", "scstfs", "mounter", *options]
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen()

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    started.append(
                        subprocess.Popen(
                            command,
                            stdin=connection.fileno(),
                            stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE,
                            text=True,
                            env=ENVIRONMENT,
                        )
                    )

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield started
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
