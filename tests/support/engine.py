"""The full-feature engine without a socket: bytes in, PDUs out, and a host that keeps accounts.

    engine = Engine()
    engine.feed(command(cdb=READ, expect=512))
    engine.host.finish(1, data=bytes(512))
    assert engine.out()[0]["status"] == 0

The tests' own codec decodes the output. ``engine.check_accounts()`` checks the invariant of a
connection: all memory is given back exactly once, and every command was ended exactly once by its
host and answered exactly once on the wire, unless the connection ended or the command was aborted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from scstfs.iscsi import pdu
from scstfs.iscsi.chunks import Chunks
from scstfs.iscsi.codes import RESERVED_TAG, PduOpcode, TaskResponse
from scstfs.iscsi.connection import Connection
from scstfs.iscsi.errors import ProtocolError
from scstfs.iscsi.host import TextNegotiation
from scstfs.iscsi.negotiate import SessionParameters
from scstfs.iscsi.receive import Receiver
from scstfs.iscsi.task import IscsiTask, ManagementFunction
from scstfs.iscsi.transfer import TaskFault
from scstfs.iscsi.transmit import Transmitter
from tests.support import iscsi_wire as wire
from tests.support.iscsi_wire import FINAL, NO_TAG, READ, WRITE, Pdu

GOOD, CHECK_CONDITION, BUSY = 0, 2, 8
STALE = 0xA5
"""Fresh memory has this value, which distinguishes it from data that was sent."""


class Memory:
    """Buffers handed out, and whether each came back exactly once."""

    def __init__(self) -> None:
        self.in_use = 0
        self.peak = 0
        self.taken = 0
        self.returned: Counter[int] = Counter()

    def take(self, size: int) -> tuple[memoryview, Callable[[], None]]:
        number = self.taken
        self.taken += 1
        self.in_use += size
        self.peak = max(self.peak, self.in_use)
        buffer = bytearray([STALE]) * size

        def give_back() -> None:
            self.returned[number] += 1
            self.in_use -= size
            # Code that still uses it will notice.
            buffer[:] = bytes([STALE ^ 0xFF]) * size

        return memoryview(buffer), give_back

    def check(self) -> None:
        assert set(self.returned.values()) <= {1}, "memory was given back twice"
        assert len(self.returned) == self.taken, "memory was never given back"
        assert self.in_use == 0


class Negotiation:
    """Text that is answered with itself."""

    def __init__(self, host: EngineHost) -> None:
        self._host = host

    def answer(self, text: bytes) -> bytes:
        self._host.texts.append(text)
        if self._host.text_fault is not None:
            raise self._host.text_fault
        return text if self._host.text_answer is None else self._host.text_answer

    def conclude(self) -> None:
        self._host.concluded += 1


class EngineHost:
    """Records its calls; tests decide when and how commands end."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.memory = Memory()
        #: Bytes of write data that a command needs; by default all that is expected.
        self.needs: Callable[[IscsiTask], int] = lambda task: task.expected if task.writes else 0
        #: Called for a new command; may end it at once.
        self.on_command: Callable[[IscsiTask], None] = lambda task: None
        #: Called when a command has its data; by default it stays open.
        self.on_complete: Callable[[IscsiTask], None] = lambda task: None
        #: Answers fast commands, if anything does.
        self.on_fast: Callable[[int, memoryview], bool] = lambda itt, data: False
        self.on_logout: Callable[[Callable[[], None]], None] = lambda done: done()
        self.on_function: Callable[[ManagementFunction], None] = lambda request: None
        self.begun: list[IscsiTask] = []
        #: Commands that can be executed, with their data.
        self.complete: list[tuple[IscsiTask, bytes]] = []
        self.faults: list[TaskFault] = []
        self.functions: list[ManagementFunction] = []
        self.texts: list[bytes] = []
        self.text_fault: ProtocolError | None = None
        self.text_answer: bytes | None = None
        self.concluded = 0
        self.logouts = 0
        self.out_of_memory = False
        self.fast_commands = 0
        self.ended: Counter[IscsiTask] = Counter()
        self.silent = 0

    # The host of the connection

    def fast(self, connection: Connection) -> None:
        """Offer ordinary commands to ``on_fast`` until it declines one."""
        window = connection.window
        while not (connection.rx.header_digest or connection.rx.data_digest):
            buffer, view, start, end = connection.rx.window()
            if end - start < pdu.BHS_LENGTH:
                return
            command = pdu.unpack_scsi_command(buffer, start)
            data_at = start + pdu.BHS_LENGTH
            behind = data_at + command.lengths + (-command.lengths & 3)
            due = window.exp_cmd_sn
            is_plain = command.opcode == PduOpcode.SCSI_COMMAND and not command.lengths >> 24
            if not is_plain or command.cmd_sn != due or behind > end:
                return
            window.advance((due + 1) & 0xFFFFFFFF, window.credit)
            if not self.on_fast(command.itt, view[data_at : data_at + command.lengths]):
                window.advance(due, window.credit)
                return
            connection.rx.consume(behind)
            self.fast_commands += 1

    def command(self, task: IscsiTask) -> int:
        task.owner = self
        self.begun.append(task)
        self.on_command(task)
        return self.needs(task)

    def data_complete(self, task: IscsiTask) -> None:
        assert task.owner is self, "data of a command that never came"
        data = b"" if task.transfer is None else bytes(task.transfer.buffer)
        self.complete.append((task, data))
        self.on_complete(task)

    def refuse(self, task: IscsiTask, fault: TaskFault) -> None:
        self.faults.append(fault)
        if task.owner is None:
            self.command(task)
        if self.ended[task]:
            return
        if fault is TaskFault.NO_MEMORY:
            self.end(task, BUSY)
        else:
            key, asc, ascq = fault.value
            sense = bytes((0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, asc, ascq, 0, 0, 0, 0))
            self.end(task, CHECK_CONDITION, sense=sense)

    def allocate(self, size: int) -> tuple[memoryview, Callable[[], None]]:
        if self.out_of_memory:
            raise MemoryError
        return self.memory.take(size)

    def task_management(self, function: ManagementFunction) -> None:
        self.functions.append(function)
        self.on_function(function)

    def negotiate(self) -> TextNegotiation:
        return Negotiation(self)

    def logout(self, done: Callable[[], None]) -> None:
        self.logouts += 1
        self.on_logout(done)

    # For tests

    def end(
        self, task: IscsiTask, status: int = GOOD, *, sense: bytes = b"", data: bytes | None = None
    ) -> None:
        """End a command with an answer; data comes from memory that must be given back."""
        self.ended[task] += 1
        release, view = None, None
        if data is not None:
            view, release = self.memory.take(len(data))
            view[:] = data
        residual = task.expected - len(data) if task.reads and data is not None else 0
        if view is not None:
            view = view[: task.expected]
        self._connection.tasks.answer(
            task, status, sense=sense, data=view, release=release, residual=residual
        )

    def end_silently(self, task: IscsiTask) -> None:
        self.ended[task] += 1
        self.silent += 1
        self._connection.tasks.end_silently(task)

    def finish(self, itt: int, status: int = GOOD, *, data: bytes | None = None) -> None:
        """End the open command with this tag."""
        self.end(self.open(itt), status, data=data)

    def open(self, itt: int) -> IscsiTask:
        return next(task for task in self.open_tasks if task.itt == itt)

    @property
    def open_tasks(self) -> list[IscsiTask]:
        return [task for task in self.begun if not self.ended[task]]

    def abort_all(self) -> None:
        """End all tasks, as every host does when the connection is gone."""
        for task in self.open_tasks:
            self.end_silently(task)

    @property
    def _connection(self) -> Connection:
        assert self.connection is not None
        return self.connection


