from __future__ import annotations

from dataclasses import dataclass

import pytest

from scstfs.scsi import xcopy
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.xcopy import CopyStatus, ListIdUsage, Lookup, Segment


@dataclass(frozen=True)
class Disk:
    name: bytes
    block_size: int = 512
    read_only: bool = False
    accessible: bool = True


SOURCE, COPY = Disk(b"source"), Disk(b"copy")
LARGE = Disk(b"large", block_size=4096)
DISKS = (SOURCE, COPY, LARGE, Disk(b"fixed", read_only=True), Disk(b"secret", accessible=False))


def find(designator: bytes) -> Disk | None:
    # code set ASCII, T10 vendor identification, reserved, length
    return next((disk for disk in DISKS if designator == head(disk.name) + disk.name), None)


def head(name: bytes) -> bytes:
    return bytes((2, 1, 0, len(name)))


LOOKUP = Lookup(find=find, accessible=lambda disk: disk.accessible)


def target(name: bytes, block_size: int = 512, byte1: int = 0, code: int = 0xE4) -> bytes:
    body = (head(name) + name).ljust(25, b"\0")
    return bytes((code, byte1, 0, 0)) + body + block_size.to_bytes(3, "big")


def segment(
    source: int = 0,
    destination: int = 1,
    blocks: int = 8,
    *,
    code: int = 2,
    dc: bool = False,
    length: int = 0x18,
) -> bytes:
    out = bytes((code, 2 if dc else 0)) + length.to_bytes(2, "big")
    out += source.to_bytes(2, "big") + destination.to_bytes(2, "big") + bytes(2)
    return out + blocks.to_bytes(2, "big") + (0x10).to_bytes(8, "big") + (0x20).to_bytes(8, "big")


def parameter_list(
    targets: bytes,
    segments: bytes,
    usage: int = 0x18,
    list_id: int = 0,
    inline: int = 0,
) -> bytes:
    out = bytes((list_id, usage)) + len(targets).to_bytes(2, "big") + bytes(4)
    out += len(segments).to_bytes(4, "big") + inline.to_bytes(4, "big")
    return out + targets + segments


def cdb(data: bytes) -> bytes:
    return bytes((0x83, 0)) + bytes(8) + len(data).to_bytes(4, "big") + bytes(2)


def decode(data: bytes) -> list[Segment[Disk]]:
    header = xcopy.decode_header(cdb(data), data)
    assert header is not None
    return xcopy.decode_segments(header, data, LOOKUP)


PAIR = target(b"source") + target(b"copy")


def test_a_copy() -> None:
    data = parameter_list(PAIR, segment() + segment(1, 0, 1))
    assert decode(data) == [
        Segment(SOURCE, COPY, 4096, 0x10, 0x20, 16 + 32),
        Segment(COPY, SOURCE, 512, 0x10, 0x20, 16),
    ]


def test_which_block_size_counts() -> None:
    targets = target(b"source") + target(b"large", 4096)
    (by_destination,) = decode(parameter_list(targets, segment(blocks=2, dc=True)))
    assert by_destination.length == 8192
    (by_source,) = decode(parameter_list(targets, segment(blocks=16)))
    assert by_source.length == 8192


def test_nothing_to_do() -> None:
    assert xcopy.decode_header(cdb(b""), b"") is None
    assert decode(parameter_list(b"", b"")) == []
    assert decode(parameter_list(PAIR, b"")) == []


def test_header() -> None:
    data = parameter_list(PAIR, b"", usage=0x10, list_id=7)
    header = xcopy.decode_header(cdb(data), data)
    assert header is not None
    assert (header.list_id, header.usage) == (7, ListIdUsage.DISCARD)
    assert header.usage.identifies
    assert not ListIdUsage.NONE.identifies


@pytest.mark.parametrize(
    ("data", "sense"),
    [
        (bytes(15), "240000 c0000a"),
        (parameter_list(PAIR, b"", usage=0x18, list_id=1), "260000 800000"),
        (parameter_list(PAIR, b"", usage=0x08), "260000 8b0001"),
        (parameter_list(PAIR, b"", inline=4), "260b00 000000"),
        (parameter_list(b"", segment()), "260000 800002"),
        (parameter_list(PAIR, segment())[:-1], "1a0000 000000"),
        (parameter_list(PAIR, segment()) + b"\0", "260b00 000000"),
        (parameter_list(PAIR[:-1], segment()), "260000 800002"),
        (parameter_list(target(b"source") * 6, b""), "260600 000000"),
        (parameter_list(target(b"source", code=0xE5), b""), "260700 000000"),
        (parameter_list(target(b"source", byte1=0x05), b""), "260000 880011"),
        (parameter_list(PAIR + target(b"nobody"), b""), "260000 800050"),
        (parameter_list(target(b"secret"), b""), "260000 800010"),
        (parameter_list(target(b"source", 4096), b""), "260000 80002d"),
        (parameter_list(target(b"a name of 21 letters."), b""), "260000 800010"),
        (parameter_list(PAIR, segment() * 144), "260800 000000"),
        (parameter_list(PAIR, segment() * 2341), "1a0000 000000"),
        (parameter_list(PAIR, segment(code=3)), "260900 000000"),
    ],
)
def test_refusing(data: bytes, sense: str) -> None:
    with pytest.raises(CheckCondition) as refused:
        decode(data)
    encoded = refused.value.sense.encode()
    assert encoded[2] == 5
    assert encoded[12:].hex(" ", 3) == sense


