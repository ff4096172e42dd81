from __future__ import annotations

from dataclasses import replace

import pytest

from scstfs.scsi.identity import default_identity
from scstfs.scsi.opcodes import DeviceType
from scstfs.scsi.unit import LogicalUnit, Port, ThinLimits, TokenLimits
from scstfs.scsi.vpd import designators, vpd_page, vpd_pages

DISK = LogicalUnit(default_identity(b"fio512"), blocks=131072)
THIN = replace(DISK, thin=ThinLimits.of_file(512))
CD_ROM = replace(DISK, device_type=DeviceType.CD_ROM)
TOKENS = replace(THIN, tokens=TokenLimits(8, 2048, 1024, 30, 3600))
PORT = Port()


def page(code: int, unit: LogicalUnit = DISK, port: Port = PORT) -> bytes:
    data = vpd_page(code, unit, port, int(unit.device_type))
    assert data is not None
    assert data[1] == code
    assert int.from_bytes(data[2:4], "big") == len(data) - 4
    return data[4:]


@pytest.mark.parametrize(
    ("unit", "codes"),
    [
        (DISK, "00808386b0b1"),
        (THIN, "00808386b0b1b2"),
        (CD_ROM, "00808386"),
        (TOKENS, "008083868fb0b1b2"),
    ],
)
def test_supported_pages(unit: LogicalUnit, codes: str) -> None:
    assert page(0x00, unit, Port(wants_token_copies=True)).hex() == codes
    assert page(0x00, unit).hex() == codes.replace("8f", "")
    assert bytes(vpd_pages(unit)).hex() == codes


def test_missing_pages() -> None:
    assert vpd_page(0xB2, DISK, PORT, 0) is None
    assert vpd_page(0xB0, CD_ROM, PORT, 5) is None
    assert vpd_page(0x88, DISK, PORT, 0) is None


def test_serial_number_is_not_padded() -> None:
    assert page(0x80) == b"bcaef4ba"
    assert page(0x80, replace(DISK, identity=replace(DISK.identity, usn=b""))) == b""


def test_identification() -> None:
    assert page(0x83, port=Port(rel_tgt_id=0x102)) == (
        # ASCII, T10 vendor identification
        bytes.fromhex("02 01 00 17") + b"SCST_FIObcaef4ba-fio512"
        # binary, relative target port
        + bytes.fromhex("01 14 00 04 0000 0102")
        # EUI-64, made of the first characters of t10_dev_id
        + bytes.fromhex("01 02 00 08") + b"bcaef4ba"
    )  # fmt: skip


def test_identification_with_everything() -> None:
    who = replace(
        DISK.identity,
        t10_vend_id=b"ME",
        vend_specific_id=b"",
        scsi_device_name=b"abcd",
        naa_id=bytes(range(0x30, 0x38)),
        eui64_id=bytes(range(8)),
    )
    found = designators(replace(DISK, identity=who), Port(group_id=10))
    assert [item.hex(" ", 4) for item in found] == [
        # at least one zero follows the name
        "03280008 61626364 00000000",
        "02010008 4d452020 20202020",
        "01140004 00000000",
        "01150004 0000000a",
        "01020008 00010203 04050607",
        "01030008 30313233 34353637",
    ]


def test_extended_inquiry() -> None:
    assert page(0x86)[:4] == bytes.fromhex("00 07 01 01")
    assert page(0x86, replace(DISK, volatile_cache=False))[:4] == bytes.fromhex("00 07 00 01")
    assert page(0x86, replace(DISK, protection=2))[0] == 0x17
    assert len(page(0x86)) == 60


@pytest.mark.parametrize(
    ("unit", "port", "expected"),
    [
        # WSNZ, no limit of COMPARE AND WRITE, granularity 4 KiB, 8 MiB at most, 512 KiB best
        (DISK, PORT, "01 ff 0008 00004000 00000400"),
        (replace(DISK, block_size=4096), PORT, "01 ff 0001 00000800 00000080"),
        (replace(DISK, block_size=8192), PORT, "01 ff 0001 00000400 00000040"),
        (DISK, Port(max_transfer=65536), "01 ff 0008 00000080 00000080"),
        (replace(DISK, optimal_transfer=1 << 30), PORT, "01 ff 0008 00004000 00004000"),
    ],
)
def test_block_limits(unit: LogicalUnit, port: Port, expected: str) -> None:
    data = page(0xB0, unit, port)
    assert data[:12] == bytes.fromhex(expected)
    assert data[12:32] == bytes(20)
    assert data[32:40] == (256 * 1024 * 1024 // unit.block_size).to_bytes(8, "big")


def test_block_limits_of_a_thin_device() -> None:
    aligned = replace(DISK, thin=ThinLimits(0x7FFFFF, granularity=8, alignment=4))
    assert page(0xB0, THIN)[16:32].hex(" ", 4) == "00080000 ffffffff 00000001 00000000"
    assert page(0xB0, aligned)[16:32].hex(" ", 4) == "007fffff ffffffff 00000008 80000004"


def test_characteristics() -> None:
    assert page(0xB1) == bytes.fromhex("3a98").ljust(60, b"\0")
    assert page(0xB1, replace(DISK, rotational=False))[:2] == b"\x00\x01"


def test_provisioning() -> None:
    assert page(0xB2, THIN) == bytes.fromhex("00 e0 02 00")
    zeroed = replace(DISK, thin=ThinLimits.of_file(512, reads_zero=True))
    assert page(0xB2, zeroed) == bytes.fromhex("00 e4 02 00")


def test_third_party_copy_is_there() -> None:
    assert page(0x8F, TOKENS)[:4] == bytes.fromhex("0000 0020")
