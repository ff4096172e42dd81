"""A live iSCSI target for tests: all except the mount, in a thread, on loopback sockets.

    with LiveTarget(tmp_path) as live:
        live.add_target("iqn.t", luns=2)
        with live.initiator() as initiator:
            initiator.login("iqn.t")

Tests are initiators: plain, blocking code. ``call`` runs a function in the target's event loop;
``write`` writes to the tree, as a shell does.
"""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import trio

from scstfs.core import execute
from scstfs.core.environment import Environment
from scstfs.core.runtime import TrioRuntime
from scstfs.core.scst import Scst
from scstfs.drivers.iscsi.config import IscsiTarget
from scstfs.drivers.iscsi.nexus import Nexus
from scstfs.drivers.iscsi.server import Server
from scstfs.persist.state import StateDirectory
from scstfs.service import TargetService
from scstfs.sysfs.text import decode, encode
from tests.support.initiator import Initiator
from tests.support.iscsi_login import ISID, NAME

T = TypeVar("T")

TARGET = "iqn.2005-03.org.example:disk"
DISK_SIZE = 4 << 20


class LiveTarget:
    """See the module's docstring."""

    def __init__(self, directory: Path, hosts: tuple[str, ...] = ("127.0.0.1",)) -> None:
        """Files and state are below ``directory``; it listens on one free port of all ``hosts``."""
        self.directory = directory
        self.hosts = hosts
        self.service: TargetService
        self.port = 0
        self._ready = threading.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._stop: trio.Event
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="live target", daemon=True)
        self._disks = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Close all sessions and end; raises the target's exception."""
        if self._thread.is_alive():
            self.call(lambda: self._stop.set())
            self._thread.join(20)
            assert not self._thread.is_alive(), "the target does not end"
        if self._failure is not None:
            raise self._failure

    # The target's thread

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as failure:
            self._failure = failure
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._stop = trio.Event()
        state = StateDirectory(self.directory / "state")
        state.prepare()
        listeners = listen_at(self.hosts)
        self.port = listeners[0].getsockname()[1]
        try:
            async with trio.open_nursery() as nursery:
                self.service = TargetService(
                    Scst(Environment(TrioRuntime(nursery), state, execute.start))
                )
                nursery.start_soon(self.server.run, listeners)
                self._ready.set()
                await self._stop.wait()
                await self.service.close()
                nursery.cancel_scope.cancel()
        finally:
            for listener in listeners:
                listener.close()

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in the target's event loop."""
        return trio.from_thread.run_sync(function, *arguments, trio_token=self._token)

    def run(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Run an async function in the target's event loop."""
        return trio.from_thread.run(function, *arguments, trio_token=self._token)

    # Its objects

    @property
    def server(self) -> Server:
        return self.service.server

    @property
    def scst(self) -> Scst:
        return self.service.scst

    def target(self, name: str = TARGET) -> IscsiTarget:
        return self.service.iscsi.targets[name]

    def sessions(self, name: str = TARGET) -> list[Nexus]:
        return self.call(lambda: self.server.sessions.of(self.target(name)))

    # Management

    def write(self, path: str, text: str) -> None:
        """Write to an attribute of the tree; raises SysfsError."""

        async def body() -> None:
            await self.service.tree.resolve(path).write(encode(text))

        self.run(body)

    def read(self, path: str) -> str:
        """Read an attribute of the tree."""
        return decode(self.call(lambda: self.service.tree.resolve(path).read()))

    def names(self, path: str) -> list[str]:
        """List a directory of the tree."""
        return self.call(lambda: sorted(self.service.tree.resolve(path).listdir()))

    def add_disk(self, *, size: int = DISK_SIZE, parameters: str = "") -> str:
        """Make a vdisk_fileio over a new sparse file; returns its name."""
        name = f"disk{self._disks}"
        self._disks += 1
        path = self.directory / name
        with path.open("wb") as file:
            file.truncate(size)
        given = f"filename={path}; {parameters}".rstrip("; ")
        self.write("handlers/vdisk_fileio/mgmt", f"add_device {name} {given}\n")
        return name

    def add_target(self, name: str = TARGET, parameters: str = "", *, luns: int = 1) -> str:
        """Make an enabled target with new disks; returns its directory in the tree."""
        self.write("targets/iscsi/mgmt", f"add_target {name} {parameters}\n")
        directory = f"targets/iscsi/{name}"
        for lun in range(luns):
            self.write(f"{directory}/luns/mgmt", f"add {self.add_disk()} {lun}\n")
        self.write(f"{directory}/enabled", "1\n")
        self.write("targets/iscsi/enabled", "1\n")
        return directory

    # Initiators

    def connect(self, host: str | None = None) -> socket.socket:
        """A plain connection."""
        sock = socket.create_connection((host or self.hosts[0], self.port), 5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def initiator(
        self, *, name: str = NAME, isid: bytes = ISID, host: str | None = None, timeout: float = 5.0
    ) -> Initiator:
        """An initiator that has not logged in yet."""
        return Initiator(self.connect(host), name=name, isid=isid, timeout=timeout)

    def log_in(self, target: str | None = TARGET, *, number: int = 1, **options: Any) -> Initiator:
        """An initiator in full-feature phase without pending unit attentions."""
        initiator = self.initiator(name=f"{NAME}{number}", isid=ISID[:5] + bytes([number & 0xFF]))
        initiator.login(target, **options)
        if target is not None:
            # The power-on unit attention of each LUN.
            for lun in self.target(target).default_acg.luns:
                initiator.command("000000000000", lun=lun)
        return initiator


def listen_at(hosts: tuple[str, ...]) -> list[socket.socket]:
    """Non-blocking listening sockets on one port that is free at all these addresses."""
    while True:
        listeners = [listen(hosts[0])]
        port = listeners[0].getsockname()[1]
        try:
            for host in hosts[1:]:
                listeners.append(listen(host, port))
        except OSError as error:
            for listener in listeners:
                listener.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return listeners


def listen(host: str, port: int = 0) -> socket.socket:
    """A non-blocking listening socket."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.listen(1024)
    sock.setblocking(False)
    return sock
