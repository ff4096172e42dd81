from __future__ import annotations

import gc

import pytest

from scstfs.drivers.copying.records import CopyRecord, Form
from scstfs.scsi import sense
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.status import Status, TaskStatus, reservation_conflict
from scstfs.scsi.tokens import OperationStatus
from scstfs.scsi.xcopy import CopyStatus
from tests.support.target import System


def test_a_copy_that_goes_on() -> None:
    record = CopyRecord(immediate=False)
    assert record.lid1_status is CopyStatus.IN_PROGRESS
    assert record.describe().status is OperationStatus.IN_FOREGROUND
    record.immediate = True
    assert record.describe().status is OperationStatus.IN_BACKGROUND


def test_a_copy_that_ended_well() -> None:
    record = CopyRecord(bytes_written=4096, over=True)
    assert record.lid1_status is CopyStatus.COMPLETED
    described = record.describe()
    assert (described.status, described.count, described.completion) == (
        OperationStatus.COMPLETED,
        4096,
        Status.GOOD,
    )


def test_a_copy_that_failed() -> None:
    record = CopyRecord(over=True)
    record.fail(CheckCondition(sense.WRITE_ERROR))
    assert record.lid1_status is CopyStatus.FAILED
    assert record.describe().sense == sense.WRITE_ERROR
    record.fail(reservation_conflict())
    assert record.status is Status.RESERVATION_CONFLICT
    assert record.sense is None


async def test_the_two_kinds_of_identifiers_are_apart(system: System) -> None:
    await system.add("vdisk_nullio", "disk")
    session = system.initiator().session
    records = system.copies.records
    lid1, lid4 = CopyRecord(), CopyRecord()
    records.add(session, Form.LID1, 5, lid1)
    records.add(session, Form.LID4, 5, lid4)
    assert records.find(session, Form.LID1, 5) is lid1
    assert records.find(session, Form.LID4, 5) is lid4
    with pytest.raises(CheckCondition):
        records.add(session, Form.LID1, 5, CopyRecord())
    records.remove(session, Form.LID4, 5, lid1)
    assert records.find(session, Form.LID4, 5) is lid4, "that was another copy"


async def test_records_end_with_their_session(system: System) -> None:
    await system.add("vdisk_nullio", "disk")
    initiator = system.initiator()
    records = system.copies.records
    records.add(initiator.session, Form.LID1, 5, CopyRecord())
    await initiator.end()
    del initiator
    gc.collect()
    assert not list(records._records)


async def test_a_session_has_so_many_records_and_no_more(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scstfs.drivers.copying.records.MOST_RECORDS", 2)
    await system.add("vdisk_nullio", "disk")
    session, records = system.initiator().session, system.copies.records
    first, second, third = CopyRecord(), CopyRecord(), CopyRecord()
    records.add(session, Form.LID4, 1, first)
    records.add(session, Form.LID4, 2, second)
    with pytest.raises(TaskStatus) as refused:
        records.add(session, Form.LID4, 3, third)
    assert refused.value.status is Status.BUSY
    records.finish(Form.LID4, second)
    records.add(session, Form.LID4, 3, third)
    assert records.find(session, Form.LID4, 2) is None
    assert records.find(session, Form.LID4, 1) is first
