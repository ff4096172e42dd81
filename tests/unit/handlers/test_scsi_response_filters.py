"""What a tape's sense data says of the data, and which unit attentions make mode pages stale."""

from __future__ import annotations

import pytest

from scstfs.handlers.scsi_response_filters import may_change_modes, tape_data_length
from scstfs.scsi import sense
from scstfs.scsi.sense import SenseKey

#: 3 blocks of fixed length, or 300 bytes.
FIXED, VARIABLE = bytes.fromhex("080100000300"), bytes.fromhex("080000012c00")
FILEMARK, END, WRONG_LENGTH = 0x80, 0x40, 0x20


def said(
    flags: int, missing: int, *, code: int = 0xF0, key: SenseKey = SenseKey.NO_SENSE, size: int = 18
) -> sense.Received:
    """Fixed format sense data, with its INFORMATION field valid."""
    data = bytes((code, 0, flags | key)) + (missing & 0xFFFFFFFF).to_bytes(4, "big") + b"\x0a"
    return sense.Received(key, 0, 0, data=data.ljust(18, b"\0")[:size])


@pytest.mark.parametrize(
    ("cdb", "received", "length"),
    [
        (FIXED, said(FILEMARK, 1), 2 * 512),
        (FIXED, said(FILEMARK, 3), 0),
        (FIXED, said(FILEMARK, 0), 3 * 512),
        (VARIABLE, said(WRONG_LENGTH, 100), 200),
        (VARIABLE, said(END, 300), 0),
        # The fields that count are there.
        (FIXED, said(FILEMARK, 1, size=8), 2 * 512),
        (FIXED, said(FILEMARK, 1, size=7), None),
        # More than was asked for is missing: the block is longer.
        (VARIABLE, said(WRONG_LENGTH, 301), None),
        (VARIABLE, said(WRONG_LENGTH, -100), None),
        # No mark and no other length, an INFORMATION field that is not valid, another format.
        (FIXED, said(0, 1), None),
        (FIXED, said(FILEMARK, 1, code=0x70), None),
        (FIXED, said(FILEMARK, 1, code=0xF2), None),
        # With SILI a block of another length is no failure; of another command nothing is known.
        (bytes.fromhex("080300000300"), said(FILEMARK, 1), None),
        (bytes.fromhex("0f0100000300"), said(FILEMARK, 1), None),
    ],
)
def test_how_much_a_read_gave_that_ended_early(
    cdb: bytes, received: sense.Received, length: int | None
) -> None:
    assert tape_data_length(cdb, received, 512) == length


@pytest.mark.parametrize(
    ("condition", "stale"),
    [
        (sense.MEDIUM_CHANGED, True),
        (sense.RESET, True),
        (sense.NEXUS_LOSS, True),
        (sense.MODE_PARAMETERS_CHANGED, True),
        (sense.CLEARED_BY_ANOTHER_INITIATOR, True),
        (sense.LOG_PARAMETERS_CHANGED, False),
        (sense.CAPACITY_CHANGED, False),
        (sense.INQUIRY_DATA_CHANGED, False),
        (sense.REPORTED_LUNS_CHANGED, False),
    ],
)
def test_after_which_unit_attentions_mode_pages_may_be_others(
    condition: sense.Sense, stale: bool
) -> None:
    assert may_change_modes(condition) is stale