@pytest.mark.parametrize(
    ("targets", "good", "bad", "asc", "pointer"),
    [
        (PAIR, 0, segment(length=0x17), "0000", 2),
        (PAIR, 0, segment(source=2), "0000", 4),
        (PAIR, 0, segment(destination=2), "0000", 6),
        (target(b"", byte1=0x20) + target(b"copy"), 1, segment(), "0d02", 4),
        (target(b"source") + target(b"", byte1=0x20), 0, segment(), "0d02", 6),
        (target(b"source") + target(b"fixed"), 0, segment(), "0000", 6),
        (target(b"source") + target(b"large", 4096), 0, segment(blocks=1), "0000", 10),
    ],
)
def test_aborting(targets: bytes, good: int, bad: bytes, asc: str, pointer: int) -> None:
    data = parameter_list(targets, segment(good, good, 0) + bad)
    with pytest.raises(CheckCondition) as refused:
        decode(data)
    encoded = refused.value.sense.encode()
    assert encoded[2] == 0x0A
    assert encoded[10:12] == b"\0\1"  # the second segment
    assert encoded[12:14].hex() == asc
    assert encoded[15:] == bytes((0xA0, 0, pointer))


def test_long_list_identifiers() -> None:
    body = PAIR + segment(1, 2)  # targets are counted from 1
    data = bytearray(48)
    data[0] = 1
    data[2:4] = b"\0\x20"
    data[15] = 1  # IMMED
    data[16] = 0xFF
    data[20:24] = (0x12345678).to_bytes(4, "big")
    data[42:44] = len(PAIR).to_bytes(2, "big")
    data[44:46] = (28).to_bytes(2, "big")
    data += body
    header = xcopy.decode_header_lid4(cdb(bytes(data)), bytes(data))
    assert header is not None
    assert (header.list_id, header.usage, header.immediate) == (0x12345678, ListIdUsage.HOLD, True)
    assert xcopy.decode_segments(header, bytes(data), LOOKUP) == [
        Segment(SOURCE, COPY, 4096, 0x10, 0x20, 48 + 32)
    ]


@pytest.mark.parametrize(
    ("offset", "value", "sense"),
    [(0, 0, "260000 800000"), (3, 0, "260000 800002"), (16, 0xE4, "260000 800010")],
)
def test_a_bad_long_header(offset: int, value: int, sense: str) -> None:
    data = bytearray(48)
    data[0], data[3], data[16] = 1, 0x20, 0xFF
    data[offset] = value
    with pytest.raises(CheckCondition) as refused:
        xcopy.decode_header_lid4(cdb(bytes(data)), bytes(data))
    assert refused.value.sense.encode()[12:].hex(" ", 3) == sense


def test_results() -> None:
    assert xcopy.copy_status(CopyStatus.COMPLETED, 2, 3 * 1024) == bytes.fromhex(
        "00000008 01 0002 01 00000003"
    )
    failed = xcopy.failed_segment_details(2, b"\x70" + bytes(17))
    assert failed[:4] == (78 - 3).to_bytes(4, "big")  # one too many
    assert failed[56:61] == bytes.fromhex("02 00 0012 70")
    assert len(xcopy.failed_segment_details(0, b"ignored")) == 60


def test_receive_actions() -> None:
    assert xcopy.check_receive_action(b"\x84\x03") is xcopy.ReceiveAction.OPERATING_PARAMETERS
    with pytest.raises(CheckCondition) as refused:
        xcopy.check_receive_action(b"\x84\x01")
    assert refused.value.sense.encode()[12:] == bytes.fromhex("240000 c80001")
    assert xcopy.unknown_list_id().sense.encode()[12:] == bytes.fromhex("240000 c00002")


def test_the_type_of_the_lu_identifier_is_ignored() -> None:
    assert decode(parameter_list(target(b"source", byte1=0x40), b"")) == []
