"""A load generator: keeps a number of READs or WRITEs of one size outstanding and counts them.

iscsi-perf only reads and has no data digests. Here the commands of a batch go out in one
sendmsg(2), their data is prepared beforehand, and received data is skipped, so that the client is
not the limit. The part of the time in which it was busy is reported, and should stay well below 1.

The benchmarks run it in a separate process: `python -m bench.load HOST PORT TARGET LUN ...`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import struct
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from bench.initiator import (
    COMMAND,
    DATA_IN,
    DATA_OUT,
    DATA_OUT_HEADER,
    FINAL,
    IMMEDIATE,
    NO_TAG,
    NOP_IN,
    NOP_OUT,
    NOP_OUT_HEADER,
    R2T,
    SCSI_COMMAND,
    SCSI_RESPONSE,
    SEQUENCE,
    SEQUENCE_AT,
    Session,
    TargetError,
)

_READ_16: Final = 0x88
_WRITE_16: Final = 0x8A
_CDB_16: Final = struct.Struct(">BBQIBB")
_SIMPLE: Final = 1
_READS: Final = 0x40
_WRITES: Final = 0x20

_TAGS: Final = struct.Struct(">II")  # initiator's and target's, at byte 16
_R2T_RANGE: Final = struct.Struct(">II")  # buffer offset and length, at byte 40 (RFC 7143 11.8)

_BUFFER_BYTES: Final = 4 << 20
_RANDOM_POSITIONS: Final = 1 << 16
#: Which commands of ten write in a mix.
_MIX: Final = (False, False, True, False, False, True, False, False, True, False)


@dataclass(frozen=True, slots=True)
class Load:
    """The load; `size` in bytes, a multiple of the block size."""

    write: bool
    size: int
    depth: int
    at_random: bool
    seconds: float
    #: Seven of ten commands read, and ``write`` says nothing.
    mixed: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The result. `busy` is the part of the time in which the client used a CPU.

    `median` and `slowest` are how long a command took (seconds) and within what time 99 of 100 were
    answered; they are measured if one command at a time is outstanding, else 0.
    """

    operations: int
    seconds: float
    busy: float
    median: float = 0.0
    slowest: float = 0.0


def positions(blocks: int, step: int, at_random: bool) -> Iterator[int]:
    """Yield for ever the block numbers at which transfers of `step` blocks start."""
    if not at_random:
        return itertools.cycle(range(0, blocks - step + 1, step))
    dice = random.Random(blocks)
    return itertools.cycle([dice.randrange(blocks - step + 1) for _ in range(_RANDOM_POSITIONS)])


