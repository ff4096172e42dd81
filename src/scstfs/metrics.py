"""`scstfs mount --metrics`: the exporter as a process of its own, which ends with the daemon.

The daemon only listens for it, so that a port that is taken is reported before anything is mounted.
Rendering metrics of thousands of sessions takes long; here it would hold up initiators.
"""

from __future__ import annotations

import contextlib
import importlib.util
import ipaddress
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

import trio

from scstfs import portals
from scstfs.errors import ExitStatus, UsageError
from scstfs.exporter.program import SOCKET
from scstfs.portals import ListenPortal

log: Final = logging.getLogger(__name__)

_RESTART_SECONDS: Final = 5.0
_NEEDED: Final = ("prometheus_client", "starlette", "uvicorn")


@contextlib.contextmanager
def listening(portal: ListenPortal | None) -> Iterator[socket.socket | None]:
    """Listen for the exporter, if it is wanted.

    Raises UsageError if that is impossible, if other machines could connect, or if the exporter's
    libraries are not installed.
    """
    if portal is None:
        yield None
        return
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        message = f"--metrics needs {', '.join(missing)}: pip install 'scstfs[metrics]'"
        raise UsageError(ExitStatus.USAGE, message)
    with portals.listening((portal,)) as sockets:
        for sock in sockets:
            if not ipaddress.ip_address(sock.getsockname()[0]).is_loopback:
                raise UsageError(
                    ExitStatus.USAGE,
                    f"--metrics {portal} could be reached from other machines: "
                    "use scstfs exporter, which can ask for a password",
                )
        yield sockets[0]


async def serve(sock: socket.socket, mountpoint: str) -> None:
    """Keep an exporter running for the tree at *mountpoint*, until cancelled."""
    argv = [sys.executable, "-P", "-m", "scstfs", "exporter"]
    argv += ["--mountpoint", mountpoint]
    log.info("metrics and page: http://%s/", portals.name(sock))
    while True:
        process = await trio.lowlevel.open_process(
            argv,
            # Its end tells the exporter that the daemon is gone, however that happened.
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=(sock.fileno(),),
            env={**os.environ, SOCKET: str(sock.fileno())},
            start_new_session=True,
        )
        try:
            status = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()
        log.warning("the exporter of metrics ended with status %d; it is started again", status)
        await trio.sleep(_RESTART_SECONDS)
