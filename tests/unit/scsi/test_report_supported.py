from __future__ import annotations

import pytest

from scstfs.scsi.cdb import opcode_table
from scstfs.scsi.opcodes import DeviceType, Feature
from scstfs.scsi.report_supported import report_supported_opcodes, report_supported_tmf
from scstfs.scsi.sense import CheckCondition

PLAIN = opcode_table(DeviceType.DISK, extensions=False).reported()
EXTENDED = opcode_table(DeviceType.DISK, Feature.THIN | Feature.TOKEN_COPY).reported()


def rsoc(options: int, code: int = 0, action: int = 0) -> bytes:
    return bytes((0xA3, 0x0C, options, code, action >> 8, action & 0xFF)) + bytes(6)


def test_all_commands() -> None:
    data = report_supported_opcodes(rsoc(0x00), PLAIN)
    assert len(data) == 364
    assert data[:4] == (360).to_bytes(4, "big")
    assert data[4:12] == bytes.fromhex("35 00 0000 00 00 000a")  # no service action, 10 bytes
    assert bytes.fromhex("a3 00 000a 00 01 000c") in data  # SERVACTV


def test_all_commands_with_timeouts() -> None:
    data = report_supported_opcodes(rsoc(0x80), PLAIN)
    assert len(data) == 904
    # CTDP, and a descriptor: nominal 1 s, recommended 3600 s
    entry = "04 00 0000 00 02 0006 000a 00 00 00000001 00000e10"
    assert bytes.fromhex(entry) in data


def test_explicit_alua_adds_its_command_at_the_end() -> None:
    rows = opcode_table(DeviceType.DISK, Feature.EXPLICIT_ALUA, extensions=False).reported()
    assert rows[-1].name == "SET TARGET PORT GROUPS"
    assert len(rows) == len(PLAIN) + 1


@pytest.mark.parametrize(
    ("cdb", "data"),
    [
        (rsoc(1, 0x12), "00 03 0006 12 01 ff ffff 04"),
        (rsoc(0x81, 0x12), "00 83 0006 12 01 ff ffff 04 000a 00 00 00000001 0000000a"),
        (rsoc(1, 0xFF), "00 00 0000"),
        (rsoc(2, 0x9E, 0x10), "00 03 0010 9e 10 0000000000000000 ffffffff 00 04"),
        (rsoc(2, 0x9E, 0x11), "00 00 0000"),
        (rsoc(2, 0xFF, 0x00), "00 00 0000"),
    ],
)
def test_one_command(cdb: bytes, data: str) -> None:
    assert report_supported_opcodes(cdb, PLAIN) == bytes.fromhex(data)


@pytest.mark.parametrize(
    "cdb",
    [
        rsoc(1, 0x9E),  # has service actions
        rsoc(2, 0x12),  # has none
        rsoc(2, 0x5F, 1),  # has some, but is listed without
        rsoc(3, 0x12),  # reporting options SCST does not know
        rsoc(3, 0x9E, 0x10),
        rsoc(7, 0x9E, 0x10),
    ],
)
def test_refusing(cdb: bytes) -> None:
    with pytest.raises(CheckCondition) as refused:
        report_supported_opcodes(cdb, PLAIN)
    assert refused.value.sense.encode()[12:] == bytes.fromhex("24 00 00 c80002")


def test_extensions_come_after_what_scst_lists() -> None:
    names = [row.name for row in EXTENDED]
    # But for the one that has its service action because others have the same operation code.
    plain = [row.name for row in PLAIN if row.code != 0x83]
    assert names[: len(plain)] == plain
    new = {"EXTENDED COPY(LID1)", "ORWRITE(16)", "GET LBA STATUS", "POPULATE TOKEN"}
    assert new <= set(names[len(plain) :])
    assert len(names) == len(set(names))


def test_an_extension_may_share_its_operation_code() -> None:
    answer = report_supported_opcodes(rsoc(2, 0x83, 0x10), EXTENDED)
    assert answer[:6] == bytes.fromhex("00 03 0010 83 10")
    answer = report_supported_opcodes(rsoc(2, 0x83, 0x00), EXTENDED)
    assert answer[:6] == bytes.fromhex("00 03 0010 83 00")
    with pytest.raises(CheckCondition):
        report_supported_opcodes(rsoc(1, 0x83), EXTENDED)
    assert report_supported_opcodes(rsoc(1, 0x83), PLAIN)[4:6] == b"\x83\x00"
    assert report_supported_opcodes(rsoc(2, 0x48, 0x03), EXTENDED) == bytes(4)


@pytest.mark.parametrize("action", [0x00, 0x03, 0x04, 0x05, 0x07])
def test_whoever_asks_for_copies_finds_how_to_ask_for_their_results(action: int) -> None:
    data = report_supported_opcodes(rsoc(2, 0x84, action), EXTENDED)
    assert data[:6] == bytes.fromhex("00 03 0010 84") + bytes((action,))


def test_task_management_functions() -> None:
    # ABORT TASK, ABORT TASK SET, CLEAR ACA, CLEAR TASK SET, LOGICAL UNIT RESET
    assert report_supported_tmf(bytes(12)) == bytes.fromhex("f8 00 00 00")
    extended = report_supported_tmf(bytes.fromhex("a3 0d 80") + bytes(9))
    assert extended == bytes.fromhex("f8 00 00 0c 01 00 a0 00 0000012c 00000096")
