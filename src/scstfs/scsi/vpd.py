"""Vital product data pages of INQUIRY (SPC-4 7.8, SBC-3 6.6), byte for byte as SCST's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from scstfs.scsi.opcodes import DeviceType
from scstfs.scsi.third_party import third_party_copy_page
from scstfs.scsi.unit import LogicalUnit, Port

_PAGE_SIZE: Final = 4096
_MAX_TRANSFER: Final = 8 * 1024 * 1024
_LONG_PAGE: Final = 0x3C
_UNLIMITED: Final = 0xFFFFFFFF
# Rotation rate of B1h: revolutions per minute, or 1 for a non-rotating medium.
_ROTATION_RATE: Final = 15000
_NON_ROTATING: Final = 1
# SPT of page 86h, by protection type (SPC-4 table 491).
_SUPPORTED_PROTECTION: Final = (0x00, 0x00, 0x10, 0x20)
_CHECKS_PROTECTION: Final = 0x07

_THIRD_PARTY_COPY: Final = 0x8F

_Builder = Callable[[LogicalUnit, Port], bytes]


def vpd_pages(unit: LogicalUnit) -> Mapping[int, _Builder]:
    """Return the page codes of `unit`, in ascending order."""
    pages: dict[int, _Builder] = {
        0x00: _supported_pages,
        0x80: _serial_number,
        0x83: _device_identification,
        0x86: _extended_inquiry,
    }
    if unit.tokens is not None:
        pages[_THIRD_PARTY_COPY] = _third_party_copy
    if unit.device_type == DeviceType.DISK:
        pages[0xB0] = _block_limits
        pages[0xB1] = _block_characteristics
        if unit.thin is not None:
            pages[0xB2] = _provisioning
    return pages


def vpd_page(code: int, unit: LogicalUnit, port: Port, peripheral: int) -> bytes | None:
    """Return page `code` with its header, or None if `unit` does not have it.

    `peripheral` is the byte with peripheral qualifier and device type.
    """
    build = vpd_pages(unit).get(code)
    if build is None:
        return None
    body = build(unit, port)
    return bytes((peripheral, code)) + len(body).to_bytes(2, "big") + body


def _supported_pages(unit: LogicalUnit, port: Port) -> bytes:
    # SCST has no page 8Fh; list it only for initiators that look for it.
    return bytes(
        code for code in vpd_pages(unit) if code != _THIRD_PARTY_COPY or port.wants_token_copies
    )


def _serial_number(unit: LogicalUnit, port: Port) -> bytes:
    return unit.identity.usn


def _device_identification(unit: LogicalUnit, port: Port) -> bytes:
    return b"".join(designators(unit, port))


def designators(unit: LogicalUnit, port: Port) -> list[bytes]:
    """Return the designation descriptors of page 83h (SPC-4 7.8.6), in order."""
    who = unit.identity
    found = []
    if who.scsi_device_name:
        # Padded with at least one zero to a multiple of four.
        name = who.scsi_device_name
        found.append(_designator(3, 0x28, name.ljust(len(name) // 4 * 4 + 4, b"\0")))
    vendor = who.t10_vend_id[:8].ljust(8)
    found.append(_designator(2, 0x01, vendor + who.vend_specific_id))
    found.append(_designator(1, 0x14, port.rel_tgt_id.to_bytes(4, "big")))
    if port.group_id:
        found.append(_designator(1, 0x15, port.group_id.to_bytes(4, "big")))
    if who.eui64_id or who.naa_id:
        if who.eui64_id:
            found.append(_designator(1, 0x02, who.eui64_id))
        if who.naa_id:
            found.append(_designator(1, 0x03, who.naa_id))
    else:
        # IEEE did not assign this number, but initiators know these devices by it.
        found.append(_designator(1, 0x02, who.t10_dev_id[:8].ljust(8, b"\0")))
    return found


def _designator(code_set: int, kind: int, value: bytes) -> bytes:
    """Return a descriptor; `kind` is association and designator type."""
    return bytes((code_set, kind, 0, len(value) & 0xFF)) + value


def _extended_inquiry(unit: LogicalUnit, port: Port) -> bytes:
    out = bytearray(_LONG_PAGE)
    if unit.protection:
        out[0] = _SUPPORTED_PROTECTION[unit.protection] | _CHECKS_PROTECTION
    out[1] = 0x07  # HEADSUP, ORDSUP, SIMPSUP
    out[2] = 0x01 if unit.volatile_cache else 0x00  # V_SUP
    out[3] = 0x01  # LUICLR
    return bytes(out)


def _block_limits(unit: LogicalUnit, port: Port) -> bytes:
    size = unit.block_size
    longest = min(port.max_transfer, _MAX_TRANSFER) // size
    out = bytearray(_LONG_PAGE)
    out[0] = 0x01  # WSNZ
    out[1] = 0xFF  # maximum compare and write length
    out[2:4] = max(_PAGE_SIZE // size, 1).to_bytes(2, "big")
    out[4:8] = longest.to_bytes(4, "big")
    out[8:12] = min(longest, unit.optimal_transfer // size).to_bytes(4, "big")
    if unit.thin is not None:
        out[16:20] = min(unit.thin.max_unmap_blocks, _UNLIMITED).to_bytes(4, "big")
        out[20:24] = unit.thin.max_unmap_extents.to_bytes(4, "big")
        out[24:28] = unit.thin.granularity.to_bytes(4, "big")
        if unit.thin.alignment:
            out[28:32] = (unit.thin.alignment | 0x80000000).to_bytes(4, "big")
    out[32:40] = (unit.max_write_same // size).to_bytes(8, "big")
    out[40:44] = (unit.max_atomic // size).to_bytes(4, "big")
    return bytes(out)


def _block_characteristics(unit: LogicalUnit, port: Port) -> bytes:
    rate = _ROTATION_RATE if unit.rotational else _NON_ROTATING
    return rate.to_bytes(2, "big").ljust(_LONG_PAGE, b"\0")


def _provisioning(unit: LogicalUnit, port: Port) -> bytes:
    reads_zero = unit.thin is not None and unit.thin.reads_zero
    # LBPU, LBPWS, LBPWS10, and LBPRZ; then "thin provisioned".
    return bytes((0, 0xE0 | (0x04 if reads_zero else 0), 0x02, 0))


def _third_party_copy(unit: LogicalUnit, port: Port) -> bytes:
    return b"" if unit.tokens is None else third_party_copy_page(unit.tokens, unit.block_size)
