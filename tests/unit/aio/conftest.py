from __future__ import annotations

import mmap
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from scstfs.aio import ENGINES, DiskRequest, Engine, File, RequestKind, open_engine
from tests.support.needs import lacking
from tests.support.troubled_disk import TroubledDisk, troubled_disk


class Disk:
    """A file of an engine, for tests that wait for what they ask for."""

    def __init__(self, engine: Engine, path: Path | str, *, direct: bool, asks: bool) -> None:
        self.engine = engine
        self.fd = os.open(path, os.O_RDWR | (os.O_DIRECT if direct else 0))
        self.file: File = engine.open(self.fd, direct=direct, asks=asks)

    def begin(
        self,
        operation: RequestKind,
        offset: int = 0,
        memory: memoryview | None = None,
        *,
        length: int = 0,
        durable: bool = False,
    ) -> Pending:
        return Pending(self, operation, offset, memory, length=length, durable=durable)

    async def run(
        self,
        operation: RequestKind,
        offset: int = 0,
        memory: memoryview | None = None,
        *,
        length: int = 0,
        durable: bool = False,
    ) -> int:
        """The errno of an operation, or 0."""
        begun = self.begin(operation, offset, memory, length=length, durable=durable)
        return await begun.error()

    async def read(self, offset: int, length: int) -> bytes:
        memory = aligned(length)
        assert await self.run(RequestKind.READ, offset, memory) == 0
        return bytes(memory)

    async def write(self, offset: int, data: bytes) -> None:
        memory = aligned(len(data))
        memory[:] = data
        assert await self.run(RequestKind.WRITE, offset, memory) == 0

    async def close(self) -> int:
        closed = trio.Event()
        errors: list[int] = []

        def done(error: int) -> None:
            errors.append(error)
            closed.set()

        self.file.close(done)
        with trio.fail_after(10):
            await closed.wait()
        return errors[0]


class Pending:
    """A request that was begun."""

    def __init__(
        self,
        disk: Disk,
        operation: RequestKind,
        offset: int,
        memory: memoryview | None,
        *,
        length: int,
        durable: bool,
    ) -> None:
        self.ended = trio.Event()
        self.errors: list[int] = []
        self.request = DiskRequest(
            operation, offset, memory, self._done, length=length, durable=durable
        )
        disk.file.submit(self.request)

    def _done(self, error: int) -> None:
        self.errors.append(error)
        self.ended.set()

    async def error(self, seconds: float = 10) -> int:
        with trio.fail_after(seconds):
            await self.ended.wait()
        (error,) = self.errors
        return error


def aligned(length: int) -> memoryview:
    """Memory that direct I/O takes."""
    return memoryview(mmap.mmap(-1, max(length, 1)))[:length]


@asynccontextmanager
async def running(name: str) -> AsyncIterator[Engine]:
    """An engine and its task."""
    try:
        engine = open_engine(name, trio.lowlevel.current_trio_token().run_sync_soon)
    except OSError as error:
        lacking(f"needs {name}: {error}")
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run)
            yield engine
            nursery.cancel_scope.cancel()
    finally:
        engine.close()


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    async with running(request.param) as opened:
        yield opened


Open = Callable[..., Disk]


@pytest.fixture
def open_disk(engine: Engine) -> Open:
    def opened(path: Path | str, *, direct: bool = False, asks: bool = True) -> Disk:
        return Disk(engine, path, direct=direct, asks=asks)

    return opened


@pytest.fixture
def troubled(tmp_path: Path) -> Iterator[TroubledDisk]:
    with troubled_disk(tmp_path) as disk:
        yield disk
