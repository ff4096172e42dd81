"""The INQUIRY command (SPC-4 6.6): standard data, and the way to the vital product data."""

from __future__ import annotations

from typing import Final

from scstfs.scsi.opcodes import DeviceType
from scstfs.scsi.sense import invalid_field_in_cdb
from scstfs.scsi.unit import LogicalUnit, Port
from scstfs.scsi.vpd import vpd_page

_EVPD: Final = 0x01
_CMDDT: Final = 0x02
_NOT_CONNECTED: Final = 1 << 5
_NO_DEVICE_TYPE: Final = 0x1F
_NO_UNIT: Final = 0x7F
_NO_UNIT_LENGTH: Final = 36
_NO_UNIT_VENDOR: Final = b"SCST    "

_SPC4: Final = 0x06
_REMOVABLE: Final = 0x80
_ACA_FORMAT_2: Final = 0x22
_THIRD_PARTY_COPY: Final = 0x08
_PROTECT: Final = 0x01
_IMPLICIT_ALUA: Final = 0x10
_EXPLICIT_ALUA: Final = 0x20
_MULTIPLE_PORTS: Final = 0x10
_COMMAND_QUEUING: Final = 0x02

# Version descriptors (SPC-4 table 146).
_SAM4: Final = 0x008B
_SPC4_VERSION: Final = 0x0463
_SBC3: Final = 0x04C0

_VENDOR_SPECIFIC: Final = 36
_VENDOR_SPECIFIC_LENGTH: Final = 20
_VERSIONS: Final = 58
_LONG_VENDOR_SPECIFIC: Final = 96


def inquiry(cdb: bytes, unit: LogicalUnit, port: Port) -> bytes:
    """Return the data for the 6-byte `cdb`, to be cut at its allocation length.

    Raises CheckCondition for CMDDT, for a page code without EVPD and for a page that `unit` does
    not have; an allocation length of zero gets no data before any of these checks.
    """
    if not cdb[3] and not cdb[4]:
        return b""
    if cdb[1] & _CMDDT:
        raise invalid_field_in_cdb(1, 1)
    peripheral = peripheral_byte(unit, port)
    if cdb[1] & _EVPD:
        page = vpd_page(cdb[2], unit, port, peripheral)
        if page is None:
            raise invalid_field_in_cdb(2)
        return page
    if cdb[2]:
        raise invalid_field_in_cdb(2)
    return standard_inquiry(unit, port)


def peripheral_byte(unit: LogicalUnit, port: Port) -> int:
    """Return peripheral qualifier and device type."""
    if not port.connected:
        return _NOT_CONNECTED | unit.device_type
    if unit.dummy:
        return _NOT_CONNECTED | _NO_DEVICE_TYPE
    return unit.device_type


def standard_inquiry(unit: LogicalUnit, port: Port) -> bytes:
    """Return standard INQUIRY data (SPC-4 6.6.2)."""
    who = unit.identity
    out = bytearray(_VERSIONS)
    out[0] = peripheral_byte(unit, port)
    out[1] = _REMOVABLE if unit.removable else 0
    out[2] = _SPC4
    out[3] = _ACA_FORMAT_2
    out[5] = _THIRD_PARTY_COPY | _features(unit, port)
    out[6] = _MULTIPLE_PORTS
    out[7] = _COMMAND_QUEUING
    out[8:16] = who.t10_vend_id[:8].ljust(8)
    out[16:32] = who.prod_id[:16].ljust(16)
    out[32:36] = who.prod_rev_lvl[:4].ljust(4)
    for version in _versions(unit, port):
        out += version.to_bytes(2, "big")
    extra = who.inq_vend_specific
    if len(extra) <= _VENDOR_SPECIFIC_LENGTH:
        out[_VENDOR_SPECIFIC : _VENDOR_SPECIFIC + len(extra)] = extra
    else:
        out = out.ljust(_LONG_VENDOR_SPECIFIC, b"\0") + extra
    out[4] = len(out) - 5
    return bytes(out)


def _features(unit: LogicalUnit, port: Port) -> int:
    features = _PROTECT if unit.protection else 0
    if port.in_device_group:
        features |= _IMPLICIT_ALUA
        if unit.explicit_alua:
            features |= _EXPLICIT_ALUA
    return features


def _versions(unit: LogicalUnit, port: Port) -> list[int]:
    versions = [_SAM4]
    if port.physical_version:
        versions.append(port.physical_version)
    versions += [port.transport_version, _SPC4_VERSION]
    if unit.device_type == DeviceType.DISK:
        versions.append(_SBC3)
    return versions


def no_unit_inquiry() -> bytes:
    """Return INQUIRY data for a LUN without a logical unit, to be cut.

    Peripheral qualifier 011b; everything else in the CDB is ignored.
    """
    out = bytearray(_NO_UNIT_LENGTH)
    out[0] = _NO_UNIT
    out[2] = _SPC4
    out[4] = _NO_UNIT_LENGTH - 4
    out[8:16] = _NO_UNIT_VENDOR
    return bytes(out)
