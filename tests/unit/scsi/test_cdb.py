from __future__ import annotations

import pytest

from scstfs.scsi.cdb import RW, Decoded, decode_unknown, naca, opcode_table
from scstfs.scsi.opcodes import DeviceType, Direction, Feature, Flag
from scstfs.scsi.sense import CheckCondition

IN, OUT, NONE = Direction.IN, Direction.OUT, Direction.NONE
DISK = opcode_table(DeviceType.DISK)
PLAIN_DISK = opcode_table(DeviceType.DISK, extensions=False)
CD_ROM = opcode_table(DeviceType.CD_ROM)


def decode(cdb: str, device: int = DeviceType.DISK, shift: int = 9) -> Decoded:
    return opcode_table(device).decode(bytes.fromhex(cdb), shift)


@pytest.mark.parametrize(
    ("cdb", "name", "lba", "length", "data_length", "direction"),
    [
        # 21 bits of LBA, one byte of length
        ("08 1fffff 08 00", "READ(6)", 0x1FFFFF, 8 * 512, 8 * 512, IN),
        ("08 000000 00 00", "READ(6)", 0, 256 * 512, 256 * 512, IN),  # 0 is 256
        ("28 00 00000022 00 0002 00", "READ(10)", 0x22, 1024, 1024, IN),
        ("a8 00 00000022 00000002 00 00", "READ(12)", 0x22, 1024, 1024, IN),
        ("88 00 0000000000000022 00000002 00 00", "READ(16)", 0x22, 1024, 1024, IN),
        ("2a 08 00000005 00 0001 00", "WRITE(10)", 5, 512, 512, OUT),
        ("2e 00 00000005 00 0001 00", "WRITE AND VERIFY(10)", 5, 512, 512, OUT),
        # VERIFY: nothing is sent without BYTCHK, a block with BYTCHK 11b
        ("2f 00 00000005 00 0004 00", "VERIFY(10)", 5, 0, 2048, NONE),
        ("2f 02 00000005 00 0004 00", "VERIFY(10)", 5, 2048, 2048, OUT),
        ("2f 06 00000005 00 0004 00", "VERIFY(10)", 5, 512, 2048, OUT),
        # WRITE SAME: one block, or none with NDOB (and UNMAP)
        ("93 00 0000000000000005 00000004 00 00", "WRITE SAME(16)", 5, 512, 2048, OUT),
        ("93 09 0000000000000005 00000004 00 00", "WRITE SAME(16)", 5, 0, 2048, NONE),
        # COMPARE AND WRITE: twice the compared length
        ("89 00 0000000000000005 000000 02 00 00", "COMPARE AND WRITE", 5, 2048, 1024, OUT),
        ("42 00 00000000 00 0018 00", "UNMAP", None, 24, 24, OUT),
        ("12 00 00 0024 00", "INQUIRY", None, 36, 36, IN),
        ("25 00 00000000 0000 00 00", "READ CAPACITY", None, 8, 8, IN),
        ("9e 10 0000000000000000 00000020 00 00", "READ CAPACITY(16)", None, 32, 32, IN),
        ("a3 2a 00000000 00000100 00 00", "REPORT TARGET PORT GROUPS", None, 256, 256, IN),
        ("5f 00 00 0000 00000018 00", "PERSISTENT RESERVE OUT", None, 24, 24, OUT),
        ("35 00 00000010 00 0008 00", "SYNCHRONIZE CACHE(10)", 0x10, 0, 0, NONE),
        ("34 00 00000010 00 0008 00", "PRE-FETCH", 0x10, 0, 4096, NONE),
        ("8b 00 0000000000000001 00000001 00 00", "ORWRITE(16)", 1, 512, 512, OUT),
        ("9c 00 0000000000000001 0000 0002 00 00", "WRITE ATOMIC(16)", 1, 1024, 1024, OUT),
        # ATA PASS-THROUGH(16): 2 sectors, BYTE_BLOCK, T_DIR
        ("85 08 0e 0000 0002 0000000000000000 00 00", "ATA PASS-THROUGH(16)", 0, 1024, 1024, IN),
    ],
)
def test_decoding(
    cdb: str, name: str, lba: int | None, length: int, data_length: int, direction: Direction
) -> None:
    decoded = decode(cdb)
    assert decoded.op.name == name
    assert (decoded.lba, decoded.length, decoded.data_length) == (lba, length, data_length)
    assert decoded.direction is direction


