"""Residual counts: RFC 7143 11.4.1, 11.4.5, 11.4.6."""

from __future__ import annotations

import pytest

from tests.support import iscsi_wire as wire
from tests.support.initiator import Initiator
from tests.support.iscsi_wire import FINAL, READ, WRITE

READ_8_BLOCKS = "28000000000000000800"
WRITE_8_BLOCKS = "2a000000000000000800"


@pytest.mark.parametrize(
    ("expected", "residual", "length"),
    [(4096, 0, 4096), (8192, -4096, 4096), (512, 3584, 512), (4095, 1, 4095), (4097, -1, 4096)],
)
def test_of_reads(initiator: Initiator, expected: int, residual: int, length: int) -> None:
    task = initiator.command(READ_8_BLOCKS, expect=expected)
    assert (task.status, task.residual, len(task.data)) == (0, residual, length)


def test_of_a_read_that_expects_nothing(initiator: Initiator) -> None:
    task = initiator.prepare(READ_8_BLOCKS)
    task.command.header[1] |= READ
    initiator.send(task.command)
    initiator.wait(task)
    assert (task.status, task.residual, task.data) == (0, 4096, b"")


@pytest.mark.parametrize(
    "cdb",
    [
        "080000000800",
        READ_8_BLOCKS,
        "a80000000000000000080000",
        "88000000000000000000000000080000",
    ],
)
def test_of_a_read_with_neither_r_nor_w(initiator: Initiator, cdb: str) -> None:
    """It expects no data and gets none: all is overflow."""
    task = initiator.command(cdb)
    assert (task.status, task.residual, task.data) == (0, 4096, b"")
    beyond = initiator.command("2800ffffffff00000800")
    assert (beyond.status, beyond.residual) == (2, 0)


@pytest.mark.parametrize(("length", "residual"), [(4096, 0), (8192, -4096)])
def test_of_writes(initiator: Initiator, length: int, residual: int) -> None:
    task = initiator.command(WRITE_8_BLOCKS, data_out=bytes(length))
    assert (task.status, task.residual) == (0, residual)


@pytest.mark.parametrize("length", [512, 2048])
def test_of_a_write_with_too_little_data(initiator: Initiator, length: int) -> None:
    task = initiator.command(WRITE_8_BLOCKS, data_out=bytes(length))
    assert task.residual == 4096 - length


def test_with_a_bad_status(initiator: Initiator) -> None:
    """None of the expected data was transferred."""
    task = initiator.command("2800ffffffff00000800", expect=4096)
    assert (task.status, task.residual) == (2, -4096)


def test_of_inquiry_data(initiator: Initiator) -> None:
    whole = initiator.command("12000000ff00", expect=255)
    assert whole.residual == len(whole.data) - 255
    part = initiator.command("120000002400", expect=255)
    assert (len(part.data), part.residual) == (36, 36 - 255)


@pytest.mark.parametrize(
    ("allocation", "expected", "residual"),
    [(24, 24, 0), (16, 16, 0), (16, 64, -48), (64, 64, -40), (64, 16, 8)],
)
def test_of_report_luns(
    initiator: Initiator, allocation: int, expected: int, residual: int
) -> None:
    """11.4.5.3: what the allocation length cuts off is no overflow; there are two LUNs."""
    cdb = bytes.fromhex("a00000000000") + allocation.to_bytes(4, "big") + bytes(2)
    task = initiator.command(cdb, expect=expected)
    assert (task.status, task.residual) == (0, residual)


@pytest.mark.parametrize("cdb", [READ_8_BLOCKS, WRITE_8_BLOCKS, "000000000000"])
def test_u_and_o_exclude_each_other(initiator: Initiator, cdb: str) -> None:
    """The initiator complains of both together."""
    for expected in (0, 512, 4096, 9000):
        task = initiator.command(cdb, expect=expected)
        assert task.answer.flags & 0x18 == 0


def test_without_u_and_o_the_count_is_0(initiator: Initiator) -> None:
    task = initiator.command("000000000000")
    assert (task.answer.flags & 6, task.answer["residual"]) == (0, 0)


@pytest.mark.parametrize("with_length", [True, False], ids=["with AHS", "without AHS"])
def test_bidirectional_commands_are_refused(initiator: Initiator, with_length: bool) -> None:
    """These devices have no such command."""
    ahs = bytes.fromhex("0005020000000200") if with_length else b""
    task = initiator.prepare(READ_8_BLOCKS, data_out=bytes(512), ahs=ahs, immediate_data=512)
    task.command.header[1] |= READ | WRITE | FINAL
    initiator.send(task.command)
    initiator.wait(task)
    assert task.answer.opcode == wire.SCSI_RESPONSE
    assert task.status == 2
