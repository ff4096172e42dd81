"""The full-feature engine: PDU parser, connection, and a host that does anything a host may do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from fuzz.source import Source
from scstfs.iscsi.codes import TaskResponse
from scstfs.iscsi.errors import ProtocolError
from scstfs.iscsi.keys import Digest
from scstfs.iscsi.negotiate import SessionParameters
from scstfs.iscsi.task import IscsiTask
from scstfs.iscsi.watchdog import Limits, Watchdog
from tests.support import engine as requests
from tests.support import iscsi_wire as wire
from tests.support.engine import CHECK_CONDITION, Engine
from tests.support.iscsi_wire import CONTINUE, FINAL, NO_TAG, READ, WRITE, Pdu

_LENGTHS: Final = (512, 1024, 4096, 16384)
_STEPS: Final = 400
_LIMITS: Final = Limits(nop_in_interval=5, nop_in_timeout=5, rsp_timeout=20)
_DATA: Final = bytes(range(256)) * 128


class Script:
    """The events of one connection."""

    def __init__(self, source: Source) -> None:
        self.source = source
        digests = (Digest.NONE, Digest.CRC32C)
        self.engine = engine = Engine(
            SessionParameters(
                initial_r2t=source.byte() & 1,
                immediate_data=source.byte() & 1,
                max_recv_data_segment_length=source.choose((512, 4096, 32768)),
                max_xmit_data_segment_length=source.choose(_LENGTHS),
                max_burst_length=source.choose(_LENGTHS),
                first_burst_length=source.choose(_LENGTHS),
                max_outstanding_r2t=1 + source.byte() % 4,
                data_pdu_in_order=source.byte() & 1,
                header_digest=source.choose(digests),
                data_digest=source.choose(digests),
            ),
            depth=1 + source.byte() % 8,
            cmd_sn=source.choose((0, 1, 0x7FFFFFFE, 0xFFFFFFFD)),
            stat_sn=source.choose((0, 0xFFFFFFFE)),
            discovery=source.byte() > 240,
            capacity=source.choose((2048, 20_000, 1 << 18)),
        )
        self.cmd_sn = engine.connection.window.exp_cmd_sn
        self.now = 0.0
        self.watchdog = Watchdog(engine.connection, self.now)
        self.r2ts: list[Pdu] = []
        self.exp_cmd_sn = engine.connection.window.exp_cmd_sn
        self.max_cmd_sn = engine.connection.window.max_cmd_sn
        host = engine.host
        host.on_command = self.begin
        host.on_complete = self.execute
        host.needs = self.needs

    # The host

    def begin(self, task: IscsiTask) -> None:
        """A host may refuse a command at once."""
        if self.source.byte() > 230:
            self.engine.host.end(task, CHECK_CONDITION, sense=bytes(18))

    def needs(self, task: IscsiTask) -> int:
        """It may need less or more than is expected, and data of commands that have none."""
        expected = min(task.expected, 1 << 16)
        return self.source.choose((expected, expected, 0, 100, 1 << 16))

    def execute(self, task: IscsiTask) -> None:
        """It may execute a command at once."""
        if self.source.byte() > 128:
            self.end(task)

    def end(self, task: IscsiTask) -> None:
        """It may send more or less than is expected."""
        source = self.source
        length = source.choose((0, 1, task.expected, task.expected + 1, 100))
        data = _DATA[: length % 20_000] if task.reads and length else None
        status = source.choose((0, 0, CHECK_CONDITION))
        self.engine.host.end(task, status, data=data, sense=bytes(18) if status else b"")

    # PDUs of an initiator

    def tag(self) -> int:
        """Few tags, so that they collide."""
        return self.source.odd(self.source.byte() % 12)

    def next_cmd_sn(self, immediate: bool) -> int:
        """The next number, or another."""
        number = self.source.odd(self.cmd_sn)
        if number == self.cmd_sn and not immediate:
            self.cmd_sn = (self.cmd_sn + 1) & 0xFFFFFFFF
        return number

    def payload(self) -> bytes:
        """Data of any length, mostly short."""
        return _DATA[: self.source.choose((0, 1, 3, 4, 100, 512, 513, 1024, 4096, 20_000))]

    def command(self) -> Pdu:
        """A SCSI command."""
        source = self.source
        immediate = source.byte() > 200
        kind = source.choose((READ, WRITE, WRITE, 0, READ | WRITE))
        data = self.payload() if kind & WRITE and source.flag() else b""
        final = FINAL if source.byte() < 160 else 0
        return requests.command(
            self.tag(),
            cmd_sn=self.next_cmd_sn(immediate),
            data=data,
            lun=source.byte() % 3,
            immediate=immediate,
            ahs=source.choose((b"", b"", b"", bytes.fromhex("0005010011223344"))),
            flags=kind | final | source.odd(1, 3),
            expected_length=source.odd(source.choose((0, len(data), 512, 5000, 30_000))),
        )

    def data_out(self) -> Pdu:
        """Data of a task, or of none."""
        source = self.source
        return requests.data_out(
            self.tag(),
            self.payload(),
            ttt=source.choose((NO_TAG, NO_TAG, source.byte() % 20)),
            offset=source.choose((0, 1, 100, 512, source.number(1 << 17))),
            data_sn=source.odd(source.byte() % 3),
            final=source.flag(),
            lun=source.byte() % 3,
        )

    def function(self) -> Pdu:
        """Task management."""
        source = self.source
        immediate = source.flag()
        return requests.function(
            source.odd(1 + source.byte() % 12, 7),
            self.tag(),
            cmd_sn=self.next_cmd_sn(immediate),
            ref=source.choose((NO_TAG, self.tag())),
            ref_cmd_sn=source.odd(self.cmd_sn - source.byte() % 4 & 0xFFFFFFFF),
            lun=source.byte() % 3,
            immediate=immediate,
        )

    def nop_out(self) -> Pdu:
        """A ping, or the answer to one."""
        source = self.source
        immediate = source.byte() < 200
        ttt = source.choose((NO_TAG, self.engine.connection.ping or 0))
        itt = source.choose((NO_TAG, self.tag(), self.tag()))
        return requests.nop_out(
            itt, self.payload(), ttt=ttt, cmd_sn=self.next_cmd_sn(immediate), immediate=immediate
        )

    def text(self) -> Pdu:
        """Text."""
        source = self.source
        immediate = source.flag()
        return requests.text(
            self.payload(),
            self.tag(),
            ttt=source.choose((NO_TAG, 0, 1)),
            flags=source.choose((FINAL, 0, CONTINUE, FINAL | CONTINUE)),
            cmd_sn=self.next_cmd_sn(immediate),
            immediate=immediate,
        )

    def logout(self) -> Pdu:
        """A logout that may fail."""
        source = self.source
        immediate = source.flag()
        return requests.logout(
            source.choose((9, 2, 1, 0)),
            self.tag(),
            cid=source.choose((8, 7)),
            cmd_sn=self.next_cmd_sn(immediate),
            immediate=immediate,
        )

    def anything(self) -> Pdu:
        """48 bytes."""
        source = self.source
        header = source.take(48).ljust(48, b"\0")
        pdu = Pdu(header, self.payload() if source.flag() else b"")
        if source.flag():
            pdu["data_length"] = len(pdu.data)
            pdu["ahs_length"] = 0
        return pdu

    # Events

    def send_pdu(self) -> None:
        """A PDU arrives, maybe in two parts, maybe with a fault."""
        source = self.source
        pdu = source.choose(_KINDS)(self)
        if source.byte() > 240:
            pdu.header[source.byte() % 48] ^= source.byte()
        raw = self.engine.encode(
            pdu, spoil_header=source.byte() > 253, spoil_data=source.byte() > 240
        )
        cut = source.number(0xFFFF)
        self.engine.feed_bytes(raw, [cut] if 0 < cut < len(raw) else None)

    def send_bytes(self) -> None:
        """Bytes arrive."""
        self.engine.feed_bytes(self.source.take(self.source.byte()))

    def answer_r2t(self) -> None:
        """Requested data arrives."""
        if not self.r2ts:
            return
        r2t = self.r2ts.pop(self.source.byte() % len(self.r2ts))
        start, length = r2t["buffer_offset"], r2t["desired_length"]
        half = length // 2 if self.source.flag() else length
        pieces = (
            [(start, half), (start + half, length - half)] if half < length else [(start, half)]
        )
        for number, (offset, size) in enumerate(pieces):
            pdu = requests.data_out(
                r2t["itt"],
                _DATA[:size],
                ttt=r2t["ttt"],
                offset=offset,
                data_sn=number,
                final=number == len(pieces) - 1,
                lun=r2t.header[9],
            )
            if size <= self.engine.parameters.max_recv_data_segment_length:
                self.engine.feed(pdu)

    def end_one(self) -> None:
        """The host ends a command."""
        tasks = self.engine.host.open_tasks
        # Those that wait for data have not been executed.
        if tasks:
            task = self.source.choose(tasks)
            if self.source.byte() > 200:
                self.engine.host.end_silently(task)
            elif task.is_executing:
                self.end(task)

    def end_function(self) -> None:
        """The host has performed a task management function, or will never answer it."""
        host, source = self.engine.host, self.source
        open_functions = self.engine.connection.functions
        pending = [request for request in host.functions if request.itt in open_functions]
        if not pending:
            return
        request = source.choose(pending)
        if source.byte() > 240:
            open_functions.forget(request.itt)
            return
        if request.task is not None and not host.ended[request.task]:
            host.end_silently(request.task)
        response = source.choose(list(TaskResponse))
        open_functions.answer(request.itt, response, bytes(3))

    def read_answers(self) -> None:
        """The initiator reads."""
        for pdu in self.engine.out():
            if pdu.opcode == wire.R2T:
                self.r2ts.append(pdu)
                assert 0 < pdu["desired_length"] <= self.engine.parameters.max_burst_length
            if pdu.opcode in wire.LAYOUTS and "max_cmd_sn" in pdu:
                self.check_numbers(pdu)

    def check_numbers(self, pdu: Pdu) -> None:
        """ExpCmdSN and MaxCmdSN never go back, and MaxCmdSN is never before ExpCmdSN - 1."""
        for name in ("exp_cmd_sn", "max_cmd_sn"):
            ahead = (pdu[name] - getattr(self, name)) & 0xFFFFFFFF
            assert ahead < 0x80000000, f"{name} goes back"
            setattr(self, name, pdu[name])
        assert (pdu["max_cmd_sn"] - pdu["exp_cmd_sn"] + 1) & 0xFFFFFFFF < 0x80000000

    def read_some(self) -> None:
        """The initiator reads a few bytes."""
        self.engine.send_once(1 + self.source.byte())

    def tick(self) -> None:
        """A second passes."""
        self.now += 1.0
        if self.watchdog.check(self.now, _LIMITS) is not None:
            raise ProtocolError("too late")

    def change_depth(self) -> None:
        """QueuedCommands changes."""
        self.engine.connection.set_queue_depth(1 + self.source.byte() % 16)

    def change_memory(self) -> None:
        """Memory runs out, or is available again."""
        self.engine.host.out_of_memory = self.source.byte() > 200

    def check(self) -> None:
        """The invariants at any time."""
        connection, engine = self.engine.connection, self.engine
        assert len(connection.tasks.by_tag) <= 2 * 16 + 8, "commands without a bound"
        assert len(connection.functions) <= 2 * 16 + 8, "functions without a bound"
        assert engine.tx.pending < 512 * 1024, "answers without a bound"


_KINDS: Final[tuple[Callable[[Script], Pdu], ...]] = (
    Script.command,
    Script.command,
    Script.command,
    Script.data_out,
    Script.data_out,
    Script.function,
    Script.nop_out,
    Script.text,
    Script.logout,
    Script.anything,
)

_ACTIONS: Final[Mapping[int, Callable[[Script], None]]] = MappingProxyType(
    dict(
        enumerate(
            (
                Script.send_pdu,
                Script.send_pdu,
                Script.send_pdu,
                Script.send_pdu,
                Script.answer_r2t,
                Script.answer_r2t,
                Script.end_one,
                Script.end_one,
                Script.end_function,
                Script.read_answers,
                Script.read_some,
                Script.tick,
                Script.change_depth,
                Script.change_memory,
                Script.send_bytes,
            )
        )
    )
)


def run(data: bytes) -> None:
    """Run the script in ``data``; see the package's docstring for the invariant."""
    source = Source(data)
    script = Script(source)
    try:
        for _ in range(_STEPS):
            if not source.more or script.engine.connection.closing:
                break
            _ACTIONS[source.byte() % len(_ACTIONS)](script)
            script.check()
    except ProtocolError:
        pass
    script.engine.check_accounts()
