"""A disk that does not answer: nobody notices but those who want something of it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.initiator import Initiator
from tests.support.served import DIRECTORY, Served, served
from tests.support.troubled_disk import TroubledDisk, troubled_disk

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

BLOCK = 512
HUNG = 1
#: A machine that has much else to do is slow, but a disk that hangs takes for ever (seconds).
PROMPT = 2.0
#: After SIGTERM (seconds).
STOP = 5.0

TEST_UNIT_READY = "000000000000"
READ_10, WRITE_10 = "2800{:08x}00{:04x}00", "2a00{:08x}00{:04x}00"
SYNCHRONIZE_CACHE = "35000000000000000000"
VERIFY_10 = "2f000000000000000800"
LOGICAL_UNIT_RESET = 5


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[TroubledDisk]:
    directory = tmp_path / "trouble"
    directory.mkdir()
    with troubled_disk(directory) as mounted:
        yield mounted


@pytest.fixture
def daemon(tmp_path: Path, disk: TroubledDisk) -> Iterator[Served]:
    """A sound disk is LUN 0, the troubled one LUN 1."""
    directory = tmp_path / "served"
    directory.mkdir()
    with served(directory) as running:
        running.add_target(size=1 << 20)
        add(running, "hung", disk.disk)
        running.write(f"{DIRECTORY}/luns/mgmt", f"add hung {HUNG}\n")
        try:
            yield running
        finally:
            disk.answer()


def add(daemon: Served, name: str, path: Path) -> None:
    daemon.write("handlers/vdisk_fileio/mgmt", f"add_device {name} filename={path}\n")


@contextmanager
def logged_in(daemon: Served, number: int) -> Iterator[Initiator]:
    initiator = daemon.log_in(number, timeout=PROMPT)
    try:
        yield initiator
    finally:
        initiator.close()


Wait = Callable[[], object]
Begin = Callable[[Served, TroubledDisk, Initiator], Wait]
"""Begins something; what it returns waits for the end."""


def command(cdb: str, **options: Any) -> Begin:
    """Send a command to the troubled disk."""

    def begin(_daemon: Served, _disk: TroubledDisk, initiator: Initiator) -> Wait:
        task = initiator.issue(cdb, lun=HUNG, **options)

        def wait() -> None:
            assert initiator.wait(task).status == 0

        return wait

    return begin


def write(daemon: Served, name: str, text: str) -> Wait:
    """Write to the tree, in a thread."""

    def work() -> None:
        # At the end of the daemon it fails.
        with contextlib.suppress(OSError):
            daemon.write(name, text)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def wait() -> None:
        thread.join(20)
        assert not thread.is_alive()

    return wait


def management(name: str, text: str) -> Begin:
    def begin(daemon: Served, disk: TroubledDisk, _initiator: Initiator) -> Wait:
        return write(daemon, name, text.format(disk.disk))

    return begin


def medium(daemon: Served, disk: TroubledDisk, _initiator: Initiator) -> Wait:
    """Put the file into a CD-ROM."""
    daemon.write("handlers/vcdrom/mgmt", "add_device cd\n")
    return write(daemon, "devices/cd/filename", f"{disk.disk}\n")


ADD = management("handlers/vdisk_fileio/mgmt", "add_device other filename={}\n")

#: What is done, and the call of the file system in which it hangs.
HANGS: dict[str, tuple[str, Begin]] = {
    "READ": ("read", command(READ_10.format(0, 8), expect=8 * BLOCK)),
    "WRITE": ("write", command(WRITE_10.format(0, 8), data_out=bytes(8 * BLOCK))),
    "WRITE, FUA": ("write", command("2a08" + WRITE_10.format(0, 8)[4:], data_out=bytes(8 * BLOCK))),
    "SYNCHRONIZE CACHE": ("fsync", command(SYNCHRONIZE_CACHE)),
    "VERIFY": ("read", command(VERIFY_10)),
    "resync_size": ("getattr", management("devices/hung/resync_size", "1\n")),
    "add_device looks for the file": ("lookup", ADD),
    "add_device looks at the file": ("getattr", ADD),
    "add_device opens the file": ("open", ADD),
    "filename of a CD-ROM is looked for": ("lookup", medium),
    "filename of a CD-ROM is opened": ("open", medium),
}


def be_undisturbed(daemon: Served) -> None:
    """Everything else works, and takes no time."""
    with logged_in(daemon, 7) as initiator:
        for number in range(50):
            data = bytes([number]) * BLOCK
            assert initiator.command(WRITE_10.format(number, 1), data_out=data).status == 0
            task = initiator.command(READ_10.format(number, 1), expect=BLOCK)
            assert task.data == data
        assert initiator.command(SYNCHRONIZE_CACHE).status == 0
        assert initiator.task_management(LOGICAL_UNIT_RESET, lun=0) == 0
    began = time.monotonic()
    assert daemon.read("version")
    if (daemon.path / "devices/hung").exists():
        assert daemon.read("devices/hung/filename")
    file = daemon.directory / "new"
    file.write_bytes(bytes(1 << 16))
    # The kernel lets one file be written by one at a time.
    daemon.write("handlers/vcdrom/mgmt", "add_device new\n")
    daemon.write("devices/new/filename", f"{file}\n")
    daemon.write("handlers/vcdrom/mgmt", "del_device new\n")
    assert time.monotonic() - began < PROMPT


@pytest.mark.parametrize("what", HANGS)
def test_nobody_else_waits(daemon: Served, disk: TroubledDisk, what: str) -> None:
    call, begin = HANGS[what]
    with logged_in(daemon, 1) as initiator:
        initiator.command(TEST_UNIT_READY, lun=HUNG)
        initiator.command(WRITE_10.format(0, 1), lun=HUNG, data_out=bytes(BLOCK))
        disk.hang(call)
        wait = begin(daemon, disk, initiator)
        disk.wait_until_hanging(call)
        be_undisturbed(daemon)
        disk.answer()
        wait()


@pytest.mark.parametrize(
    ("name", "text"),
    [("devices/hung/active", "0\n"), ("handlers/vdisk_fileio/mgmt", "del_device hung\n")],
)
def test_a_file_that_is_closed_may_hang(
    daemon: Served, disk: TroubledDisk, name: str, text: str
) -> None:
    disk.hang("flush")
    daemon.write(name, text)
    disk.wait_until_hanging("flush")
    be_undisturbed(daemon)


def test_what_hangs_is_aborted_when_it_has_ended(daemon: Served, disk: TroubledDisk) -> None:
    with logged_in(daemon, 1) as initiator:
        initiator.command(TEST_UNIT_READY, lun=HUNG)
        disk.hang("read")
        task = initiator.issue(READ_10.format(0, 8), lun=HUNG, expect=8 * BLOCK)
        disk.wait_until_hanging("read")
        with logged_in(daemon, 2) as other:
            other.command(TEST_UNIT_READY, lun=HUNG)
            with pytest.raises(TimeoutError):
                other.task_management(LOGICAL_UNIT_RESET, lun=HUNG)
            be_undisturbed(daemon)
            disk.answer()
            while not other.answers:
                other.pump()
        assert not task.done


@pytest.mark.parametrize("what", HANGS)
def test_the_daemon_ends_in_time(daemon: Served, disk: TroubledDisk, what: str) -> None:
    call, begin = HANGS[what]
    with logged_in(daemon, 1) as initiator:
        initiator.command(TEST_UNIT_READY, lun=HUNG)
        disk.hang(call)
        begin(daemon, disk, initiator)
        disk.wait_until_hanging(call)
        began = time.monotonic()
        assert daemon.stop(2 * STOP) == 0, daemon.log
        assert time.monotonic() - began < STOP
