from __future__ import annotations

import pytest

from scstfs.scsi import sense, tokens
from scstfs.scsi.identity import default_identity
from scstfs.scsi.provisioning import LbaRange
from scstfs.scsi.sense import CheckCondition, invalid_field_in_cdb
from scstfs.scsi.tokens import CopyOperation, OperationStatus, Populate, RodType
from scstfs.scsi.unit import LogicalUnit, TokenLimits

LIMITS = TokenLimits(2, 100, 50, default_timeout=30, max_timeout=600)
UNIT = LogicalUnit(default_identity(b"u"), blocks=131072)
EUI = bytes.fromhex("01 02 00 08 0011223344556677")
TOKEN = tokens.make_token(7, 4096, UNIT, EUI, bytes(range(256)) + bytes(range(96)))


def extents(*runs: tuple[int, int]) -> bytes:
    return b"".join(lba.to_bytes(8, "big") + n.to_bytes(4, "big") + bytes(4) for lba, n in runs)


def cdb(action: int, data: bytes) -> bytes:
    head = bytes((0x83, action, 0, 0, 0, 0)) + (0x1234).to_bytes(4, "big")
    return head + len(data).to_bytes(4, "big") + bytes(2)


def populate(ranges: bytes, flags: int = 0, timeout: int = 0, kind: int = 0) -> bytes:
    out = (14 + len(ranges)).to_bytes(2, "big") + bytes((flags, 0)) + timeout.to_bytes(4, "big")
    return out + kind.to_bytes(4, "big") + bytes(2) + len(ranges).to_bytes(2, "big") + ranges


def write(ranges: bytes, token: bytes = TOKEN, flags: int = 0, offset: int = 0) -> bytes:
    out = (534 + len(ranges)).to_bytes(2, "big") + bytes((flags,)) + bytes(5)
    return (
        out + offset.to_bytes(8, "big") + token + bytes(6) + len(ranges).to_bytes(2, "big") + ranges
    )


def test_populating() -> None:
    data = populate(extents((0x10, 8), (0x20, 4)), flags=1)
    assert tokens.decode_populate(cdb(0x10, data), data, LIMITS) == Populate(
        (LbaRange(0x10, 8), LbaRange(0x20, 4)), timeout=30, immediate=True
    )
    assert tokens.list_identifier(cdb(0x10, data)) == 0x1234
    assert tokens.decode_populate(cdb(0x10, b""), b"", LIMITS) is None


def test_an_incomplete_range_is_ignored() -> None:
    data = populate(extents((0x10, 8)) + bytes(5), timeout=60)
    request = tokens.decode_populate(cdb(0x10, data), data, LIMITS)
    assert request == Populate((LbaRange(0x10, 8),), timeout=60, immediate=False)


@pytest.mark.parametrize(
    ("data", "sense"),
    [
        (bytes(15), "1a0000 000000"),
        (b"\0\x1d" + populate(extents((0, 1)))[2:], "260000 800000"),
        (populate(extents((0, 1)), timeout=601), "260000 800004"),
        (populate(extents((0, 1)), flags=2, kind=RodType.BLOCK_ZERO), "260000 800008"),
        (populate(extents((0, 1)))[:14] + b"\0\x0f" + extents((0, 1)), "260000 80000e"),
        (populate(extents((0, 1), (2, 1), (4, 1))), "260800 000000"),
        (populate(extents((0, 60), (100, 41))), "260000 800018"),  # more than 100 blocks
        (populate(extents((5, 10), (14, 1))), "260000 800010"),  # the same block twice
    ],
)
def test_populating_refused(data: bytes, sense: str) -> None:
    with pytest.raises(CheckCondition) as refused:
        tokens.decode_populate(cdb(0x10, data), data, LIMITS)
    assert refused.value.sense.encode()[12:].hex(" ", 3) == sense


def test_writing() -> None:
    data = write(extents((0x40, 8)), flags=3, offset=2)
    request = tokens.decode_write(cdb(0x11, data), data, LIMITS)
    assert request is not None
    assert request.token == TOKEN
    assert request.extents == (LbaRange(0x40, 8),)
    assert (request.offset, request.immediate, request.delete) == (2, True, True)
    assert tokens.decode_write(cdb(0x11, b""), b"", LIMITS) is None


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bytes(535), sense.PARAMETER_LIST_LENGTH_ERROR),
        (b"\x02\x25" + write(extents((0, 1)))[2:], sense.INVALID_FIELD_IN_PARAMETER_LIST),
        (write(extents((0, 1)), bytes(512)), sense.INVALID_TOKEN_LENGTH),
        (
            write(extents((0, 1)), b"\0\1\0\0" + TOKEN[4:]),
            sense.TOKEN_UNSUPPORTED,
        ),
    ],
)
def test_writing_refused(data: bytes, expected: sense.Sense) -> None:
    with pytest.raises(CheckCondition) as refused:
        tokens.decode_write(cdb(0x11, data), data, LIMITS)
    assert refused.value.sense.triple == expected.triple


def test_a_token() -> None:
    assert len(TOKEN) == 512
    assert TOKEN[:16] == bytes.fromhex("00800001 0000 01f8 0000000000000007")
    # the logical unit that made it: identification descriptor, EUI-64, 512-byte blocks
    assert TOKEN[16:48] == (
        bytes.fromhex("e4 00 0000 01 02 00 08 0011223344556677") + bytes(13) + b"\x00\x02\x00"
    )
    assert TOKEN[48:64] == (4096).to_bytes(16, "big")
    assert TOKEN[64:96] == bytes(32)
    assert TOKEN[96:102] == bytes.fromhex("00000200 00 03")  # READ CAPACITY(16) without LBA
    assert TOKEN[128:140] == bytes.fromhex("01 22 00 08 0011223344556677")  # target device
    assert tokens.token_type(TOKEN) == RodType.POINT_IN_TIME_CHANGE_VULNERABLE
    assert tokens.token_identifier(TOKEN) == 7


def test_information() -> None:
    done = CopyOperation(0x10, OperationStatus.COMPLETED, counter=5, count=8)
    assert tokens.rod_token_information(done, [TOKEN]) == (
        bytes.fromhex(
            "00000222"  # 546 bytes follow
            "10 01 0005"  # POPULATE TOKEN, completed, operation counter
            "fffffffe"  # no more to come
            "00 00 00 f1"  # GOOD, no sense data, counted in blocks
            "0000000000000008 0000 000000000000"
            "00000202 0000"  # one token
        )
        + TOKEN
    )


def test_information_about_a_failure() -> None:
    failed = CopyOperation(
        0x11, OperationStatus.FAILED, completion=2, sense=sense.UNRECOVERED_READ_ERROR
    )
    data = tokens.rod_token_information(failed, [TOKEN])
    # 18 bytes of sense data in a field of 20, and no token
    assert data[:16] == bytes.fromhex("00000034 11 02 0000 fffffffe 02 14 12 f1")
    assert data[32:52] == sense.UNRECOVERED_READ_ERROR.encode() + bytes(2)
    assert data[52:] == bytes(4)


def test_status() -> None:
    running = CopyOperation(0x01, OperationStatus.IN_BACKGROUND, units=tokens.TransferUnits.BYTES)
    data = tokens.copy_status_lid4(running)
    assert data[:12] == bytes.fromhex("0000001c 01 12 0000 000003e8")
    assert len(data) == 32
    assert running.status.running
    assert tokens.unknown_list_identifier().sense == invalid_field_in_cdb(2).sense
