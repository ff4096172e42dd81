"""The initiators of scenarios: the lines ``I E C T A X``, over iSCSI.

``I NAME=INITIATOR TARGET`` logs in and calls the session NAME, ``E`` does so if there is no such
session; ``C NAME LUN CDB [in BYTES | out HEX]`` sends a command, ``T NAME FUNCTION LUN`` a task
management function; ``A NAME`` gives the asynchronous messages that came and whether the target has
closed the connection; ``X NAME`` logs out. Every session has one connection and one command under
way, as in the recordings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.support import iscsi_wire as wire
from tests.support.initiator import Initiator, Task
from tests.support.iscsi_login import ISID, LoginError
from tests.support.iscsi_socket import ClosedError
from tests.support.iscsi_wire import Pdu
from tests.support.recordings import Record

_PATIENCE: Final = 20.0
_FLAG_OVERFLOW: Final = 0x04
_FLAG_RESIDUAL: Final = 0x06


class Sessions:
    """The sessions of one scenario, by name."""

    def __init__(self, host: str, port: int) -> None:
        """They are connected to this portal."""
        self._portal = host, port
        self._sessions: dict[str, Initiator] = {}

    def close(self) -> None:
        """End all connections without a logout."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()

    def perform(self, kind: str, argument: str) -> Record:
        """The outcome of one line."""
        words = argument.split()
        name = words[0].partition("=")[0]
        session = self._sessions.get(name)
        try:
            if kind == "E" and session is not None:
                return {"kept": True}
            if kind in ("I", "E"):
                return self._log_in(words[0], words[1])
            if session is None:
                return {"none": True}
            return _LINES[kind](self, name, session, words[1:])
        except ClosedError:
            self._drop(name)
            return {"error": "closed"}
        except LoginError as refused:
            return {"error": f"login status {refused.status:04x}"}

    def _log_in(self, assignment: str, target: str) -> Record:
        name, _, initiator = assignment.partition("=")
        number = len(self._sessions) + 1
        session = Initiator.connect(
            *self._portal, name=initiator, isid=ISID[:5] + bytes([number]), timeout=_PATIENCE
        )
        try:
            session.login(target)
        except BaseException:
            session.close()
            raise
        self._drop(name)
        self._sessions[name] = session
        return {"login": "ok"}

    def _drop(self, name: str) -> None:
        session = self._sessions.pop(name, None)
        if session is not None:
            session.close()

    def _command(self, _name: str, session: Initiator, words: list[str]) -> Record:
        lun, cdb, *transfer = words
        kind, size = transfer or ("", "")
        task = session.command(
            cdb,
            lun=int(lun),
            expect=int(size) if kind == "in" else 0,
            data_out=bytes.fromhex(size) if kind == "out" else b"",
        )
        return _outcome(task)

    def _task_management(self, _name: str, session: Initiator, words: list[str]) -> Record:
        function, lun = map(int, words)
        return {"response": session.task_management(function, lun=lun)}

    def _events(self, name: str, session: Initiator, _words: list[str]) -> Record:
        events: list[Record] = []
        try:
            # PDUs that the target has sent so far come before the answer.
            session.ping()
        except ClosedError:
            events.append({"closed": True})
            self._drop(name)
        events += [
            {"async": message["event"], "data": message.data.hex()}
            for message in session.async_messages
        ]
        session.async_messages.clear()
        return {"events": sorted(events, key=str)}

    def _log_out(self, name: str, session: Initiator, _words: list[str]) -> Record:
        del self._sessions[name]
        with session:
            session.logout()
        return {"logout": "ok"}


_LINES: Final[dict[str, Callable[[Sessions, str, Initiator, list[str]], Record]]] = {
    "C": Sessions._command,
    "T": Sessions._task_management,
    "A": Sessions._events,
    "X": Sessions._log_out,
}


def _outcome(task: Task) -> Record:
    answer = task.answer
    if answer.opcode == wire.REJECT:
        return {"reject": answer["reason"]}
    outcome: Record = {"status": task.status, "data": task.data.hex(), "resid": _residual(answer)}
    if answer.opcode == wire.SCSI_RESPONSE:
        outcome |= {"response": answer["response"], "sense": task.sense.hex()}
    return outcome


def _residual(answer: Pdu) -> str:
    if not answer.flags & _FLAG_RESIDUAL:
        return ""
    sign = "+" if answer.flags & _FLAG_OVERFLOW else "-"
    return f"{sign}{answer['residual']}"
