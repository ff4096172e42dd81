"""The load generator against a target in memory that cuts its answers anywhere."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import crc32c
import pytest

from bench import load
from bench.initiator import Session, TargetError
from bench.load import Load, Run, positions

BLOCK = 4096
HEADER = 48


class MemoryTarget:
    """A socket with a target behind it: answers every command at once, in pieces of any size."""

    def __init__(self, pieces: Sequence[int], digests: bool, window: int, status: int = 0) -> None:
        self._pieces = itertools.cycle(pieces)
        self._digests = digests
        self._window = window
        self._status = status
        self._input = b""
        self._output = b""
        self._wanted: dict[int, int] = {}
        self.written: dict[int, dict[int, bytes]] = {}
        self.stat_sn = itertools.count(7)
        self.exp_cmd_sn = 1
        self.outstanding = self.most_outstanding = 0

    # --- What a session uses of a socket ---

    def sendmsg(self, buffers: Sequence[memoryview]) -> int:
        data = b"".join(buffers)
        sent = max(1, len(data) // 2) if len(data) > 100 else len(data)
        self._input += data[:sent]
        while self._take_pdu():
            pass
        return sent

    def recv_into(self, view: memoryview) -> int:
        assert self._output, "the client waits for ever"
        piece = self._output[: min(next(self._pieces), len(view))]
        self._output = self._output[len(piece) :]
        view[: len(piece)] = piece
        return len(piece)

    # --- The target ---

    def _take_pdu(self) -> bool:
        header_bytes = HEADER + 4 * self._digests
        if len(self._input) < header_bytes:
            return False
        bhs = self._input[:HEADER]
        length = int.from_bytes(bhs[5:8])
        end = header_bytes + (length + 4 * self._digests if length else 0)
        if len(self._input) < end:
            return False
        data = self._input[header_bytes : header_bytes + length]
        if self._digests:
            self._check(bhs, self._input[HEADER:header_bytes])
            if length:
                self._check(data, self._input[end - 4 : end])
        self._input = self._input[end:]
        {0x01: self._command, 0x05: self._data_out}[bhs[0]](bhs, data)
        return True

    @staticmethod
    def _check(data: bytes, digest: bytes) -> None:
        assert crc32c.crc32c(data).to_bytes(4, "little") == digest

    def _command(self, bhs: bytes, data: bytes) -> None:
        tag, expected, cmd_sn = struct.unpack_from(">III", bhs, 16)
        assert cmd_sn == self.exp_cmd_sn
        assert tag not in self._wanted
        self.exp_cmd_sn += 1
        self.outstanding += 1
        self.most_outstanding = max(self.outstanding, self.most_outstanding)
        self._wanted[tag] = expected
        if bhs[1] & 0x20:
            self.written[tag] = {0: data} if data else {}
            if bhs[1] & 0x80:
                self._ask_or_answer(tag)
        else:
            half = expected // 2
            self._answer(0x25, 0x00, 0, tag, bytes(half))
            self._finish(0x25, 0x81, tag, bytes(expected - half))

    def _data_out(self, bhs: bytes, data: bytes) -> None:
        (tag,) = struct.unpack_from(">I", bhs, 16)
        (offset,) = struct.unpack_from(">I", bhs, 40)
        assert offset not in self.written[tag]
        self.written[tag][offset] = data
        if bhs[1] & 0x80:
            self._ask_or_answer(tag)

    def _ask_or_answer(self, tag: int) -> None:
        have = sum(map(len, self.written[tag].values()))
        if have < self._wanted[tag]:
            length = min(8192, self._wanted[tag] - have)
            self._answer(0x31, 0x80, 0, tag, b"", struct.pack(">II", have, length))
        else:
            self._finish(0x21, 0x80, tag, b"")

    def _finish(self, opcode: int, flags: int, tag: int, data: bytes) -> None:
        self.outstanding -= 1
        del self._wanted[tag]
        self._answer(opcode, flags, self._status, tag, data)

    def _answer(
        self, opcode: int, flags: int, status: int, tag: int, data: bytes, tail: bytes = bytes(8)
    ) -> None:
        window = self.exp_cmd_sn + self._window - 1
        header = struct.pack(
            ">BBBBI8sIIIIII",
            *(opcode, flags, 0, status, len(data), bytes(8), tag, 0xFFFFFFFF),
            *(next(self.stat_sn), self.exp_cmd_sn, window, 0),
        )
        for part in (header + tail, data):
            self._output += part
            if part and self._digests:
                self._output += crc32c.crc32c(part).to_bytes(4, "little")


def session_with(
    target: MemoryTarget, digests: bool = False, *, immediate: bool = True, unsolicited: bool = True
) -> Session:
    """A session that is logged in."""
    session = object.__new__(Session)
    session.socket = cast("object", target)  # type: ignore[assignment]
    session.lun = bytes(8)
    session.cmd_sn = session.max_cmd_sn = 1
    session.exp_stat_sn = 7
    session.digests = digests
    session.segment = 4096
    session.first_burst = 8192
    session.immediate = immediate
    session.unsolicited = unsolicited
    session.blocks, session.block_size = 100, BLOCK
    return session


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes by one second at each look, so a run takes as many turns as seconds."""
    clock = itertools.count(1.0)
    fake = SimpleNamespace(perf_counter=lambda: next(clock), process_time=lambda: 0.0)
    monkeypatch.setattr(load, "time", fake)


