"""Devices that come back find their reservations, or do not come back."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from scstfs.core.errors import SystemRefused
from scstfs.scsi.status import Status
from tests.support.reservations import APTPL, EA, EA_AR, IGNORE, RESERVE, pr_out
from tests.support.target import GOOD, Result, System

WRITE, BLOCK = bytes.fromhex("2a000000000000000100"), bytes(512)
CONFLICT = Result(Status.RESERVATION_CONFLICT)


async def reserve(system: System, kind: int) -> Path:
    """Have initiator port 1 reserve a disk that goes away; returns the file that stays."""
    await system.add_disk("disk")
    holder, other = (system.initiator(str(port), port=port) for port in (1, 2))
    for one in (holder, other):
        assert await one.execute(*pr_out(IGNORE, new=1, flags=APTPL)) == GOOD
    assert await holder.execute(*pr_out(RESERVE, kind, key=1)) == GOOD
    system.delete("disk")
    await holder.end()
    await other.end()
    return system.scst.env.state.reservations_path("disk")


@pytest.mark.parametrize(("kind", "shared"), [(EA, False), (EA_AR, True)])
async def test_who_is_fenced_stays_fenced(system: System, kind: int, shared: bool) -> None:
    await reserve(system, kind)
    disk = await system.add_disk("disk")
    assert disk.pr.generation == 0
    for port, may_write in ((1, True), (2, shared), (3, False)):
        one = system.initiator(str(port), port=port)
        expected = GOOD if may_write else CONFLICT
        assert await one.execute(WRITE, BLOCK) == expected
        # Nor does the fast path let it through.
        assert (one.session.tgt_devs[0].quick.write is not None) is may_write


@pytest.mark.logs("cannot be used .* taking .*disk.1")
async def test_the_backup_is_what_is_left(system: System) -> None:
    path = await reserve(system, EA)
    backup = path.with_name("disk.1")
    backup.write_bytes(path.read_bytes())
    path.write_bytes(b"")
    disk = await system.add_disk("disk")
    assert disk.pr.reservation is not None


@pytest.mark.logs("remove both to give up the reservations, then add the device again")
@pytest.mark.parametrize("backup", [b"damaged as well", None])
async def test_a_device_whose_reservations_are_damaged_does_not_come_back(
    system: System, caplog: pytest.LogCaptureFixture, backup: bytes | None
) -> None:
    path = await reserve(system, EA)
    path.write_bytes(b"damaged")
    copy = path.with_name("disk.1")
    copy.unlink(missing_ok=True)
    if backup is not None:
        copy.write_bytes(backup)
    with pytest.raises(SystemRefused) as refusal:
        await system.add_disk("disk")
    assert refusal.value.error.errno == errno.EINVAL
    assert "disk" not in system.scst.devices
    assert str(path) in caplog.text
    # As the message says.
    path.unlink()
    copy.unlink(missing_ok=True)
    disk = await system.add_disk("disk")
    assert disk.pr.registrants == []