class Engine:
    """A connection in full-feature phase with a host of the tests."""

    def __init__(
        self,
        parameters: SessionParameters | None = None,
        *,
        depth: int = 8,
        cmd_sn: int = 1,
        stat_sn: int = 100,
        discovery: bool = False,
        capacity: int = 256 * 1024,
    ) -> None:
        self.parameters = parameters or SessionParameters(
            initial_r2t=0,
            max_recv_data_segment_length=65536,
            max_outstanding_r2t=4,
            protocol_level=2,
        )
        self.host = EngineHost()
        self.rx = Receiver(self.parameters.max_recv_data_segment_length, Chunks(capacity))
        self.tx = Transmitter()
        for side in (self.rx, self.tx):
            side.header_digest = self.parameters.has_header_digest
            side.data_digest = self.parameters.has_data_digest
        self.connection = self.host.connection = Connection(
            self.host,
            self.parameters,
            cmd_sn=cmd_sn,
            stat_sn=stat_sn,
            queue_depth=depth,
            rx=self.rx,
            tx=self.tx,
            cid=7,
            discovery=discovery,
        )
        self.sent: list[Pdu] = []
        """All PDUs sent, in order."""
        self._raw = bytearray()
        self.dropped = False

    # In

    def encode(self, pdu: Pdu, *, spoil_header: bool = False, spoil_data: bool = False) -> bytes:
        """The bytes of a PDU, with the digests that were negotiated."""
        head = bytes(pdu.header) + pdu.ahs
        body = pdu.data + bytes(-len(pdu.data) % 4)
        if self.parameters.has_header_digest:
            head += _spoil(wire.crc32c(head), spoil_header)
        if self.parameters.has_data_digest and body:
            body += _spoil(wire.crc32c(body), spoil_data)
        return head + body

    def feed(self, *pdus: Pdu, cuts: Iterable[int] | None = None) -> None:
        """Let PDUs arrive; raises ProtocolError if the connection must be dropped."""
        self.feed_bytes(b"".join(map(self.encode, pdus)), cuts)

    def feed_bytes(self, data: bytes, cuts: Iterable[int] | None = None) -> None:
        """Let bytes arrive in pieces that end at ``cuts``; by default in as few as possible."""
        ends = [*(cuts or ()), len(data)]
        start = 0
        for end in ends:
            self._arrive(data[start:end])
            start = end

    def _arrive(self, data: bytes) -> None:
        self.process()
        while data:
            # As recvmsg does it: fill what there is, in order.
            count = 0
            for buffer in self.rx.buffers():
                part = data[count : count + len(buffer)]
                buffer[: len(part)] = part
                count += len(part)
            self.rx.received(count)
            data = data[count:]
            self.process()

    def process(self) -> None:
        """Process the arrived bytes, sending whenever much is waiting."""
        while not self.connection.process():
            before = self.tx.pending, self.connection.replies.reading
            self.send()
            if (self.tx.pending, self.connection.replies.reading) == before:
                raise AssertionError("the connection is stuck")

    # Out

    def send(self, most: int = 1 << 30) -> None:
        """Let bytes leave, at most ``most`` at a time."""
        while self.tx.pending:
            buffers = self.tx.buffers()
            data = b"".join(buffers)[:most]
            assert data, "something is pending but there is nothing to send"
            self._raw += data
            self.tx.sent(len(data))

    def send_once(self, most: int) -> None:
        """Let at most ``most`` bytes leave."""
        data = b"".join(self.tx.buffers())[:most]
        self._raw += data
        self.tx.sent(len(data))

    def out(self) -> list[Pdu]:
        """Send all and return the PDUs since the last call."""
        self.send()
        pdus = []
        while self._raw:
            pdu, length = self._decode(bytes(self._raw))
            del self._raw[:length]
            pdus.append(pdu)
        self.sent += pdus
        return pdus

    def one(self) -> Pdu:
        """The only PDU since the last call."""
        (pdu,) = self.out()
        return pdu

    def _decode(self, raw: bytes) -> tuple[Pdu, int]:
        at = 48
        assert raw[4] == 0, "targets send no additional headers"
        if self.parameters.has_header_digest:
            assert raw[48:52] == wire.crc32c(raw[:48])
            at = 52
        length = int.from_bytes(raw[5:8], "big")
        end = at + length + (-length % 4)
        body = raw[at:end]
        assert len(body) == end - at, "a PDU is cut short"
        if self.parameters.has_data_digest and length:
            assert raw[end : end + 4] == wire.crc32c(body)
            end += 4
        assert not any(body[length:]), "padding is not zero"
        return Pdu(raw[:48], body[:length]), end

    # The end

    def drop(self) -> None:
        """The connection ends, and the host ends its tasks."""
        self.dropped = True
        self.connection.drop()
        self.host.abort_all()

    def check_accounts(self) -> None:
        """End everything and check the invariant in the module's docstring."""
        host = self.host
        if not self.dropped:
            self.out()
        was_closing = self.connection.closing
        postponed = sum(
            task.postponed is not None for task in self.connection.tasks.by_tag.values()
        )
        self.drop()
        assert not self.connection.tasks.by_tag, "a command is left"
        assert set(host.ended.values()) <= {0, 1}, "a command ended twice"
        assert all(host.ended[task] for task in host.begun)
        host.memory.check()
        answers = [pdu for pdu in self.sent if _is_answer(pdu)]
        expected = host.fast_commands + len(host.begun) - host.silent
        assert len(answers) <= expected, "a command was answered twice"
        # Task management may drop answers that wait for data.
        if not was_closing and not postponed and not host.functions:
            assert len(answers) == expected, "a command was not answered"


