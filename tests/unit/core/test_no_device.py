"""Log messages for missing LUNs and unknown commands."""

from __future__ import annotations

import logging

import pytest

from scstfs.core import access, no_device
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.log import RateLimited
from tests.support.target import Initiator, System

TEST_UNIT_READY = bytes(6)
UNKNOWN = bytes((0xE7,)) + bytes(5)
LUN_NOT_SUPPORTED = (5, 0x25, 0)
INVALID_OPCODE = (5, 0x20, 0)


@pytest.fixture
def alice(
    system: System,
    disk: VdiskDevice,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> Initiator:
    """An initiator; what happened before is not in the log."""
    # Other tests may have used the allowance up.
    monkeypatch.setattr(no_device, "_incidents", RateLimited(no_device.log))
    caplog.set_level(logging.INFO, logger="scstfs")
    alice = system.initiator("alice")
    caplog.clear()
    return alice


def not_found(lun: int) -> str:
    return (
        f"tgt_dev for LUN {lun} not found, command to unexisting LU? "
        "(initiator alice, target target)"
    )


async def test_a_missing_lun_0_is_told_of(
    system: System, alice: Initiator, caplog: pytest.LogCaptureFixture
) -> None:
    """No trace level is needed for that, and an initiator that repeats it does not fill the log."""
    system.scst.env.trace.flags = 0
    access.remove_lun(system.target.default_acg.luns[0])
    caplog.clear()
    for _ in range(50):
        assert (await alice.execute(TEST_UNIT_READY)).triple == LUN_NOT_SUPPORTED
    assert set(caplog.messages) == {not_found(0)}
    assert len(caplog.messages) < 50


async def test_other_luns_are_told_of_on_demand(
    system: System, alice: Initiator, caplog: pytest.LogCaptureFixture
) -> None:
    for flags, told in ((0, []), (system.scst.env.trace.bit("minor"), [not_found(9)] * 2)):
        system.scst.env.trace.flags = flags
        for _ in range(2):
            assert (await alice.execute(TEST_UNIT_READY, lun=9)).triple == LUN_NOT_SUPPORTED
        assert caplog.messages == told


async def test_a_device_without_a_handler_is_told_of(
    alice: Initiator, disk: VdiskDevice, caplog: pytest.LogCaptureFixture
) -> None:
    # Like SCSI devices of the machine that are not assigned.
    disk.handler = None
    assert (await alice.execute(TEST_UNIT_READY)).triple == LUN_NOT_SUPPORTED
    assert caplog.messages == [
        "Dev handler for device disk (LUN 0) is NULL, the device will not be visible remotely"
    ]


async def test_unknown_commands_are_told_of_on_demand(
    system: System, alice: Initiator, caplog: pytest.LogCaptureFixture
) -> None:
    text = "Unknown opcode 0xe7 for vdisk_fileio (device disk, initiator alice): e7 00 00 00 00 00"
    for flags, told in ((0, []), (system.scst.env.trace.bit("minor"), [text])):
        system.scst.env.trace.flags = flags
        assert (await alice.execute(UNKNOWN)).triple == INVALID_OPCODE
        assert caplog.messages == told
