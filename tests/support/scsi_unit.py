"""A simulated SCSI device behind a node, for `scstfs.sgutils.sg_pt.execute`.

It behaves like one with a single initiator: unit attentions are reported once, by any command but
INQUIRY, REPORT LUNS and REQUEST SENSE, which has them as data; a RESERVE is remembered; data has
the length in the CDB.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from scstfs.handlers.device_node import DeviceNode
from scstfs.scsi.sense import NO_SENSE, Sense, SenseKey
from scstfs.sgutils.sg_pt import PassThroughResult

GOOD, CHECK_CONDITION = 0x00, 0x02
BLOCK = 512

ILLEGAL = Sense(SenseKey.ILLEGAL_REQUEST, 0x20)
MEDIUM_CHANGED = Sense(SenseKey.UNIT_ATTENTION, 0x28)

#: Device identification: a name of the unit, relative target port 9, target port group 7.
IDENTIFICATION = bytes.fromhex(
    "0083 0020 01030008 5000c50015ea71aa 01140004 00000009 01150004 00000007"
)


@dataclass(frozen=True)
class Seen:
    """A command as it arrived."""

    cdb: bytes
    data: bytes
    timeout: int


Answer = tuple[int, bytes, bytes]


@dataclass
class FakeUnit:
    """See the module's text."""

    kind: int = 0
    block: int = BLOCK
    blocks: int = 2048
    #: Most data of one command (bytes), as the node reports.
    limit: int = 0
    control_page: bytes = bytes.fromhex("0a0a 0010 0000 0000 0000 0000")
    mode_block: int = 0
    seen: list[Seen] = field(default_factory=list)
    #: Reported first of all.
    unit_attentions: list[Sense] = field(default_factory=list)
    #: Results of the next commands with an operation code, instead of their effect.
    scripted: dict[int, list[Answer | Exception]] = field(default_factory=dict)
    #: Called when a command with an operation code has ended.
    after: dict[int, Callable[[bytes, bytes], None]] = field(default_factory=dict)
    #: Operation codes that wait until ``released``.
    held: set[int] = field(default_factory=set)
    reserved: bool = False

    def __post_init__(self) -> None:
        self.data = bytearray(self.block * self.blocks)
        self.released = threading.Event()
        #: Released by every command, and by every one that begins to wait.
        self.arrived, self.waiting = threading.Semaphore(0), threading.Semaphore(0)
        #: Every time that it was opened.
        self.nodes: list[DeviceNode] = []

    # As a device node

    def opener(self, _address: str) -> DeviceNode:
        """Open it."""
        self.nodes.append(DeviceNode(os.open("/dev/null", os.O_RDWR), self.limit, self.run))
        return self.nodes[-1]

    @property
    def open(self) -> int:
        """How often it was opened."""
        return len(self.nodes)

    def run(
        self,
        fd: int,
        cdb: bytes,
        data_out: bytes | bytearray | memoryview = b"",
        *,
        data_in: bytearray | memoryview | None = None,
        timeout: int = 60,
    ) -> PassThroughResult:
        """Replaces `scstfs.sgutils.sg_pt.execute`."""
        os.fstat(fd)
        self.seen.append(Seen(bytes(cdb), bytes(data_out), timeout))
        self.arrived.release()
        if cdb[0] in self.held:
            self.waiting.release()
            assert self.released.wait(20)
        status, sense, data = self._answer(bytes(cdb), bytes(data_out))
        also = self.after.get(cdb[0])
        if also is not None:
            also(bytes(cdb), bytes(data_out))
        received = 0
        if data_in is not None:
            received = min(len(data), len(data_in))
            data_in[:received] = data[:received]
        return PassThroughResult(status, sense, received)

    def commands(self, code: int) -> list[Seen]:
        """The commands with an operation code that came."""
        return [seen for seen in self.seen if seen.cdb[0] == code]

    def script(self, code: int, *answers: Answer | Exception) -> None:
        """Set the results of the next commands with an operation code."""
        self.scripted.setdefault(code, []).extend(answers)

    # As a device

    def _answer(self, cdb: bytes, data: bytes) -> Answer:
        scripted = self.scripted.get(cdb[0])
        if scripted:
            answer = scripted.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        if self.unit_attentions and cdb[0] not in (0x12, 0xA0):
            condition = self.unit_attentions.pop(0)
            if cdb[0] == 0x03:
                return GOOD, b"", condition.encode()
            return failed(condition)
        handler = _HANDLERS.get(cdb[0])
        return failed(ILLEGAL) if handler is None else handler(self, cdb, data)

    def _good(self, cdb: bytes, data: bytes) -> Answer:
        return GOOD, b"", b""

    def _request_sense(self, cdb: bytes, data: bytes) -> Answer:
        return GOOD, b"", NO_SENSE.encode()

    def _inquiry(self, cdb: bytes, data: bytes) -> Answer:
        room = int.from_bytes(cdb[3:5], "big")
        if not cdb[1] & 1:
            page = bytes((self.kind, 0, 6, 2, 31, 0, 0, 2)) + b"Linux   scsi_debug      0191"
        elif cdb[2] == 0x83:
            page = bytes((self.kind,)) + IDENTIFICATION[1:]
        else:
            return failed(Sense(SenseKey.ILLEGAL_REQUEST, 0x24))
        return GOOD, b"", page[:room]

    def _read_capacity(self, cdb: bytes, data: bytes) -> Answer:
        last, size = (self.blocks - 1).to_bytes(4, "big"), self.block.to_bytes(4, "big")
        return GOOD, b"", last + size

    def _read_capacity_16(self, cdb: bytes, data: bytes) -> Answer:
        last, size = (self.blocks - 1).to_bytes(8, "big"), self.block.to_bytes(4, "big")
        return GOOD, b"", (last + size).ljust(32, b"\0")[: int.from_bytes(cdb[10:14], "big")]

    def _mode_sense(self, cdb: bytes, data: bytes) -> Answer:
        page = self.control_page if cdb[2] & 0x3F == 0x0A else b""
        size = self.mode_block.to_bytes(3, "big")
        descriptor = b"" if cdb[1] & 8 or not self.mode_block else bytes(5) + size
        body = descriptor + page
        return GOOD, b"", (bytes((3 + len(body), 0, 0, len(descriptor))) + body)[: cdb[4]]

    def _mode_sense_10(self, cdb: bytes, data: bytes) -> Answer:
        page = self.control_page
        return GOOD, b"", bytes((0, 6 + len(page))) + bytes(6) + page

    def _mode_select(self, cdb: bytes, data: bytes) -> Answer:
        rest = data[4 + data[3] :]
        if rest:
            self.control_page = rest
        return GOOD, b"", b""

    def _reserve(self, cdb: bytes, data: bytes) -> Answer:
        self.reserved = cdb[0] in (0x16, 0x56)
        return GOOD, b"", b""

    def _extent(self, cdb: bytes) -> slice:
        if cdb[0] & 0xE0 == 0:
            lba, count = int.from_bytes(cdb[1:4], "big") & 0x1FFFFF, cdb[4] or 256
        elif cdb[0] & 0xE0 == 0x80:
            lba, count = int.from_bytes(cdb[2:10], "big"), int.from_bytes(cdb[10:14], "big")
        else:
            lba, count = int.from_bytes(cdb[2:6], "big"), int.from_bytes(cdb[7:9], "big")
        return slice(lba * self.block, (lba + count) * self.block)

    def _read(self, cdb: bytes, data: bytes) -> Answer:
        where = self._extent(cdb)
        if where.stop > len(self.data):
            return failed(Sense(SenseKey.ILLEGAL_REQUEST, 0x21))
        return GOOD, b"", bytes(self.data[where])

    def _write(self, cdb: bytes, data: bytes) -> Answer:
        where = self._extent(cdb)
        if where.stop > len(self.data):
            return failed(Sense(SenseKey.ILLEGAL_REQUEST, 0x21))
        assert len(data) == where.stop - where.start
        self.data[where] = data
        return GOOD, b"", b""


def failed(condition: Sense) -> Answer:
    """CHECK CONDITION."""
    return CHECK_CONDITION, condition.encode(), b""


_HANDLERS: dict[int, Callable[[FakeUnit, bytes, bytes], Answer]] = {
    0x00: FakeUnit._good,
    0x01: FakeUnit._good,
    0x03: FakeUnit._request_sense,
    0x08: FakeUnit._read,
    0x0A: FakeUnit._write,
    0x12: FakeUnit._inquiry,
    0x15: FakeUnit._mode_select,
    0x16: FakeUnit._reserve,
    0x17: FakeUnit._reserve,
    0x1A: FakeUnit._mode_sense,
    0x25: FakeUnit._read_capacity,
    0x28: FakeUnit._read,
    0x2A: FakeUnit._write,
    0x34: FakeUnit._good,
    0x4C: FakeUnit._good,
    0x56: FakeUnit._reserve,
    0x57: FakeUnit._reserve,
    0x5A: FakeUnit._mode_sense_10,
    0x88: FakeUnit._read,
    0x8A: FakeUnit._write,
    0x9E: FakeUnit._read_capacity_16,
}