def _is_answer(pdu: Pdu) -> bool:
    return pdu.opcode == wire.SCSI_RESPONSE or (pdu.opcode == wire.DATA_IN and bool(pdu.flags & 1))


def _spoil(digest: bytes, wrong: bool) -> bytes:
    return bytes([digest[0] ^ 1]) + digest[1:] if wrong else digest


# Requests, with numbers that each test chooses


def command(
    itt: int = 1,
    *,
    cmd_sn: int = 1,
    expect: int = 0,
    write: int = 0,
    data: bytes = b"",
    lun: int = 0,
    final: bool = True,
    immediate: bool = False,
    attribute: int = 1,
    ahs: bytes = b"",
    **fields: int | bytes,
) -> Pdu:
    """A SCSI command that reads ``expect`` or writes ``write`` bytes."""
    flags = attribute | (READ if expect else 0) | (WRITE if write else 0) | (FINAL if final else 0)
    values: dict[str, int | bytes] = {
        "flags": flags,
        "lun": _lun(lun),
        "itt": itt,
        "expected_length": expect or write,
        "cmd_sn": cmd_sn,
        "exp_stat_sn": 100,
        "cdb": bytes(16),
        **fields,
    }
    return Pdu.make(wire.SCSI_COMMAND, data=data, ahs=ahs, immediate=immediate, **values)