PIECES = {"whole": [1 << 20], "bytes": [1], "odd": [47, 1, 49, 4096, 3]}


@pytest.mark.usefixtures("_short")
@pytest.mark.parametrize("digests", [False, True], ids=["plain", "digests"])
@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES.keys())
def test_reads_are_counted_however_the_answers_are_cut(pieces: list[int], digests: bool) -> None:
    target = MemoryTarget(pieces, digests, window=64)
    session = session_with(target, digests)
    result = Run(session, Load(False, BLOCK, 4, True, seconds=20)).go()
    assert result.operations == target.exp_cmd_sn - 1 > 0
    assert target.outstanding == 0
    assert target._output == b""
    assert session.exp_stat_sn == next(target.stat_sn)


@pytest.mark.usefixtures("_short")
@pytest.mark.parametrize("digests", [False, True], ids=["plain", "digests"])
@pytest.mark.parametrize("immediate", [False, True], ids=["not immediate", "immediate"])
@pytest.mark.parametrize("unsolicited", [False, True], ids=["solicited", "unsolicited"])
def test_writes_deliver_all_their_data(digests: bool, immediate: bool, unsolicited: bool) -> None:
    target = MemoryTarget([100], digests, window=64)
    session = session_with(target, digests, immediate=immediate, unsolicited=unsolicited)
    run = Run(session, Load(True, 6 * BLOCK, 2, False, seconds=3))
    result = run.go()
    assert result.operations == target.exp_cmd_sn - 1 > 0
    for parts in target.written.values():
        data = b"".join(data for _, data in sorted(parts.items()))
        assert data == bytes(run._data)


@pytest.mark.parametrize(
    ("depth", "window", "most"), [(4, 64, 4), (32, 8, 8)], ids=["depth", "window"]
)
def test_what_is_outstanding_is_bounded(depth: int, window: int, most: int) -> None:
    session = session_with(MemoryTarget([1], False, window))
    session.max_cmd_sn = window
    run = Run(session, Load(False, BLOCK, depth, False, seconds=1))
    run._start_commands()
    run._start_commands()
    assert len(run._outgoing) == most


@pytest.mark.usefixtures("_short")
def test_an_error_of_the_target_is_not_counted() -> None:
    target = MemoryTarget([1 << 20], False, window=64, status=2)
    with pytest.raises(TargetError, match="0x2"):
        Run(session_with(target), Load(False, BLOCK, 1, False, seconds=1)).go()


def test_positions_stay_on_the_disk_and_go_on_for_ever() -> None:
    assert list(itertools.islice(positions(10, 4, at_random=False), 5)) == [0, 4, 0, 4, 0]
    found = set(itertools.islice(positions(10, 4, at_random=True), 200))
    assert found == set(range(7))
