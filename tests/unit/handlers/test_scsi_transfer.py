from __future__ import annotations

import errno

import pytest

from scstfs.handlers.scsi_transfer import Outcome, Passing, cdb_to_send, translate
from scstfs.scsi import sense
from scstfs.scsi.cdb import opcode_table
from scstfs.scsi.opcodes import DeviceType
from scstfs.scsi.sense import CheckCondition, Sense, SenseKey
from scstfs.scsi.status import Status
from scstfs.sgutils.sg_pt import TransportError
from tests.support.scsi_unit import BLOCK, FakeUnit, failed

DISK = opcode_table(DeviceType.DISK)


def passing(unit: FakeUnit, cdb: str, *, data_out: bytes = b"", data_in: int = 0) -> Passing:
    decoded = DISK.decode(bytes.fromhex(cdb))
    return Passing(
        unit.opener(""),
        decoded.op,
        cdb_to_send(decoded.op, decoded.cdb),
        60,
        block_size=unit.block,
        data_out=memoryview(data_out),
        data_in=memoryview(bytearray(data_in)),
    )


def run(unit: FakeUnit, cdb: str, *, data_out: bytes = b"", data_in: int = 0) -> Outcome:
    command = passing(unit, cdb, data_out=data_out, data_in=data_in)
    try:
        return command.run()
    finally:
        command.node.close()


@pytest.mark.parametrize(
    ("cdb", "length"),
    [
        ("000000000000", 6),
        ("28000000000000000100", 10),
        ("a80000000000000000010000", 12),
        ("88000000000000000000000000010000", 16),
        ("7f000000000000180009" + "00" * 22, 32),
    ],
)
def test_cdbs_have_the_length_of_their_group(cdb: str, length: int) -> None:
    decoded = DISK.decode(bytes.fromhex(cdb)) if not cdb.startswith("7f") else None
    op = decoded.op if decoded is not None else DISK.find(bytes.fromhex(cdb))
    assert op is not None
    assert cdb_to_send(op, bytes.fromhex(cdb).ljust(64, b"\0")) == bytes.fromhex(cdb)
    assert len(bytes.fromhex(cdb)) == length


# More than the host adapter takes at a time


@pytest.mark.parametrize(
    ("cdb", "pieces"),
    [
        ("0a0000100500", ["0a0000100200", "0a0000120200", "0a0000140100"]),
        (
            "2a080000001000000500",
            ["2a080000001000000200", "2a080000001200000200", "2a080000001400000100"],
        ),
        (
            "8a000000000000000010000000050000",
            [
                "8a000000000000000010000000020000",
                "8a000000000000000012000000020000",
                "8a000000000000000014000000010000",
            ],
        ),
    ],
)
def test_writes_are_cut_into_pieces(cdb: str, pieces: list[str]) -> None:
    unit = FakeUnit(limit=2 * BLOCK + 100)
    data = bytes(range(256)) * 10
    assert run(unit, cdb, data_out=data).is_good
    assert [seen.cdb.hex() for seen in unit.seen] == pieces
    assert unit.data[16 * BLOCK : 21 * BLOCK] == data


def test_reads_are_cut_into_pieces() -> None:
    unit = FakeUnit(limit=2 * BLOCK)
    unit.data[: 5 * BLOCK] = bytes(range(256)) * 10
    outcome = run(unit, "28000000000000000500", data_in=5 * BLOCK)
    assert outcome.data == unit.data[: 5 * BLOCK]
    assert len(unit.seen) == 3


def test_six_bytes_name_256_blocks_with_a_zero() -> None:
    unit = FakeUnit(limit=256 * BLOCK)
    assert len(run(unit, "080000000000", data_in=256 * BLOCK).data) == 256 * BLOCK
    assert [seen.cdb.hex() for seen in unit.seen] == ["080000000000"]
    unit.limit = 128 * BLOCK
    run(unit, "081fff000000", data_in=256 * BLOCK)
    assert [seen.cdb.hex() for seen in unit.seen[1:]] == ["081fff008000"]


def test_the_first_piece_that_fails_ends_the_command() -> None:
    unit = FakeUnit(limit=BLOCK)
    condition = Sense(SenseKey.MEDIUM_ERROR, 0x11)
    unit.script(0x28, (0, b"", b"a" * BLOCK), failed(condition))
    outcome = run(unit, "28000000000000000500", data_in=5 * BLOCK)
    assert (outcome.status, outcome.sense) == (Status.CHECK_CONDITION, condition.encode())
    assert outcome.data == b"a" * BLOCK
    assert len(unit.seen) == 2


def test_the_first_piece_that_comes_short_ends_the_command() -> None:
    unit = FakeUnit(limit=BLOCK)
    unit.script(0x28, (0, b"", b"a" * BLOCK), (0, b"", b"short"))
    outcome = run(unit, "28000000000000000500", data_in=5 * BLOCK)
    assert outcome.status == 0
    assert outcome.data == b"a" * BLOCK + b"short"


def test_no_more_is_written_than_was_sent() -> None:
    unit = FakeUnit()
    assert run(unit, "2a000000000000000500", data_out=b"w" * 2 * BLOCK).is_good
    assert [seen.cdb.hex() for seen in unit.seen] == ["2a000000000000000200"]
    assert unit.data[: 3 * BLOCK] == b"w" * 2 * BLOCK + bytes(BLOCK)
    assert run(unit, "2a000000000000000500").is_good
    assert len(unit.seen) == 1


def test_nothing_to_read_is_passed_on() -> None:
    unit = FakeUnit()
    assert run(unit, "28000000000100000000").is_good
    assert [seen.cdb.hex() for seen in unit.seen] == ["28000000000100000000"]


# What does not come back


@pytest.mark.parametrize("writing", [False, True])
def test_medium_errors_of_the_host(writing: bool) -> None:
    answer = translate(TransportError(0x13), writing=writing)
    assert isinstance(answer, CheckCondition)
    assert answer.sense == (sense.WRITE_ERROR if writing else sense.UNRECOVERED_READ_ERROR)


def test_errors_without_a_number() -> None:
    answer = translate(OSError("nothing"), writing=False)
    assert isinstance(answer, CheckCondition)
    assert answer.sense == sense.INTERNAL_TARGET_FAILURE


def test_the_queue_of_the_sg_driver_is_full() -> None:
    answer = translate(OSError(errno.EDOM, "full"), writing=True)
    assert answer.status is Status.BUSY