@pytest.mark.parametrize(
    ("cdb", "sense"),
    [
        ("c1", "20 00 00 000000"),  # unknown
        ("01 00", "20 00 00 000000"),  # REWIND, on a disk
        ("9e 1f" + "00" * 14, None),  # known operation code, unknown action: refused later
        ("28 20 00000000 00 0001 00", "24 00 00 cd0001"),  # RDPROTECT
        ("2a e0 00000000 00 0001 00", "24 00 00 cd0001"),  # WRPROTECT
        ("2f 04 00000000 00 0001 00", "24 00 00 ca0001"),  # BYTCHK 10b
        ("93 01 0000000000000000 00000001 00 00", "24 00 00 c80001"),  # NDOB without UNMAP
        ("41 10 00000000 00 0001 00", "24 00 00 cc0001"),  # ANCHOR without UNMAP
        ("83 02 0000000000000000 00000000 00 00", "24 00 00 c80001"),  # service action
        ("48 41 0000000000 0000 00", "24 00 00 ce0001"),  # SANITIZE, reserved bit
        ("48 02 0001000000 0000 00", "24 00 00 c00003"),  # SANITIZE, reserved byte
        ("a8 00 00000000 00400000 00 00", "21 00 00 000000"),  # 2 GiB
        ("88 00 0040000000000000 00000001 00 00", "21 00 00 000000"),  # 2**63 bytes
        ("7f 00 00000000 00 18 0009" + "00" * 22, "20 00 00 000000"),  # needs protection type 2
        ("7f 00 00000000 00 10 0009" + "00" * 22, "24 00 00 c00007"),  # additional CDB length
        ("7f 00 00000000 00 18 0001" + "00" * 22, "20 00 00 000000"),
    ],
)
def test_refusing(cdb: str, sense: str | None) -> None:
    if sense is None:
        assert decode(cdb).op.execute == "invalid_service_action"
        return
    with pytest.raises(CheckCondition) as refused:
        decode(cdb)
    encoded = refused.value.sense.encode()
    assert (encoded[2], encoded[12:]) == (5, bytes.fromhex(sense))


@pytest.mark.parametrize(
    ("protection", "cdb", "sense"),
    [
        (1, "28 20 00000000 00 0001 00", None),
        (1, "28 c0 00000000 00 0001 00", "24 00 00 cd0001"),  # values above 5 are reserved
        (2, "28 00 00000000 00 0001 00", None),
        (2, "28 20 00000000 00 0001 00", "20 00 00 000000"),  # type 2 wants 32-byte CDBs
        (2, "7f 00 00000000 00 18 0009 20 00" + "00" * 16 + "00000001", None),
        (2, "7f 00 00000000 00 18 0009 c0 00" + "00" * 16 + "00000001", "24 00 00 cd000a"),
        (2, "7f 00 00000000 00 18 000a 04 00" + "00" * 16 + "00000001", "24 00 00 ca0001"),
        (3, "7f 00 00000000 00 18 0009 20 00" + "00" * 16 + "00000001", "20 00 00 000000"),
    ],
)
def test_protection_information(protection: int, cdb: str, sense: str | None) -> None:
    table = opcode_table(DeviceType.DISK, protection=protection)
    if sense is None:
        assert table.decode(bytes.fromhex(cdb)).length == 512
        return
    with pytest.raises(CheckCondition) as refused:
        table.decode(bytes.fromhex(cdb))
    assert refused.value.sense.encode()[12:] == bytes.fromhex(sense)


