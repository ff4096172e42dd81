"""A disk that does not answer: nobody notices but those who want something of it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from bench.crowd import go, isid
from bench.initiator import Session
from bench.load import Load
from tests.daemon.hanging import (
    ABORT_TASK,
    BLOCK,
    HUNG,
    LOGICAL_UNIT_RESET,
    READ_10,
    SOUND,
    SYNCHRONIZE_CACHE,
    TEST_UNIT_READY,
    WRITE_10,
    Hang,
    Wait,
    be_undisturbed,
    command,
    end_in_time,
    fixtures,
    keep_nobody_waiting,
    logged_in,
    management,
    succeed,
    work_on_the_sound_lun,
    write,
)
from tests.support.initiator import Initiator
from tests.support.served import DIRECTORY, HOST, TARGET, Served, served
from tests.support.troubled_disk import TroubledDisk, troubled_disk

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

MIB = 1 << 20


@contextmanager
def troubled_daemon(directory: Path) -> Iterator[tuple[Served, TroubledDisk]]:
    """A sound disk is LUN 0, the troubled one LUN 1."""
    for name in ("trouble", "served"):
        (directory / name).mkdir()
    with troubled_disk(directory / "trouble") as disk, served(directory / "served") as daemon:
        daemon.add_target(size=1 << 20)
        add = f"add_device hung filename={disk.disk}; thin_provisioned=1\n"
        daemon.write("handlers/vdisk_fileio/mgmt", add)
        daemon.write(f"{DIRECTORY}/luns/mgmt", f"add hung {HUNG}\n")
        daemon.write("handlers/vdisk_nullio/mgmt", "add_device spare size_mb=1\n")
        # Nobody has a device whose file of reservations can be changed.
        daemon.write("targets/copy_manager/copy_manager_tgt/luns/mgmt", "clear\n")
        try:
            yield daemon, disk
        finally:
            disk.answer()


shared, own = fixtures(troubled_daemon)


def added(call: str, parameters: str = "filename={0}") -> Hang:
    """A device is made, and deleted when that has worked."""

    def begin(daemon: Served, disk: TroubledDisk, initiator: Initiator) -> Wait:
        mgmt = "handlers/vdisk_fileio/mgmt"
        wait = management(mgmt, f"add_device other {parameters}\n")(daemon, disk, initiator)

        def delete() -> None:
            wait()
            daemon.write(mgmt, "del_device other\n")

        return delete

    return call, begin


def medium(call: str) -> Hang:
    """The file is put into a CD-ROM, which goes when that has worked."""

    def begin(daemon: Served, disk: TroubledDisk, _initiator: Initiator) -> Wait:
        daemon.write("handlers/vcdrom/mgmt", "add_device cd\n")
        wait = write(daemon, "devices/cd/filename", f"{disk.disk}\n")

        def delete() -> None:
            wait()
            daemon.write("handlers/vcdrom/mgmt", "del_device cd\n")

        return delete

    return call, begin


def reopened(daemon: Served, disk: TroubledDisk, initiator: Initiator) -> Wait:
    """A device that was not active becomes so."""
    disk.answer()
    daemon.write("devices/hung/active", "0\n")
    disk.hang("open")
    return write(daemon, "devices/hung/active", "1\n")


BLOCKS_8 = bytes(8 * BLOCK)
UNMAP_LIST = bytes.fromhex("00160010" + "00000000" + "0" * 16 + "00000008" + "00000000")

#: What was written is in the page cache, so that reading it elsewhere is what hangs.
#: What is done, and the call of the file system in which it hangs.
HANGS: dict[str, Hang] = {
    "READ": ("read", command(READ_10.format(0, 8), expect=8 * BLOCK)),
    "WRITE": ("write", command(WRITE_10.format(0, 8), data_out=BLOCKS_8)),
    "WRITE, FUA": ("write", command("2a08" + WRITE_10.format(0, 8)[4:], data_out=BLOCKS_8)),
    "WRITE, FUA, synchronised": (
        "fsync",
        command("2a08" + WRITE_10.format(0, 8)[4:], data_out=BLOCKS_8),
    ),
    "WRITE AND VERIFY": ("write", command("2e000000000000000800", data_out=BLOCKS_8)),
    "SYNCHRONIZE CACHE": ("fsync", command(SYNCHRONIZE_CACHE)),
    "VERIFY": ("read", command("2f000000100000000800")),
    "COMPARE AND WRITE": (
        "read",
        command("8900" + f"{0x2000:016x}" + "000000010000", data_out=bytes(2 * BLOCK)),
    ),
    "WRITE ATOMIC": (
        "read",
        command("9c00" + f"{0x3000:016x}" + "000000080000", data_out=BLOCKS_8),
    ),
    "WRITE SAME": ("write", command("9300" + "0" * 16 + "000000080000", data_out=b"x" * BLOCK)),
    "WRITE SAME, UNMAP": (
        "fallocate",
        command("9308" + "0" * 16 + "000000080000", data_out=bytes(BLOCK)),
    ),
    "UNMAP": ("fallocate", command("42000000000000001800", data_out=UNMAP_LIST)),
    "GET LBA STATUS": ("lseek", command("9e12" + "0" * 16 + "000002000000", expect=512)),
    "LOG SENSE of what is used": ("statfs", command("4d004c00000000020000", expect=512)),
    "resync_size": ("getattr", management("devices/hung/resync_size", "1\n")),
    "sync": ("fsync", management("devices/hung/sync", "1\n")),
    "add_device looks for the file": added("lookup"),
    "add_device looks at the file": added("getattr"),
    "add_device opens the file": added("open"),
    "add_device asks whether it can be thin": added("fallocate"),
    "add_device asks for the file system": added("statfs"),
    "filename of a CD-ROM is looked for": medium("lookup"),
    "filename of a CD-ROM is opened": medium("open"),
    "active": ("open", reopened),
    "pr_file_name is looked for": (
        "lookup",
        management("devices/spare/pr_file_name", "{0}-reservations\n"),
    ),
}


@pytest.mark.parametrize("what", HANGS)
def test_nobody_else_waits(shared: tuple[Served, TroubledDisk], what: str) -> None:
    daemon, disk = shared
    keep_nobody_waiting(daemon, disk, HANGS[what])


@pytest.mark.parametrize(
    ("name", "text"),
    [("devices/hung/active", "0\n"), ("handlers/vdisk_fileio/mgmt", "del_device hung\n")],
)
def test_a_file_that_is_closed_may_hang(
    own: tuple[Served, TroubledDisk], name: str, text: str
) -> None:
    daemon, disk = own
    disk.hang("flush")
    daemon.write(name, text)
    disk.wait_until_hanging("flush")
    be_undisturbed(daemon)


def test_what_hangs_is_aborted_when_it_has_ended(shared: tuple[Served, TroubledDisk]) -> None:
    daemon, disk = shared
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


def test_many_large_reads_that_hang_leave_their_connection_alone(
    shared: tuple[Served, TroubledDisk],
) -> None:
    """More than may be in memory at the same time, by one session that has a sound LUN, too."""
    daemon, disk = shared
    with logged_in(daemon, 1) as initiator:
        initiator.command(TEST_UNIT_READY, lun=HUNG)
        disk.hang("read")
        reads = [
            initiator.issue(READ_10.format(2 * MIB // BLOCK, MIB // BLOCK), lun=HUNG, expect=MIB)
            for _ in range(28)
        ]
        disk.wait_until_hanging("read")
        initiator.ping()
        work_on_the_sound_lun(initiator)
        large = initiator.command(READ_10.format(0, MIB // BLOCK), lun=SOUND, expect=MIB)
        assert large.status == 0
        assert len(large.data) == MIB
        assert initiator.task_management(LOGICAL_UNIT_RESET, lun=SOUND) == 0
        initiator.command(TEST_UNIT_READY, lun=SOUND)
        # The last of them has not begun, and need not wait for the disk.
        last = reads.pop()
        assert initiator.task_management(ABORT_TASK, lun=HUNG, task=last) == 0
        be_undisturbed(daemon)
        disk.answer()
        for task in reads:
            succeed(initiator, task)
            assert len(task.data) == MIB
        assert not last.done


def test_many_large_writes_that_hang_leave_their_connection_alone(
    shared: tuple[Served, TroubledDisk],
) -> None:
    daemon, disk = shared
    cdb, data = WRITE_10.format(0, MIB // BLOCK), bytes(MIB)
    with logged_in(daemon, 1) as initiator:
        initiator.command(TEST_UNIT_READY, lun=HUNG)
        disk.hang("write")
        writes = [initiator.issue(cdb, lun=HUNG, data_out=data) for _ in range(16)]
        initiator.drain()
        disk.wait_until_hanging("write")
        for _ in range(3):
            assert initiator.command(cdb, lun=SOUND, data_out=data).status == 0
        initiator.ping()
        be_undisturbed(daemon)
        disk.answer()
        for task in writes:
            succeed(initiator, task)


def test_many_large_reads_that_hang_are_aborted(shared: tuple[Served, TroubledDisk]) -> None:
    daemon, disk = shared
    with logged_in(daemon, 1) as initiator:
        initiator.command(TEST_UNIT_READY, lun=HUNG)
        disk.hang("read")
        for _ in range(32):
            initiator.issue(READ_10.format(8 * MIB // BLOCK, MIB // BLOCK), lun=HUNG, expect=MIB)
        disk.wait_until_hanging("read")
        with pytest.raises(TimeoutError):
            initiator.task_management(LOGICAL_UNIT_RESET, lun=HUNG)
        initiator.ping()
        be_undisturbed(daemon)
        disk.answer()
        while not initiator.answers:
            initiator.pump()
        initiator.command(TEST_UNIT_READY, lun=HUNG)
        task = initiator.command(READ_10.format(0, 8), lun=HUNG, expect=8 * BLOCK)
        assert task.status == 0


def rates_of_many(daemon: Served) -> list[float]:
    """What each of 64 sessions gets at the sound LUN, the least first."""
    load = Load(False, 4096, 4, at_random=True, seconds=0.5)
    with ExitStack() as stack:
        sessions = [
            stack.enter_context(
                closing(Session((HOST, daemon.port), TARGET, SOUND, False, isid(number)))
            )
            for number in range(64)
        ]
        return go(sessions, load).rates


def test_many_sessions_share_what_a_hanging_disk_takes_nothing_of(
    shared: tuple[Served, TroubledDisk],
) -> None:
    """A busy machine may disturb some of the attempts, but not all."""
    daemon, disk = shared
    found = []
    for attempt in range(5):
        before = rates_of_many(daemon)
        with logged_in(daemon, 1) as initiator:
            initiator.command(TEST_UNIT_READY, lun=HUNG)
            disk.hang("read")
            # Not what an attempt before has brought into the page cache.
            first = 12 * MIB // BLOCK + attempt * 32 * 8
            for number in range(32):
                cdb = READ_10.format(first + 8 * number, 8)
                initiator.issue(cdb, lun=HUNG, expect=8 * BLOCK)
            disk.wait_until_hanging("read")
            rates = rates_of_many(daemon)
            disk.answer()
        found.append((sum(rates) / sum(before), rates[0] / statistics.median(rates)))
        kept, slowest = found[-1]
        if kept >= 0.9 and slowest >= 0.5:
            return
    raise AssertionError(found)


#: What hangs at the end, together where one does not keep the other from beginning.
AT_THE_END = (
    ("READ",),
    ("WRITE",),
    ("SYNCHRONIZE CACHE",),
    ("UNMAP", "LOG SENSE of what is used"),
    ("GET LBA STATUS",),
    ("resync_size",),
    ("add_device opens the file",),
    ("pr_file_name is looked for",),
)


@pytest.mark.parametrize("names", AT_THE_END, ids=lambda names: names[0])
def test_the_daemon_ends_in_time(own: tuple[Served, TroubledDisk], names: tuple[str, ...]) -> None:
    daemon, disk = own
    with ExitStack() as stack:
        initiators = [stack.enter_context(logged_in(daemon, n)) for n in range(1, len(names) + 1)]
        for initiator in initiators:
            initiator.command(TEST_UNIT_READY, lun=HUNG)
        begun = [HANGS[name] for name in names]
        disk.hang(*(call for call, _ in begun))
        for (call, begin), initiator in zip(begun, initiators, strict=True):
            begin(daemon, disk, initiator)
            disk.wait_until_hanging(call)
        end_in_time(daemon)
