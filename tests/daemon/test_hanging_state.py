"""A state directory whose disk does not answer: only what has to be kept there waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.daemon.hanging import (
    HUNG,
    TEST_UNIT_READY,
    Hang,
    Wait,
    end_in_time,
    fixtures,
    keep_nobody_waiting,
    logged_in,
    management,
    succeed,
)
from tests.support.initiator import Initiator
from tests.support.served import DIRECTORY, Served, served
from tests.support.troubled_disk import TroubledDisk, troubled_disk

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

REGISTER_AND_IGNORE = "5f060000000000001800"
APTPL = 1
MODE_SENSE_CONTROL = "1a080a00ff00"
MODE_SELECT_SAVED = "15110000{:02x}00"
D_SENSE = 4


@contextmanager
def troubled_state(directory: Path) -> Iterator[tuple[Served, TroubledDisk]]:
    """Two sound disks; all that is kept of them is on the troubled one."""
    for name in ("trouble", "served"):
        (directory / name).mkdir()
    with (
        troubled_disk(directory / "trouble") as disk,
        served(directory / "served", state=disk.path / "state") as daemon,
    ):
        daemon.add_target(size=1 << 20, luns=2)
        try:
            yield daemon, disk
        finally:
            disk.answer()


shared, own = fixtures(troubled_state)


def registered(call: str) -> Hang:
    """A registration is kept over power failures."""

    def begin(_daemon: Served, _disk: TroubledDisk, initiator: Initiator) -> Wait:
        keys = bytes(8) + (1).to_bytes(8, "big")
        data = keys + bytes(4) + bytes([APTPL]) + bytes(3)
        task = initiator.issue(REGISTER_AND_IGNORE, lun=HUNG, data_out=data)
        return lambda: succeed(initiator, task)

    return call, begin


def saved(call: str) -> Hang:
    """A mode page is changed and saved."""

    def begin(_daemon: Served, disk: TroubledDisk, initiator: Initiator) -> Wait:
        disk.answer()
        pages = bytearray(initiator.command(MODE_SENSE_CONTROL, lun=HUNG, expect=255).data)
        pages[0] = 0
        pages[4] &= 0x3F
        pages[6] &= ~D_SENSE
        cdb = MODE_SELECT_SAVED.format(len(pages))
        # Nothing but defaults: there is no file then.
        assert initiator.command(cdb, lun=HUNG, data_out=bytes(pages)).status == 0
        pages[6] |= D_SENSE
        disk.hang(call)
        task = initiator.issue(cdb, lun=HUNG, data_out=bytes(pages))
        return lambda: succeed(initiator, task)

    return call, begin


def configured(call: str) -> Hang:
    """A device is made, and deleted when that has worked."""

    def begin(daemon: Served, disk: TroubledDisk, initiator: Initiator) -> Wait:
        mgmt = "handlers/vdisk_nullio/mgmt"
        add = management(mgmt, "add_device other size_mb=1\n")
        wait = add(daemon, disk, initiator)

        def delete() -> None:
            wait()
            daemon.write(mgmt, "del_device other\n")

        return delete

    return call, begin


#: What is done, and the call of the file system in which it hangs.
HANGS: dict[str, Hang] = {
    **{
        f"PERSISTENT RESERVE OUT: {call}": registered(call)
        for call in ("lookup", "create", "write", "fsync", "rename", "opendir", "fsyncdir")
    },
    **{
        f"MODE SELECT: {call}": saved(call)
        for call in ("lookup", "create", "write", "fsync", "rename", "fsyncdir", "flush")
    },
    "add_device looks for what was kept": configured("lookup"),
    "add_device is recorded": configured("write"),
    "what was recorded is synchronised": configured("fsync"),
    "an attribute is recorded": (
        "write",
        management(f"{DIRECTORY}/QueuedCommands", "31\n"),
    ),
}

AT_THE_END = (
    "PERSISTENT RESERVE OUT: create",
    "MODE SELECT: fsync",
    "add_device looks for what was kept",
    "add_device is recorded",
)


@pytest.mark.parametrize("what", HANGS)
def test_nobody_else_waits(shared: tuple[Served, TroubledDisk], what: str) -> None:
    daemon, disk = shared
    keep_nobody_waiting(daemon, disk, HANGS[what], configure=False)


@pytest.mark.parametrize("what", AT_THE_END)
def test_the_daemon_ends_in_time(own: tuple[Served, TroubledDisk], what: str) -> None:
    daemon, disk = own
    call, begin = HANGS[what]
    with logged_in(daemon, 1) as initiator:
        initiator.command(TEST_UNIT_READY, lun=HUNG)
        disk.hang(call)
        begin(daemon, disk, initiator)
        disk.wait_until_hanging(call)
        end_in_time(daemon)
