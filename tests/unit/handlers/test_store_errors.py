from __future__ import annotations

import errno

import pytest

from scstfs.handlers.store_errors import translate
from scstfs.scsi import sense
from scstfs.scsi.sense import CheckCondition, Sense
from scstfs.scsi.status import Status, TaskStatus


@pytest.mark.parametrize(
    ("number", "writing", "expected"),
    [
        (errno.EIO, False, sense.UNRECOVERED_READ_ERROR),
        (errno.EIO, True, sense.WRITE_ERROR),
        (errno.ESTALE, False, sense.UNRECOVERED_READ_ERROR),
        (errno.ENOSPC, True, sense.SPACE_ALLOCATION_FAILED),
        (errno.EFBIG, True, sense.SPACE_ALLOCATION_FAILED),
        (errno.EROFS, True, sense.WRITE_PROTECTED),
        (errno.EACCES, True, sense.WRITE_PROTECTED),
        (errno.ENXIO, False, sense.MEDIUM_NOT_PRESENT),
        (errno.ENOMEM, True, sense.INTERNAL_TARGET_FAILURE),
        (0, True, sense.WRITE_ERROR),
    ],
)
def test_sense_data(number: int, writing: bool, expected: Sense) -> None:
    answer = translate(OSError(number, "x"), writing=writing)
    assert isinstance(answer, CheckCondition)
    assert answer.sense == expected


def test_try_again_is_busy() -> None:
    answer = translate(BlockingIOError(errno.EAGAIN, "later"), writing=False)
    assert isinstance(answer, TaskStatus)
    assert answer.status is Status.BUSY


def test_an_error_without_number() -> None:
    answer = translate(OSError("no number"), writing=False)
    assert isinstance(answer, CheckCondition)
    assert answer.sense == sense.UNRECOVERED_READ_ERROR
