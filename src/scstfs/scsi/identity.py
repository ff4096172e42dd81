"""The identity of a device: the texts and numbers of INQUIRY, and how SCST derives them.

All texts are bytes as sent, without padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

VENDOR_FILE: Final = b"SCST_FIO"
VENDOR_BLOCK: Final = b"SCST_BIO"
REVISION: Final = b"3100"
T10_DEV_ID_LENGTH: Final = 25
PROD_ID_LENGTH: Final = 16

_CRC32C_REFLECTED: Final = 0x82F63B78


@dataclass(frozen=True, slots=True)
class Identity:
    """The identification of a device, under the names of its sysfs attributes.

    `naa_id` and `eui64_id` are the numbers themselves (8 or 16, and 8, 12 or 16 bytes), empty if
    there are none.
    """

    t10_vend_id: bytes
    prod_id: bytes
    prod_rev_lvl: bytes
    t10_dev_id: bytes
    usn: bytes
    vend_specific_id: bytes
    naa_id: bytes = b""
    eui64_id: bytes = b""
    scsi_device_name: bytes = b""
    inq_vend_specific: bytes = b""


def device_number(name: bytes, setup_id: int = 0) -> int:
    """Return the number SCST derives from a device's name and the `setup_id` in force.

    The low half is the CRC-32C of the name with its terminating zero, started from 0 and not
    inverted at the end.
    """
    crc = 0
    for byte in name + b"\0":
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_CRC32C_REFLECTED if crc & 1 else 0)
    return setup_id << 32 | crc


def default_identity(name: bytes, setup_id: int = 0, vendor: bytes = VENDOR_FILE) -> Identity:
    """Return the identity that a new device called `name` gets."""
    number = b"%x" % device_number(name, setup_id)
    device_id = (number + b"-" + name)[:T10_DEV_ID_LENGTH]
    return Identity(
        t10_vend_id=vendor,
        prod_id=name[:PROD_ID_LENGTH],
        prod_rev_lvl=REVISION,
        t10_dev_id=device_id,
        usn=number,
        vend_specific_id=device_id,
    )
