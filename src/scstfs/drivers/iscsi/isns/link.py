"""A TCP connection with an iSNS server: requests and answers, in both directions."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

import trio

from scstfs.errors import reason
from scstfs.iscsi import isns
from scstfs.iscsi.errors import ProtocolError
from scstfs.iscsi.isns import Decoder, Function, IsnsAttribute, Message, Tag

#: Makes a request from its transaction number.
IsnsRequest: TypeAlias = Callable[[int], Message]

#: Seconds for an answer.
ANSWER_SECONDS: Final = 10.0
#: Seconds in which the server must take what we send.
_SEND_SECONDS: Final = 10.0
_PIECE: Final = 65536
#: A server without a word for this long is asked for a sign of life by TCP (seconds, seconds
#: between questions, how many of them).
_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)


class LinkLostError(Exception):
    """The connection with the server has failed; its text says why."""


class NotConnectedError(LinkLostError):
    """The connection could not be made; ``errno`` says why."""

    def __init__(self, errno: int, why: str) -> None:
        super().__init__(why)
        self.errno = errno


@contextmanager
def lost_by_os_errors() -> Iterator[None]:
    """Turn errors of the socket in this context into LinkLostError."""
    try:
        yield
    except OSError as error:
        raise LinkLostError(reason(error)) from error


class IsnsLink:
    """Requests over one connection, one after the other.

    A peer that sends anything else than iSNS messages, or does not answer in time, is lost.
    """

    def __init__(self, sock: trio.socket.SocketType, told: Callable[[Message], None]) -> None:
        """``told`` is called with the peer's requests and notifications; they are answered here."""
        self._sock = sock
        self._told = told
        self._decoder = Decoder()
        self._transaction = 0
        self._awaited: int | None = None
        self._answer: Message | None = None
        self._arrived = trio.Event()
        self._sending = trio.Lock()
        #: A message was sent in part; nothing can follow it.
        self._cut = False

    @property
    def local_address(self) -> str:
        """Our address of the connection, numeric."""
        return numeric(self._sock.getsockname())

    @property
    def peer_address(self) -> str:
        """The other side's, numeric."""
        return numeric(self._sock.getpeername())

    async def run(self) -> None:
        """Receive until the connection ends; that raises LinkLostError."""
        while True:
            with lost_by_os_errors():
                data = await self._sock.recv(_PIECE)
            if not data:
                raise LinkLostError("connection closed")
            try:
                messages = self._decoder.feed(data)
            except ProtocolError as fault:
                raise LinkLostError(fault.why) from fault
            for message in messages:
                await self._received(message)

    async def _received(self, message: Message) -> None:
        if not message.is_response:
            self._told(message)
            answer = answer_to(message)
            if answer is not None:
                await self._send(answer)
        elif message.transaction == self._awaited:
            self._awaited = None
            self._answer = message
            self._arrived.set()

    async def request(self, make: IsnsRequest) -> Message:
        """Send a request and wait for its answer; needs ``run`` to run.

        Raises LinkLostError if there is no answer in time, or sending fails.
        """
        self._transaction = self._transaction % 0xFFFF + 1
        message = make(self._transaction)
        self._awaited, self._arrived = self._transaction, trio.Event()
        await self._send(message)
        with trio.move_on_after(ANSWER_SECONDS):
            await self._arrived.wait()
        answer, self._answer = self._answer, None
        if answer is None:
            raise LinkLostError(f"no answer within {ANSWER_SECONDS:.0f} s")
        return answer

    async def _send(self, message: Message) -> None:
        data = view = memoryview(isns.encode(message))
        with lost_by_os_errors(), trio.move_on_after(_SEND_SECONDS):
            # Two messages must not be mixed.
            async with self._sending:
                if self._cut:
                    raise LinkLostError("a message was sent in part")
                try:
                    while view:
                        view = view[await self._sock.send(view) :]
                finally:
                    self._cut = 0 < len(view) < len(data)
        if view:
            raise LinkLostError("requests are not taken")


def answer_to(message: Message) -> Message | None:
    """The answer to a request of the server, or None."""
    if message.function == Function.ESI:
        # RFC 4171 5.6.5.13: the answer has the same contents.
        return isns.reply(message, message.attributes)
    if message.function == Function.SCN:
        # RFC 4171 5.6.5.8: with the name that it was sent to.
        return isns.reply(message, _first(message.attributes, Tag.ISCSI_NAME))
    return None


def _first(attributes: Iterable[IsnsAttribute], tag: Tag) -> list[IsnsAttribute]:
    return [attribute for attribute in attributes if attribute.tag == tag][:1]


def numeric(name: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """The address of a socket's name, without the scope of a link-local one."""
    return name[0].partition("%")[0]


async def connect(host: str, port: int) -> trio.socket.SocketType:
    """Connect to a host name or numeric address, trying its addresses in turn.

    Raises NotConnectedError for the last attempt; EHOSTUNREACH if the name has no address.
    """
    try:
        found = await trio.socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise NotConnectedError(errno.EHOSTUNREACH, str(error)) from error
    failure = OSError(errno.EHOSTUNREACH, "no address")
    for family, kind, protocol, _, address in found:
        try:
            return await _connect(trio.socket.socket(family, kind, protocol), address)
        except OSError as error:
            failure = error
    raise NotConnectedError(failure.errno or errno.EIO, reason(failure))


async def _connect(
    sock: trio.socket.SocketType, address: tuple[object, ...]
) -> trio.socket.SocketType:
    try:
        for level, option, value in _KEEPALIVE:
            sock.setsockopt(level, option, value)
        await sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock
