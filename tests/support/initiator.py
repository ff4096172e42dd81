"""A deliberately naive iSCSI initiator for conformance tests: synchronous, over a plain socket.

It can send anything: any header field with any value, text cut anywhere, wrong digests, data in any
order, or nothing. Every PDU in both directions is recorded (`record`), and violations of RFC 7143
that a test does not check itself are collected in `complaints`.

    with Initiator.connect("127.0.0.1", 3260) as initiator:
        initiator.login("iqn.2005-03.org.example:disk")
        task = initiator.command("12000000ff00", expect=255)
        assert task.status == 0
        initiator.logout()
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support import iscsi_wire as wire
from tests.support.iscsi_login import ISID, NAME, Chap, LoginClient, LoginError, Pairs
from tests.support.iscsi_socket import ClosedError, Stream
from tests.support.iscsi_wire import CONTINUE, FINAL, NO_TAG, READ, WRITE, Pdu

__all__ = ["Chap", "ClosedError", "Initiator", "LoginError", "Task"]

UNTAGGED, SIMPLE, ORDERED, HEAD_OF_QUEUE, ACA = range(5)


def lun_bytes(lun: int | bytes) -> bytes:
    if isinstance(lun, bytes):
        return lun
    return struct.pack(">H6x", lun if lun < 256 else 0x4000 | lun)


@dataclass
class Task:
    """A SCSI command and its responses."""

    itt: int
    command: Pdu
    data_out: bytes = b""
    unsolicited: int = 0
    """Bytes that are sent unsolicited in Data-Out PDUs."""
    data_in: dict[int, bytes] = field(default_factory=dict)
    """Data by buffer offset."""
    data_pdus: list[Pdu] = field(default_factory=list)
    r2ts: list[Pdu] = field(default_factory=list)
    response: Pdu | None = None
    """SCSI Response, the Data-In with status, or the Reject."""

    @property
    def done(self) -> bool:
        return self.response is not None

    @property
    def answer(self) -> Pdu:
        assert self.response is not None, "not answered"
        return self.response

    @property
    def status(self) -> int:
        assert self.answer.opcode in (wire.SCSI_RESPONSE, wire.DATA_IN), self.answer
        return self.answer["status"]

    @property
    def sense(self) -> bytes:
        """Sense data without its length."""
        if self.answer.opcode != wire.SCSI_RESPONSE or len(self.answer.data) < 2:
            return b""
        (length,) = struct.unpack_from(">H", self.answer.data)
        return self.answer.data[2 : 2 + length]

    @property
    def data(self) -> bytes:
        return b"".join(self.data_in[offset] for offset in sorted(self.data_in))

    @property
    def residual(self) -> int:
        """Positive: overflow; negative: underflow."""
        count = self.answer["residual"]
        if self.answer.flags & 0x04:
            return count
        return -count if self.answer.flags & 0x02 else 0


class Initiator(LoginClient):
    """One session with one connection; see the module's docstring."""

    def __init__(
        self,
        sock: Stream,
        *,
        name: str = NAME,
        isid: bytes = ISID,
        timeout: float = 5.0,
    ) -> None:
        super().__init__(sock, name=name, isid=isid, timeout=timeout)
        self.tasks: dict[int, Task] = {}
        self.answers: dict[int, Pdu] = {}
        """Responses other than to SCSI commands, by ITT."""
        self.async_messages: list[Pdu] = []
        self.rejects: list[Pdu] = []
        self.pings: list[Pdu] = []
        self.answer_pings = True
        self.answer_r2ts = True
        self.data_out_size: int | None = None
        """Bytes in a Data-Out; None for the target's limit."""
        self.reorder: Callable[[list[Pdu]], list[Pdu]] = list
        """Puts the Data-Out PDUs of one sequence in order."""
        self._itt = 0

    @classmethod
    def connect(
        cls,
        host: str,
        port: int,
        *,
        name: str = NAME,
        isid: bytes = ISID,
        timeout: float = 5.0,
    ) -> Initiator:
        sock = socket.create_connection((host, port), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(sock, name=name, isid=isid, timeout=timeout)

    def next_itt(self) -> int:
        self._itt += 1
        return self._itt

    # Full feature phase: receiving.

    def pump(self) -> Pdu:
        """Receive one PDU and assign it to its task."""
        pdu = self.receive()
        self.note_numbers(pdu)
        if pdu.opcode in (wire.DATA_IN, wire.R2T, wire.SCSI_RESPONSE):
            self._task_pdu(pdu)
        elif pdu.opcode == wire.ASYNC:
            self.async_messages.append(pdu)
        elif pdu.opcode == wire.REJECT:
            self._rejected(pdu)
        elif pdu.opcode == wire.NOP_IN and pdu["itt"] == NO_TAG:
            self.pings.append(pdu)
            if self.answer_pings and pdu["ttt"] != NO_TAG:
                self.answer_ping(pdu)
        else:
            self.answers[pdu["itt"]] = pdu
        return pdu

    def _task_pdu(self, pdu: Pdu) -> None:
        task = self.tasks.get(pdu["itt"])
        if task is None or task.done:
            self.complaints.append(f"PDU of an unknown task: {pdu}")
            return
        if pdu.opcode == wire.R2T:
            task.r2ts.append(pdu)
            if pdu["r2t_sn"] != len(task.r2ts) - 1:
                self.complaints.append(f"R2TSN out of order: {pdu}")
            if self.answer_r2ts:
                self.answer_r2t(task, pdu)
            return
        if pdu.opcode == wire.DATA_IN:
            if pdu["data_sn"] != len(task.data_pdus) + len(task.r2ts):
                self.complaints.append(f"DataSN out of order: {pdu}")
            if len(pdu.data) > int(self.offers["MaxRecvDataSegmentLength"]):
                self.complaints.append(f"more data than we take: {pdu}")
            task.data_pdus.append(pdu)
            task.data_in[pdu["buffer_offset"]] = pdu.data
            if not pdu.flags & 1:
                return
        if pdu.flags & 6 == 6:
            self.complaints.append(f"both overflow and underflow: {pdu}")
        task.response = pdu

    def _rejected(self, pdu: Pdu) -> None:
        self.rejects.append(pdu)
        if len(pdu.data) < 48:
            self.complaints.append(f"Reject without the header: {pdu}")
            return
        refused = Pdu(pdu.data[:48])
        task = self.tasks.get(refused["itt"])
        if refused.opcode == wire.SCSI_COMMAND and task is not None and not task.done:
            task.response = pdu
        else:
            self.answers.setdefault(refused["itt"], pdu)

    def drain(self, seconds: float = 0.1) -> list[Pdu]:
        """Receive unsolicited PDUs for some time."""
        before = self.sock.gettimeout()
        self.sock.settimeout(seconds)
        pdus = []
        try:
            while True:
                pdus.append(self.pump())
        except TimeoutError:
            return pdus
        finally:
            self.sock.settimeout(before)

    # Full feature phase: commands.

    def prepare(
        self,
        cdb: str | bytes,
        *,
        lun: int | bytes = 0,
        expect: int = 0,
        data_out: bytes = b"",
        immediate_data: int | None = None,
        unsolicited: int | None = None,
        attribute: int = SIMPLE,
        immediate: bool = False,
        ahs: bytes = b"",
        **fields: int | bytes,
    ) -> Task:
        """Build a SCSI command and take its CmdSN without sending it.

        Args:
            cdb: bytes, or hexadecimal with blanks.
            lun: number, or the eight bytes.
            expect: bytes of data to read.
            data_out: data to write.
            immediate_data: how much of it is sent with the command; None for the negotiated amount.
            unsolicited: how much of it follows in Data-Out PDUs; None for the negotiated amount.
            attribute: SIMPLE, ORDERED and so on.
            immediate: deliver at once; CmdSN does not advance.
            ahs: additional header segments.
            fields: header fields to override.
        """
        cdb = bytes.fromhex(cdb) if isinstance(cdb, str) else cdb
        if immediate_data is None:
            immediate_data = self._default_immediate(len(data_out))
        if unsolicited is None:
            unsolicited = self._default_unsolicited(len(data_out), immediate_data)
        flags = attribute | (READ if expect else 0) | (WRITE if data_out else 0)
        pdu = Pdu.make(
            wire.SCSI_COMMAND,
            data=data_out[:immediate_data],
            ahs=ahs,
            immediate=immediate,
            flags=flags | (0 if unsolicited else FINAL),
            lun=lun_bytes(lun),
            itt=self.next_itt(),
            expected_length=expect or len(data_out),
            cmd_sn=self.cmd_sn,
            exp_stat_sn=self.exp_stat_sn,
            cdb=cdb,
        )
        for name, value in fields.items():
            pdu[name] = value
        if not immediate:
            self.cmd_sn = (self.cmd_sn + 1) & 0xFFFFFFFF
        task = Task(pdu["itt"], pdu, data_out, unsolicited)
        self.tasks[task.itt] = task
        return task

    def issue(self, cdb: str | bytes, **options: Any) -> Task:
        """Send a SCSI command as `prepare` builds it, with its unsolicited data, and return at
        once.
        """
        task = self.prepare(cdb, **options)
        self.send(task.command)
        if task.unsolicited:
            self.send_data(task, len(task.command.data), task.unsolicited)
        return task

    def _default_immediate(self, length: int) -> int:
        if self.parameter("ImmediateData") != "Yes":
            return 0
        limits = ("FirstBurstLength", "MaxRecvDataSegmentLength")
        return min(length, *(int(self.parameter(key)) for key in limits))

    def _default_unsolicited(self, length: int, immediate_data: int) -> int:
        if self.parameter("InitialR2T") == "Yes":
            return 0
        return max(0, min(length, int(self.parameter("FirstBurstLength"))) - immediate_data)

    def command(self, cdb: str | bytes, **options: Any) -> Task:
        """Send a SCSI command as `prepare` builds it and wait for its answer."""
        return self.wait(self.issue(cdb, **options))

    def wait(self, task: Task) -> Task:
        while not task.done:
            self.pump()
        return task

    def data_out_pdus(self, task: Task, offset: int, length: int, ttt: int) -> list[Pdu]:
        """Build the Data-Out PDUs of one sequence."""
        size = self.data_out_size or int(self.parameter("MaxRecvDataSegmentLength"))
        end = offset + length
        starts = list(range(offset, end, size))
        return [
            Pdu.make(
                wire.DATA_OUT,
                data=task.data_out[start : min(start + size, end)],
                flags=FINAL if start == starts[-1] else 0,
                lun=task.command.blob("lun"),
                itt=task.itt,
                ttt=ttt,
                exp_stat_sn=self.exp_stat_sn,
                data_sn=number,
                buffer_offset=start,
            )
            for number, start in enumerate(starts)
        ]

    def send_data(self, task: Task, offset: int, length: int, ttt: int = NO_TAG) -> None:
        for pdu in self.reorder(self.data_out_pdus(task, offset, length, ttt)):
            self.send(pdu)

    def answer_r2t(self, task: Task, r2t: Pdu) -> None:
        self.send_data(task, r2t["buffer_offset"], r2t["desired_length"], r2t["ttt"])

    # Full feature phase: everything else.

    def request(self, opcode: int, fields: Mapping[str, int | bytes], *, data: bytes = b"") -> Pdu:
        """Build an immediate request with the next ITT and our numbers."""
        pdu = Pdu.make(opcode, data=data, immediate=True, flags=FINAL, itt=self.next_itt())
        for name in ("cmd_sn", "exp_stat_sn"):
            if name in pdu:
                pdu[name] = getattr(self, name)
        for name, value in fields.items():
            pdu[name] = value
        return pdu

    def exchange(self, pdu: Pdu) -> Pdu:
        """Send a request and return the response, or the Reject."""
        itt = pdu["itt"]
        self.answers.pop(itt, None)
        self.send(pdu)
        while itt not in self.answers:
            self.pump()
        return self.answers[itt]

    def task_management(
        self,
        function: int,
        *,
        lun: int | bytes = 0,
        task: Task | None = None,
        **fields: int | bytes,
    ) -> int:
        """Send a task management request for `task`; return the response code."""
        values: dict[str, int | bytes] = {
            "flags": FINAL | function,
            "lun": lun_bytes(lun),
            "referenced_tag": task.itt if task else NO_TAG,
            "ref_cmd_sn": task.command["cmd_sn"] if task else self.cmd_sn,
            **fields,
        }
        answer = self.exchange(self.request(wire.TASK_REQUEST, values))
        assert answer.opcode == wire.TASK_RESPONSE, answer
        return answer["response"]

    def ping(self, data: bytes = b"", **fields: int | bytes) -> Pdu:
        """Send a NOP-Out and return the NOP-In, or the Reject."""
        values: dict[str, int | bytes] = {"ttt": NO_TAG, **fields}
        return self.exchange(self.request(wire.NOP_OUT, values, data=data))

    def answer_ping(self, ping: Pdu) -> None:
        answer: dict[str, int | bytes] = {
            "itt": NO_TAG,
            "ttt": ping["ttt"],
            "lun": ping.blob("lun"),
        }
        self.send(self.request(wire.NOP_OUT, answer))

    def text(self, text: Pairs | bytes, *, cut: int | None = None) -> Pairs:
        """Exchange text in full feature phase; with `cut`, in PDUs of that many bytes."""
        data = text if isinstance(text, bytes) else wire.text_of(text)
        size = cut or max(len(data), 1)
        pieces = [data[start : start + size] for start in range(0, len(data), size)] or [b""]
        itt, ttt, answer = self.next_itt(), NO_TAG, b""
        while True:
            piece = pieces.pop(0) if pieces else b""
            flags = CONTINUE if pieces else FINAL
            fields = {"flags": flags, "itt": itt, "ttt": ttt}
            pdu = self.request(wire.TEXT_REQUEST, fields, data=piece)
            response = self.exchange(pdu)
            assert response.opcode == wire.TEXT_RESPONSE, response
            answer += response.data
            ttt = response["ttt"]
            if response.flags & FINAL:
                return wire.parse_pairs(answer)

    def send_targets(self, what: str = "All") -> dict[str, list[str]]:
        """Send SendTargets; return the addresses of each target."""
        found: dict[str, list[str]] = {}
        addresses: list[str] = []
        for key, value in self.text([("SendTargets", what)]):
            if key == "TargetName":
                addresses = found.setdefault(value, [])
            elif key == "TargetAddress":
                addresses.append(value)
        return found

    def logout(self, reason: int = 0, **fields: int | bytes) -> int:
        """Log out; return the response code."""
        values: dict[str, int | bytes] = {"flags": FINAL | reason, "cid": self.cid, **fields}
        answer = self.exchange(self.request(wire.LOGOUT_REQUEST, values))
        assert answer.opcode == wire.LOGOUT_RESPONSE, answer
        return answer["response"]
