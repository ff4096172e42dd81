from __future__ import annotations

import pytest

from scstfs.scsi.transport_id import TransportId, received, transport_id_length

ISID = bytes.fromhex("00023d000001")


def test_iscsi() -> None:
    port = TransportId.iscsi("iqn.x:b", bytes.fromhex("800000000003"))
    # with ISID, iSCSI; 24 bytes; text, zero, padding
    assert port.data == bytes.fromhex("45 00 0018") + b"iqn.x:b,i,0x30000000080\0"
    assert port.text == "iqn.x:b,i,0x30000000080"
    assert TransportId.iscsi("n", ISID).text == "n,i,0x100003d0200"
    assert not port.wildcard


def test_iscsi_without_isid() -> None:
    port = TransportId.iscsi("iqn.x:b")
    assert port.data == bytes.fromhex("05 00 0008") + b"iqn.x:b\0"
    assert port.wildcard


@pytest.mark.parametrize("length", range(1, 9))
def test_iscsi_names_end_in_zero_and_are_padded(length: int) -> None:
    data = TransportId.iscsi("x" * length).data
    assert len(data) % 4 == 0
    assert data[-1] == 0
    assert transport_id_length(data) == len(data)


def test_sas() -> None:
    assert TransportId.sas(1).data == bytes.fromhex("06 000000 5feede401fade050").ljust(24, b"\0")
    assert TransportId.sas(0x12).data[4:12].hex() == "5feede412fade050"
    assert TransportId.sas(1).text == "5f:ee:de:40:1f:ad:e0:50"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (bytes((0x00,)) + bytes(7) + bytes(range(8)) + bytes(8), "00:01:02:03:04:05:06:07"),
        (bytes((0x04,)) + bytes(7) + bytes(range(16)), ":".join(f"{i:02x}" for i in range(16))),
        (bytes((0x01, 0, 3, 0, 0, 0, 7)) + bytes(17), "300:700"),
        (TransportId.copy_manager().data, "COPY_MGR"),
        (bytes((0x0A,)) + bytes(23), "(Not known protocol ID a)"),
    ],
)
def test_texts(data: bytes, text: str) -> None:
    assert TransportId(data).text == text


def port(name: str, isid: bytes | None = ISID) -> TransportId:
    return TransportId.iscsi(name, isid)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (port("iqn.a"), port("iqn.a"), True),
        (port("iqn.a"), port("IQN.A"), True),
        (port("iqn.a"), port("iqn.a", bytes(6)), False),
        (port("iqn.a"), port("iqn.a", None), True),
        (port("iqn.a", None), port("iqn.ab", None), False),
        (port("iqn.a"), port("iqn.ab", None), False),
        (port("iqn.a"), TransportId.sas(1), False),
        (TransportId.sas(1), TransportId.sas(1), True),
        (TransportId.sas(1), TransportId.sas(2), False),
        # longer than it should be: 24 bytes count
        (TransportId.sas(1), TransportId(TransportId.sas(1).data + b"x"), True),
        # it claims to have an ISID, but has no comma
        (TransportId(b"\x45\x00\x00\x08iqn.a\0\0\0"), port("iqn.a", None), False),
        # an unknown format equals nothing, not even itself
        (TransportId(b"\x85\x00\x00\x04abc\0"), TransportId(b"\x85\x00\x00\x04abc\0"), False),
    ],
)
def test_same_port(left: TransportId, right: TransportId, same: bool) -> None:
    assert left.same_port(right) is same
    assert right.same_port(left) is same


def test_received_names_are_ended() -> None:
    assert received(b"\x05\x00\x00\x04abcd").data == b"\x05\x00\x00\x04abc\0"
    assert received(TransportId.sas(1).data[:-1] + b"x").data[-1:] == b"x"


def test_lengths() -> None:
    assert transport_id_length(b"\x45\x00\x01\x00") == 260
    assert transport_id_length(b"\x06") == 24
    assert transport_id_length(b"\x05") == 4
    assert transport_id_length(b"") == 24