def percentiles(latencies: Sequence[float]) -> tuple[float, float]:
    """Return the 50th and the 99th percentile; 0 without values."""
    if not latencies:
        return 0.0, 0.0
    ranked = sorted(latencies)
    return ranked[len(ranked) // 2], ranked[len(ranked) * 99 // 100]


class Run:
    """One run of a load on a session."""

    def __init__(self, session: Session, load: Load) -> None:
        """Prepare everything that is the same for all commands."""
        self._session = session
        self._load = load
        self._blocks = load.size // session.block_size
        self._positions = positions(session.blocks, self._blocks, load.at_random)
        self._writes = itertools.cycle(_MIX if load.mixed else (load.write,))
        self._free = deque(range(load.depth))
        self._outgoing: list[bytes | memoryview] = []
        self._done = 0
        self._latencies: list[float] = []
        self._data = memoryview(os.urandom(load.size))
        self._segments: dict[tuple[int, int], list[bytes | memoryview]] = {}

        # Of a WRITE: what comes with the command, and what comes without being asked for.
        burst = min(load.size, session.first_burst)
        self._immediate = min(burst, session.segment) if session.immediate else 0
        self._unsolicited = burst if session.unsolicited else self._immediate
        is_final = self._unsolicited == self._immediate
        self._write_flags = _WRITES | _SIMPLE | (FINAL if is_final else 0)

    def go(self) -> Result:
        """Run the load."""
        session = self._session
        buffer = bytearray(_BUFFER_BYTES)
        view = memoryview(buffer)
        have = skip = 0
        started, busy = time.perf_counter(), time.process_time()
        deadline = started + self._load.seconds
        alone = self._load.depth == 1
        now = sent = started
        while True:
            if now < deadline and self._start_commands() and alone:
                sent = time.perf_counter()
            if self._outgoing:
                session.send(self._outgoing)
                self._outgoing.clear()
            if len(self._free) == self._load.depth and not skip:
                break
            received = session.socket.recv_into(view[have:])
            if not received:
                raise TargetError("the target closed the connection")
            now = time.perf_counter()
            end = have + received
            done = self._done
            used, skip = self._take(buffer, end, skip)
            if alone and self._done > done:
                self._latencies.append(now - sent)
            have = end - used
            view[:have] = view[used:end]
        seconds = now - started
        median, slowest = percentiles(self._latencies)
        busy = (time.process_time() - busy) / seconds
        return Result(self._done, seconds, busy, median, slowest)

    def _start_commands(self) -> int:
        """Issue commands while there are free tags and the target's window is open; return how
        many.
        """
        session = self._session
        count = min(len(self._free), (session.max_cmd_sn - session.cmd_sn + 1) & 0xFFFFFFFF)
        for _ in range(count):
            tag = self._free.popleft()
            position = next(self._positions)
            writes = next(self._writes)
            opcode = _WRITE_16 if writes else _READ_16
            cdb = _CDB_16.pack(opcode, 0, position, self._blocks, 0, 0)
            immediate = self._immediate if writes else 0
            header = COMMAND.pack(
                SCSI_COMMAND,
                self._write_flags if writes else _READS | _SIMPLE | FINAL,
                immediate,
                session.lun,
                tag,
                self._load.size,
                session.cmd_sn,
                session.exp_stat_sn,
                cdb,
            )
            session.cmd_sn = session.cmd_sn + 1 & 0xFFFFFFFF
            self._outgoing.append(session.with_digest(header) if session.digests else header)
            if immediate:
                self._outgoing += self._segment(0, immediate)
            if writes and self._unsolicited > immediate:
                self._send_data(tag, NO_TAG, immediate, self._unsolicited)
        return count

    def _segment(self, offset: int, length: int) -> list[bytes | memoryview]:
        """Return the buffers of a data segment, with its digest; computed only once."""
        found = self._segments.get((offset, length))
        if found is None:
            data = self._data[offset : offset + length]
            found = [data, self._session.digest(data)] if self._session.digests else [data]
            self._segments[offset, length] = found
        return found

    def _send_data(self, tag: int, target_tag: int, offset: int, end: int) -> None:
        """Queue one sequence of Data-Out PDUs."""
        session = self._session
        for number in itertools.count():
            length = min(session.segment, end - offset)
            header = DATA_OUT_HEADER.pack(
                DATA_OUT,
                FINAL if offset + length == end else 0,
                length,
                session.lun,
                tag,
                target_tag,
                session.exp_stat_sn,
                number,
                offset,
            )
            self._outgoing.append(session.with_digest(header))
            self._outgoing += self._segment(offset, length)
            offset += length
            if offset == end:
                return

    def _take(self, buffer: bytearray, end: int, skip: int) -> tuple[int, int]:
        """Handle the PDUs in `buffer` up to `end`, after `skip` bytes of data.

        Returns: How many bytes were used, and how many of the following bytes are only data.
        """
        session = self._session
        header_bytes, digest_bytes = session.header_bytes, 4 * session.digests
        at = skip
        while at + header_bytes <= end:
            opcode = buffer[at]
            length = buffer[at + 5] << 16 | buffer[at + 6] << 8 | buffer[at + 7]
            if opcode == SCSI_RESPONSE or (opcode == DATA_IN and buffer[at + 1] & 1):
                if buffer[at + 3]:
                    raise TargetError(f"status {buffer[at + 3]:#x}")
                self._free.append(int.from_bytes(buffer[at + 16 : at + 20]))
                self._done += 1
                stat_sn, _, session.max_cmd_sn = SEQUENCE.unpack_from(buffer, at + SEQUENCE_AT)
                session.exp_stat_sn = stat_sn + 1 & 0xFFFFFFFF
            elif opcode != DATA_IN:
                self._take_other(opcode, buffer, at)
            at += header_bytes
            if length:
                at += (length + 3 & ~3) + digest_bytes
        return (at, 0) if at <= end else (end, at - end)

    def _take_other(self, opcode: int, buffer: bytearray, at: int) -> None:
        """Handle a PDU that does not complete a command."""
        session = self._session
        tag, target_tag = _TAGS.unpack_from(buffer, at + 16)
        _, _, session.max_cmd_sn = SEQUENCE.unpack_from(buffer, at + SEQUENCE_AT)
        if opcode == R2T:
            offset, length = _R2T_RANGE.unpack_from(buffer, at + 40)
            self._send_data(tag, target_tag, offset, offset + length)
        elif opcode == NOP_IN:
            if target_tag != NO_TAG:
                header = NOP_OUT_HEADER.pack(
                    *(NOP_OUT | IMMEDIATE, FINAL, bytes(buffer[at + 8 : at + 16])),
                    *(NO_TAG, target_tag, session.cmd_sn, session.exp_stat_sn),
                )
                self._outgoing.append(session.with_digest(header))
        else:
            raise TargetError(f"unexpected PDU, opcode {opcode:#x}")


def main() -> None:
    """Run one load and print the result as JSON."""
    parser = argparse.ArgumentParser(prog="bench.load")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("target")
    parser.add_argument("lun", type=int)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--random", action="store_true")
    parser.add_argument("--mixed", action="store_true")
    parser.add_argument("--digests", action="store_true")
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--depth", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2)
    given = parser.parse_args()
    session = Session((given.host, given.port), given.target, given.lun, given.digests)
    load = Load(given.write, given.size, given.depth, given.random, given.seconds, given.mixed)
    result = Run(session, load).go()
    session.close()
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
