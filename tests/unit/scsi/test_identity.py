from __future__ import annotations

import pytest

from scstfs.scsi.identity import VENDOR_BLOCK, default_identity, device_number


@pytest.mark.parametrize(
    ("name", "setup_id", "number"),
    [
        (b"disk1", 0, 0xB8FDBD32),
        (b"withid", 0x11, 0x117EEA4B34),
        (b"fiorem", 0, 0xBA77A6),  # a leading zero digit is not printed
    ],
)
def test_numbers(name: bytes, setup_id: int, number: int) -> None:
    assert device_number(name, setup_id) == number


def test_made_up_texts() -> None:
    who = default_identity(b"a_rather_long_device_name", vendor=VENDOR_BLOCK)
    assert who.t10_vend_id == b"SCST_BIO"
    assert who.prod_id == b"a_rather_long_de"  # 16 characters
    assert who.prod_rev_lvl == b"3100"
    assert who.usn == b"%x" % device_number(b"a_rather_long_device_name")
    assert len(who.t10_dev_id) == 25
    assert who.t10_dev_id == (who.usn + b"-a_rather_long_device_name")[:25]
    assert who.vend_specific_id == who.t10_dev_id