def test_what_scst_refuses_is_refused_without_extensions() -> None:
    with pytest.raises(CheckCondition):
        PLAIN_DISK.decode(bytes.fromhex("8b 00 0000000000000000 00000001 00 00"))
    with pytest.raises(CheckCondition):
        PLAIN_DISK.decode(bytes.fromhex("2f 06 00000000 00 0001 00"))
    # Known to SCST's parser, so refused only when it is executed.
    pre_fetch = PLAIN_DISK.decode(bytes.fromhex("34 00 00000000 00 0001 00"))
    assert pre_fetch.op.execute == "invalid_opcode"


def test_a_feature_brings_commands() -> None:
    status = bytes.fromhex("9e 12 0000000000000000 00000020 00 00")
    thin = opcode_table(DeviceType.DISK, Feature.THIN)
    assert DISK.decode(status).op.execute == "invalid_service_action"
    assert thin.decode(status).op.execute == "get_lba_status"
    assert opcode_table(DeviceType.DISK, Feature.THIN) is thin


@pytest.mark.parametrize(
    ("cdb", "name"),
    [
        ("a3 0c" + "00" * 10, "SEND KEY"),  # not MAINTENANCE IN
        ("42" + "00" * 9, "READ SUB-CHANNEL"),  # not UNMAP
        ("08 000001 01 00", "READ(6)"),
        ("43" + "00" * 9, "READ TOC/PMA/ATIP"),
    ],
)
def test_a_cd_rom_knows_other_commands(cdb: str, name: str) -> None:
    assert decode(cdb, DeviceType.CD_ROM).op.name == name


def test_blocks_of_other_devices() -> None:
    # A tape's READ(6) counts bytes unless FIXED is set, a processor's RECEIVE always.
    assert decode("08 00 000010 00", DeviceType.TAPE).length == 16
    assert decode("08 01 000010 00", DeviceType.TAPE).length == 16 * 512
    assert decode("28 00 00000001 00 0001 00", DeviceType.OPTICAL, 11).length == 2048


@pytest.mark.parametrize(
    ("cdb", "left_to_others"),
    [
        ("1b 00 00 00 01 00", True),  # START
        ("1b 00 00 00 00 00", False),  # stop
        ("1b 00 00 00 11 00", False),  # power condition
        ("1e 00 00 00 00 00", True),  # allow
        ("1e 00 00 00 01 00", False),  # prevent
    ],
)
def test_flags_that_depend_on_the_cdb(cdb: str, left_to_others: bool) -> None:
    flags = decode(cdb).flags
    assert bool(flags & Flag.EXCLUSIVE_ACCESS_OK) == left_to_others
    assert bool(flags & Flag.RESERVE_OK) == left_to_others


@pytest.mark.parametrize(
    ("cdb", "expected", "length", "settled"),
    [
        ("12 00 00 0024 00", IN, 36, (36, IN)),
        ("12 00 00 0000 00", NONE, 0, (0, NONE)),
        ("12 00 00 0000 00", IN, 36, (0, NONE)),
        ("28 00 00000000 00 0000 00", NONE, 0, (0, NONE)),
        ("00 00 00 00 00 00", IN, 36, (0, NONE)),  # some do
        ("04 10 00 00 00 00", OUT, 8, (8, OUT)),  # as long as the transport says
        ("04 10 00 00 00 00", OUT, 1 << 30, (15 * 1024 * 1024, OUT)),
        ("9e 1f" + "00" * 14, IN, 32, (32, IN)),
        ("28 00 00000000 00 0001 00", OUT, 512, (0, NONE)),  # data has nowhere to go
        ("08 00 0000 00 00", NONE, 0, (0, NONE)),
        ("88 00 0000000000000000 00000001 00 00", NONE, 0, (0, NONE)),
    ],
)
def test_settling(
    cdb: str, expected: Direction, length: int, settled: tuple[int, Direction]
) -> None:
    decoded = decode(cdb).settle(expected, length)
    assert (decoded.length, decoded.direction) == settled


