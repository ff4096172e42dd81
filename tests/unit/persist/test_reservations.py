from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scstfs.persist import reservations
from scstfs.persist.reservations import (
    DamagedFile,
    SavedRegistrant,
    SavedReservations,
    decode,
    encode,
)

# What SCST wrote for two registrations, the first of which holds the reservation.
RECORDED = bytes.fromhex(
    "77ddbbeeaaeeeebb 0100000000000000 01 01 05 00"
    "01 06000000 5feede401fade050 000000000000000000000000 0000000000000abc 0000"
    "00 06000000 5feede402fade050 000000000000000000000000 0000000000000def 0000"
)
SAS = [bytes.fromhex(f"06000000 5feede40{n}fade050 000000000000000000000000") for n in (1, 2, 3)]
ISCSI = bytes.fromhex("45000020") + b"iqn.2020-01.a:b,i,0x100003d0200".ljust(32, b"\0")

TWO = SavedReservations(
    aptpl=True,
    reservation=(5, 0),
    registrants=(
        SavedRegistrant(SAS[0], 0, (0xABC).to_bytes(8, "big"), is_holder=True),
        SavedRegistrant(SAS[1], 0, (0xDEF).to_bytes(8, "big"), is_holder=False),
    ),
)


def test_a_file_of_scst() -> None:
    assert decode(RECORDED) == TWO
    assert encode(TWO) == RECORDED


def test_without_a_reservation() -> None:
    saved = SavedReservations(aptpl=True, reservation=None, registrants=TWO.registrants[1:])
    data = RECORDED[:17] + b"\x00\xff\x00" + RECORDED[55:]
    assert encode(saved) == data
    assert decode(data) == saved


def test_an_iscsi_name() -> None:
    registrant = SavedRegistrant(ISCSI, 0x0102, bytes(range(8)), is_holder=False)
    saved = SavedReservations(aptpl=True, reservation=(7, 0), registrants=(registrant,))
    data = encode(saved)
    assert data[20:] == b"\0" + ISCSI + bytes(range(8)) + b"\x02\x01"
    assert decode(data) == saved


def test_a_trailing_byte_is_ignored() -> None:
    assert decode(RECORDED + b"\x01") == TWO


def changed(offset: int, new: str) -> bytes:
    data = bytearray(RECORDED)
    replacement = bytes.fromhex(new)
    data[offset : offset + len(replacement)] = replacement
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "size"),
        (RECORDED[:19], "size"),
        (RECORDED.ljust(reservations.MAX_SIZE, b"\0"), "size"),
        (bytes(8) + RECORDED[8:], "signature"),
        (changed(0, "78"), "signature"),
        (changed(8, "02"), "version"),
        (changed(18, "02"), "type 2"),
        (RECORDED[:-1], "over the end"),
        (RECORDED[:60], "over the end"),
        (changed(21, "45"), "over the end"),  # a length of 4 + 0xeede
        (changed(20, "00"), "no holder"),
        (RECORDED + RECORDED[55:], "twice"),
    ],
)
def test_damage(data: bytes, complaint: str) -> None:
    with pytest.raises(DamagedFile, match=complaint):
        decode(data)


def test_all_registrants_need_no_holder() -> None:
    saved = decode(changed(18, "08 00 00"))
    assert saved.reservation == (8, 0)
    assert not any(registrant.is_holder for registrant in saved.registrants)


@pytest.mark.parametrize(
    ("saved", "kept"),
    [(TWO, True), (replace(TWO, aptpl=False), False), (replace(TWO, registrants=()), False)],
)
def test_what_is_kept(saved: SavedReservations, kept: bool) -> None:
    assert saved.is_kept is kept


transport_ids = st.sampled_from([*SAS, ISCSI]) | st.binary(min_size=24, max_size=24).filter(
    lambda data: data[0] & 0x0F != 5
)
registrants = st.builds(
    SavedRegistrant,
    transport_ids,
    st.integers(0, 0xFFFF),
    st.binary(min_size=8, max_size=8),
    st.just(False),
)


@given(
    st.lists(registrants, max_size=4, unique_by=lambda r: (r.transport_id, r.rel_tgt_id)),
    st.none() | st.sampled_from([(7, 0), (8, 0)]),
    st.booleans(),
)
def test_what_is_written_is_read(
    registered: list[SavedRegistrant], reservation: tuple[int, int] | None, aptpl: bool
) -> None:
    saved = SavedReservations(aptpl, reservation, tuple(registered))
    assert decode(encode(saved)) == saved


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes(data: bytes, signed: bool) -> None:
    try:
        saved = decode(RECORDED[:16] * signed + data)
    except DamagedFile:
        return
    assert decode(encode(saved)) == saved
