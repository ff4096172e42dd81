"""`scstfs` with a toy target: ``python -m tests.daemon.toy BEHAVIOUR mount ...``.

The tree is one directory of files whose names say what a write to them does. The portal echoes.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import pyfuse3
import trio

from scstfs import cli, daemon, mounts
from scstfs.options import Config

log = logging.getLogger("scstfs.toy")

FILES: Final = {
    2: b"accept",  # returns at once
    3: b"wait",  # waits for ever, as for an initiator
    4: b"block",  # blocks the event loop, as in a read from a dead disk
    5: b"thread",  # waits for a thread that cannot be interrupted
    6: b"raise",  # a bug that the guard of the real tree would have caught
    8: b"fork",  # leaves another process with all descriptors, as a call that waits for a disk
    7: b"escape",  # tries all that code of an attacker would
}


def write_a_file_of_root() -> None:
    os.open("/etc/scstfs-toy", os.O_WRONLY | os.O_CREAT, 0o600)


def read_a_file_of_root() -> None:
    os.open("/etc/shadow", os.O_RDONLY)


def become_root() -> None:
    os.setresuid(0, 0, 0)


def mount_something() -> None:
    mounts.mount("toy", "/mnt", "tmpfs", mounts.MountFlag.NONE)


def make_a_device() -> None:
    os.mknod("/tmp/scstfs-toy", 0o600 | stat.S_IFCHR, os.makedev(1, 1))


def end_the_first_process() -> None:
    os.kill(1, 0)


def look_into_its_parent() -> None:
    os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY)


def get_privileges_by_a_program() -> None:
    """EPERM unless a setuid program has become root."""
    script = "import os; os.setresuid(0, 0, 0)"
    if subprocess.run([sys.executable, "-c", script], check=False, capture_output=True).returncode:
        raise PermissionError(errno.EPERM, "no privileges")


ATTEMPTS: Final = (
    write_a_file_of_root,
    read_a_file_of_root,
    become_root,
    mount_something,
    make_a_device,
    end_the_first_process,
    look_into_its_parent,
    get_privileges_by_a_program,
)


class ToyTree(pyfuse3.Operations):
    async def getattr(
        self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        kind = stat.S_IFDIR | 0o755 if inode == pyfuse3.ROOT_INODE else stat.S_IFREG | 0o644
        entry.st_mode = pyfuse3.ModeT(kind)
        entry.st_nlink = 1
        entry.attr_timeout = 0
        entry.entry_timeout = 0
        return entry

    async def lookup(
        self, parent_inode: pyfuse3.InodeT, name: pyfuse3.FileNameT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        for inode, known in FILES.items():
            if name == known:
                return await self.getattr(pyfuse3.InodeT(inode), ctx)
        raise pyfuse3.FUSEError(errno.ENOENT)

    async def setattr(
        self,
        inode: pyfuse3.InodeT,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: pyfuse3.FileHandleT | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        return await self.getattr(inode, ctx)

    async def open(
        self, inode: pyfuse3.InodeT, flags: pyfuse3.FlagT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(inode), direct_io=True)

    async def write(self, fh: pyfuse3.FileHandleT, off: int, buf: bytes) -> int:
        log.info("write to %s", FILES[fh].decode())
        match FILES[fh]:
            case b"wait":
                await trio.sleep_forever()
            case b"block":
                time.sleep(60)
            case b"thread":
                await trio.to_thread.run_sync(time.sleep, 60)
            case b"raise":
                raise ZeroDivisionError("toy bug")
            case b"fork":
                if os.fork() == 0:
                    time.sleep(60)
                    os._exit(0)
            case b"escape":
                for attempt in ATTEMPTS:
                    try:
                        attempt()
                    except OSError as error:
                        log.info("%s: %s", attempt.__name__, errno.errorcode[error.errno or 0])
                    else:
                        log.info("%s: succeeded", attempt.__name__)
        return len(buf)


class ToyService:
    """Echoes what is sent to the portal; *behaviour* says how it comes up and goes down."""

    operations = ToyTree()

    def __init__(self, behaviour: str) -> None:
        self._behaviour = behaviour

    async def answer_kernel(self) -> None:
        await pyfuse3.main()

    async def run(self, listeners: Sequence[socket.socket]) -> None:
        portals = [trio.socket.from_stdlib_socket(listener) for listener in listeners]
        if self._behaviour == "bug":
            await portals[0].accept()
            raise ZeroDivisionError("toy bug")
        async with trio.open_nursery() as nursery:
            for portal in portals:
                nursery.start_soon(self._accept, portal, nursery)

    async def _accept(self, portal: trio.socket.SocketType, nursery: trio.Nursery) -> None:
        while True:
            connection, _ = await portal.accept()
            nursery.start_soon(self._echo, connection)

    async def _echo(self, connection: trio.socket.SocketType) -> None:
        with connection:
            while data := await connection.recv(65536):
                await connection.send(data)

    async def close(self) -> None:
        log.info("closing sessions")
        if self._behaviour == "clinging":
            await trio.sleep_forever()

    def suspend_logins(self) -> None:
        log.info("logins suspended")

    def resume_logins(self) -> None:
        log.info("logins resumed")


def toy_build(
    behaviour: str,
) -> Callable[[Config], contextlib.AbstractAsyncContextManager[ToyService]]:
    @contextlib.asynccontextmanager
    async def build(config: Config) -> AsyncIterator[ToyService]:
        if behaviour == "slow":
            log.info("building slowly")
            with trio.move_on_after(0.5):
                await trio.sleep_forever()
        async with trio.open_nursery():  # as a target with its own tasks would have
            yield ToyService(behaviour)
            log.info("target released")

    return build


if __name__ == "__main__":
    setattr(daemon, "build_service", toy_build(sys.argv[1]))  # noqa: B010  # of another type
    sys.exit(cli.main(sys.argv[2:]))
