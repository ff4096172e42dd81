"""What tests of disks that hang have in common: how things begin, and that nothing else waits."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.initiator import Initiator, Task
from tests.support.served import Served
from tests.support.troubled_disk import TroubledDisk

BLOCK = 512
#: The LUN that has to do with what hangs, and the one that has not.
HUNG, SOUND = 1, 0
#: A machine that has much else to do is slow, but a disk that hangs takes for ever (seconds).
PROMPT = 2.0
#: After SIGTERM (seconds).
STOP = 5.0

TEST_UNIT_READY = "000000000000"
READ_10, WRITE_10 = "2800{:08x}00{:04x}00", "2a00{:08x}00{:04x}00"
SYNCHRONIZE_CACHE = "35000000000000000000"
ABORT_TASK, LOGICAL_UNIT_RESET = 1, 5

Wait = Callable[[], object]
Begin = Callable[[Served, TroubledDisk, Initiator], Wait]
"""Begins something; what it returns waits for the end."""

Hang = tuple[str, Begin]
"""A call of the file system, and what comes to hang in it."""


Both = tuple[Served, TroubledDisk]
"""A daemon, and the disk that will hang."""


def fixtures(
    troubled: Callable[[Path], AbstractContextManager[Both]],
) -> tuple[Callable[..., Iterator[Both]], Callable[..., Iterator[Both]]]:
    """One for all tests of a module that leave it as it was, and one of its own for each test."""

    @pytest.fixture(scope="module")
    def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
        with troubled(tmp_path_factory.mktemp("shared")) as both:
            yield both

    @pytest.fixture
    def own(tmp_path: Path) -> Iterator[Both]:
        with troubled(tmp_path) as both:
            yield both

    return shared, own


def command(cdb: str, **options: Any) -> Begin:
    """Send a command to the LUN that will hang."""

    def begin(_daemon: Served, _disk: TroubledDisk, initiator: Initiator) -> Wait:
        task = initiator.issue(cdb, lun=HUNG, **options)
        return lambda: succeed(initiator, task)

    return begin


def succeed(initiator: Initiator, task: Task) -> None:
    """Wait for the end of a command, which is a good one."""
    assert initiator.wait(task).status == 0, task.sense.hex()


def write(daemon: Served, name: str, text: str) -> Wait:
    """Write to the tree, in a thread."""
    errors: list[OSError] = []

    def work() -> None:
        try:
            daemon.write(name, text)
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def wait() -> None:
        thread.join(20)
        assert not thread.is_alive()
        assert not errors, errors

    return wait


def management(name: str, text: str) -> Begin:
    """Write to an attribute; ``{0}`` in the text stands for the file of the disk that hangs."""

    def begin(daemon: Served, disk: TroubledDisk, _initiator: Initiator) -> Wait:
        return write(daemon, name, text.format(disk.disk))

    return begin


@contextmanager
def logged_in(daemon: Served, number: int) -> Iterator[Initiator]:
    """An initiator that expects prompt answers."""
    initiator = daemon.log_in(number, timeout=PROMPT)
    try:
        yield initiator
    finally:
        initiator.close()


def work_on_the_sound_lun(initiator: Initiator) -> None:
    """Commands of all kinds, and a function."""
    for number in range(50):
        data = bytes([number]) * BLOCK
        cdb = WRITE_10.format(number, 1)
        assert initiator.command(cdb, lun=SOUND, data_out=data).status == 0
        task = initiator.command(READ_10.format(number, 1), lun=SOUND, expect=BLOCK)
        assert task.data == data
    assert initiator.command(SYNCHRONIZE_CACHE, lun=SOUND).status == 0


def be_undisturbed(daemon: Served, *, configure: bool = True) -> None:
    """Everything else works, and takes no time; ``configure`` includes changes of the tree."""
    with logged_in(daemon, 7) as initiator:
        work_on_the_sound_lun(initiator)
        assert initiator.task_management(LOGICAL_UNIT_RESET, lun=SOUND) == 0
    began = time.monotonic()
    assert daemon.read("version")
    with contextlib.suppress(FileNotFoundError):
        assert daemon.read("devices/hung/filename")
    if configure:
        file = daemon.directory / "new"
        file.write_bytes(bytes(1 << 16))
        # The kernel lets one file be written by one at a time.
        daemon.write("handlers/vcdrom/mgmt", "add_device new\n")
        daemon.write("devices/new/filename", f"{file}\n")
        daemon.write("handlers/vcdrom/mgmt", "del_device new\n")
    assert time.monotonic() - began < PROMPT


def keep_nobody_waiting(
    daemon: Served, disk: TroubledDisk, hang: Hang, *, configure: bool = True
) -> None:
    """Have something hang; everything else goes on, and so does it when the disk answers."""
    call, begin = hang
    with logged_in(daemon, 1) as initiator:
        initiator.command(TEST_UNIT_READY, lun=HUNG)
        initiator.command(WRITE_10.format(0, 1), lun=HUNG, data_out=bytes(BLOCK))
        disk.hang(call)
        try:
            wait = begin(daemon, disk, initiator)
            disk.wait_until_hanging(call)
            be_undisturbed(daemon, configure=configure)
        finally:
            disk.answer()
        wait()


def end_in_time(daemon: Served) -> None:
    """End on SIGTERM, whatever hangs."""
    began = time.monotonic()
    assert daemon.stop(2 * STOP) == 0, daemon.log
    assert time.monotonic() - began < STOP
