"""A light target in a separate process that can be killed at any instant.

``start`` forks it from multiprocessing's fork server, which has imported everything. The child runs
a core with one disk and sessions that are the same each time, and is driven over a pipe: a request
is a tuple, its answer is the initiator's.
"""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import signal
import stat
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import trio

from scstfs.persist import calls, durable_files
from tests.support.target import System, target

_CALLS = ("open", "pwrite", "fsync", "replace", "unlink")


class Command(NamedTuple):
    """A command of one of the initiators.

    ``killed_at`` and ``full_at`` count the system calls by which ``scstfs.persist.durable_files``
    changes files, from this command on: in place of that call the process is killed, or from it on
    all that needs room fails with ENOSPC until the next command.  0: never.
    """

    initiator: int
    cdb: bytes
    data: bytes = b""
    data_in: int | None = None
    killed_at: int = 0
    full_at: int = 0


class Answer(NamedTuple):
    """Its result; ``status`` is None if there is none."""

    status: int | None
    triple: tuple[int, int, int] | None
    data: bytes


class _FaultyCalls:
    """Replaces ``calls`` in ``scstfs.persist.durable_files``."""

    def __init__(self) -> None:
        self.calls = self.killed_at = self.full_at = 0

    def __getattr__(self, name: str) -> object:
        real = getattr(calls, name)
        return self._counted(name, real) if name in _CALLS else real

    def _counted(self, name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            self.calls += 1
            if self.calls == self.killed_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.full_at and self.calls >= self.full_at and _needs_room(name, *arguments):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments)

        return call

    def expect(self, command: Command) -> None:
        """Count from here."""
        self.calls, self.killed_at, self.full_at = 0, command.killed_at, command.full_at


def _needs_room(name: str, *arguments: object) -> bool:
    if name == "open":
        flags = arguments[1]
        assert isinstance(flags, int)
        return bool(flags & os.O_CREAT)
    if name == "fsync":
        descriptor = arguments[0]
        assert isinstance(descriptor, int)
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    return name == "pwrite"


def _run(connection: Connection, directory: Path, initiators: int) -> None:
    # It logs that the disk is full.
    logging.disable(logging.CRITICAL)
    trio.run(_serve, connection, directory, initiators)


async def _serve(connection: Connection, directory: Path, initiators: int) -> None:
    faulty = _FaultyCalls()
    setattr(durable_files, "calls", faulty)  # noqa: B010 - a module is replaced, which no type allows
    async with target(directory) as system:
        try:
            await system.add("vdisk_nullio", "disk", size=1 << 20)
        except Exception as error:
            connection.send(repr(error))
            return
        await _answer(connection, system, faulty, initiators)


async def _answer(
    connection: Connection, system: System, faulty: _FaultyCalls, initiators: int
) -> None:
    sessions = [system.initiator(f"i{port}", port=port + 1) for port in range(initiators)]
    connection.send("")
    while True:
        try:
            command = await trio.to_thread.run_sync(connection.recv)
        except EOFError:
            return
        faulty.expect(command)
        one = sessions[command.initiator]
        result = await one.execute(command.cdb, command.data, command.data_in)
        one_status = None if result.status is None else int(result.status)
        for session in sessions:
            session.clear_unit_attentions()
        connection.send(Answer(one_status, result.triple, result.data))


class Child:
    """One such process, seen from the parent."""

    def __init__(self, process: BaseProcess, connection: Connection) -> None:
        self.process = process
        self._connection = connection
        refusal = connection.recv()
        #: The reason why there is no disk; empty if there is one.
        self.refusal: str = refusal

    def send(self, command: Command) -> None:
        """Begin a command."""
        self._connection.send(command)

    def answer(self) -> Answer | None:
        """The result; None if the process was killed before there was one."""
        try:
            answer = self._connection.recv()
        except (EOFError, ConnectionResetError):
            return None
        assert isinstance(answer, Answer)
        return answer

    def execute(self, command: Command) -> Answer | None:
        """Both."""
        self.send(command)
        return self.answer()

    def kill(self) -> None:
        """SIGKILL it if it runs, and wait for its end; a second call does nothing."""
        if self._connection.closed:
            return
        self.process.kill()
        self.process.join()
        self._connection.close()


_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


def start(directory: Path, initiators: int = 2) -> Child:
    """A child that keeps its state below ``directory``."""
    ours, theirs = _context.Pipe()
    process = _context.Process(target=_run, args=(theirs, directory, initiators), daemon=True)
    process.start()
    theirs.close()
    return Child(process, ours)
