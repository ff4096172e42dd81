"""A small iSNS server for tests, with its own codec (RFC 4171).

    with IsnsServer() as server:
        server.initiators["iqn.t"] = {"iqn.i"}
        ...                                    # the target registers at 127.0.0.1:server.port
        server.wait_for(lambda: "iqn.t" in server.nodes)
        server.notify("iqn.t")                 # a state change notification

It accepts all clients, and keeps every request in ``requests``.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

REGISTER, QUERY, DEREGISTER, SCN_REGISTER, SCN_DEREGISTER = 1, 2, 4, 5, 6
SCN, ESI = 8, 0xD
ENTITY, PROTOCOL, TIMESTAMP, PERIOD, ADDRESS, PORT = 1, 2, 4, 6, 16, 17
ESI_INTERVAL, ESI_PORT, SCN_PORT = 19, 20, 23
NAME, NODE_TYPE, ALIAS, SCN_BITMAP = 32, 33, 34, 35
INITIATOR = 2
NO_SUCH_ENTRY, SOURCE_UNKNOWN, ESI_NOT_AVAILABLE = 9, 6, 21
FROM_CLIENT, FROM_SERVER, REPLACE, FIRST, LAST = 0x8000, 0x4000, 0x1000, 0x0400, 0x0800
WAIT_SECONDS = 10.0

Attributes = list[tuple[int, bytes]]


@dataclass
class Message:
    function: int
    transaction: int
    attributes: Attributes
    flags: int = FIRST | LAST
    status: int | None = None

    def encode(self) -> bytes:
        payload = b"" if self.status is None else struct.pack(">I", self.status)
        for tag, value in self.attributes:
            padded = value + bytes(-len(value) % 4)
            payload += struct.pack(">II", tag, len(padded)) + padded
        head = (1, self.function, len(payload), self.flags, self.transaction, 0)
        return struct.pack(">6H", *head) + payload

    def texts(self, tag: int) -> list[str]:
        return [as_text(value) for given, value in self.attributes if given == tag]

    def numbers(self, tag: int) -> list[int]:
        return [int.from_bytes(value, "big") for given, value in self.attributes if given == tag]


def as_text(value: bytes) -> str:
    return value.rstrip(b"\0").decode()


def text(value: str) -> bytes:
    return value.encode() + b"\0"


def number(value: int) -> bytes:
    return struct.pack(">I", value)


def read_exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def receive(sock: socket.socket) -> Message:
    """Read a message that fits into one PDU; raises EOFError and OSError."""
    head = struct.unpack(">6H", read_exactly(sock, 12))
    version, function, length, flags, transaction, sequence = head
    payload = read_exactly(sock, length)
    assert (version, sequence) == (1, 0)
    assert flags & (FIRST | LAST) == FIRST | LAST
    status = None
    if function & 0x8000:
        (status,), payload = struct.unpack(">I", payload[:4]), payload[4:]
    attributes = []
    while payload:
        tag, size = struct.unpack(">II", payload[:8])
        assert size % 4 == 0
        assert len(payload) >= 8 + size
        attributes.append((tag, payload[8 : 8 + size]))
        payload = payload[8 + size :]
    return Message(function, transaction, attributes, flags, status)


@dataclass
class Node:
    """A registered target."""

    name: str
    entity: str
    alias: str | None = None
    wants_scn: bool = False


@dataclass
class Portal:
    address: bytes
    port: int
    ports: dict[int, int] = field(default_factory=dict)


class IsnsServer:
    """See the module's docstring. Attributes may be set at any time."""

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        self._host = host
        self.requests: list[Message] = []
        #: What is registered.
        self.nodes: dict[str, Node] = {}
        self.portals: list[Portal] = []
        #: The initiators that share a discovery domain with a target.
        self.initiators: dict[str, set[str]] = {}
        #: Statuses to refuse requests with, by function.
        self.refuse: dict[int, int] = {}
        #: Requests of these functions are not answered at all.
        self.ignore: set[int] = set()
        #: Whether status inquiries are offered.
        self.has_esi = True
        #: Answer registrations with this Registration Period (seconds).
        self.period: int | None = None
        self.failure: BaseException | None = None
        self._changed = threading.Condition()
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family)
        self.port = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if self.failure is not None:
            raise self.failure

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """Stop listening."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()
        for thread in self._threads:
            thread.join(WAIT_SECONDS)

    def drop(self) -> None:
        """Close all connections."""
        with self._changed:
            connections, self._connections = self._connections, []
        for sock in connections:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    @property
    def connections(self) -> int:
        with self._changed:
            return len(self._connections)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition that requests change holds."""
        with self._changed:
            assert self._changed.wait_for(condition, WAIT_SECONDS), self.requests

    def asked(self, function: int) -> list[Message]:
        """The requests of a kind so far."""
        with self._changed:
            return [request for request in self.requests if request.function == function]

    # Serving

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._changed:
                self._connections.append(sock)
                self._changed.notify_all()
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        try:
            with sock:
                while True:
                    self._answer(sock, receive(sock))
        except (EOFError, OSError):
            pass
        except BaseException as failure:
            self.failure = failure
        with self._changed:
            if sock in self._connections:
                self._connections.remove(sock)
            self._changed.notify_all()

    def _answer(self, sock: socket.socket, request: Message) -> None:
        with self._changed:
            status = self.refuse.get(request.function, 0)
            attributes: Attributes = []
            if not status:
                status, attributes = HANDLERS[request.function](self, request)
            self.requests.append(request)
            self._changed.notify_all()
            if request.function in self.ignore:
                return
        answer = Message(
            request.function | 0x8000,
            request.transaction,
            attributes,
            FIRST | LAST | FROM_SERVER,
            status,
        )
        sock.sendall(answer.encode())

    def _register(self, request: Message) -> tuple[int, Attributes]:
        if not self.has_esi and request.numbers(ESI_PORT):
            return ESI_NOT_AVAILABLE, []
        # Source and message key end at the delimiter.
        operating = request.attributes[request.attributes.index((0, b"")) + 1 :]
        if request.flags & REPLACE:
            self.nodes.clear()
            self.portals.clear()
        entity, node = "", None
        for tag, value in operating:
            if tag == ENTITY:
                entity = as_text(value)
            elif tag == ADDRESS:
                self.portals.append(Portal(value, 0))
            elif tag == PORT:
                self.portals[-1].port = int.from_bytes(value, "big")
            elif tag in (ESI_INTERVAL, ESI_PORT, SCN_PORT):
                self.portals[-1].ports[tag] = int.from_bytes(value, "big")
            elif tag == NAME:
                known = self.nodes.get(as_text(value))
                node = known or Node(as_text(value), entity)
                self.nodes[node.name] = node
            elif tag == ALIAS:
                assert node is not None
                node.alias = as_text(value)
        if self.period is not None:
            operating.append((PERIOD, number(self.period)))
        return 0, operating

    def _query(self, request: Message) -> tuple[int, Attributes]:
        source = request.texts(NAME)[0]
        if source not in self.nodes:
            return SOURCE_UNKNOWN, []
        found: Attributes = [
            attribute
            for name in sorted(self.initiators.get(source, ()))
            for attribute in ((NAME, text(name)), (NODE_TYPE, number(INITIATOR)))
        ]
        if not found:
            return NO_SUCH_ENTRY, []
        return 0, [(NODE_TYPE, number(INITIATOR)), (0, b""), *found]

    def _deregister(self, request: Message) -> tuple[int, Attributes]:
        tag, value = request.attributes[-1]
        if tag == NAME:
            self.nodes.pop(as_text(value), None)
        else:
            self.nodes.clear()
            self.portals.clear()
        return 0, []

    def _scn_register(self, request: Message) -> tuple[int, Attributes]:
        self.nodes[request.texts(NAME)[-1]].wants_scn = True
        return 0, []

    def _scn_deregister(self, request: Message) -> tuple[int, Attributes]:
        self.nodes[request.texts(NAME)[-1]].wants_scn = False
        return 0, []

    # Unsolicited messages of a server

    def _send(self, port: int, message: Message) -> Message:
        with socket.create_connection((self._host, port), WAIT_SECONDS) as sock:
            sock.sendall(message.encode())
            return receive(sock)

    def notify(self, name: str) -> Message:
        """Send a target a state change notification and return its answer."""
        message = Message(
            SCN,
            77,
            [(NAME, text(name)), (TIMESTAMP, bytes(8)), (SCN_BITMAP, number(8))],
            FIRST | LAST | FROM_SERVER,
        )
        return self._send(self.portals[0].ports[SCN_PORT], message)

    def inquire(self) -> Message:
        """Ask for the status of the entity and return its answer."""
        portal = self.portals[0]
        message = Message(
            ESI,
            78,
            [
                (TIMESTAMP, bytes(8)),
                (ENTITY, text(next(iter(self.nodes.values())).entity)),
                (ADDRESS, portal.address),
                (PORT, number(portal.port)),
            ],
            FIRST | LAST | FROM_SERVER,
        )
        return self._send(portal.ports[ESI_PORT], message)


HANDLERS: dict[int, Callable[[IsnsServer, Message], tuple[int, Attributes]]] = {
    REGISTER: IsnsServer._register,
    QUERY: IsnsServer._query,
    DEREGISTER: IsnsServer._deregister,
    SCN_REGISTER: IsnsServer._scn_register,
    SCN_DEREGISTER: IsnsServer._scn_deregister,
}