def data_out(
    itt: int = 1,
    data: bytes = b"",
    *,
    ttt: int = NO_TAG,
    offset: int = 0,
    data_sn: int = 0,
    final: bool = True,
    lun: int = 0,
) -> Pdu:
    return Pdu.make(
        wire.DATA_OUT,
        data=data,
        flags=FINAL if final else 0,
        lun=_lun(lun),
        itt=itt,
        ttt=ttt,
        data_sn=data_sn,
        buffer_offset=offset,
    )


def function(
    code: int,
    itt: int = 0x100,
    *,
    cmd_sn: int = 1,
    ref: int = RESERVED_TAG,
    ref_cmd_sn: int = 0,
    lun: int = 0,
    immediate: bool = True,
) -> Pdu:
    """A task management request."""
    return Pdu.make(
        wire.TASK_REQUEST,
        immediate=immediate,
        flags=FINAL | code,
        lun=_lun(lun),
        itt=itt,
        referenced_tag=ref,
        cmd_sn=cmd_sn,
        ref_cmd_sn=ref_cmd_sn,
    )


def nop_out(
    itt: int = 0x200,
    data: bytes = b"",
    *,
    ttt: int = NO_TAG,
    cmd_sn: int = 1,
    immediate: bool = True,
) -> Pdu:
    return Pdu.make(
        wire.NOP_OUT, data=data, immediate=immediate, flags=FINAL, itt=itt, ttt=ttt, cmd_sn=cmd_sn
    )


def text(
    data: bytes = b"",
    itt: int = 0x300,
    *,
    ttt: int = NO_TAG,
    flags: int = FINAL,
    cmd_sn: int = 1,
    immediate: bool = True,
) -> Pdu:
    return Pdu.make(
        wire.TEXT_REQUEST,
        data=data,
        immediate=immediate,
        flags=flags,
        itt=itt,
        ttt=ttt,
        cmd_sn=cmd_sn,
    )


def logout(
    reason: int = 0, itt: int = 0x400, *, cid: int = 7, cmd_sn: int = 1, immediate: bool = True
) -> Pdu:
    return Pdu.make(
        wire.LOGOUT_REQUEST,
        immediate=immediate,
        flags=FINAL | reason,
        itt=itt,
        cid=cid,
        cmd_sn=cmd_sn,
    )


def complete(request: ManagementFunction, connection: Connection) -> None:
    """Answer a task management request: done."""
    connection.functions.answer(request.itt, TaskResponse.FUNCTION_COMPLETE)


def _lun(number: int) -> bytes:
    return number.to_bytes(2, "big") + bytes(6)
