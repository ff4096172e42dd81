from __future__ import annotations

from scstfs.scsi.third_party import third_party_copy_page
from scstfs.scsi.unit import TokenLimits

LIMITS = TokenLimits(8, 0x800, 0x400, default_timeout=30, max_timeout=600)


def descriptors() -> dict[int, bytes]:
    page = third_party_copy_page(LIMITS, 512)
    found = {}
    while page:
        size = int.from_bytes(page[2:4], "big")
        assert size % 4 == 0
        found[int.from_bytes(page[:2], "big")] = page[4 : 4 + size]
        page = page[4 + size :]
    return found


def test_descriptors_are_in_order() -> None:
    codes = list(descriptors())
    assert codes == sorted(codes)
    assert codes == [0x0000, 0x0001, 0x0004, 0x0008, 0x000C, 0x0106, 0x0108, 0x8001]


def test_token_limits() -> None:
    assert descriptors()[0x0000] == bytes.fromhex(
        "000000000000 0008 00000258 0000001e 0000000000000800 0000000000000400"
    )


def test_commands() -> None:
    # EXTENDED COPY (LID1, LID4), POPULATE TOKEN, WRITE USING TOKEN; RECEIVE COPY ...
    assert descriptors()[0x0001] == bytes.fromhex("0d 83 04 00011011 84 05 0003040507 0000")


def test_extended_copy_limits() -> None:
    assert descriptors()[0x0004][:12] == bytes.fromhex("00000000 0005 008f 0000ffff")
    assert len(descriptors()[0x0004]) == 0x1C
    assert descriptors()[0x0008] == bytes.fromhex("02 02 e4 00")
    assert descriptors()[0x000C] == bytes(4)


def test_token_features() -> None:
    features = descriptors()[0x0106]
    assert features[12:24] == bytes.fromhex("0000001e 00000258 00000258")
    # a block device descriptor: up to 1 MiB
    assert features[42:60] == bytes.fromhex("0030 0000 002c 0000 0000 0000000000100000")
    assert len(features) == 92


def test_token_types() -> None:
    types = descriptors()[0x0108]
    assert types[:9] == bytes.fromhex("0000 0080 00800001 03")
    assert types[68:73] == bytes.fromhex("ffff0001 02")


def test_operations() -> None:
    assert descriptors()[0x8001] == bytes.fromhex("000000ff 000000ff 10000000 10 00").ljust(
        32, b"\0"
    )
