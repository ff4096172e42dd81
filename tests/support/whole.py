"""A whole scstfs in this process, except for sockets: core, handlers, drivers, tree."""

from __future__ import annotations

import errno
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import trio.testing

from scstfs.core import execute
from scstfs.core.environment import Environment
from scstfs.core.runtime import TrioRuntime
from scstfs.core.scst import Scst
from scstfs.drivers.iscsi.config import IscsiDriver, NotLive
from scstfs.drivers.scst_local import LocalDriver
from scstfs.layout import LAYOUT
from scstfs.persist.state import StateDirectory
from scstfs.service import furnish
from scstfs.sysfs.errors import SysfsError
from scstfs.sysfs.node import Tree
from scstfs.sysfs.text import decode, encode
from tests.support import verdicts
from tests.support.machine import CPUS

FIRST_HOST = 2
"""SCSI hosts of the recorded machine: two of its ATA controller."""


class NoIsns(NotLive):
    """A `Live` without a server for initiators, and without iSNS servers."""

    async def isns_changed(
        self, driver: IscsiDriver, host: str | None, access_control: bool
    ) -> None:
        if host is not None:
            raise SysfsError(errno.ECONNREFUSED, f"{host}: connection refused")


class Whole:
    """Everything, with the few verbs that tests need."""

    def __init__(self, scst: Scst, directory: Path) -> None:
        self.scst = scst
        #: Where its state is kept.
        self.directory = directory
        self.copy_manager = furnish(scst)
        self.iscsi = IscsiDriver(scst, NoIsns())
        self.local = LocalDriver(scst, first_host=FIRST_HOST)
        self.tree: Tree = LAYOUT.build(scst)

    async def write(self, path: str, text: str | bytes) -> None:
        """One write(2) to an attribute; SysfsError when it is refused."""
        data = text if isinstance(text, bytes) else encode(text)
        assert await self.tree.resolve(path).write(data) == len(data)

    async def check_rows(self, directory: str, rows: Iterable[tuple[str, str, str]]) -> None:
        """Write to attributes of *directory*; each row is a name, a text and the result.

        The result is the text that is then read, or the errno of a refusal, which changes nothing.
        """
        for name, text, outcome in rows:
            path = f"{directory}/{name}".removeprefix("/")
            if not re.fullmatch(r"E[A-Z]+", outcome):
                await self.write(path, text)
                assert self.read(path) == outcome, (path, text)
                continue
            before = self.read(path)
            assert await self.refusal(path, text) == outcome, (path, text)
            assert self.read(path) == before, (path, text)

    async def refusal(self, path: str, text: str | bytes) -> str:
        """The name of the errno of a write; empty if it was accepted."""
        try:
            await self.write(path, text)
        except SysfsError as error:
            return errno.errorcode[error.errno]
        return ""

    async def add_null(self, *names: str, parameters: str = "") -> None:
        """Make devices that need no file."""
        for name in names:
            await self.write("handlers/vdisk_nullio/mgmt", f"add_device {name} {parameters}\n")

    async def add_file(self, path: Path, parameters: str = "", *, size: int = 1 << 20) -> None:
        """Make a vdisk_fileio of a new file, with the file's name."""
        with path.open("wb") as file:
            file.truncate(size)
        given = "; ".join(filter(None, (f"filename={path}", parameters)))
        await self.write("handlers/vdisk_fileio/mgmt", f"add_device {path.name} {given}\n")

    async def add_target(self, name: str = "iqn.t", parameters: str = "") -> str:
        """Make an iSCSI target; returns its directory."""
        await self.write("targets/iscsi/mgmt", f"add_target {name} {parameters}\n")
        return f"targets/iscsi/{name}"

    @property
    def result(self) -> str:
        """The result of the last queued command."""
        return self.read("last_sysfs_mgmt_res").strip()

    @asynccontextmanager
    async def background(
        self, function: Callable[..., Awaitable[object]], *arguments: object
    ) -> AsyncIterator[None]:
        """Call *function*, and continue when it waits; leaving the context waits for its end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(function, *arguments)
            await trio.testing.wait_all_tasks_blocked()
            yield

    def read(self, path: str) -> str:
        """The text of an attribute."""
        return decode(self.tree.resolve(path).read())

    def names(self, path: str) -> list[str]:
        """The names in a directory."""
        return sorted(self.tree.resolve(path).listdir())

    def link(self, path: str) -> str:
        """The text of a link."""
        return self.tree.resolve(path).readlink()


@asynccontextmanager
async def whole(state: Path, cpus: int = CPUS) -> AsyncIterator[Whole]:
    """Everything, with reservations and mode pages kept below *state*."""
    async with trio.open_nursery() as nursery:
        directory = StateDirectory(state)
        directory.prepare()
        env = Environment(TrioRuntime(nursery), directory, execute.start, cpus=cpus)
        everything = Whole(Scst(env), state)
        yield everything
        verdicts.check(everything.scst)
        nursery.cancel_scope.cancel()
