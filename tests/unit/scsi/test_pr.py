from __future__ import annotations

import pytest

from scstfs.scsi import pr
from scstfs.scsi.opcodes import NO_FLAGS, Flag
from scstfs.scsi.pr import Descriptor, OutAction, PrType, Reservation
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.transport_id import TransportId

A = TransportId.iscsi("iqn.x:a", bytes.fromhex("800000000003"))
B = TransportId.iscsi("iqn.x:b", bytes.fromhex("800000000003"))


def out_cdb(action: int, scope_type: int = 0, length: int = 24) -> bytes:
    return bytes((0x5F, action, scope_type, 0, 0)) + length.to_bytes(4, "big") + b"\0"


def basic(key: int = 0, action_key: int = 0, flags: int = 0) -> bytes:
    return (
        key.to_bytes(8, "big") + action_key.to_bytes(8, "big") + bytes((0, 0, 0, 0, flags, 0, 0, 0))
    )


def refusal(refused: pytest.ExceptionInfo[CheckCondition]) -> str:
    return refused.value.sense.encode()[12:].hex(" ", 3)


def test_register() -> None:
    request = pr.decode_out(out_cdb(0, 0xF5), basic(1, 2, 0x05))  # scope and type are ignored
    assert request.action is OutAction.REGISTER
    assert (request.key, request.action_key) == (1, 2)
    assert (request.aptpl, request.all_tg_pt, request.spec_i_pt) == (True, True, False)
    assert request.transport_ids() == []


def test_preempt() -> None:
    request = pr.decode_out(out_cdb(5, 0x08), basic(0xA1, 0xB2))
    assert request.action is OutAction.PREEMPT_AND_ABORT
    assert (request.scope, request.type) == (0, PrType.EXCLUSIVE_ACCESS_ALL_REGISTRANTS)


@pytest.mark.parametrize(
    ("cdb", "data", "sense"),
    [
        # length
        (out_cdb(0, length=8), bytes(8), "1a0000 000000"),
        (out_cdb(6, length=28), basic() + bytes(4), "1a0000 000000"),
        (out_cdb(3, length=23), basic(), "1a0000 000000"),
        (out_cdb(0, length=0), b"", "1a0000 000000"),
        (out_cdb(7, length=0), b"", "1a0000 000000"),
        (out_cdb(7, length=23), bytes(23), "1a0000 000000"),
        (out_cdb(6), basic()[:23], "1a0000 000000"),  # less came than was announced
        (out_cdb(7, length=48), bytes(47), "1a0000 000000"),
        # scope
        (out_cdb(1, 0x11), basic(), "240000 cc0002"),
        (out_cdb(7, 0x11), basic(), "240000 cc0002"),
        # type
        (out_cdb(1, 0x00), basic(), "240000 c80002"),
        (out_cdb(1, 0x02), basic(), "240000 c80002"),
        (out_cdb(4, 0x09), basic(), "240000 c80001"),
        # SPEC_I_PT and ALL_TG_PT
        (out_cdb(6), basic(flags=0x08), "260000 8b0014"),
        (out_cdb(2), basic(flags=0x04), "260000 8a0014"),
        (out_cdb(2), basic(flags=0x0C), "260000 8b0014"),
        # unknown action, after all of these
        (out_cdb(8), basic(), "240000 c80001"),
        (out_cdb(8, 0x10), basic(), "240000 cc0002"),
    ],
)
def test_refusing(cdb: bytes, data: bytes, sense: str) -> None:
    with pytest.raises(CheckCondition) as refused:
        pr.decode_out(cdb, data)
    assert refusal(refused) == sense


def test_release_and_clear_do_not_look_at_the_type() -> None:
    assert pr.decode_out(out_cdb(2, 0x0F), basic()).type == 0x0F
    assert pr.decode_out(out_cdb(3, 0xFF), basic()).action is OutAction.CLEAR


def specified(*ports: TransportId, claim: int | None = None) -> tuple[bytes, bytes]:
    listed = b"".join(item.data for item in ports)
    size = len(listed) if claim is None else claim
    data = basic(0, 1, 0x08) + size.to_bytes(4, "big") + listed
    return out_cdb(0, length=len(data)), data


def test_specified_ports() -> None:
    sas = TransportId.sas(1)
    request = pr.decode_out(*specified(A, sas, TransportId.iscsi("iqn.x:c")))
    assert request.spec_i_pt
    found = request.transport_ids()
    assert found[:2] == [A, sas]
    assert found[2].wildcard
    with pytest.raises(CheckCondition) as refused:
        request.refuse_spec_i_pt()
    assert refusal(refused) == "260000 8b0014"


@pytest.mark.parametrize("claim", [200, len(A.data) - 1, 0])
def test_a_list_of_ports_that_is_not_as_long_as_it_says(claim: int) -> None:
    with pytest.raises(CheckCondition) as refused:
        pr.decode_out(*specified(A, claim=claim))
    assert refusal(refused) == "1a0000 000000"


def test_ports_without_a_list() -> None:
    with pytest.raises(CheckCondition) as refused:
        pr.decode_out(out_cdb(0), basic(flags=0x08))
    assert refusal(refused) == "1a0000 000000"


def test_a_port_that_is_longer_than_the_list() -> None:
    request = pr.decode_out(*specified(A, TransportId(b"\x45\x00\x00\xff" + bytes(24))))
    with pytest.raises(CheckCondition) as refused:
        request.transport_ids()
    assert refusal(refused) == "260000 800018"


