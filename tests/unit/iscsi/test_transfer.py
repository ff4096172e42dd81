"""Assembly of write data: every legal order is taken, everything else is a fault."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scstfs.iscsi.codes import RESERVED_TAG
from scstfs.iscsi.errors import ProtocolError, RejectReason
from scstfs.iscsi.transfer import DataFault, TaskFault, Transfer

DATA = bytes(range(1, 101))
CRC = TaskFault.PROTOCOL_SERVICE_CRC_ERROR
AMOUNT = TaskFault.INCORRECT_AMOUNT_OF_DATA
ORDER = TaskFault.DATA_PHASE_ERROR
UNEXPECTED = TaskFault.UNEXPECTED_UNSOLICITED_DATA


class Case:
    """A transfer, and the state of its memory."""

    def __init__(
        self,
        total: int = 100,
        *,
        first_burst: int = 40,
        unsolicited: bool = False,
        in_order: bool = True,
    ) -> None:
        self.released = 0
        self.memory = bytearray(total)
        self.transfer = Transfer(
            first_burst=first_burst, unsolicited=unsolicited, in_order=in_order
        )
        self.transfer.open(memoryview(self.memory), self.release)

    def release(self) -> None:
        self.released += 1

    def fault_of(self, ttt: int, pdus: Iterable[tuple[int, int, int, bool]]) -> TaskFault | None:
        """The fault that the first of these PDUs has that has one."""
        try:
            for data_sn, start, end, final in pdus:
                self.put(ttt, data_sn, start, end, final=final)
        except DataFault as fault:
            return fault.fault
        return None

    def put(self, ttt: int, data_sn: int, start: int, end: int, *, final: bool = False) -> None:
        self.transfer.put(ttt, data_sn, start, memoryview(DATA)[start:end], final=final)


def test_immediate_unsolicited_and_solicited_data() -> None:
    case = Case(unsolicited=True)
    transfer = case.transfer
    transfer.put_immediate(memoryview(DATA)[:10])
    assert (transfer.awaits_data, transfer.can_solicit) == (True, False)
    case.put(RESERVED_TAG, 0, 10, 30)
    case.put(RESERVED_TAG, 1, 30, 40, final=True)
    assert (transfer.awaits_data, transfer.can_solicit) == (False, True)
    first = transfer.solicit(5, 25)
    second = transfer.solicit(6, 25)
    assert (first.offset, first.length, second.offset, second.length) == (40, 25, 65, 25)
    assert (transfer.outstanding, transfer.next_r2t_sn) == (2, 2)
    case.put(5, 0, 40, 65, final=True)
    case.put(6, 0, 65, 90, final=True)
    assert not transfer.is_complete
    last = transfer.solicit(7, 25)
    assert (last.offset, last.length) == (90, 10)
    assert not transfer.can_solicit
    case.put(7, 0, 90, 100, final=True)
    assert transfer.is_complete
    assert case.memory == DATA


def test_less_unsolicited_data_than_allowed_is_asked_for_from_where_it_ends() -> None:
    case = Case(unsolicited=True)
    case.put(RESERVED_TAG, 0, 0, 8, final=True)
    sequence = case.transfer.solicit(0, 1000)
    assert (sequence.offset, sequence.length) == (8, 92)


def test_no_unsolicited_data_after_all() -> None:
    case = Case(unsolicited=True)
    case.put(RESERVED_TAG, 0, 0, 0, final=True)
    assert case.transfer.can_solicit
    assert case.transfer.solicit(0, 1000).length == 100


def test_a_pdu_without_data_counts() -> None:
    case = Case()
    case.transfer.solicit(0, 100)
    case.put(0, 0, 0, 60)
    case.put(0, 1, 60, 60)
    case.put(0, 2, 60, 100, final=True)
    assert case.transfer.is_complete


def test_data_beyond_what_the_command_needs_is_dropped() -> None:
    case = Case(20, unsolicited=True)
    case.transfer.put_immediate(memoryview(DATA)[:10])
    case.put(RESERVED_TAG, 0, 10, 40, final=True)
    assert case.transfer.is_complete
    assert case.memory == DATA[:20]


def test_without_memory_data_is_dropped() -> None:
    transfer = Transfer(first_burst=40, unsolicited=True, in_order=True)
    transfer.put_immediate(memoryview(DATA)[:10])
    transfer.put(RESERVED_TAG, 0, 10, memoryview(DATA)[10:40], final=True)
    assert transfer.is_complete


PIECES = [(0, 30), (30, 50), (50, 60), (60, 100)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_any_order_within_a_sequence(order: tuple[int, ...]) -> None:
    case = Case(in_order=False)
    case.transfer.solicit(9, 100)
    for data_sn, piece in enumerate(order):
        case.put(9, data_sn, *PIECES[piece], final=data_sn == 3)
    assert case.transfer.is_complete
    assert case.memory == DATA


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
@pytest.mark.parametrize("in_order", [True, False])
def test_any_order_of_sequences(order: tuple[int, ...], in_order: bool) -> None:
    case = Case(in_order=in_order)
    sequences = [case.transfer.solicit(ttt, 40) for ttt in range(3)]
    for ttt in order:
        case.put(ttt, 0, sequences[ttt].offset, sequences[ttt].end, final=True)
    assert case.transfer.is_complete
    assert case.memory == DATA


@given(st.data())
def test_random_pieces_in_random_order(data: st.DataObject) -> None:
    case = Case(unsolicited=True, in_order=False)
    immediate = data.draw(st.integers(0, 40))
    case.transfer.put_immediate(memoryview(DATA)[:immediate])

    def send(ttt: int, start: int, end: int) -> None:
        cuts = sorted(data.draw(st.sets(st.integers(start, end), max_size=5)))
        bounds = [start, *cuts, end]
        pieces = data.draw(st.permutations(list(itertools.pairwise(bounds))))
        for data_sn, piece in enumerate(pieces):
            case.put(ttt, data_sn, *piece, final=data_sn == len(pieces) - 1)

    send(RESERVED_TAG, immediate, 40)
    while case.transfer.can_solicit:
        ttt = case.transfer.next_r2t_sn
        sequence = case.transfer.solicit(ttt, data.draw(st.integers(1, 60)))
        send(ttt, sequence.offset, sequence.end)
    assert case.transfer.is_complete
    assert case.memory == DATA


# Faults


@pytest.mark.parametrize(
    ("pdus", "fault"),
    [
        ([(1, 0, 10, False)], CRC),
        ([(0, 0, 10, False), (0, 10, 20, False)], CRC),
        ([(0xFFFFFFFF, 0, 10, True)], CRC),
        ([(0, 10, 20, False)], ORDER),
        ([(0, 0, 20, False), (1, 10, 30, False)], ORDER),
        ([(0, 0, 50, False), (1, 50, 61, False)], AMOUNT),
        ([(0, 0, 50, True)], AMOUNT),
        ([(0, 0, 0, True)], AMOUNT),
    ],
    ids=[
        "datasn-skipped",
        "datasn-repeated",
        "datasn-minus-one",
        "gap",
        "overlap",
        "beyond",
        "short",
        "nothing",
    ],
)
def test_faults_of_a_solicited_sequence(
    pdus: list[tuple[int, int, int, bool]], fault: TaskFault
) -> None:
    case = Case()
    case.transfer.solicit(3, 60)
    assert case.fault_of(3, pdus) is fault


@pytest.mark.parametrize(
    "pieces",
    [[(0, 30), (20, 40)], [(20, 40), (0, 30)], [(0, 40), (10, 20)], [(10, 20), (0, 40)]],
    ids=str,
)
def test_overlapping_pieces_are_a_fault_in_any_order(pieces: list[tuple[int, int]]) -> None:
    """Otherwise the lengths could add up while part of the memory has nothing in it."""
    case = Case(in_order=False)
    case.transfer.solicit(0, 100)
    pdus = [(data_sn, *piece, False) for data_sn, piece in enumerate(pieces)]
    assert case.fault_of(0, pdus) is ORDER


@pytest.mark.parametrize("immediate", [0, 5])
def test_a_hole_in_unsolicited_data_is_a_fault(immediate: int) -> None:
    case = Case(unsolicited=True, in_order=False)
    case.transfer.put_immediate(memoryview(DATA)[:immediate])
    with pytest.raises(DataFault) as caught:
        case.put(RESERVED_TAG, 0, 10, 40, final=True)
    assert caught.value.fault is AMOUNT


def test_too_many_gaps_are_a_fault() -> None:
    case = Case(20_000, in_order=False)
    case.transfer.solicit(0, 20_000)
    data = memoryview(b"x")
    for data_sn in range(4096):
        case.transfer.put(0, data_sn, 4 * data_sn, data, final=False)
    with pytest.raises(DataFault) as caught:
        case.transfer.put(0, 4096, 4 * 4096, data, final=False)
    assert caught.value.fault is ORDER


def test_more_unsolicited_data_than_allowed() -> None:
    case = Case(unsolicited=True)
    with pytest.raises(DataFault) as caught:
        case.put(RESERVED_TAG, 0, 0, 41)
    assert caught.value.fault is AMOUNT


def test_unsolicited_data_that_was_not_announced() -> None:
    with pytest.raises(DataFault) as caught:
        Case().put(RESERVED_TAG, 0, 0, 10)
    assert caught.value.fault is UNEXPECTED


def test_a_tag_that_was_never_given_out() -> None:
    case = Case()
    case.transfer.solicit(3, 100)
    with pytest.raises(ProtocolError) as caught:
        case.put(4, 0, 0, 10)
    assert caught.value.reason is RejectReason.INVALID_PDU_FIELD


def test_a_sequence_ends_even_with_a_fault() -> None:
    case = Case()
    case.transfer.solicit(3, 60)
    with pytest.raises(DataFault):
        case.put(3, 7, 0, 10, final=True)
    assert not case.transfer.awaits_data


# Memory


def test_discarded_data_is_only_counted() -> None:
    case = Case(unsolicited=True)
    case.transfer.discard()
    assert case.released == 1
    # Only the end is checked now.
    case.put(RESERVED_TAG, 7, 90, 100)
    assert case.transfer.awaits_data
    case.put(RESERVED_TAG, 99, 0, 100, final=True)
    assert not case.transfer.awaits_data
    assert not case.transfer.can_solicit
    case.transfer.discard()
    assert case.released == 1
    assert not any(case.memory)


def test_skip_notes_the_end_only() -> None:
    case = Case()
    case.transfer.solicit(1, 50)
    case.transfer.skip(1, final=False)
    assert case.transfer.awaits_data
    case.transfer.skip(2, final=True)
    assert case.transfer.awaits_data
    case.transfer.skip(1, final=True)
    assert not case.transfer.awaits_data


def test_memory_stays_while_data_is_received_into_it() -> None:
    case = Case()
    case.transfer.solicit(1, 100)
    where = case.transfer.place(1, 40, 20)
    assert where is not None
    where[:] = DATA[40:60]
    case.transfer.discard()
    assert case.released == 0
    case.transfer.placed()
    assert case.released == 1
    assert case.memory[40:60] == DATA[40:60]


def test_directly_received_data_is_not_stored_again() -> None:
    case = Case()
    case.transfer.solicit(1, 100)
    where = case.transfer.place(1, 0, 100)
    assert where is not None
    where[:] = DATA
    case.transfer.placed()
    case.transfer.put(1, 0, 0, memoryview(bytes(100)), final=True, stored=True)
    assert case.memory == DATA
    assert case.transfer.is_complete
    case.transfer.discard()
    assert case.released == 1


@pytest.mark.parametrize(
    ("ttt", "offset", "length"),
    [(2, 0, 10), (RESERVED_TAG, 0, 10), (1, 45, 10), (1, 90, 20), (1, 0, 101)],
    ids=["other-tag", "unsolicited", "across-the-end", "outside", "too-long"],
)
def test_no_place_for_what_does_not_fit(ttt: int, offset: int, length: int) -> None:
    case = Case()
    case.transfer.solicit(1, 50)
    assert case.transfer.place(ttt, offset, length) is None


def test_no_place_beyond_what_the_command_needs() -> None:
    case = Case(20, unsolicited=True)
    assert case.transfer.place(RESERVED_TAG, 10, 20) is None
    case.transfer.discard()
    assert case.transfer.place(RESERVED_TAG, 0, 10) is None


def test_a_halted_transfer_asks_for_nothing_until_it_is_resumed() -> None:
    case = Case()
    case.transfer.halt()
    assert not case.transfer.can_solicit
    case.transfer.resume()
    assert case.transfer.can_solicit
