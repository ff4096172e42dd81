"""SCSI devices of the machine behind a target: what must reach the initiator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scstfs.core import device_registration
from scstfs.handlers.scsi_device import FoundDevice, ScsiDevice
from scstfs.scsi.opcodes import DeviceType
from scstfs.scsi.sense import RESET, Sense, SenseKey, decode
from tests.conformance.conftest import LogIn
from tests.support.live_target import LiveTarget
from tests.support.scsi_unit import BLOCK, FakeUnit

TARGET = "iqn.2005-03.org.example:passed"
DISK, TAPE = 0, 1


@pytest.fixture(scope="module")
def units() -> list[FakeUnit]:
    """A disk and a tape."""
    return [FakeUnit(DISK, limit=64 << 10), FakeUnit(TAPE)]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, units: list[FakeUnit]) -> Iterator[LiveTarget]:
    """A target with both."""
    with LiveTarget(tmp_path_factory.mktemp("live")) as live:
        live.add_target(TARGET, luns=0)
        for lun, (unit, handler) in enumerate(zip(units, ("dev_disk", "dev_tape"), strict=True)):
            plug(live, f"1:0:0:{lun}", unit)
            live.write(f"handlers/{handler}/mgmt", f"add_device 1:0:0:{lun}\n")
            live.write(f"targets/iscsi/{TARGET}/luns/mgmt", f"add 1:0:0:{lun} {lun}\n")
        yield live


def plug(live: LiveTarget, address: str, unit: FakeUnit) -> None:
    def appear() -> None:
        found = FoundDevice(DeviceType(unit.kind), "../../devices/somewhere")
        device_registration.appear(live.scst, ScsiDevice(live.scst, address, found, unit.opener))

    live.call(appear)


def test_data_goes_through_in_both_directions(log_in: LogIn, units: list[FakeUnit]) -> None:
    unit, initiator = units[DISK], log_in(TARGET)
    data = bytes(range(256)) * 1024
    blocks = len(data) // BLOCK
    write = bytes.fromhex("2a0000000010 00") + blocks.to_bytes(2, "big") + b"\0"
    assert initiator.command(write, data_out=data).status == 0
    assert unit.data[16 * BLOCK : 16 * BLOCK + len(data)] == data
    read = initiator.command(b"\x28" + write[1:], expect=len(data))
    assert (read.status, read.residual, read.data) == (0, 0, data)


def test_residuals_are_those_of_the_device(log_in: LogIn, units: list[FakeUnit]) -> None:
    initiator = log_in(TARGET)
    inquiry = initiator.command("12000000ff00", expect=255)
    assert (len(inquiry.data), inquiry.residual) == (36, 36 - 255)
    assert initiator.command("28000000000000000200", expect=BLOCK).residual == BLOCK
    units[DISK].script(0x28, (0, b"", b"short"))
    short = initiator.command("28000000000000000100", expect=BLOCK)
    assert (short.data, short.residual) == (b"short", 5 - BLOCK)


def test_a_tape_at_a_filemark(log_in: LogIn, units: list[FakeUnit]) -> None:
    initiator = log_in(TARGET)
    mark = bytearray(Sense(SenseKey.NO_SENSE, 0, 1, information=3).encode())
    mark[2] |= 0x80
    units[TAPE].script(0x08, (2, bytes(mark), b"t" * 2 * BLOCK))
    read = initiator.command("080100000500", lun=TAPE, expect=5 * BLOCK)
    assert (read.status, read.sense, read.data) == (2, bytes(mark), b"t" * 2 * BLOCK)
    assert read.residual == -3 * BLOCK


def test_what_the_device_tells_one_initiator_all_are_told(
    log_in: LogIn, units: list[FakeUnit]
) -> None:
    initiators = [log_in(TARGET) for _ in range(3)]
    units[DISK].unit_attentions.append(RESET)
    for initiator in initiators:
        condition = decode(initiator.command("000000000000").sense)
        assert condition is not None
        assert condition.triple == RESET.triple
        assert initiator.command("000000000000").status == 0


def test_the_target_goes_on_while_a_device_is_slow(log_in: LogIn, units: list[FakeUnit]) -> None:
    unit, initiator = units[TAPE], log_in(TARGET)
    unit.held.add(0x01)
    rewind = initiator.issue("010000000000", lun=TAPE)
    assert initiator.command("000000000000", lun=TAPE).status == 0
    assert initiator.command("28000000000000000100", lun=DISK, expect=BLOCK).status == 0
    assert not rewind.done
    unit.released.set()
    assert initiator.wait(rewind).status == 0


def test_a_connection_that_ends_before_its_command(log_in: LogIn, units: list[FakeUnit]) -> None:
    unit, initiator = units[DISK], log_in(TARGET)
    unit.released.clear()
    unit.held.add(0x88)
    while unit.waiting.acquire(blocking=False):
        pass
    initiator.issue("88000000000000000000000000080000", expect=8 * BLOCK)
    assert unit.waiting.acquire(timeout=5)
    initiator.close()
    unit.held.clear()
    unit.released.set()
    other = log_in(TARGET)
    assert other.command("28000000000000000100", expect=BLOCK).status == 0
