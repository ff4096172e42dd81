from __future__ import annotations

import pytest

from scstfs.handlers.scsi_kinds import KINDS
from scstfs.handlers.scsi_probe import Findings, examine
from scstfs.scsi.opcodes import DeviceType
from scstfs.scsi.sense import RESET, Sense, SenseKey
from scstfs.sgutils.sg_pt import TransportError
from tests.support.scsi_unit import ILLEGAL, FakeUnit, failed

NOT_READY = failed(Sense(SenseKey.NOT_READY, 0x3A))


def examined(unit: FakeUnit) -> Findings:
    node = unit.opener("")
    try:
        return examine(node, KINDS[DeviceType(unit.kind)])
    finally:
        node.close()


@pytest.mark.parametrize(("kind", "default"), [(0, 512), (5, 2048), (7, 1024)])
def test_the_size_of_blocks(kind: int, default: int) -> None:
    assert examined(FakeUnit(kind, block=4096)).block_size == 4096
    without_medium = FakeUnit(kind)
    without_medium.script(0x25, NOT_READY)
    assert examined(without_medium).block_size == default
    assert examined(FakeUnit(kind, block=0)).block_size == default


@pytest.mark.parametrize(("told", "size"), [(0, 512), (1000, 1000)])
def test_the_size_of_blocks_on_a_tape(told: int, size: int) -> None:
    assert examined(FakeUnit(1, mode_block=told)).block_size == size


def test_blocks_of_any_size() -> None:
    unit = FakeUnit(1)
    unit.script(0x1A, (0, b"", bytes.fromhex("0b000008 00000000 00000000")))
    assert examined(unit).block_size == 0


def test_a_drive_without_a_tape() -> None:
    unit = FakeUnit(1)
    unit.script(0x00, NOT_READY)
    assert examined(unit).block_size == 512


def test_a_drive_that_does_not_show_its_modes() -> None:
    unit = FakeUnit(1)
    unit.script(0x1A, failed(ILLEGAL))
    with pytest.raises(OSError, match="No such device"):
        examined(unit)


@pytest.mark.parametrize("kind", [3, 8, 12])
def test_devices_without_blocks(kind: int) -> None:
    unit = FakeUnit(kind, unit_attentions=[RESET] * 4)
    findings = examined(unit)
    assert findings.block_size == 0
    assert [one.triple for one in findings.unit_attentions] == [RESET.triple] * 4


def test_the_control_mode_page() -> None:
    findings = examined(FakeUnit(control_page=bytes.fromhex("0a0a 3412 0840 0000 0000 0000")))
    assert findings.control is not None
    assert findings.control.separate_task_sets
    values = findings.control.values
    assert (values.tmf_only, values.d_sense, values.qerr) == (1, 1, 1)
    assert (values.swp, values.tas) == (1, 1)


def test_no_control_mode_page() -> None:
    unit = FakeUnit()
    unit.script(0x1A, failed(ILLEGAL), TransportError(7), (0, b"", bytes(4)))
    assert [examined(unit).control for _ in range(3)] == [None] * 3