def move(port: bytes, claim: int | None = None, flags: int = 0x03) -> tuple[bytes, bytes]:
    data = (0xA1).to_bytes(8, "big") + (0xB2).to_bytes(8, "big") + bytes((0, flags, 1, 2))
    data += (len(port) if claim is None else claim).to_bytes(4, "big") + port
    return out_cdb(7, length=len(data)), data


def test_register_and_move() -> None:
    request = pr.decode_out(*move(B.data))
    assert (request.unreg, request.aptpl, request.rel_tgt_id) == (True, True, 0x102)
    assert not request.spec_i_pt
    assert request.moved_to() == B
    request.check_move_key()
    assert request.same_port().sense.encode()[12:] == bytes.fromhex("260000 800018")


@pytest.mark.parametrize(
    ("request_", "sense"),
    [
        (move(B.data, claim=300), "260000 000000"),
        (move(B.data, claim=20), "260000 800014"),
    ],
)
def test_bad_moves(request_: tuple[bytes, bytes], sense: str) -> None:
    with pytest.raises(CheckCondition) as refused:
        pr.decode_out(*request_)
    assert refusal(refused) == sense


def test_a_move_to_a_port_that_is_cut_off() -> None:
    request = pr.decode_out(*move(b"\x45\x00\x00\xff" + bytes(24)))
    with pytest.raises(CheckCondition) as refused:
        request.moved_to()
    assert refusal(refused) == "260000 000000"


def test_a_move_without_key() -> None:
    cdb, data = move(B.data)
    request = pr.decode_out(cdb, data[:8] + bytes(8) + data[16:])
    with pytest.raises(CheckCondition) as refused:
        request.check_move_key()
    assert refusal(refused) == "240000 c00008"


W, E = Flag.WRITE_EXCLUSIVE_OK, Flag.WRITE_EXCLUSIVE_OK | Flag.EXCLUSIVE_ACCESS_OK


@pytest.mark.parametrize(
    ("kind", "flags", "holder", "registered", "allowed"),
    [
        (PrType.WRITE_EXCLUSIVE, NO_FLAGS, True, True, True),
        (PrType.WRITE_EXCLUSIVE, NO_FLAGS, False, True, False),
        (PrType.WRITE_EXCLUSIVE, W, False, False, True),
        (PrType.EXCLUSIVE_ACCESS, W, False, True, False),
        (PrType.EXCLUSIVE_ACCESS, E, False, False, True),
        (PrType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY, NO_FLAGS, False, True, True),
        (PrType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY, W, False, False, True),
        (PrType.EXCLUSIVE_ACCESS_REGISTRANTS_ONLY, W, False, False, False),
        (PrType.WRITE_EXCLUSIVE_ALL_REGISTRANTS, NO_FLAGS, False, False, False),
        (PrType.EXCLUSIVE_ACCESS_ALL_REGISTRANTS, NO_FLAGS, False, True, True),
        (PrType.EXCLUSIVE_ACCESS_ALL_REGISTRANTS, E, False, False, True),
    ],
)
def test_conflicts(
    kind: PrType, flags: Flag, holder: bool, registered: bool, allowed: bool
) -> None:
    assert pr.allowed(kind, flags, holder, registered) is allowed
    assert pr.compatible(kind, holder, registered) is pr.allowed(kind, NO_FLAGS, holder, registered)


def test_kinds() -> None:
    assert [kind for kind in PrType if kind.all_registrants] == [7, 8]
    assert [kind for kind in PrType if kind.for_registrants] == [5, 6, 7, 8]


def test_keys() -> None:
    assert pr.read_keys(3, [0xA1, 0xB2]) == bytes.fromhex(
        "00000003 00000010 00000000000000a1 00000000000000b2"
    )


def test_reservation() -> None:
    held = Reservation(PrType.WRITE_EXCLUSIVE, 0xB2)
    assert pr.read_reservation(1, held) == bytes.fromhex(
        "00000001 00000010 00000000000000b2 00000000 00 01 0000"
    )
    everybody = Reservation(PrType.WRITE_EXCLUSIVE_ALL_REGISTRANTS)
    assert pr.read_reservation(3, everybody) == bytes.fromhex(
        "00000003 00000010 0000000000000000 00000000 00 07 0000"
    )
    assert pr.read_reservation(1, None) == bytes.fromhex("00000001 00000000")


def test_capabilities() -> None:
    assert pr.report_capabilities(False) == bytes.fromhex("0008 1d c0 ea01 0000")
    assert pr.report_capabilities(True) == bytes.fromhex("0008 1d c1 ea01 0000")


# As recorded: two registrants, all of them holders.
FULL = bytes.fromhex(
    "000000030000006800000000000000c30000000001070000000000010000001c450000186971"
    "6e2e783a612c692c307833303030303030303038300000000000000000c3000000000107000000000001"
    "0000001c4500001869716e2e783a622c692c3078333030303030303030383000"
)
BOTH = [Descriptor(A, 1, 0xC3, holder=True), Descriptor(B, 1, 0xC3, holder=True)]
ALL = Reservation(PrType.WRITE_EXCLUSIVE_ALL_REGISTRANTS)


def test_full_status() -> None:
    assert pr.read_full_status(3, BOTH, ALL) == FULL
    none_held = pr.read_full_status(3, BOTH[:1], None)
    assert none_held[20:22] == b"\0\0"


def test_in_actions() -> None:
    assert pr.check_in_action(bytes((0x5E, 3))) is pr.InAction.READ_FULL_STATUS
    with pytest.raises(CheckCondition) as refused:
        pr.check_in_action(bytes((0x5E, 4)))
    assert refusal(refused) == "240000 c80001"