@pytest.mark.parametrize(
    ("cdb", "expected", "sense"),
    [
        ("12 00 00 0024 00", NONE, "49 00 00 000000"),
        ("12 00 00 0024 00", OUT, "49 00 00 000000"),
        ("2a 00 00000000 00 0001 00", NONE, "49 00 00 000000"),
        ("2a 00 00000000 00 0001 00", IN, "49 00 00 000000"),
        ("28 00 00000000 00 0001 00", Direction.BIDIRECTIONAL, "49 00 00 000000"),
        ("00 00 00 00 00 00", OUT, "49 00 00 000000"),
        ("12 00 00 0024 01", IN, "24 00 00 c80005"),  # linked
        ("28 00 00000000 00 0001 01", IN, "24 00 00 c80009"),
    ],
)
def test_settling_refuses(cdb: str, expected: Direction, sense: str) -> None:
    decoded = decode(cdb)
    with pytest.raises(CheckCondition) as refused:
        decoded.settle(expected, 512)
    assert refused.value.sense.encode()[12:] == bytes.fromhex(sense)


@pytest.mark.parametrize(
    ("cdb", "asked_for"),
    [
        ("00 00 00 00 00 04", True),
        ("00 00 00 00 00 00", False),
        ("00 00 00 00 00 04 00 00 00 00 00 00 00 00 00 00", True),
        ("28 00 00000000 00 0001 04", True),
        ("28 00 00000000 00 0001 00 04", False),
        ("88 00 0000000000000000 00000001 00 04", True),
        ("a8 00 00000000 00000001 00 04", True),
        ("7f 04 000000000000", True),
        ("7f 00 00 00 00 04 00 00", False),
        ("1f 00 00 00 00 04", True),  # known or not
        ("c0 04 00 00 00 04 00 00 00 04", False),  # vendor specific
        ("28 00", False),
        ("", False),
    ],
)
def test_naca(cdb: str, asked_for: bool) -> None:
    assert naca(bytes.fromhex(cdb)) is asked_for


def test_a_cdb_may_come_short_or_as_a_view() -> None:
    decoded = DISK.decode(memoryview(b"\x12\x00\x00\x00\x24"))  # type: ignore[arg-type]
    assert decoded.length == 36
    assert decoded.cdb[:6] == b"\x12\x00\x00\x00\x24\x00"
    assert len(decoded.cdb) == 32


@pytest.mark.parametrize("direction", [IN, OUT, NONE])
def test_what_nobody_knows_goes_as_the_transport_expects(direction: Direction) -> None:
    assert not DISK.knows(b"\xc1")
    assert DISK.knows(b"\x12")
    decoded = decode_unknown(b"\xc1").settle(direction, 0 if direction is NONE else 100)
    assert (decoded.direction, decoded.length) == (direction, 0 if direction is NONE else 100)
    assert decoded.flags == Flag.WRITES_MEDIUM
    assert decode_unknown(b"\xc1").settle(IN, 1 << 31).length == 15 << 20
    assert decode_unknown(b"\xc1").settle(IN, 0).direction is NONE


def test_what_nobody_knows_goes_one_way_only() -> None:
    with pytest.raises(CheckCondition):
        decode_unknown(b"\xc1").settle(Direction.BIDIRECTIONAL, 1)


def test_the_fast_path_is_for_devices_with_blocks() -> None:
    assert sorted(DISK.read_write) == [0x08, 0x0A, 0x28, 0x2A, 0x88, 0x8A, 0xA8, 0xAA]
    assert 0x0A not in CD_ROM.read_write
    assert opcode_table(DeviceType.TAPE).read_write == {}
    assert (RW[0x2A].odd_mask, RW[0x28].odd_mask, RW[0x08].odd_mask) == (0xE8, 0xE0, 0)
