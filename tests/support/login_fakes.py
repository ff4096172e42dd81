"""A target side for login tests, and a stream that a login machine answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from scstfs.iscsi.admission import ExistingSession, LoginResult, Redirect
from scstfs.iscsi.chap import Credentials, User
from scstfs.iscsi.errors import LoginRefused
from scstfs.iscsi.login import Login, LoginStep
from tests.support.iscsi_login import NAME, LoginClient, LoginError, Pairs

DISK = "iqn.2005-03.org.example:disk"
JOE = Credentials({"joe": b"joesecret1234"}, User("disk", b"disksecret1234"))
NORMAL: Pairs = [("InitiatorName", NAME), ("TargetName", DISK), ("SessionType", "Normal")]


@dataclass
class FakeTarget:
    name: str = DISK
    alias: str | None = None
    enabled: bool = True
    parameters: Mapping[str, int] = field(default_factory=dict)
    credentials: Credentials = field(default_factory=Credentials)


@dataclass
class FakeHost:
    """All that a login uses, as plain attributes; `opened` has the accepted logins."""

    target: FakeTarget = field(default_factory=FakeTarget)
    discovery_credentials: Credentials = field(default_factory=Credentials)
    is_internal: bool = False
    is_suspended: bool = False
    refused: str | None = None
    redirected: Redirect | None = None
    existing: ExistingSession | None = None
    room: bool = True
    cannot_open: LoginRefused | None = None
    next_tsih: int = 0x0102
    opened: list[LoginResult[FakeTarget]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def find_target(self, name: str) -> FakeTarget | None:
        return self.target if name.lower() == self.target.name else None

    def refusal(self, target: FakeTarget, initiator: str) -> str | None:
        self.asked.append((target.name, initiator))
        return self.refused

    def redirect(self, _target: FakeTarget) -> Redirect | None:
        return self.redirected

    def find_session(
        self, _target: FakeTarget, _initiator: str, _isid: bytes
    ) -> ExistingSession | None:
        return self.existing

    def has_room(self, _target: FakeTarget) -> bool:
        return self.room

    def open_session(self, login: LoginResult[FakeTarget]) -> int:
        if self.cannot_open is not None:
            raise self.cannot_open
        self.opened.append(login)
        return login.tsih or self.next_tsih


def not_random(length: int) -> bytes:
    """Return bytes that a test can predict."""
    return bytes(range(1, length + 1))


class LoginStream:
    """The initiator's end of a connection whose other end is a login machine."""

    def __init__(self, host: FakeHost | None = None, now: float = 1000.0) -> None:
        self.host = host or FakeHost()
        self.now = now
        self.login = Login(self.host, random=not_random, now=now)
        self.steps: list[LoginStep[FakeTarget]] = []
        self._input = bytearray()
        self._output = bytearray()
        self._closed = False

    @property
    def last(self) -> LoginStep[FakeTarget]:
        return self.steps[-1]

    @property
    def result(self) -> LoginResult[FakeTarget]:
        assert self.last.result is not None, self.last
        return self.last.result

    def sendall(self, data: bytes, /) -> None:
        if self._closed:
            raise BrokenPipeError
        self._input += data
        while len(self._input) >= 48 and not self._closed:
            ahs = self._input[4] * 4
            length = int.from_bytes(self._input[5:8], "big")
            end = 48 + ahs + (length + 3 & ~3)
            if len(self._input) < end:
                return
            header, text = self._input[:48], self._input[48 + ahs : 48 + ahs + length]
            del self._input[:end]
            self.take(bytes(header), bytes(text))

    def take(self, header: bytes, data: bytes) -> LoginStep[FakeTarget]:
        step = self.login.receive(header, data, self.now)
        self.steps.append(step)
        self._output += step.send
        self._closed = step.close
        return step

    def recv(self, count: int, /) -> bytes:
        if not self._output and not self._closed:
            raise TimeoutError
        data = bytes(self._output[:count])
        del self._output[:count]
        return data

    def settimeout(self, seconds: float | None, /) -> None:
        pass

    def gettimeout(self) -> float | None:
        return None

    def setsockopt(self, level: int, option: int, value: bytes, /) -> None:
        pass

    def close(self) -> None:
        self._closed = True


def client(host: FakeHost | None = None) -> tuple[LoginClient, LoginStream]:
    """An initiator and the stream it logs in through."""
    stream = LoginStream(host)
    return LoginClient(stream), stream


def with_users(users: Credentials = JOE) -> FakeHost:
    """A host that requires authentication for normal and discovery sessions."""
    return FakeHost(FakeTarget(credentials=users), discovery_credentials=users)


def refusal(attempt: Callable[[], object]) -> int:
    """The login status (RFC 7143 11.13.5) that *attempt* is refused with."""
    with pytest.raises(LoginError) as caught:
        attempt()
    assert caught.value.response.flags & 0x80 == 0
    return caught.value.status
