from __future__ import annotations

from dataclasses import replace

import pytest

from scstfs.scsi.identity import default_identity
from scstfs.scsi.inquiry import inquiry, no_unit_inquiry, standard_inquiry
from scstfs.scsi.opcodes import DeviceType
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.unit import LogicalUnit, Port

UNIT = LogicalUnit(default_identity(b"fio512"), blocks=131072)
PORT = Port()

STANDARD = (
    "00"  # connected, disk
    "00"  # not removable
    "06"  # SPC-4
    "22"  # ACA, response data format 2
    "3d"  # additional length
    "08"  # 3PC
    "10"  # multiple ports
    "02"  # command queuing
    "534353545f46494f"  # SCST_FIO
    "66696f35313220202020202020202020"  # fio512
    "33313030"  # 3100
    "0000000000000000000000000000000000000000" + "0000"
    "008b"  # SAM-4
    "0960"  # iSCSI
    "0463"  # SPC-4
    "04c0"  # SBC-3
)


def test_standard_data() -> None:
    assert standard_inquiry(UNIT, PORT) == bytes.fromhex(STANDARD)


@pytest.mark.parametrize(
    ("unit", "port", "byte", "value"),
    [
        (replace(UNIT, device_type=DeviceType.CD_ROM), PORT, 0, 0x05),
        (replace(UNIT, device_type=DeviceType.CD_ROM), PORT, 4, 0x3B),  # one descriptor less
        (UNIT, Port(connected=False), 0, 0x20),  # qualifier 001b
        (replace(UNIT, dummy=True), PORT, 0, 0x3F),
        (replace(UNIT, removable=True), PORT, 1, 0x80),
        (replace(UNIT, protection=1), PORT, 5, 0x09),
        (UNIT, Port(in_device_group=True), 5, 0x18),
        (replace(UNIT, explicit_alua=True), Port(in_device_group=True), 5, 0x38),
        (replace(UNIT, explicit_alua=True), PORT, 5, 0x08),
        (UNIT, Port(physical_version=0x1234), 4, 0x3F),
    ],
)
def test_variations(unit: LogicalUnit, port: Port, byte: int, value: int) -> None:
    assert standard_inquiry(unit, port)[byte] == value


def test_version_descriptors() -> None:
    data = standard_inquiry(UNIT, Port(transport_version=0x0BE0, physical_version=0x1234))
    assert data[58:] == bytes.fromhex("008b 1234 0be0 0463 04c0")


def test_vendor_specific_data() -> None:
    short = replace(UNIT, identity=replace(UNIT.identity, inq_vend_specific=b"x" * 20))
    assert standard_inquiry(short, PORT)[36:56] == b"x" * 20
    long = replace(UNIT, identity=replace(UNIT.identity, inq_vend_specific=b"x" * 21))
    data = standard_inquiry(long, PORT)
    assert data[36:56] == bytes(20)
    assert data[96:] == b"x" * 21
    assert data[4] == len(data) - 5
    longest = replace(UNIT, identity=replace(UNIT.identity, inq_vend_specific=b"x" * 160))
    assert standard_inquiry(longest, PORT)[4] == 251


@pytest.mark.parametrize(
    ("cdb", "sense"),
    [
        ("12 02 00 00ff 00", "c90001"),  # CMDDT
        ("12 00 80 00ff 00", "c00002"),  # page code without EVPD
        ("12 01 c0 00ff 00", "c00002"),  # no such page
        ("12 01 b2 00ff 00", "c00002"),  # not thin provisioned
        ("12 03 80 00ff 00", "c90001"),
    ],
)
def test_refusing(cdb: str, sense: str) -> None:
    with pytest.raises(CheckCondition) as refused:
        inquiry(bytes.fromhex(cdb), UNIT, PORT)
    assert refused.value.sense.encode()[12:] == bytes.fromhex("240000" + sense)


def test_nothing_is_looked_at_if_nothing_is_wanted() -> None:
    assert inquiry(bytes.fromhex("12 02 80 0000 00"), UNIT, PORT) == b""


def test_a_page_through_a_port_that_is_not_connected() -> None:
    page = inquiry(bytes.fromhex("12 01 80 00ff 00"), UNIT, Port(connected=False))
    assert page == bytes.fromhex("20 80 0008") + b"bcaef4ba"


def test_no_logical_unit() -> None:
    assert no_unit_inquiry() == bytes.fromhex(
        "7f 00 06 00 20 000000" + "5343535420202020" + "00" * 20
    )
