from __future__ import annotations

from scstfs.scsi.status import Status, TaskStatus, busy, reservation_conflict


def test_values_are_those_of_sam() -> None:
    assert [int(status) for status in Status] == [0x00, 0x02, 0x04, 0x08, 0x18, 0x28, 0x30, 0x40]


def test_ending_with_a_status() -> None:
    assert TaskStatus(Status.TASK_SET_FULL).status is Status.TASK_SET_FULL
    assert reservation_conflict().status is Status.RESERVATION_CONFLICT
    assert busy().status is Status.BUSY
    assert str(busy()) == "BUSY"
