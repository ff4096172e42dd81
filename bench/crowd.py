"""Many sessions at once, each with a load of its own, from one process: `python -m bench.crowd`.

What each session gets says whether the target is fair.  The process may be the limit of the total:
the part of the time in which it was busy is reported.
"""

from __future__ import annotations

import argparse
import json
import select
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from typing import Final

from bench.initiator import Session
from bench.load import Load, Run

_BUFFER_BYTES: Final = 1 << 18
#: Seconds after the end in which a session that hangs is waited for.
_PATIENCE: Final = 5.0


@dataclass(frozen=True, slots=True)
class CrowdResult:
    """Commands a second of each session, slowest first; ``busy`` as in `bench.load`."""

    rates: list[float]
    busy: float

    @property
    def fairness(self) -> float:
        """The slowest session's rate as a part of the median."""
        return self.rates[0] / statistics.median(self.rates)


class Member(Run):
    """A session's run, which takes what has arrived and gives way to others."""

    def __init__(self, session: Session, load: Load) -> None:
        super().__init__(session, load)
        self._buffer = bytearray(_BUFFER_BYTES)
        self._have = self._skip = 0

    @property
    def done(self) -> int:
        """Commands answered so far."""
        return self._done

    @property
    def is_idle(self) -> bool:
        """Nothing is outstanding."""
        return len(self._free) == self._load.depth and not self._skip

    def send(self, *, more: bool) -> None:
        """Send what is to be sent; with ``more``, new commands, too."""
        if more:
            self._start_commands()
        if self._outgoing:
            self._session.send(self._outgoing)
            self._outgoing.clear()

    def receive(self) -> None:
        """Take what has arrived, of which there is something."""
        view = memoryview(self._buffer)
        received = self._session.socket.recv_into(view[self._have :])
        if not received:
            raise ConnectionError("the target closed the connection")
        end = self._have + received
        used, self._skip = self._take(self._buffer, end, self._skip)
        self._have = end - used
        view[: self._have] = view[used:end]


def isid(number: int) -> bytes:
    """The ISID of an initiator port, of the random kind (RFC 7143 11.12.5)."""
    return b"\x80" + number.to_bytes(5)


def go(sessions: Sequence[Session], load: Load) -> CrowdResult:
    """Run `load` on all sessions at the same time."""
    members = {session.socket.fileno(): Member(session, load) for session in sessions}
    poll = select.epoll()
    with closing(poll):
        for fd in members:
            poll.register(fd, select.EPOLLIN)
        began, busy = time.perf_counter(), time.process_time()
        deadline = began + load.seconds
        for member in members.values():
            member.send(more=True)
        counts = None
        while (now := time.perf_counter()) < deadline + _PATIENCE:
            if counts is None and now >= deadline:
                counts = [member.done for member in members.values()]
                seconds, busy = now - began, time.process_time() - busy
            if counts is not None and all(member.is_idle for member in members.values()):
                break
            for fd, _ in poll.poll(0.1):
                members[fd].receive()
                members[fd].send(more=now < deadline)
    assert counts is not None
    return CrowdResult(sorted(count / seconds for count in counts), busy / seconds)


def main() -> None:
    """Run one load and print the result as JSON."""
    parser = argparse.ArgumentParser(prog="bench.crowd")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("target")
    parser.add_argument("lun", type=int)
    parser.add_argument("--sessions", type=int, default=64)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=2)
    given = parser.parse_args()
    load = Load(given.write, given.size, given.depth, at_random=True, seconds=given.seconds)
    with ExitStack() as stack:
        address = given.host, given.port
        sessions = [
            stack.enter_context(
                closing(Session(address, given.target, given.lun, False, isid(number)))
            )
            for number in range(1, given.sessions + 1)
        ]
        print(json.dumps(asdict(go(sessions, load))))


if __name__ == "__main__":
    main()
