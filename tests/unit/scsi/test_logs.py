from __future__ import annotations

import pytest

from scstfs.scsi.logs import ProvisioningUse, log_refused, log_sense
from scstfs.scsi.sense import CheckCondition

USE = ProvisioningUse(available_blocks=0x1_0000_0000, used_blocks=0x1800, threshold_exponent=11)


def cdb(page: int, subpage: int = 0, flags: int = 0, pointer: int = 0) -> bytes:
    return bytes((0x4D, flags, 0x40 | page, subpage, 0)) + pointer.to_bytes(2, "big") + bytes(3)


def test_supported_pages() -> None:
    assert log_sense(cdb(0x00)) == bytes.fromhex("00 00 0002 00 2f")
    assert log_sense(cdb(0x00), USE) == bytes.fromhex("00 00 0003 00 0c 2f")
    assert log_sense(cdb(0x00, 0xFF), USE) == bytes.fromhex("40 ff 0008 0000 00ff 0c00 2f00")


def test_provisioning() -> None:
    assert log_sense(cdb(0x0C), USE) == bytes.fromhex(
        "0c 00 0018"
        "0001 03 08 00200000 02 000000"  # available, not dedicated to this logical unit
        "0002 03 08 00000003 02 000000"  # used: 6144 blocks are three sets of 2048
    )
    assert log_sense(cdb(0x0C, pointer=2), USE)[4:6] == b"\x00\x02"
    enormous = ProvisioningUse(1 << 60, 0)
    assert log_sense(cdb(0x0C), enormous)[8:12] == b"\xff\xff\xff\xff"


def test_informational_exceptions() -> None:
    # no exception, and FFh: no temperature
    assert log_sense(cdb(0x2F)) == bytes.fromhex("2f 00 0008 0000 03 04 00 00 ff 00")


@pytest.mark.parametrize(
    ("request_", "sense"),
    [
        (cdb(0x00, flags=1), "240000 c80001"),  # SP
        (cdb(0x00, flags=2), "240000 c90001"),  # PPC
        (cdb(0x0D), "240000 c80002"),  # no temperature page
        (cdb(0x0C), "240000 c80002"),  # not thin provisioned
        (cdb(0x2F, 0xFF), "240000 c00003"),
        (cdb(0x2F, 0x01), "240000 c00003"),
        (cdb(0x2F, pointer=1), "240000 c00005"),
        (cdb(0x00, pointer=1), "240000 c00005"),
    ],
)
def test_refusing(request_: bytes, sense: str) -> None:
    with pytest.raises(CheckCondition) as refused:
        log_sense(request_)
    assert refused.value.sense.encode()[12:] == bytes.fromhex(sense)


def test_what_scst_says() -> None:
    assert log_refused().sense.encode()[12:] == bytes.fromhex("240000 c80002")
